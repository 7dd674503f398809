//! The kill loop: an engine over real logs is killed with −9 at random moments under load and started again, with the clock
//! stepped forward and back in between. Nothing acknowledged is lost or counted twice, and every position that any life
//! showed is valid ever after. Also here, because it needs a process of its own: an idle engine costs next to nothing.
//!
//! The test starts itself again as a child, told by the environment what to do. `WEIR_LONG=1` makes it 60 kills, and
//! `WEIR_SEED` repeats one run.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

#[path = "common/engine.rs"]
mod rig;

use crossbeam_channel::RecvTimeoutError;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rig::{Fold, Load, Logs, Running, Stepped, broken, config, counted, counted_at, name, on};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use weir::engine::EngineConfig;
use weir::log::Log;
use weir_schemas::control::{ControlChange, ControlKind, MaskRule};
use weir_schemas::event::TestEvent;

const ROLE: &str = "WEIR_TEST_ROLE";
const FOLDER: &str = "WEIR_TEST_FOLDER";
const CLOCK_MS: &str = "WEIR_TEST_CLOCK_MS";
const LIFE: &str = "WEIR_TEST_LIFE";

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is set"))
}

/// Starts this test program again, to play a role.
fn child(role: &str, folder: &Path, life: u64, clock_ms: i64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "plays_its_role", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(FOLDER, folder)
        .env(LIFE, life.to_string())
        .env(CLOCK_MS, clock_ms.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What the child does; nothing, in the parent.
#[test]
fn plays_its_role() {
    // The test harness has begun a line of its own.
    println!();
    match std::env::var(ROLE).as_deref() {
        Ok("loaded") => loaded(),
        Ok("idle") => idle(),
        _ => {}
    }
}

/// Takes load in until it is killed, telling what was acknowledged (`A stream count`) and every frame (`F time digests`).
/// Meanwhile rules come and go, and all that one machine does is said to be no word on the code.
fn loaded() {
    let life: u64 = variable(LIFE).parse().unwrap();
    let logs = Logs::open(Path::new(&variable(FOLDER)));
    let time = Stepped::by(variable(CLOCK_MS).parse().unwrap());
    let workers = usize::try_from(1 + life % 3).unwrap();
    // So short a span that a life of a second may go on from one of the life before it.
    let config = rig::with_snapshots(EngineConfig { time, ..config(workers) }, Path::new(&variable(FOLDER)), 300);
    let engine = Running::with(config, &logs, Fold::telling());
    let mut rng = StdRng::seed_from_u64(life);
    let mut load = Load::new(life, 1_000);
    let mut sent = [0_u64; 5];
    for turn in 0_u32.. {
        let mask = ControlChange::Mask(MaskRule { pattern: "[0-9]+".to_owned(), order: turn });
        let change = if turn % 3 == 2 { ControlChange::Removed(ControlKind::Mask) } else { mask };
        // At most 48: a project may have 64.
        logs.say(&format!("mask{}-{}", life % 12, turn % 4), change);
        let said = logs.say_of("covered", "broken", broken("bad"));
        println!("A control {}", said.offset + 1);
        let streams = (0..20).map(|_| rng.random_range(0..sent.len())).collect::<Vec<_>>();
        let shown_at = engine.fold.look(|folded| folded.time);
        let mut batch: Vec<TestEvent<'static>> = Vec::new();
        for stream in streams {
            for _ in 0..rng.random_range(1..10) {
                sent[stream] += 1;
                // Every other one is late for the live metrics; the rest are not, unless the clock is set ahead in between.
                let at = if sent[stream].is_multiple_of(2) { shown_at } else { 5 };
                batch.push(counted_at(&format!("life{life}-{stream}"), sent[stream], at));
            }
        }
        let mut covered = on("bad", counted(&format!("covered{life}"), u64::from(turn) + 1));
        covered.metadata.project = "covered".into();
        batch.push(covered);
        let positions = logs.append(batch.iter().chain(&load.next(rng.random_range(10..200))));
        for (stream, count) in sent.iter().enumerate() {
            println!("A life{life}-{stream} {count}");
        }
        engine.wait_released(&positions[positions.len() - 1..]);
        let restored_at = engine.fold.look(|folded| folded.restored_at);
        if turn == 0 && restored_at > 0 {
            println!("S {restored_at}");
        }
    }
}

/// Idles for three seconds and tells the CPU time that they cost, in clock ticks (`C ticks`).
fn idle() {
    let logs = Logs::open(Path::new(&variable(FOLDER)));
    let engine = Running::live(config(2), &logs);
    engine.wait_released(&logs.append(&[counted("s", 1)]));
    let ticks = || {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<u64> = stat.split_whitespace().skip(13).take(2).map(|field| field.parse().unwrap()).collect();
        fields.iter().sum::<u64>()
    };
    let (before, since) = (ticks(), engine.fold.look(|folded| folded.time));
    engine.fold.wait("three seconds have passed", |folded| folded.time > since + 3_000);
    println!("C {}", ticks() - before);
    engine.end();
}

/// What all lives have told.
#[derive(Default)]
struct Told {
    /// Events acknowledged, by stream.
    acknowledged: BTreeMap<String, u64>,
    /// Digests, by position.
    frames: BTreeMap<u64, String>,
    /// The snapshots that lives went on from.
    snapshots: Vec<u64>,
}

impl Told {
    fn line(&mut self, line: &str) {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("A"), Some(stream), Some(count), None) => {
                self.acknowledged.insert(stream.to_owned(), count.parse().unwrap());
            }
            (Some("F"), Some(time), Some(digests), None) => {
                let before = self.frames.entry(time.parse().unwrap()).or_insert_with(|| digests.to_owned());
                assert_eq!(before, digests, "position {time} is valid in this life as in those before it");
            }
            (Some("S"), Some(tick), None, None) => self.snapshots.push(tick.parse().unwrap()),
            _ => {}
        }
    }
}

/// Lets a child live until the moment has come, then kills it. A line cut off by the kill was never told.
fn live_and_die(mut child: Child, lives_for: Duration, told: &mut Told) {
    let until = Instant::now() + lives_for;
    let (send, lines) = crossbeam_channel::bounded(1_000_000);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::Builder::new().name("reads-child".to_owned()).spawn(move || {
        let mut line = String::new();
        while out.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
            send.send(std::mem::take(&mut line)).unwrap();
        }
    });
    loop {
        match lines.recv_deadline(until) {
            Ok(line) => told.line(line.trim_end()),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => panic!("a child ends only by being killed: {:?}", child.wait()),
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    lines.iter().for_each(|line| told.line(line.trim_end()));
    reader.unwrap().join().unwrap();
}

#[test]
fn killed_at_any_moment_it_shows_the_same_numbers() {
    let kills = if std::env::var_os("WEIR_LONG").is_some() { 60 } else { 8 };
    let seed = std::env::var("WEIR_SEED").map_or_else(
        |_| u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos()),
        |seed| seed.parse().unwrap(),
    );
    println!("WEIR_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    for life in 0..kills {
        let clock_ms = if rng.random_bool(0.5) { 0 } else { rng.random_range(-600_000..600_000) };
        // Some die while they open the logs, some while they replay, most under load.
        let lives_for = Duration::from_millis(rng.random_range(5..1_500));
        live_and_die(child("loaded", folder.path(), life, clock_ms), lives_for, &mut told);
    }
    // One more life binds and shows what the last one left.
    let logs = Logs::open(folder.path());
    let last = Running::live(EngineConfig { time: Stepped::by(600_000), ..config(2) }, &logs);
    // What it binds may lie far above what was bound before; what is late is counted within a second of that.
    let total: u64 = logs.versions("counted").values().map(|versions| versions.len() as u64).sum();
    let finished = |folded: &rig::Folded| folded.sum("run_progress", "counted", "finished");
    last.fold.wait("all is shown", |folded| u64::try_from(finished(folded)).is_ok_and(|finished| finished >= total));
    let shown_at = last.fold.look(|folded| folded.time);
    last.fold.wait("what is late is counted", |folded| folded.time > shown_at + 2_000);
    let last = last.end();
    let late = logs.late("counted");
    // Each is written once here, so versions are events.
    let mut logged: BTreeMap<String, u64> =
        logs.versions("counted").into_iter().map(|(stream, versions)| (stream, versions.len() as u64)).collect();
    let (control, held) = (logs.control.ends()[0], logs.held());
    logged.insert("control".to_owned(), control);
    drop(logs);
    println!("{} of {kills} lives went on from a snapshot", told.snapshots.len());
    assert!(told.snapshots.len() > 1, "lives went on from snapshots");
    println!("{} streams, {} events of them, {} frames", logged.len(), logged.values().sum::<u64>(), told.frames.len());
    assert!(told.frames.len() > 20 && told.acknowledged.values().sum::<u64>() > 200, "the load was worth the name");
    for (stream, count) in &told.acknowledged {
        let in_log = logged.get(stream).copied().unwrap_or_default();
        assert!(in_log >= *count, "{stream}: {count} were acknowledged, {in_log} are in the log");
    }
    let (epoch, time, digests) = last.look(|folded| (folded.epoch.clone(), folded.time, folded.digests.clone()));
    assert_eq!(last.look(finished), i64::try_from(total).unwrap(), "nothing is counted twice");
    assert_eq!(last.look(rig::Folded::rules), held, "what was said last holds");
    assert_eq!(
        last.look(|folded| folded.sum("run_progress", "covered", "finished")),
        0,
        "none of what is covered counts"
    );
    assert!(last.look(|folded| folded.view("run_progress").count()) > 1 && control > 0);
    assert_eq!(last.look(|folded| folded.late("counted")), late, "of {total}");
    assert!(u64::try_from(late).is_ok_and(|late| late > 0 && late < total), "{late} of {total} were late");
    for workers in [1, 2, 4] {
        let uninterrupted = tempfile::tempdir().unwrap();
        rig::copy(folder.path(), uninterrupted.path());
        let logs = Logs::open(uninterrupted.path());
        let fold = Running::live(EngineConfig { time: Stepped::by(600_000), ..config(workers) }, &logs).end();
        fold.look(|folded| {
            assert_eq!(folded.epoch, epoch);
            assert_eq!(folded.history.get(&time), Some(&digests), "the last position with {workers} workers");
            for (time, digests) in &told.frames {
                let shown = folded.history.get(time).map(|digests| name(digests));
                assert_eq!(shown.as_ref(), Some(digests), "position {time} with {workers} workers");
            }
        });
    }
}

#[test]
fn an_idle_engine_costs_next_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = child("idle", folder.path(), 0, 0);
    let out = BufReader::new(child.stdout.take().unwrap());
    let lines: Vec<String> = out.lines().map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success());
    let spent: u64 = lines.iter().find_map(|line| line.strip_prefix("C ")).unwrap().parse().unwrap();
    // 100 clock ticks a second on every Linux: 30 are a tenth of a core.
    assert!(spent <= 30, "three idle seconds cost {spent} clock ticks");
    println!("three idle seconds cost {spent} clock ticks of 10 ms");
}
