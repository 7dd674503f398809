//! The engine when something around it fails: a bindings log that is full or busy, a thread that panics. Nothing is shown that
//! is not bound, everything goes on when the fault is over, and no half of a server is left.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

#[path = "common/engine.rs"]
mod rig;

use bytes::Bytes;
use rig::{Fold, Logs, Running, config, counted};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use weir::engine::{self, EngineConfig, EngineError};
use weir::exit::EXIT_PANIC;
use weir::log::embedded::Embedded;
use weir::log::{AppendError, Bell, Commit, Log, LogError, NewRecord, Reader, Record};

/// What a log does with what is appended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// It is refused at once.
    Refuses(AppendError),
    /// It is taken, and cannot be made durable.
    Loses,
}

/// A log with faults.
struct Faulty {
    inner: Arc<Embedded>,
    fault: Mutex<Fault>,
    /// Appends that met the fault.
    met: Mutex<u32>,
    /// Whether its records end the thread that has done with them.
    explosive: AtomicBool,
}

impl Faulty {
    fn new(inner: &Arc<Embedded>) -> Arc<Faulty> {
        let inner = Arc::<Embedded>::clone(inner);
        Arc::new(Faulty {
            inner,
            fault: Mutex::new(Fault::None),
            met: Mutex::new(0),
            explosive: AtomicBool::new(false),
        })
    }

    fn fails(&self, fault: Fault) {
        *self.met.lock().unwrap() = 0;
        *self.fault.lock().unwrap() = fault;
    }

    fn met(&self) -> u32 {
        *self.met.lock().unwrap()
    }
}

impl Log for Faulty {
    fn topic(&self) -> &str {
        self.inner.topic()
    }
    fn identity(&self) -> u128 {
        self.inner.identity()
    }
    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }
    fn partition_of(&self, key: &[u8]) -> u32 {
        self.inner.partition_of(key)
    }
    fn append(&self, records: Vec<NewRecord>) -> Result<Commit, AppendError> {
        let fault = self.fault.lock().unwrap().clone();
        *self.met.lock().unwrap() += u32::from(fault != Fault::None);
        match fault {
            Fault::None => self.inner.append(records),
            Fault::Refuses(error) => Err(error),
            Fault::Loses => {
                let (outcome, commit) = oneshot::channel();
                outcome.send(Err(AppendError::Full)).unwrap();
                Ok(Commit::new(commit))
            }
        }
    }
    fn starts(&self) -> Vec<u64> {
        self.inner.starts()
    }
    fn ends(&self) -> Vec<u64> {
        self.inner.ends()
    }
    fn wait_past(&self, seen: &[u64], at_most: Duration) -> Vec<u64> {
        self.inner.wait_past(seen, at_most)
    }
    fn ring(&self, bell: &Arc<Bell>) {
        self.inner.ring(bell);
    }
    fn reader(&self, from: &[u64]) -> Result<Box<dyn Reader>, LogError> {
        let explosive = self.explosive.load(Ordering::SeqCst);
        let inner = self.inner.reader(from)?;
        Ok(if explosive { Box::new(Explosive(inner)) } else { inner })
    }
    fn close(&self) {
        self.inner.close();
    }
}

/// A reader whose records panic when they are dropped: by the worker that has decoded them.
struct Explosive(Box<dyn Reader>);

struct Bomb(Bytes);

impl AsRef<[u8]> for Bomb {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "a worker meets what nobody thought of");
    }
}

impl Reader for Explosive {
    fn read(&mut self, records_max: usize, bytes_max: usize, out: &mut Vec<Record>) -> Result<usize, LogError> {
        let count = self.0.read(records_max, bytes_max, out)?;
        if let Some(record) = out.first_mut() {
            record.payload = Bytes::from_owner(Bomb(record.payload.clone()));
        }
        Ok(count)
    }
    fn read_partition(&mut self, partition: u32, end: u64, out: &mut Vec<Record>) -> Result<usize, LogError> {
        self.0.read_partition(partition, end, out)
    }
    fn offsets(&self) -> &[u64] {
        self.0.offsets()
    }
}

fn start(config: EngineConfig, logs: &Logs) -> (Running, Arc<Faulty>) {
    let bindings = Faulty::new(&logs.bindings);
    let faulty = engine::Logs { bindings: Arc::<Faulty>::clone(&bindings) as Arc<dyn Log>, ..logs.all() };
    let engine = Running::over(config, faulty, Fold::default());
    engine.fold.wait("it is live", |folded| folded.live);
    (engine, bindings)
}

fn finished(engine: &Running) -> i64 {
    engine.fold.look(|folded| folded.sum("run_progress", "counted", "finished"))
}

/// Waits until the bindings log was tried so often in vain.
fn tried(bindings: &Faulty, times: u32) {
    let until = Instant::now() + Duration::from_secs(60);
    while bindings.met() < times {
        assert!(Instant::now() < until, "tried {} of {times} times", bindings.met());
        std::thread::yield_now();
    }
}

#[test]
fn while_bindings_cannot_be_written_nothing_is_shown_and_then_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path());
    let (engine, bindings) = start(config(2), &logs);
    let mut number = 0;
    let mut send = || {
        number += 1;
        logs.append([&counted("s", number)])
    };
    engine.wait_released(&send());
    for fault in [Fault::Refuses(AppendError::Full), Fault::Refuses(AppendError::Busy), Fault::Loses] {
        let before = finished(&engine);
        bindings.fails(fault.clone());
        let positions = send();
        tried(&bindings, 3);
        assert!(!engine.status.get().disk_full, "that is for whoever watches the disk to say");
        assert_eq!(finished(&engine), before, "{fault:?}: what is not bound is not shown");
        bindings.fails(Fault::None);
        engine.wait_released(&positions);
        assert_eq!(finished(&engine), before + 1, "{fault:?}");
    }
    let fold = engine.end();
    let again = Running::live(config(1), &logs);
    fold.look(|shown| {
        again.fold.look(|replayed| {
            let last = shown.history.last_key_value().unwrap();
            assert_eq!(replayed.history.get(last.0), Some(last.1), "bound once, each of them");
        })
    });
    again.end();
}

#[test]
fn how_far_behind_it_is_stays_true_while_bindings_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path());
    let (engine, bindings) = start(config(2), &logs);
    engine.wait_released(&logs.append([&counted("s", 1)]));
    bindings.fails(Fault::Refuses(AppendError::Full));
    // What is tried again is a binding: nothing else goes on there.
    tried(&bindings, 3);
    let events: Vec<_> = (2..=21).map(|number| counted("s", number)).collect();
    let positions = logs.append(&events);
    let until = Instant::now() + Duration::from_secs(60);
    let behind = loop {
        let status = engine.status.get();
        if status.behind_records > 0 || Instant::now() > until {
            break status;
        }
        std::thread::yield_now();
    };
    assert_eq!(behind.behind_records, 20);
    assert!(behind.behind_ms > 0);
    bindings.fails(Fault::None);
    engine.wait_released(&positions);
    assert_eq!(engine.status.get().behind_records, 0);
    engine.end();
}

#[test]
fn an_end_while_bindings_cannot_be_written_is_an_end() {
    for fault in [Fault::Refuses(AppendError::Full), Fault::Refuses(AppendError::Busy), Fault::Loses] {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::open(folder.path());
        let (engine, bindings) = start(EngineConfig { drain_max: Duration::from_millis(300), ..config(2) }, &logs);
        bindings.fails(fault.clone());
        logs.append([&counted("s", 1)]);
        tried(&bindings, 2);
        let fold = engine.end();
        assert_eq!(fold.look(|folded| folded.sum("run_progress", "counted", "finished")), 0, "{fault:?}");
        let again = Running::live(config(2), &logs);
        again.fold.wait("the next start binds it", |folded| folded.sum("run_progress", "counted", "finished") == 1);
        again.end();
    }
}

/// Starts an engine whose worker will panic.
fn explode(logs: &Logs) -> Running {
    let events = Faulty::new(&logs.events);
    events.explosive.store(true, Ordering::SeqCst);
    let explosive = engine::Logs { events: vec![events], ..logs.all() };
    let engine = Running::over(config(2), explosive, Fold::default());
    logs.append([&counted("s", 1)]);
    engine
}

#[test]
fn a_worker_that_panics_ends_the_engine_and_triggers_the_end_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let (error, fold) = explode(&Logs::open(folder.path())).fails();
    assert!(matches!(error, EngineError::Panicked { thread: "worker" } | EngineError::WorkerEnded { .. }), "{error:?}");
    assert_eq!(fold.look(|folded| folded.sum("run_progress", "counted", "finished")), 0, "nothing of it was shown");
}

const CHILD: &str = "WEIR_TEST_ENGINE_FAULTS_FOLDER";

#[test]
fn a_worker_that_panics_ends_the_process_with_its_word_and_code() {
    if let Some(folder) = std::env::var_os(CHILD) {
        weir::serve::end_on_panic();
        let logs = Logs::open(folder.as_ref());
        let ended = explode(&logs).fails();
        unreachable!("the process has ended before: {:?}", ended.0);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    let name = "a_worker_that_panics_ends_the_process_with_its_word_and_code";
    let output = child.args(["--exact", name, "--nocapture"]).env(CHILD, folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(EXIT_PANIC), "{said}");
    assert!(said.contains("a worker meets what nobody thought of") && said.contains("timely:work-"), "{said}");
}
