//! Lives of a server under load: reporters that post to it, clients that watch it, and ends at any moment. What clients saw is
//! gathered, to be held against an independent account.
#![allow(dead_code, reason = "helpers of tests: each test file uses its part")]

use crate::client::{Fold, Whim};
use crate::http_common::{self, ask};
use crate::oracle::Seen;
use crate::process::Running;
use crate::reporter::{PROJECT, Reporter};
use crate::rig;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use weir_schemas::row::Value as Cell;
use weir_schemas::view::{VIEWS, view, view_index};

/// A test that waits longer than this has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// So many positions of a client are gone on from at the end.
const KEPT: usize = 10;

/// When a life ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dies {
    /// So long after it was spawned: it opens its logs, replays, or is just live.
    Beginning(Duration),
    /// So long after the first acknowledgement: it takes events in, and perhaps replays still.
    Taking(Duration),
    /// So long after clients were shown something later than this; `/readyz` is asked before.
    Showing(Duration, u64),
    /// At the moment when a client is shown something so much later than ever before, in ms.
    Shown(u64),
}

/// Waits until a server is live.
pub(crate) async fn becomes_live(http: &reqwest::Client, address: SocketAddr) {
    let mut beat = tokio::time::interval(Duration::from_millis(10));
    let live = async {
        while ask(http.get(format!("http://{address}/readyz"))).await.0 != 200 {
            beat.tick().await;
        }
    };
    timeout(PATIENCE, live).await.expect("becomes live");
}

/// Something that a server has to outlive.
pub(crate) trait Mortal: Send + 'static {
    /// Dies without a word and is there again when this returns.
    fn die_and_come_back(self) -> Self;
}

/// How far the load of a life is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Signs {
    pub(crate) acknowledged: u64,
    /// The last position that a client was told of.
    pub(crate) shown: u64,
}

/// What goes on after the server is gone.
pub(crate) enum Survivor {
    Reporter(Box<Reporter>),
    Watcher(Box<Watcher>),
}

/// A client that watches.
pub(crate) struct Watcher {
    rng: StdRng,
    pub(crate) fold: Fold,
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

    pub(crate) fn lost(&self) -> u32 {
        self.fold.kept.values().map(|kept| kept.lost).sum()
    }
}

/// All lives together.
pub(crate) struct Lives {
    /// Makes the command of a server.
    command: Box<dyn Fn() -> Command + Send + Sync>,
    http: reqwest::Client,
    pub(crate) reporters: Vec<Reporter>,
    pub(crate) watchers: Vec<Watcher>,
    pub(crate) seen: Arc<Mutex<Seen>>,
    load: JoinSet<Survivor>,
}

impl Lives {
    pub(crate) fn new(seed: u64, command: impl Fn() -> Command + Send + Sync + 'static) -> Lives {
        let http = http_common::client();
        Lives {
            command: Box::new(command),
            reporters: (0..3).map(|number| Reporter::new(number, seed, http.clone())).collect(),
            watchers: [true, false].map(|whole| Watcher::new(whole, seed)).into(),
            http,
            seen: Arc::default(),
            load: JoinSet::new(),
        }
    }

    pub(crate) fn server(&self, workers: u64) -> Running {
        let mut command = (self.command)();
        // All positions stay on the ring, so that each can be shown to be valid.
        command.env("WEIR_ENGINE_WORKERS", workers.to_string()).env("WEIR_HUB_RING_AGE", "2h");
        Running::spawn(command)
    }

    /// One life under load. Returns what `/readyz` said at its end, where it was live by then.
    pub(crate) async fn live_and_die(&mut self, workers: u64, dies: Dies) -> Option<Value> {
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

    /// One life in which something else dies and comes back, so long after the first acknowledgement; afterwards something
    /// newer is acknowledged and shown, and the server is killed.
    pub(crate) async fn outlive<T: Mortal>(&mut self, workers: u64, after: Duration, mortal: T) -> T {
        let mut server = self.server(workers);
        let (signs, mut shown) = watch::channel(Signs::default());
        let address = timeout(PATIENCE, server.listening()).await.expect("it listens in time");
        self.begin_load(address, &signs);
        let begun = timeout(PATIENCE, shown.wait_for(|signs| signs.acknowledged > 0)).await;
        drop(begun.expect("the load goes in time").expect("the load goes on"));
        let dies_at = Instant::now() + after;
        if let Ok(ended) = timeout_at(dies_at, self.load.join_next()).await {
            early(ended)
        }
        let mortal = tokio::task::spawn_blocking(move || mortal.die_and_come_back()).await.expect("comes back");
        let now = *shown.borrow();
        let going_on = shown.wait_for(|signs| signs.acknowledged > now.acknowledged && signs.shown > now.shown);
        let going_on = tokio::select! {
            going_on = timeout(PATIENCE, going_on) => going_on,
            ended = self.load.join_next() => early(ended),
        };
        drop(going_on.expect("it goes on in time").expect("the load goes on"));
        server.kill();
        self.end_load().await;
        mortal
    }

    /// One life that stands still while another takes over, and ends, replaced, when it goes on; the other is killed after its
    /// first acknowledgement.
    pub(crate) async fn be_replaced(&mut self, workers: u64, after: Duration) {
        let mut first = self.server(workers);
        let (signs, mut shown) = watch::channel(Signs::default());
        let address = timeout(PATIENCE, first.listening()).await.expect("it listens in time");
        self.begin_load(address, &signs);
        let begun = timeout(PATIENCE, shown.wait_for(|signs| signs.acknowledged > 0 && signs.shown > 0)).await;
        drop(begun.expect("the load goes in time").expect("the load goes on"));
        if let Ok(ended) = timeout(after, self.load.join_next()).await {
            early(ended)
        }
        first.signal("-STOP");
        let mut second = self.server(workers);
        let next = timeout(PATIENCE, second.listening()).await.expect("it listens in time");
        becomes_live(&self.http, next).await;
        first.signal("-CONT");
        let (code, said) = tokio::task::spawn_blocking(move || first.end()).await.expect("it ends");
        assert_eq!(code, Some(5), "{said}");
        self.end_load().await;
        let (signs, mut shown) = watch::channel(Signs::default());
        self.begin_load(next, &signs);
        let begun = timeout(PATIENCE, shown.wait_for(|signs| signs.acknowledged > 0)).await;
        drop(begun.expect("the load goes in time").expect("the load goes on"));
        second.kill();
        self.end_load().await;
    }

    pub(crate) fn begin_load(&mut self, address: SocketAddr, signs: &watch::Sender<Signs>) {
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

    pub(crate) async fn end_load(&mut self) {
        while let Some(survivor) = timeout(PATIENCE, self.load.join_next()).await.expect("the load ends in time") {
            match survivor.expect("what reporters and clients check holds") {
                Survivor::Reporter(reporter) => self.reporters.push(*reporter),
                Survivor::Watcher(watcher) => self.watchers.push(*watcher),
            }
        }
    }

    /// The last life under load: everything is acknowledged and shown. Returns the time at which it was.
    pub(crate) async fn settle(&mut self) -> u64 {
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
    pub(crate) async fn go_on_from_all(&mut self, workers: u64, settled: u64) {
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
pub(crate) fn early(ended: Option<Result<Survivor, JoinError>>) -> ! {
    panic!("the load ends only with the server: {:?}", ended.map(|ended| ended.err()))
}

/// The finished tests of all reporters, as a client sees them.
fn finished_in(fold: &Fold) -> i64 {
    let column = view("run_progress").unwrap().column("finished").unwrap();
    let rows = fold.kept["run_progress"].views["run_progress"].values();
    rows.filter(|row| row[0] == PROJECT).map(|row| row[column].as_i64().unwrap()).sum()
}

pub(crate) fn seed() -> u64 {
    let now = || u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos());
    std::env::var("WEIR_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap())
}

/// What was acknowledged is in the log: the tests of each run.
pub(crate) fn acknowledged_once(reporters: &[Reporter], logged: &BTreeMap<String, Vec<u64>>) -> BTreeMap<String, u64> {
    for (stream, count) in reporters.iter().flat_map(Reporter::acknowledged) {
        let versions: BTreeSet<u64> = logged.get(&stream).into_iter().flatten().copied().collect();
        assert!(versions.into_iter().eq(1..=count), "{stream}: {count} were acknowledged");
    }
    reporters.iter().flat_map(Reporter::runs).collect()
}

/// Each test is counted once, and each further record of it as a duplicate.
pub(crate) fn shows_once(fold: &rig::Fold, runs: &BTreeMap<String, u64>, records: usize) {
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
