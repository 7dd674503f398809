//! A client that folds snapshots and deltas has, at each of its batch times, exactly the hub's state at that time, whatever
//! is dropped and resumed in between.

#[path = "common/client.rs"]
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
mod client;
#[path = "common/frames.rs"]
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
mod frames;
#[path = "common/server.rs"]
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
mod server;

use client::Fold;
use client::rows::wanted;
use frames::{Frames, json};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use server::{Server, live_hub};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use weir::gateway::Config;
use weir::gateway::auth::Auth;
use weir_schemas::update::Digest;
use weir_schemas::view::VIEWS;

/// Compares every moving subscription with the oracle.
fn compare(fold: &Fold, frames: &Frames, seed: u64) {
    let state = &frames.history[&fold.time];
    for (id, kept) in fold.kept.iter().filter(|(_, kept)| kept.moving) {
        for (view, rows) in &kept.views {
            let index = VIEWS.iter().position(|known| known.name == view).expect("a view");
            let (mut expected, mut digest) = (Vec::new(), Digest::default());
            for row in state[index].values().filter(|row| wanted(VIEWS[index], row, &kept.filters)) {
                digest.apply(row, 1);
                expected.push(json(VIEWS[index], row));
            }
            let mut shown: Vec<Vec<Value>> = rows.values().cloned().collect();
            let text = |row: &Vec<Value>| serde_json::to_string(row).expect("JSON");
            shown.sort_by_key(text);
            expected.sort_by_key(text);
            assert_eq!(shown, expected, "seed {seed}: {id}/{view} at {}", fold.time);
            assert_eq!(kept.digests[view], digest, "seed {seed}: {id}/{view} at {}", fold.time);
        }
    }
}

fn subscriptions(fold: &mut Fold, which: usize) {
    if which.is_multiple_of(2) {
        for view in VIEWS {
            fold.add(&format!("all-{}", view.name), view.name, json!({}));
        }
    }
    fold.add("tests", "test_case_results", json!({"outcome": ["failed", "error"], "project": "project1"}));
    fold.add("run", "test_suite_progress", json!({"runId": ["run0", "run2"]}));
    fold.add("severe", "test_results", json!({"severity": "warning", "tags": ["db", "slow"], "flaky": "true"}));
    fold.add("errors", "error_stream", json!({"project": ["project0", "project2"]}));
    fold.add("same", "error_stream", json!({"project": ["project2", "project0"]}));
}

/// One client until `end`: reads, now and then drops its connection, and resumes; checks at each batch.
async fn run_client(
    which: usize,
    seed: u64,
    address: std::net::SocketAddr,
    frames: Arc<Mutex<Frames>>,
    times: watch::Sender<u64>,
    end: watch::Receiver<u64>,
) -> Fold {
    let mut rng = StdRng::seed_from_u64(seed ^ which as u64);
    let mut fold = Fold::default();
    subscriptions(&mut fold, which);
    let mut compared = 0;
    while fold.time < *end.borrow() {
        let messages = rng.random_range(1..60);
        let visit = fold.visit(address, messages, |fold| {
            compare(fold, &frames.lock().expect("no panic"), seed);
            compared += 1;
            times.send_if_modified(|time| {
                let further = fold.time > *time;
                *time = fold.time.max(*time);
                further
            });
            fold.time >= *end.borrow()
        });
        visit.await.expect("stays open");
    }
    assert!(compared > 20, "client {which} compared only {compared} times");
    fold
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_fold_is_the_hubs_state_at_every_batch() {
    let seed = 20_261_122;
    println!("seed {seed}");
    let config = Config { progress_interval: std::time::Duration::from_millis(20), ..Config::default() };
    let server = Server::with(live_hub(weir::hub::Config::default()), config, Auth::open()).await;
    let frames = Arc::new(Mutex::new(Frames::new(seed)));
    let (times, mut reached) = watch::channel(0);
    let (end, ends) = watch::channel(u64::MAX);
    let publish = |frames: &Mutex<Frames>| {
        let mut frames = frames.lock().expect("no panic");
        server.hub.publish(frames.next());
        frames.time()
    };
    publish(&frames);
    let clients: Vec<_> = (0..3)
        .map(|which| {
            let client = run_client(which, seed, server.address, Arc::clone(&frames), times.clone(), ends.clone());
            weir::task::spawn("client", client)
        })
        .collect();
    drop(times);
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..300 {
        let time = publish(&frames);
        // The generator stays a random number of frames ahead of the client that is furthest.
        let lag = rng.random_range(0..600);
        reached.wait_for(|reached| reached + lag >= time).await.expect("clients live");
    }
    let last = publish(&frames);
    end.send(last).expect("clients live");
    let (mut snapshots, mut resumes) = (0, 0);
    for client in clients {
        let fold = client.await.expect("a client's checks hold");
        assert_eq!(fold.time, last);
        snapshots += fold.kept.values().map(|kept| kept.snapshots).sum::<u32>();
        resumes += fold.kept.values().map(|kept| kept.resumes).sum::<u32>();
    }
    println!("{snapshots} snapshots, {resumes} resumes, {:?}", server.hub.ring_stats());
    assert!(resumes > 20, "connections were dropped and resumed: {resumes}");
}
