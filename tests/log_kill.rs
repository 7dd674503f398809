//! Killed with −9 at random moments, the log has everything that it acknowledged, unchanged.
//!
//! The child is this test binary again, told by the environment. What a kill leaves in the system's cache survives it, so a
//! loss of power is simulated besides: the last segment is cut at a random byte behind the last acknowledged record.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure is a panic")]

#[path = "common/log.rs"]
mod log_common;

use log_common::{config, copy, drain, frames, open, payload, segments};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use weir::log::embedded::{Embedded, EmbeddedConfig};
use weir::log::{Log, NewRecord, Record};

const CHILD: &str = "WEIR_TEST_LOG_KILL_CHILD";
const NAME: &str = "everything_acknowledged_survives_a_kill_at_any_moment";

fn small(folder: &Path) -> EmbeddedConfig {
    let mut config = config(folder);
    config.segment_bytes = 200 << 10;
    config
}

/// Appends from three threads for ever and says what was acknowledged: partition, offset and the payload's seed.
fn append_until_killed(folder: &Path, seed: u64) {
    let (log, _) = open(small(folder));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let log = &log;
            scope.spawn(move || {
                let mut random = StdRng::seed_from_u64(seed * 3 + thread);
                loop {
                    let seeds: Vec<u64> = (0..random.random_range(1..40)).map(|_| random.random()).collect();
                    let record = |seed: &u64| NewRecord::new((*seed % 4) as u32, payload(*seed));
                    let positions = log.append(seeds.iter().map(record).collect()).unwrap().wait().unwrap();
                    let mut lines = String::new();
                    for (position, seed) in positions.iter().zip(seeds) {
                        lines.push_str(&format!("\nack {} {} {seed} .", position.partition, position.offset));
                    }
                    // The lock of standard output keeps the lines of one batch together.
                    std::io::stdout().lock().write_all(lines.as_bytes()).unwrap();
                    std::io::stdout().lock().flush().unwrap();
                }
            });
        }
    });
}

/// Runs a child and kills it after about `acks` acknowledged records; returns what it acknowledged.
fn killed_child(folder: &Path, seed: u64, acks: usize) -> Vec<(u32, u64, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{seed} {}", folder.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut killed = false;
    loop {
        if !killed && acknowledged.len() >= acks {
            child.kill().unwrap();
            killed = true;
        }
        let Some(line) = lines.next() else { break };
        let line = line.unwrap();
        // A line without its full stop was cut by the kill.
        if let Some(ack) = line.strip_prefix("ack ").and_then(|rest| rest.strip_suffix(" .")) {
            let numbers: Vec<u64> = ack.split(' ').map(|number| number.parse().unwrap()).collect();
            acknowledged.push((u32::try_from(numbers[0]).unwrap(), numbers[1], numbers[2]));
        }
    }
    assert!(killed, "the child ended by itself");
    child.wait().unwrap();
    acknowledged
}

fn check(all: &[Vec<Record>], acknowledged: &BTreeMap<(u32, u64), u64>) {
    for ((partition, offset), seed) in acknowledged {
        let record = usize::try_from(*offset).ok().and_then(|at| all[*partition as usize].get(at));
        let record = record.unwrap_or_else(|| panic!("acknowledged and lost: {partition}/{offset}"));
        assert_eq!(record.payload, payload(*seed), "acknowledged and changed: {partition}/{offset}");
    }
}

/// Cuts a copy's last segment at a random byte behind the last acknowledged record, opens and checks it.
fn check_without_power(folder: &Path, acknowledged: &BTreeMap<(u32, u64), u64>, random: &mut StdRng) {
    let copied = copy(folder);
    let last = segments(copied.path()).pop().unwrap();
    let bytes = std::fs::read(&last).unwrap();
    let acked = |partition, offset| acknowledged.contains_key(&(partition, offset));
    let frames = frames(&bytes);
    let durable = frames.iter().rfind(|frame| acked(frame.partition, frame.offset));
    let durable = durable.map_or(log_common::SEGMENT_HEADER_BYTES, |frame| frame.end);
    let cut = random.random_range(durable..=bytes.len());
    std::fs::File::options().write(true).open(&last).unwrap().set_len(cut as u64).unwrap();
    let (log, report) = open(small(copied.path()));
    check(&drain(&log, &[0; 4]), acknowledged);
    let whole = frames.iter().any(|frame| frame.end == cut) || cut == log_common::SEGMENT_HEADER_BYTES;
    assert_eq!(report.torn.is_none(), whole || cut == bytes.len());
}

#[test]
fn everything_acknowledged_survives_a_kill_at_any_moment() {
    if let Ok(child) = std::env::var(CHILD) {
        let (seed, folder) = child.split_once(' ').unwrap();
        return append_until_killed(Path::new(folder), seed.parse().unwrap());
    }
    let rounds = if std::env::var("WEIR_LONG").is_ok() { 200 } else { 15 };
    let seed: u64 =
        std::env::var("WEIR_SEED").map_or_else(|_| rand::make_rng::<StdRng>().random(), |seed| seed.parse().unwrap());
    println!("WEIR_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    let mut before = vec![Vec::new(); 4];
    let mut all_acknowledged = 0;
    for round in 0..rounds {
        // A fresh log now and then: kills within the making of one, and rounds that stay short.
        if round % 15 == 0 {
            all_acknowledged += acknowledged.len();
            (folder, acknowledged, before) = (tempfile::tempdir().unwrap(), BTreeMap::new(), vec![Vec::new(); 4]);
        }
        let acks = if round % 5 == 0 { random.random_range(0..3) } else { random.random_range(0..3_000) };
        for (partition, offset, seed) in killed_child(folder.path(), seed.wrapping_add(round) >> 8, acks) {
            assert_eq!(acknowledged.insert((partition, offset), seed), None, "a position is given once");
        }
        if !segments(folder.path()).is_empty() {
            check_without_power(folder.path(), &acknowledged, &mut random);
        }
        let (log, _) = Embedded::open(small(folder.path()), &mut |_, _| {}).unwrap_or_else(|error| panic!("{error}"));
        let all = drain(&log, &[0; 4]);
        check(&all, &acknowledged);
        for (records, before) in all.iter().zip(&before) {
            assert!(records.starts_with(before), "what was once seen stays, in its place");
        }
        before = all;
    }
    all_acknowledged += acknowledged.len();
    assert!(all_acknowledged > 1_000, "only {all_acknowledged} records were acknowledged");
    println!("{all_acknowledged} records acknowledged in {rounds} rounds");
}
