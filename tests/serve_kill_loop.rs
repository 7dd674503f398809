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
#[path = "common/oracle.rs"]
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
mod oracle;
#[path = "common/process.rs"]
mod process;
#[path = "common/reporter.rs"]
mod reporter;
#[path = "common/engine.rs"]
mod rig;

use client::{Fold, Whim};
use http_common::ask;
use oracle::Seen;
use process::{Running, serve};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reporter::{PROJECT, Reporter};
use rig::{Logs, Stepped, counted, counted_at, server_config};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use weir::engine::{EngineConfig, TimeSource};
use weir_schemas::row::Value as Cell;
use weir_schemas::view::{VIEWS, view, view_index};

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many positions of a client are gone on from at the end.
const KEPT: usize = 10;

/// When a life ends.
#[derive(Clone, Copy, Debug)]
enum Dies {
    /// So long after it was spawned: it opens its logs, replays, or is just live.
    Beginning(Duration),
    /// So long after the first acknowledgement: it takes events in, and perhaps replays still.
    Taking(Duration),
    /// So long after clients were shown something later than this; `/readyz` is asked before.
    Showing(Duration, u64),
    /// At the moment when a client is shown something so much later than ever before, in ms.
    Shown(u64),
}

/// How far the load of a life is.
#[derive(Clone, Copy, Debug, Default)]
struct Signs {
    acknowledged: u64,
    /// The last position that a client was told of.
    shown: u64,
}

/// What goes on after the server is gone.
enum Survivor {
    Reporter(Box<Reporter>),
    Watcher(Box<Watcher>),
}

/// A client that watches.
struct Watcher {
    rng: StdRng,
    fold: Fold,
    /// What it had at the ends of some of its connections, evenly chosen.
    kept: Vec<Fold>,
    ends: usize,
}

impl Watcher {
    /// Every view whole, or some of it.
    fn new(whole: bool, seed: u64) -> Watcher {
        let mut fold = Fold::default();
        if whole {
            VIEWS.iter().for_each(|view| fold.add(view.name, view.name, json!({})));
        } else {
            fold.add("failed", "test_case_results", json!({"outcome": ["failed", "error"]}));
            fold.add("run", "test_suite_progress", json!({"runId": ["run0-0", "run1-1"]}));
            fold.add("errors", "error_stream", json!({"project": PROJECT}));
        }
        Watcher { rng: StdRng::seed_from_u64(seed), fold, kept: Vec::new(), ends: 0 }
    }

    /// Watches, now and then over a new connection, until the server is gone.
    async fn watch(mut self, address: SocketAddr, seen: Arc<Mutex<Seen>>, signs: watch::Sender<Signs>) -> Watcher {
        let mut whim = Whim::default();
        loop {
            let visit = self.fold.visit(address, whim.messages(&mut self.rng), |fold| {
                seen.lock().unwrap().fold(fold);
                signs.send_modify(|signs| signs.shown = signs.shown.max(fold.time));
                false
            });
            let ended = visit.await;
            self.keep();
            if ended.is_err() {
                return self;
            }
            whim.after(&self.fold);
        }
    }

    /// Keeps what it has, perhaps in the place of something else.
    fn keep(&mut self) {
        self.ends += 1;
        let place = self.rng.random_range(0..self.ends);
        if self.fold.time > 0 && self.kept.len() < KEPT {
            self.kept.push(self.fold.clone());
        } else if let Some(kept) = self.kept.get_mut(place) {
            kept.clone_from(&self.fold);
        }
    }

    fn lost(&self) -> u32 {
        self.fold.kept.values().map(|kept| kept.lost).sum()
    }
}

/// All lives together.
struct Lives<'a> {
    folder: &'a Path,
    http: reqwest::Client,
    reporters: Vec<Reporter>,
    watchers: Vec<Watcher>,
    seen: Arc<Mutex<Seen>>,
    load: JoinSet<Survivor>,
}

impl Lives<'_> {
    fn server(&self, workers: u64) -> Running {
        let mut command = serve(self.folder);
        // All positions stay on the ring, so that each can be shown to be valid.
        command.env("WEIR_ENGINE_WORKERS", workers.to_string()).env("WEIR_HUB_RING_AGE", "2h");
        Running::spawn(command)
    }

    /// One life under load. Returns what `/readyz` said at its end, where it was live by then.
    async fn live_and_die(&mut self, workers: u64, dies: Dies) -> Option<Value> {
        let (spawned, mut server) = (Instant::now(), self.server(workers));
        let (signs, mut shown) = watch::channel(Signs::default());
        let shown_before = self.watchers.iter().map(|watcher| watcher.fold.time).max().unwrap_or(0);
        let (address, dies_at) = match dies {
            Dies::Beginning(after) => {
                let address = timeout_at(spawned + after, server.listening()).await;
                let Ok(address) = address else {
                    server.kill();
                    return None;
                };
                self.begin_load(address, &signs);
                (address, spawned + after)
            }
            Dies::Taking(_) | Dies::Showing(..) | Dies::Shown(_) => {
                let address = timeout(PATIENCE, server.listening()).await.expect("it listens in time");
                self.begin_load(address, &signs);
                let begun = shown.wait_for(|signs| match dies {
                    Dies::Showing(_, later) => signs.shown > later && signs.acknowledged > 0,
                    Dies::Shown(beyond) => signs.shown > shown_before + beyond && signs.acknowledged > 0,
                    _ => signs.acknowledged > 0,
                });
                let begun = tokio::select! {
                    begun = timeout(PATIENCE, begun) => begun,
                    ended = self.load.join_next() => early(ended),
                };
                begun.expect("the load goes in time").expect("the load goes on");
                let after =
                    if let Dies::Taking(after) | Dies::Showing(after, _) = dies { after } else { Duration::ZERO };
                (address, Instant::now() + after)
            }
        };
        if let Ok(ended) = timeout_at(dies_at, self.load.join_next()).await {
            early(ended)
        }
        let ready = match dies {
            Dies::Showing(..) => Some(ask(self.http.get(format!("http://{address}/readyz"))).await.2),
            _ => None,
        };
        server.kill();
        self.end_load().await;
        ready
    }

    fn begin_load(&mut self, address: SocketAddr, signs: &watch::Sender<Signs>) {
        for reporter in self.reporters.drain(..) {
            let signs = signs.clone();
            let report = reporter.report(address, move || signs.send_modify(|signs| signs.acknowledged += 1));
            self.load.spawn(async { Survivor::Reporter(Box::new(report.await)) });
        }
        for watcher in self.watchers.drain(..) {
            let watch = watcher.watch(address, Arc::clone(&self.seen), signs.clone());
            self.load.spawn(async { Survivor::Watcher(Box::new(watch.await)) });
        }
    }

    async fn end_load(&mut self) {
        while let Some(survivor) = timeout(PATIENCE, self.load.join_next()).await.expect("the load ends in time") {
            match survivor.expect("what reporters and clients check holds") {
                Survivor::Reporter(reporter) => self.reporters.push(*reporter),
                Survivor::Watcher(watcher) => self.watchers.push(*watcher),
            }
        }
    }

    /// The clock was off by so much for the length of a life: an engine of the test's own takes it. Returns its last tick.
    async fn off_by(&self, offset_ms: i64, name: &str) -> u64 {
        let (folder, name) = (self.folder.to_owned(), name.to_owned());
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

    /// The last life under load: everything is acknowledged and shown. Returns the time at which it was.
    async fn settle(&mut self) -> u64 {
        let mut server = self.server(2);
        let address = server.listening().await;
        let mut finished = Vec::new();
        for reporter in self.reporters.drain(..) {
            finished.push(timeout(PATIENCE, reporter.finish(address)).await.expect("is taken in time"));
        }
        let made: u64 = finished.iter().flat_map(Reporter::runs).map(|(_, tests)| tests).sum();
        self.reporters = finished;
        let whole = self.watchers.iter_mut().find(|watcher| watcher.fold.kept.contains_key("run_progress"));
        let watcher = whole.expect("both are back");
        let seen = &self.seen;
        let visit = watcher.fold.visit(address, usize::MAX, |fold| {
            seen.lock().unwrap().fold(fold);
            fold.whole() && finished_in(fold) >= i64::try_from(made).unwrap()
        });
        timeout(PATIENCE, visit).await.expect("all that is acknowledged is shown").expect("this server stays");
        assert_eq!(finished_in(&watcher.fold), i64::try_from(made).unwrap(), "each acknowledged test is counted once");
        let settled = watcher.fold.time;
        self.end(server, address).await;
        settled
    }

    /// Every position that was kept, from whatever life, is gone on from.
    async fn go_on_from_all(&mut self, workers: u64, settled: u64) {
        let mut server = self.server(workers);
        let address = server.listening().await;
        for mut fold in self.watchers.iter().flat_map(|watcher| watcher.kept.clone()) {
            let (since, seen) = (fold.time, &self.seen);
            let visit = fold.visit(address, usize::MAX, |fold| {
                seen.lock().unwrap().fold(fold);
                fold.time >= settled && fold.whole()
            });
            timeout(PATIENCE, visit).await.expect("catches up in time").expect("this server stays");
            let lost: u32 = fold.kept.values().map(|kept| kept.lost).sum();
            assert_eq!(lost, 0, "{since} is a valid position");
        }
        self.end(server, address).await;
    }

    async fn end(&self, mut server: Running, address: SocketAddr) {
        let (status, _, digests) = ask(self.http.get(format!("http://{address}/v1/digests"))).await;
        assert_eq!(status, 200, "{digests}");
        self.seen.lock().unwrap().digests(&digests);
        server.signal("-TERM");
        let (code, said) = server.end();
        assert_eq!(code, Some(0), "{said}");
    }
}

/// The load has ended before its server.
fn early(ended: Option<Result<Survivor, JoinError>>) -> ! {
    panic!("the load ends only with the server: {:?}", ended.map(|ended| ended.err()))
}

/// The finished tests of all reporters, as a client sees them.
fn finished_in(fold: &Fold) -> i64 {
    let column = view("run_progress").unwrap().column("finished").unwrap();
    let rows = fold.kept["run_progress"].views["run_progress"].values();
    rows.filter(|row| row[0] == PROJECT).map(|row| row[column].as_i64().unwrap()).sum()
}

fn seed() -> u64 {
    let now = || u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos());
    std::env::var("WEIR_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_under_load_it_shows_the_same_numbers() {
    let kills = if std::env::var_os("WEIR_LONG").is_some() { 60 } else { 12 };
    let seed = seed();
    println!("WEIR_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let http = http_common::client();
    let mut lives = Lives {
        folder: folder.path(),
        reporters: (0..3).map(|number| Reporter::new(number, seed, http.clone())).collect(),
        watchers: [true, false].map(|whole| Watcher::new(whole, seed)).into(),
        http,
        seen: Arc::default(),
        load: JoinSet::new(),
    };
    // The first clock was ten minutes behind, and another, later, was 40 s ahead.
    let (behind, ahead) = (0, kills * 2 / 3);
    for life in 0..kills {
        let ms = |rng: &mut StdRng, range| Duration::from_millis(rng.random_range(range));
        let dies = match life {
            life if life == behind => Dies::Showing(ms(&mut rng, 0..500), lives.off_by(-600_000, "behind").await),
            life if life == ahead => Dies::Showing(ms(&mut rng, 0..500), lives.off_by(40_000, "ahead").await),
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

/// What was acknowledged is in the log: the tests of each run.
fn acknowledged_once(reporters: &[Reporter], logged: &BTreeMap<String, Vec<u64>>) -> BTreeMap<String, u64> {
    for (stream, count) in reporters.iter().flat_map(Reporter::acknowledged) {
        let versions: BTreeSet<u64> = logged.get(&stream).into_iter().flatten().copied().collect();
        assert!(versions.into_iter().eq(1..=count), "{stream}: {count} were acknowledged");
    }
    reporters.iter().flat_map(Reporter::runs).collect()
}

/// Each test is counted once, and each further record of it as a duplicate.
fn shows_once(fold: &rig::Fold, runs: &BTreeMap<String, u64>, records: usize) {
    let column = |view: &str, column: &str| VIEWS[view_index(view).unwrap()].column(column).unwrap();
    let (finished, attempts, count) =
        (column("run_progress", "finished"), column("test_results", "attempts"), column("rejects", "count"));
    let tests: u64 = runs.values().sum();
    fold.look(|folded| {
        let rows = folded.view("run_progress").filter(|row| row.column(0) == Cell::Str(PROJECT));
        let shown: BTreeMap<String, u64> = rows
            .map(|row| match (row.column(1), row.column(finished)) {
                (Cell::Str(run), Cell::Int(finished)) => (run.to_owned(), u64::try_from(finished).unwrap()),
                _ => panic!("{row:?}"),
            })
            .collect();
        assert_eq!(&shown, runs);
        let tests_shown = folded.view("test_results").filter(|row| row.column(0) == Cell::Str(PROJECT));
        let tests_shown = tests_shown.inspect(|row| assert_eq!(row.column(attempts), Cell::Int(1), "{row:?}"));
        assert_eq!(tests_shown.count() as u64, tests);
        let rejects = folded.view("rejects").filter(|row| row.column(0) == Cell::Str(PROJECT));
        let duplicates = rejects.filter(|row| row.column(1) == Cell::Str("duplicate")).map(|row| row.column(count));
        let again = i64::try_from(records).unwrap() - i64::try_from(tests).unwrap();
        assert_eq!(duplicates.collect::<Vec<_>>(), [Cell::Int(again)], "{records} records of {tests} tests");
    });
}
