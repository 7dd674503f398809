//! The kill loop around the real `weir serve`: killed with −9 at random moments while reporters post to it and clients watch
//! it, and started again on the same folder, with other numbers of workers and once with a clock that was wrong.
//!
//! What is acknowledged is counted exactly once, however often it was sent. Every position that a client was told of is
//! valid in every later life, and what it saw there is what an uninterrupted run over the same log and bindings shows.
//! `WEIR_LONG=1` makes it 60 kills, and `WEIR_SEED` repeats one run's choices.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

#[path = "common/client.rs"]
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
mod client;
#[path = "common/http.rs"]
mod http_common;
#[path = "common/lives.rs"]
mod lives;
#[path = "common/oracle.rs"]
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
mod oracle;
#[path = "common/process.rs"]
mod process;
#[path = "common/reporter.rs"]
mod reporter;
#[path = "common/engine.rs"]
mod rig;

use http_common::ask;
use lives::{Dies, Lives, PATIENCE, Watcher, acknowledged_once, seed, shows_once};
use process::{Running, serve};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reporter::PROJECT;
use rig::{Logs, Stepped, counted, counted_at, server_config};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use weir::engine::{EngineConfig, TimeSource};

/// The clock was off by so much for the length of a life: an engine of the test's own takes it. Returns its last tick.
async fn off_by(folder: &Path, offset_ms: i64, name: &str) -> u64 {
    let (folder, name) = (folder.to_owned(), name.to_owned());
    let life = tokio::task::spawn_blocking(move || {
        let logs = Logs::of_server(&folder);
        let time = Stepped::by(offset_ms);
        let config = EngineConfig { time: Arc::<Stepped>::clone(&time), ..server_config(2) };
        let engine = rig::Running::live(config, &logs);
        let now = time.wall_ms();
        engine.wait_released(&logs.append(&[counted(&name, 1), counted_at(&name, 2, now)]));
        engine.end().look(|folded| folded.time)
    });
    life.await.expect("it ends in order")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_under_load_it_shows_the_same_numbers() {
    let kills = if std::env::var_os("WEIR_LONG").is_some() { 60 } else { 12 };
    let seed = seed();
    println!("WEIR_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_owned();
    let mut lives = Lives::new(seed, move || serve(&data));
    // The first clock was ten minutes behind, and another, later, was 40 s ahead.
    let (behind, ahead) = (0, kills * 2 / 3);
    for life in 0..kills {
        let ms = |rng: &mut StdRng, range| Duration::from_millis(rng.random_range(range));
        let dies = match life {
            life if life == behind => {
                Dies::Showing(ms(&mut rng, 0..500), off_by(folder.path(), -600_000, "behind").await)
            }
            life if life == ahead => Dies::Showing(ms(&mut rng, 0..500), off_by(folder.path(), 40_000, "ahead").await),
            _ => match rng.random_range(0..10) {
                0..3 => Dies::Beginning(ms(&mut rng, 5..600)),
                3..6 => Dies::Taking(ms(&mut rng, 0..900)),
                6..8 => Dies::Showing(ms(&mut rng, 0..1_500), 0),
                _ => Dies::Shown(rng.random_range(0..1_500)),
            },
        };
        let ready = lives.live_and_die(1 + life % 3, dies).await;
        if let Some(ready) = ready {
            let (behind_ms, ahead_ms) = (ready["clock"]["behindMs"].as_u64(), ready["clock"]["aheadMs"].as_u64());
            let remedy = ready["clock"]["remedy"].as_str().unwrap_or_default();
            assert_eq!(ahead_ms > Some(500_000), life == behind, "life {life}: {ready}");
            assert_eq!(remedy.contains("ahead since the last start"), life == behind, "life {life}: {ready}");
            // From then on time is ahead of the clock, by less with each outage.
            assert!(life >= ahead || behind_ms == Some(0), "life {life}: {ready}");
            assert!(life != ahead || (behind_ms > Some(5_000) && remedy.contains("set it right")), "{ready}");
            assert!(remedy.is_empty() || ready["remedies"].to_string().contains(remedy), "{ready}");
        }
    }
    let settled = lives.settle().await;
    for workers in [1, 4] {
        lives.go_on_from_all(workers, settled).await;
    }
    let Lives { reporters, watchers, seen, .. } = lives;
    assert_eq!(watchers.iter().map(Watcher::lost).sum::<u32>(), 0, "no life and no kill cost anybody a position");
    let seen = Arc::new(Arc::into_inner(seen).expect("nobody watches any more").into_inner().unwrap());
    let logs = Logs::of_server(folder.path());
    let (logged, late) = (logs.versions(PROJECT), [PROJECT, "counted"].map(|project| logs.late(project)));
    assert_eq!(late[1], 2, "one of each clock that was wrong");
    drop(logs);
    let (records, resent) =
        (logged.values().map(Vec::len).sum::<usize>(), reporters.iter().map(|one| one.resent).sum::<u64>());
    println!("{kills} kills, {records} records, {resent} batches sent again, {:?} seen", seen.counts());
    let once = acknowledged_once(&reporters, &logged);
    for workers in [1, 4] {
        let (seen, folder) = (Arc::clone(&seen), folder.path().to_owned());
        let replay = tokio::task::spawn_blocking(move || seen.check(&folder, workers));
        let replayed = replay.await.expect("the replay shows what was seen");
        shows_once(&replayed, &once, records);
        assert_eq!(replayed.look(|folded| [PROJECT, "counted"].map(|project| folded.late(project))), late);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_makes_its_folder_it_opens_it_the_next_time() {
    let kills = if std::env::var_os("WEIR_LONG").is_some() { 60 } else { 12 };
    let seed = seed();
    println!("WEIR_SEED={seed}");
    let (mut rng, http, mut listened) = (StdRng::seed_from_u64(seed), http_common::client(), 0);
    for kill in 0..kills {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        for _ in 0..2 {
            let mut server = Running::spawn(serve(&data));
            let lives_for = Duration::from_micros(rng.random_range(0..40_000));
            listened += u32::from(timeout(lives_for, server.listening()).await.is_ok());
            server.kill();
        }
        let mut server = Running::spawn(serve(&data));
        let address = timeout(PATIENCE, server.listening()).await.expect("it opens its folder");
        let event = counted("s", 1);
        let post = http.post(format!("http://{address}/v1/events?wait=admitted"));
        let (status, _, said) = ask(post.body(serde_json::to_string(&event).unwrap())).await;
        // While it is not live yet, there is no verdict to wait for.
        assert!([201, 202, 503].contains(&status.as_u16()), "kill {kill}: {status}: {said}");
        server.signal("-TERM");
        let (code, said) = server.end();
        assert_eq!(code, Some(0), "kill {kill}: {said}");
    }
    println!("{kills} folders, {listened} of {} lives listened before they were killed", 2 * kills);
}
