//! Clients of a whole server under load have at each of their batch times exactly the views at that time, filtered as they
//! asked, while connections are dropped at random and resumed, or come back too late and begin anew.
//!
//! What the views are at each time is an account of the test's own: the server's log replayed through its bindings
//! (`common/oracle.rs`), held against what clients folded, `/v1/digests` and `/v1/views` said.
//! `WEIR_LONG=1` makes it a longer load, and `WEIR_SEED` repeats one run's choices.

#[path = "common/client.rs"]
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
mod client;
#[path = "common/http.rs"]
mod http_common;
#[path = "common/oracle.rs"]
mod oracle;
#[path = "common/engine.rs"]
mod rig;
#[path = "common/whole.rs"]
mod whole;

use client::{Fold, Whim};
use http_common::ask;
use oracle::Seen;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rig::Load;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::JoinSet;
use weir::config::units::Period;
use weir::status::Status;
use weir_schemas::event::TestEvent;
use weir_schemas::view::VIEWS;
use whole::Whole;

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Clients that are away for longer begin anew.
const RING_S: u64 = 2;

/// Values that filters can ask for.
struct Values {
    projects: Vec<String>,
    runs: Vec<String>,
    branches: Vec<String>,
    suites: Vec<String>,
}

impl Values {
    /// Those of some events.
    fn of(events: &[TestEvent<'_>]) -> Values {
        let all = |value: fn(&TestEvent<'_>) -> Option<String>| {
            events.iter().filter_map(value).collect::<BTreeSet<_>>().into_iter().collect()
        };
        Values {
            projects: all(|event| Some(event.metadata.project.to_string())),
            runs: all(|event| event.correlation_id.as_deref().map(str::to_owned)),
            branches: all(|event| event.metadata.branch.as_deref().map(str::to_owned)),
            suites: all(|event| event.data.test_suite_id.as_deref().map(str::to_owned)),
        }
    }

    /// What a client subscribes to: every view whole, or not; and some of some.
    fn subscriptions(&self, whole: bool, rng: &mut StdRng) -> Fold {
        let mut fold = Fold::default();
        if whole {
            VIEWS.iter().for_each(|view| fold.add(&format!("all-{}", view.name), view.name, json!({})));
        }
        let mut some = |of: &[String]| of.sample(rng, 2).cloned().collect::<Vec<_>>();
        fold.add(
            "failed",
            "test_case_results",
            json!({"outcome": ["failed", "error"], "project": some(&self.projects)}),
        );
        fold.add("runs", "test_suite_progress", json!({"runId": some(&self.runs)}));
        fold.add("severe", "test_results", json!({"severity": "warning", "branch": some(&self.branches)}));
        fold.add("passed", "test_results", json!({"outcome": "passed", "project": some(&self.projects)}));
        fold.add(
            "suites",
            "suite_progress",
            json!({"testSuiteId": some(&self.suites), "state": ["running", "failed"]}),
        );
        fold.add("errors", "error_stream", json!({"project": some(&self.projects)}));
        fold.add("metrics", "real_time_metrics", json!({"scope": "project", "project": some(&self.projects)}));
        fold
    }
}

/// What a client came to.
struct Came {
    fold: Fold,
    cuts: usize,
}

/// One client until the tick `end`: reads, now and then drops its connection, stays away for a while, and resumes.
async fn run_client(
    mut fold: Fold,
    mut rng: StdRng,
    address: SocketAddr,
    status: Status,
    seen: Arc<Mutex<Seen>>,
    end: watch::Receiver<u64>,
) -> Came {
    let (mut cuts, mut time, mut whim, mut stayed) = (0, status.subscribe(), Whim::default(), false);
    let over = |fold: &Fold| fold.time >= *end.borrow() && fold.whole();
    while !over(&fold) {
        let visit = fold.visit(address, whim.messages(&mut rng), |fold| {
            seen.lock().expect("no panic").fold(fold);
            cuts += 1;
            over(fold)
        });
        visit.await.expect("the server stays");
        whim.after(&fold);
        // Once it stays away for longer than the ring reaches, whatever the dice say.
        let long = std::mem::replace(&mut stayed, true);
        if !long || rng.random_range(0..4) == 0 {
            let longest = 3 * RING_S * 1_000 / 2;
            let until = fold.time + if long { rng.random_range(0..longest) } else { longest };
            time.wait_for(|status| status.time >= until).await.expect("the server stays");
        }
    }
    Came { fold, cuts }
}

/// Says of the machine of an event that it is broken, or takes back what was said of such, or puts a rule.
async fn say(whole: &Whole, event: &TestEvent<'_>, rng: &mut StdRng) {
    let (project, id) = (&*event.metadata.project, rng.random_range(0..3));
    let request = match rng.random_range(0..3) {
        0 => {
            let body = json!({ "project": project, "worker": event.metadata.worker.as_deref().unwrap_or_default(), "to": event.timestamp });
            whole.client.put(whole.url(&format!("/v1/incidents/{id}"))).body(body.to_string())
        }
        1 => whole.client.delete(whole.url(&format!("/v1/incidents/{id}?project={project}"))),
        _ => {
            let body = json!({ "kind": "mask", "pattern": "[0-9]+", "order": id });
            whole.client.put(whole.url(&format!("/v1/rules/{id}"))).body(body.to_string())
        }
    };
    let (status, _, said) = ask(request).await;
    assert_eq!(status.as_u16(), 202, "{said}");
}

/// Posts the fleet's events, now and then asking for digests and a view; returns a time at which all are shown.
async fn post(whole: &Whole, load: &[Vec<TestEvent<'static>>], seen: &Mutex<Seen>, rng: &mut StdRng) -> u64 {
    // Whatever the fleet does, there is something to be told of.
    let rule = json!({
        "kind": "alert", "view": "run_progress", "when": [{ "column": "started", "is": ">=", "threshold": 1 }],
        "severity": "info", "message": "{run} has begun",
    });
    let (status, _, said) = ask(whole.client.put(whole.url("/v1/rules/begun")).body(rule.to_string())).await;
    assert_eq!(status.as_u16(), 202, "{said}");
    let mut time = whole.server.status.subscribe();
    for events in load {
        // Each post is shown in a frame of its own.
        let before = time.borrow_and_update().time;
        time.wait_for(|status| status.time > before).await.expect("the server stays");
        let lines: Vec<String> = events.iter().map(|event| serde_json::to_string(event).expect("JSON")).collect();
        let (status, _, said) = ask(whole.client.post(whole.url("/v1/events")).body(lines.join("\n"))).await;
        assert_eq!((status.as_u16(), &said["accepted"]), (202, &json!(events.len())), "{said}");
        if rng.random_range(0..5) == 0 {
            say(whole, &events[0], rng).await;
            let digests = ask(whole.client.get(whole.url("/v1/digests"))).await.2;
            let view = VIEWS[rng.random_range(0..VIEWS.len())].name;
            let page = ask(whole.client.get(whole.url(&format!("/v1/views/{view}?limit=100000")))).await.2;
            let mut seen = seen.lock().expect("no panic");
            seen.digests(&digests);
            seen.page(&page);
        }
    }
    // The fleet reports its coverage as bare percentages.
    let covered = json!({
        "eventId": "covered", "eventType": "coverage_updated", "streamId": "last", "version": 1, "timestamp": 5,
        "data": { "coverage": { "files": [{ "path": "src/cart.rs", "covered": "1-2", "instrumented": "1-4" }] } },
    });
    let last = json!({
        "eventId": "last", "eventType": "test_passed", "streamId": "last", "version": 2, "timestamp": 5,
        "data": { "testName": "last" },
    });
    for event in [covered, last] {
        let request = whole.client.post(whole.url("/v1/events?wait=admitted")).body(event.to_string());
        let (status, _, said) = ask(request).await;
        assert_eq!(status.as_u16(), 201, "{said}");
    }
    // Views with a cadence move once a second.
    whole.server.status.get().time + 1_000
}

fn seed() -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()));
    std::env::var("WEIR_SEED").map_or_else(|_| now(), |seed| seed.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_of_a_server_fold_is_what_a_replay_shows_at_every_batch() {
    let long = std::env::var_os("WEIR_LONG").is_some();
    let seed = seed();
    println!("WEIR_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let posts: u64 = if long { 1_200 } else { 240 };
    let mut fleet = Load::since(seed, 200, posts * 250);
    let load: Vec<_> = (0..posts).map(|_| fleet.next(250)).filter(|events| !events.is_empty()).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let whole = Whole::start(folder.path(), |config| config.hub.ring_age = Period::from_secs(RING_S)).await;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (end, ends) = watch::channel(u64::MAX);
    let values = Values::of(&load[..load.len() / 4].concat());
    let mut clients = JoinSet::new();
    for number in 0..5 {
        let fold = values.subscriptions(number < 2, &mut rng);
        let (address, status) = (whole.server.address, whole.server.status.clone());
        let own = StdRng::seed_from_u64(rng.random());
        clients.spawn(run_client(fold, own, address, status, Arc::clone(&seen), ends.clone()));
    }
    end.send(post(&whole, &load, &seen, &mut rng).await).expect("clients live");
    let (mut resumes, mut lost) = (0, 0);
    while let Some(came) = tokio::time::timeout(PATIENCE, clients.join_next()).await.expect("clients come to the end") {
        let Came { fold, cuts } = came.expect("a client's checks hold");
        resumes += fold.kept.values().map(|kept| kept.resumes).sum::<u32>();
        lost += fold.kept.values().map(|kept| kept.lost).sum::<u32>();
        println!("a client compared {cuts} times");
        assert!(cuts > 20, "the load was worth the name");
    }
    whole.end().await;
    let seen = Arc::new(Arc::into_inner(seen).expect("nobody watches any more").into_inner().expect("no panic"));
    println!("{} events, {:?} seen, {resumes} resumes, {lost} came back too late", load.concat().len(), seen.counts());
    assert!(resumes > 20 && lost > 0, "connections were dropped and resumed: {resumes}, and too late: {lost}");
    let workers: &[usize] = if long { &[1, 2, 4] } else { &[1] };
    for workers in workers.iter().copied() {
        let (seen, data) = (Arc::clone(&seen), folder.path().join("data"));
        let replay = tokio::task::spawn_blocking(move || seen.check(&data, workers));
        let rows: Vec<usize> = replay
            .await
            .expect("the replay shows what was seen")
            .look(|folded| folded.rows.iter().map(BTreeSet::len).collect());
        println!("rows by view: {rows:?}");
        assert!(rows.iter().filter(|rows| **rows > 0).count() >= VIEWS.len() - 1, "views have rows: {rows:?}");
    }
}
