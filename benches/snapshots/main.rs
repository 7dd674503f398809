//! What a snapshot costs while the engine is live, and how fast the next start goes on from it.
//!
//! A log is filled with thirty days of a fleet, and then with as many tests as are asked for that are all still in state. A first process
//! replays it, goes live, takes in events and makes snapshots: how late events are shown while one is made, and otherwise. A second one
//! starts over the same logs and goes on from the last snapshot. Events are appended to the log itself, and seen when the hub has
//! them. `cargo bench --bench snapshots`; `SNAPSHOT_TESTS` is how many tests (default 5,000,000), `SNAPSHOT_WORKERS` with
//! how many workers (default 2), `SNAPSHOT_RATE` how many events a second (default 2,000).

#![expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "figures for people")]

#[path = "../common/mod.rs"]
mod common;

use bytes::Bytes;
use common::fleet::Fleet;
use common::process::{cpu_time, resident_bytes};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use weir::engine::snapshots::{Rule, Store};
use weir::engine::{self, Binding, Body, Chain, EngineConfig, Entry, FrameSink, Logs, Part, Rejected, Snapshots};
use weir::hub::{self, Hub};
use weir::log::embedded::{Embedded, EmbeddedConfig};
use weir::log::{Commit, Log, NewRecord};
use weir::shutdown::Shutdown;
use weir::status::{Phase, Status};
use weir_schemas::event::{EventType, TestEvent};
use weir_schemas::row::{Row, Value};
use weir_schemas::text::Text;
use weir_schemas::update::{Digest, Frame};
use weir_schemas::view::view_index;

const PARTITIONS: u32 = 4;
const DAY_MS: u64 = 86_400_000;
/// Days before the tests that are in state.
const DAYS: u64 = 30;
/// Ticks of each of those days, one after the other, events of each, and how long one is. A whole day of ticks would be replayed as long
/// as a soak lasts, and leave the same behind.
const PAST_TICKS: u64 = 20;
const PAST_EVENTS: u64 = 5_000;
const PAST_TICK_MS: u64 = 1_000;
/// Events of the tests in state a tick; all of them within 50 minutes.
const EVENTS_A_TICK: u64 = 10_000;
const RECENT_MS: u64 = 50 * 60_000;
/// How often a snapshot is made, and how long it is measured.
const EVERY_MS: u64 = 40_000;
const MEASURED: Duration = Duration::from_secs(90);
const BATCH: Duration = Duration::from_millis(10);

/// Says to a process of this bench what it is to do in `SNAPSHOT_FOLDER`.
const ROLE: &str = "SNAPSHOT_ROLE";
const FOLDER: &str = "SNAPSHOT_FOLDER";

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        let folder = PathBuf::from(std::env::var_os(FOLDER).expect("is given with it"));
        return live(&folder, role == "measure");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let began = Instant::now();
    let (events, tests) = fill(folder.path(), number("SNAPSHOT_TESTS", 5_000_000));
    println!("{events} events of {DAYS} days, the last {tests} tests are in state; filled in {:.1?}", began.elapsed());
    for role in ["measure", "again"] {
        let mut child = std::process::Command::new(std::env::current_exe().expect("has a name"));
        let ended = child.env(ROLE, role).env(FOLDER, folder.path()).status().expect("starts");
        assert!(ended.success(), "{role} failed: {ended}");
    }
}

fn open(folder: &Path) -> (Arc<Embedded>, Logs) {
    let open = |name: &str, partitions| {
        let config = EmbeddedConfig { partitions, ..EmbeddedConfig::new(folder.join(name), name) };
        Arc::new(Embedded::open(config, &mut |_, _| {}).expect("opens").0)
    };
    let events = open("weir.events", PARTITIONS);
    let (control, bindings) = (open("weir.control", 1), open("weir.bindings", 1));
    (Arc::clone(&events), Logs { events: vec![events], control, bindings })
}

/// Writes events and their bindings.
struct Filler {
    log: Arc<Embedded>,
    bindings: Arc<dyn Log>,
    parts: Vec<Part>,
    events: u64,
    waiting: Vec<Commit>,
}

impl Filler {
    fn bind(&mut self, body: Body) {
        let entry = Entry { incarnation: 1, body }.encode();
        self.waiting.push(self.bindings.append(vec![NewRecord::new(0, Bytes::from(entry))]).expect("takes"));
        if self.waiting.len() > 1_000 {
            self.waiting.drain(..).for_each(|commit| drop(commit.wait().expect("is written")));
        }
    }

    fn tick(&mut self, tick: u64, events: &[TestEvent<'_>]) {
        self.events += events.len() as u64;
        let records: Vec<NewRecord> = events
            .iter()
            .map(|event| {
                let json = serde_json::to_vec(event).expect("plain data");
                NewRecord::new(self.log.partition_of(event.stream_id.as_bytes()), Bytes::from(json))
            })
            .collect();
        for part in &mut self.parts {
            let mut chain = Chain::after(part.hash);
            let of_part = records.iter().filter(|record| record.partition == part.partition);
            of_part.for_each(|record| chain.record(&record.payload, None));
            part.count = chain.records();
            if part.count > 0 {
                part.hash = chain.hash();
            }
            part.next_offset += part.count;
        }
        self.log.append(records).and_then(Commit::wait).expect("is written");
        let parts = self.parts.iter().filter(|part| part.count > 0).copied().collect();
        self.bind(Body::Binding(Binding { process: 0, tick, behind: 0, outage_ahead: false, parts }));
    }
}

/// Fills the logs; gives how many events and tests in state there are.
fn fill(folder: &Path, tests: u64) -> (u64, u64) {
    let (log, Logs { bindings, .. }) = open(folder);
    let of = |partition| Part { topic: 0, partition, next_offset: 0, count: 0, holes: 0, hash: 0 };
    let parts = (0..PARTITIONS).map(of).collect();
    let mut filler = Filler { log, bindings, parts, events: 0, waiting: Vec::new() };
    filler.bind(Body::Start { topics: Vec::new() });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let now = u64::try_from(now).expect("fits") / 1_000 * 1_000;
    let recent = now - RECENT_MS;
    let mut fleet = Fleet::new();
    let days = (1..=DAYS).rev().map(|day| recent - day * DAY_MS);
    for tick in days.flat_map(|day| (0..PAST_TICKS).map(move |n| day + n * PAST_TICK_MS)) {
        let mut events = Vec::new();
        while (events.len() as u64) < PAST_EVENTS {
            events.extend(fleet.test(tick).1);
        }
        filler.tick(tick, &events);
    }
    // Only how a test ended: a begin each would be twice the log and the same state. Other runs than those of the days before.
    let ticks = tests.div_ceil(EVENTS_A_TICK);
    let mut fleet = Fleet::new();
    let mut versions: HashMap<String, u64> = HashMap::new();
    for n in 0..ticks {
        let tick = recent + n * (RECENT_MS - 60_000) / ticks / 10 * 10;
        let events = (0..EVENTS_A_TICK).filter_map(|_| {
            let ended = |event: &TestEvent<'_>| event.event_type == EventType::TestCaseCompleted;
            let mut event = fleet.test(tick).1.into_iter().find(ended)?;
            event.stream_id = Text::from(format!("recent-{}", event.stream_id));
            event.correlation_id = event.correlation_id.map(|run| Text::from(format!("recent-{run}")));
            event.event_id = Text::from(format!("recent-{}", event.event_id));
            let version = versions.entry(event.stream_id.to_string()).or_default();
            *version += 1;
            event.version = *version;
            Some(event)
        });
        let events: Vec<_> = events.collect();
        filler.tick(tick, &events);
    }
    filler.waiting.drain(..).for_each(|commit| drop(commit.wait().expect("is written")));
    filler.log.close();
    filler.bindings.close();
    (filler.events, ticks * EVENTS_A_TICK)
}

/// The hub, and when runs that are looked for were seen.
struct Sink {
    hub: Hub,
    markers: Mutex<HashMap<String, Instant>>,
    took: Mutex<Vec<(Instant, Duration)>>,
}

impl FrameSink for Sink {
    fn epoch(&self, epoch: Arc<str>) {
        self.hub.start_epoch(epoch);
    }
    fn frame(&self, frame: Frame) {
        let runs = view_index("run_progress").expect("a view");
        let seen: Vec<String> = frame.views[runs]
            .updates
            .iter()
            .filter_map(|update| match update.row.column(1) {
                Value::Str(run) if run.starts_with("marker") => Some(run.to_owned()),
                _ => None,
            })
            .collect();
        self.hub.publish(frame);
        let mut markers = self.markers.lock().expect("unpoisoned");
        for run in seen {
            if let Some(sent) = markers.remove(&run) {
                self.took.lock().expect("unpoisoned").push((sent, sent.elapsed()));
            }
        }
    }
    fn rejected(&self, _: u64, _: &[Rejected]) {}
    fn rows(&self) -> Vec<Vec<Row>> {
        self.hub.rows()
    }
    fn restore(&self, tick: u64, rows: Vec<Vec<Row>>, digests: &[Digest]) {
        self.hub.restore(tick, rows, digests);
    }
    fn live(&self) {
        self.hub.set_live();
    }
}

/// Starts an engine over the folder, and measures it if it is to.
fn live(folder: &Path, measure: bool) {
    weir::telemetry::metrics();
    let (cpu, began) = (cpu_time(), Instant::now());
    let (events, logs) = open(folder);
    let store = Store::open(&folder.join("snapshots"), Rule { keep: 2, span_ms: 0 }).expect("opens");
    let server = weir::config::Config::default();
    let config = EngineConfig {
        workers: number("SNAPSHOT_WORKERS", 2) as usize,
        dataflow: server.dataflow(&weir::serve::TOPICS),
        limits: server.limits.limits(),
        snapshots: Some(Snapshots { store, every_ms: if measure { EVERY_MS } else { DAY_MS } }),
        ..EngineConfig::default()
    };
    let sink = Sink { hub: Hub::new(hub::Config::default()), markers: Mutex::default(), took: Mutex::default() };
    let (sink, status, shutdown) = (Arc::new(sink), Status::default(), Shutdown::default());
    let out = Arc::clone(&sink) as Arc<dyn FrameSink>;
    let engine =
        engine::start(config, logs, out, status.clone(), Default::default(), shutdown.clone()).expect("starts");
    let wait = |wanted: &dyn Fn() -> bool| {
        while !wanted() && !shutdown.triggered() {
            std::thread::park_timeout(Duration::from_millis(5));
        }
    };
    wait(&|| status.get().phase == Phase::Live);
    let (took, cpu) = (began.elapsed(), cpu_time() - cpu);
    let from = status.get().snapshot_at;
    let rows: usize = sink.hub.digests().views.iter().map(|(_, _, rows)| rows).sum();
    println!(
        "{}: live after {took:.2?}, {:.1} s CPU, {} MB resident, {rows} rows",
        if from > 0 { "from a snapshot" } else { "from the log" },
        cpu.as_secs_f64(),
        resident_bytes() / 1_000_000
    );
    if measure {
        measured(folder, &events, &sink);
    }
    shutdown.trigger();
    engine.join().expect("ends in order");
}

/// Takes in events while snapshots are made, and prints how late they were shown.
fn measured(folder: &Path, events: &Embedded, sink: &Sink) {
    let (ended, folder) = (AtomicBool::new(false), folder.join("snapshots"));
    let mut making: Vec<(Instant, Instant)> = Vec::new();
    std::thread::scope(|threads| {
        let watcher = threads.spawn(|| {
            let mut making = Vec::new();
            let mut since: Option<Instant> = None;
            while !ended.load(Ordering::Relaxed) {
                match (draft(&folder), since) {
                    (true, None) => since = Some(Instant::now()),
                    (false, Some(begun)) => {
                        making.push((begun, Instant::now()));
                        since = None;
                    }
                    _ => {}
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
            making
        });
        send(events, sink);
        ended.store(true, Ordering::Relaxed);
        making = watcher.join().expect("watches");
    });
    let took = sink.took.lock().expect("unpoisoned");
    let within =
        |sent: &Instant, took: &Duration| making.iter().any(|(begun, done)| *sent <= *done && *sent + *took >= *begun);
    let (during, otherwise): (Vec<_>, Vec<_>) = took.iter().partition(|(sent, took)| within(sent, took));
    for (begun, done) in &making {
        println!("a snapshot was made in {:.2?}", *done - *begun);
    }
    for (name, mut took) in [("while one is made", during), ("otherwise", otherwise)] {
        took.sort_by_key(|(_, took)| *took);
        let at =
            |share: f64| took.get((took.len() as f64 * share) as usize).map_or(0.0, |(_, took)| took.as_secs_f64());
        println!(
            "{name}: {} markers, p50 {:.1} p95 {:.1} p99 {:.1} max {:.1} ms",
            took.len(),
            at(0.5) * 1e3,
            at(0.95) * 1e3,
            at(0.99) * 1e3,
            took.last().map_or(0.0, |(_, took)| took.as_secs_f64() * 1e3)
        );
    }
    let store = Store::open(&folder, Rule { keep: 2, span_ms: 0 }).expect("opens");
    let newest = store.all().expect("is read").into_iter().find_map(Result::ok);
    let bytes = newest.map_or(0, |snapshot| snapshot.bytes()) / 1_000_000;
    let pauses = weir::telemetry::metrics().render();
    for line in pauses.lines().filter(|line| line.starts_with("weir_snapshot_pause_seconds")) {
        println!("  {line}");
    }
    println!("the last has {bytes} MB; {} MB resident", resident_bytes() / 1_000_000);
}

/// Whether a snapshot is being written.
fn draft(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path.is_dir() && !path.join("manifest.json").exists())
}

/// Appends events at the rate, a batch of them every so often, one of which is looked for.
fn send(events: &Embedded, sink: &Sink) {
    let batch = number("SNAPSHOT_RATE", 2_000) * BATCH.as_millis() as u64 / 1_000;
    let (mut fleet, began) = (Fleet::new(), Instant::now());
    let mut next = began;
    for n in 0_u64.. {
        if began.elapsed() >= MEASURED {
            break;
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
        let mut of_batch: Vec<TestEvent<'_>> = Vec::new();
        while (of_batch.len() as u64) < batch {
            of_batch.extend(fleet.test(at).1.into_iter().map(|mut event| {
                event.stream_id = Text::from(format!("live-{}", event.stream_id));
                event.correlation_id = event.correlation_id.map(|run| Text::from(format!("live-{run}")));
                event.event_id = Text::from(format!("live-{}", event.event_id));
                event
            }));
        }
        let marker = format!("marker-{n}");
        if let Some(first) = of_batch.first_mut() {
            first.correlation_id = Some(Text::from(marker.clone()));
            first.stream_id = Text::from(marker.clone());
            first.version = 1;
        }
        sink.markers.lock().expect("unpoisoned").insert(marker, Instant::now());
        let records = of_batch.iter().map(|event| {
            let json = serde_json::to_vec(event).expect("plain data");
            NewRecord::new(events.partition_of(event.stream_id.as_bytes()), Bytes::from(json))
        });
        events.append(records.collect()).expect("takes");
        next += BATCH;
        std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
    }
}
