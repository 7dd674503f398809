//! How fast a server starts over a full log: the whole server, from its start until it is live.
//!
//! A log is filled with the fleet's events as JSON and bound at ticks of 50 ms, 10,000 events each, as a server under a load
//! of 200,000 events a second would have left it. Each start is a process of its own, so that memory and processor time are
//! its own. `cargo bench --bench start_up`; `START_UP_EVENTS` is how many (default 1,000,000), `START_UP_WORKERS` which
//! numbers of workers (default `1,2`).

#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod common;

use bytes::Bytes;
use common::fleet::Fleet;
use common::process::{cpu_time, resident_bytes};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use weir::config::Config;
use weir::engine::{Binding, Body, Chain, Entry, Part};
use weir::log::embedded::{Embedded, EmbeddedConfig};
use weir::log::{Commit, Log, NewRecord};
use weir::serve::{self, BINDINGS_TOPIC, EVENTS_TOPIC};
use weir::shutdown::Shutdown;
use weir::status::Phase;

const TICK_MS: u64 = 50;
const EVENTS_A_TICK: u64 = 10_000;
const PARTITIONS: u32 = 4;
/// Says to a process of this bench that it is to start a server with so many workers over `START_UP_FOLDER`.
const START: &str = "START_UP_START";
const FOLDER: &str = "START_UP_FOLDER";

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let events = std::env::var("START_UP_EVENTS").map_or(1_000_000, |events| events.parse().expect("a number"));
    if let Ok(workers) = std::env::var(START) {
        let folder = std::env::var_os(FOLDER).expect("is given with it");
        return start(folder.into(), workers.parse().expect("a number"), events);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (bytes, took) = fill(folder.path(), events);
    println!("{events} events, {bytes} bytes on average, in ticks of {EVENTS_A_TICK}; filled in {took:.1?}");
    for workers in std::env::var("START_UP_WORKERS").unwrap_or_else(|_| "1,2".to_owned()).split(',') {
        let mut child = std::process::Command::new(std::env::current_exe().expect("has a name"));
        let ended = child.env(START, workers).env(FOLDER, folder.path()).status().expect("starts");
        assert!(ended.success(), "a start failed: {ended}");
    }
}

/// Fills both logs; gives the events' mean size.
fn fill(folder: &Path, events: u64) -> (u64, Duration) {
    let began = Instant::now();
    let open = |name: &str, topic: &str, partitions| {
        let config = EmbeddedConfig { partitions, ..EmbeddedConfig::new(folder.join(name), topic) };
        Embedded::open(config, &mut |_, _| {}).expect("opens").0
    };
    let (log, bindings) = (open("events", EVENTS_TOPIC, PARTITIONS), open("bindings", BINDINGS_TOPIC, 1));
    let bind = |body| bindings.append(vec![record(0, Entry { incarnation: 1, body }.encode())]).expect("takes");
    let mut bound = vec![bind(Body::Start { topics: Vec::new() })];
    let ticks = events.div_ceil(EVENTS_A_TICK);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let mut tick = (u64::try_from(now).expect("fits") - (ticks + 20) * TICK_MS).next_multiple_of(TICK_MS);
    let (mut fleet, mut bytes) = (Fleet::new(), 0);
    let mut parts: Vec<Part> = (0..PARTITIONS)
        .map(|partition| Part { topic: 0, partition, next_offset: 0, count: 0, holes: 0, hash: 0 })
        .collect();
    for n in 0..ticks {
        let wanted = EVENTS_A_TICK.min(events - n * EVENTS_A_TICK);
        let records = batch(&mut fleet, &log, tick, wanted);
        bytes += records.iter().map(|record| record.payload.len() as u64).sum::<u64>();
        for part in &mut parts {
            let mut chain = Chain::after(part.hash);
            let of_part = records.iter().filter(|record| record.partition == part.partition);
            of_part.for_each(|record| chain.record(&record.payload, None));
            (part.count, part.hash) = (chain.records(), chain.hash());
            part.next_offset += part.count;
        }
        log.append(records).and_then(Commit::wait).expect("is written");
        let filled = parts.iter().filter(|part| part.count > 0).copied().collect();
        bound.push(bind(Body::Binding(Binding { process: 0, tick, behind: 0, outage_ahead: false, parts: filled })));
        tick += TICK_MS;
    }
    for bound in bound {
        bound.wait().expect("is written");
    }
    log.close();
    bindings.close();
    (bytes / events, began.elapsed())
}

fn batch(fleet: &mut Fleet, log: &Embedded, at: u64, wanted: u64) -> Vec<NewRecord> {
    let mut records = Vec::new();
    while (records.len() as u64) < wanted {
        for event in fleet.test(at).1 {
            let partition = log.partition_of(event.stream_id.as_bytes());
            records.push(record(partition, serde_json::to_vec(&event).expect("plain data")));
        }
    }
    records
}

fn record(partition: u32, payload: Vec<u8>) -> NewRecord {
    NewRecord::new(partition, Bytes::from(payload))
}

/// Starts a server over the folder and prints how that went.
#[tokio::main]
async fn start(folder: PathBuf, workers: usize, events: u64) {
    let mut config = Config::default();
    config.server.listen = "127.0.0.1:0".parse().expect("an address");
    config.data.folder = folder;
    config.engine.workers = workers;
    let (cpu, began) = (cpu_time(), Instant::now());
    let shutdown = Shutdown::default();
    let listener = serve::listen(config.server.listen).expect("a free port");
    let server = serve::start(&config, listener, shutdown.clone()).await.expect("starts");
    let opened = began.elapsed();
    let mut status = server.status.subscribe();
    let live = status.wait_for(|status| status.phase == Phase::Live || shutdown.triggered()).await;
    let live = live.expect("is told").phase == Phase::Live;
    let (took, cpu) = (began.elapsed(), cpu_time() - cpu);
    if live {
        println!(
            "{workers} worker(s): {:>7.0} events/s, {:.2} µs CPU an event, live after {took:.2?} (logs open after \
             {opened:.2?}), {} MB resident",
            events as f64 / took.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / events as f64,
            resident_bytes() / 1_000_000,
        );
    }
    shutdown.trigger();
    server.ended().await.expect("ends in order");
    assert!(live, "it became live");
}
