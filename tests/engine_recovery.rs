//! The engine over real logs: what it shows survives restarts, a stepped clock, other numbers of workers; it refuses a log
//! that was changed, ends when it is fenced, and drains at the end.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

#[path = "common/engine.rs"]
mod rig;

use rig::{Load, Logs, Running, Stepped, config, counted, counted_at};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use weir::engine::{Body, Counting, EngineConfig, EngineError, Entry, FrameSink, SystemTimeSource, TimeSource};
use weir::log::{Log, NewRecord, Record};
use weir::serve::EVENTS_TOPIC;
use weir::shutdown::Shutdown;
use weir::status::{Phase, Status};
use weir::verdicts::Verdict;
use weir_schemas::event::TestEvent;
use weir_schemas::row::Row;
use weir_schemas::update::{Digest, Frame};

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every binding in the log with its tick, and whether it counts.
fn bindings(logs: &Logs) -> Vec<(Entry, bool)> {
    let mut reader = logs.bindings.reader(&[0]).unwrap();
    let (mut records, mut counting) = (Vec::new(), Counting::default());
    while reader.read(10_000, usize::MAX, &mut records).unwrap() > 0 {}
    let entries = records.iter().map(|record| Entry::decode(&record.payload).unwrap());
    entries.map(|entry| (entry.clone(), counting.counts(&entry))).collect()
}

fn events(logs: &Logs) -> Vec<Record> {
    let mut reader = logs.events.reader(&[0; 4]).unwrap();
    let mut records = Vec::new();
    while reader.read(10_000, usize::MAX, &mut records).unwrap() > 0 {}
    records
}

#[test]
fn a_restart_shows_the_same_at_every_position_whatever_the_number_of_workers() {
    let folder = tempfile::tempdir().unwrap();
    let mut load = Load::new(7, 3_000);
    let (mut history, mut epochs) = (BTreeMap::<u64, Vec<Digest>>::new(), Vec::new());
    let mut rows = Vec::new();
    for workers in [2, 1, 4, 2] {
        let logs = Logs::open(folder.path());
        let engine = Running::start(config(workers), &logs);
        for _ in 0..6 {
            let positions = logs.append(&load.next(500));
            engine.wait_released(&positions);
        }
        // What nobody waits for is drained.
        logs.append(&load.next(500));
        let fold = engine.end();
        fold.look(|folded| {
            epochs.push(folded.epoch.clone());
            assert!(folded.live && folded.rows[0].len() > 5, "{} runs", folded.rows[0].len());
            for (time, digests) in &history {
                assert_eq!(folded.history.get(time), Some(digests), "position {time} with {workers} workers");
            }
            history.extend(folded.history.iter().map(|(time, digests)| (*time, digests.clone())));
            rows.push(folded.rows.iter().map(std::collections::BTreeSet::len).sum::<usize>());
        });
    }
    assert!(rows.is_sorted() && rows[0] > 100, "every life went on from the one before it: {rows:?}");
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
}

#[test]
fn everything_durable_at_the_end_is_released_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path());
    let engine = Running::live(config(2), &logs);
    let total = 20_000;
    let events: Vec<_> =
        (0..20).flat_map(|stream| (1..=1_000).map(move |n| counted(&format!("s{stream}"), n))).collect();
    let positions = logs.append(&events);
    let verdicts = Arc::clone(&engine.verdicts);
    let fold = engine.end();
    assert_eq!(fold.look(|folded| folded.sum("run_progress", "counted", "finished")), total);
    for position in positions {
        let mut verdict = verdicts.wait_for(EVENTS_TOPIC, position).expect("is remembered");
        assert!(matches!(verdict.try_recv(), Ok(Verdict::Accepted { .. })), "{position:?}");
    }
}

#[test]
fn a_stepped_clock_changes_no_position_and_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let mut history = BTreeMap::<u64, Vec<Digest>>::new();
    let hour = 3_600_000;
    for (life, (offset, behind, ahead)) in
        [(0, false, false), (-hour, true, false), (hour, false, true), (0, true, false)].into_iter().enumerate()
    {
        let logs = Logs::open(folder.path());
        let time = Stepped::by(offset);
        // A run is abandoned after less than the outages seem to last: over them, its time must stand still.
        let dataflow = weir_dataflows::Config { run_timeout_ms: 1_800_000, ..weir_dataflows::Config::default() };
        let engine = Running::start(EngineConfig { time, dataflow, ..config(2) }, &logs);
        let before = history.last_key_value().map_or(0, |(time, _)| *time);
        let events: Vec<TestEvent<'_>> = (1..=50).map(|number| counted(&format!("life{life}"), number)).collect();
        engine.wait_released(&logs.append(&events));
        engine.fold.wait("a second has passed", |folded| folded.time > before + 1_000);
        let clock = engine.status.get().clock;
        assert_eq!((clock.behind_ms > 0, clock.ahead_ms > 0), (behind, ahead), "life {life}: {clock:?}");
        assert_eq!(clock.remedy.is_some(), behind || ahead);
        engine.end().look(|folded| {
            assert!(history.iter().all(|(time, digests)| folded.history.get(time) == Some(digests)), "life {life}");
            assert_eq!(folded.sum("run_progress", "counted", "finished"), 50 * (life as i64 + 1));
            assert_eq!(folded.view("missing").count(), 0, "an outage of ours is not an outage of theirs");
            history.clone_from(&folded.history);
        });
    }
}

/// A folder with the bindings of one log beside another log, made by `change` from the records of the first.
fn tampered(change: impl Fn(&mut Vec<Record>)) -> EngineError {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let logs = Logs::open(folder.path());
    let engine = Running::start(config(1), &logs);
    let events: Vec<_> = (1..=40).flat_map(|n| (0..8).map(move |stream| counted(&format!("s{stream}"), n))).collect();
    for portion in events.chunks(100) {
        engine.wait_released(&logs.append(portion));
    }
    engine.end();
    let mut records = self::events(&logs);
    change(&mut records);
    drop(logs);
    rig::copy(&folder.path().join("weir.bindings"), &other.path().join("weir.bindings"));
    Logs::forget_identities(other.path());
    let logs = Logs::open(other.path());
    let records = records.into_iter().map(|Record { partition, payload, .. }| NewRecord::new(partition, payload));
    logs.events.append(records.collect()).unwrap().wait().unwrap();
    let (error, fold) = Running::start(config(1), &logs).fails();
    assert!(!fold.look(|folded| folded.live));
    error
}

#[test]
fn a_log_that_was_changed_is_refused() {
    let is = |error: &EngineError, said: &str| {
        let EngineError::Mismatch { tick, to, .. } = error else { panic!("{error}") };
        let text = error.to_string();
        assert!(*tick > 0 && *to > 0 && text.contains(said) && text.contains("partition"), "{text}");
    };
    is(&tampered(|records| records[0].payload = bytes::Bytes::from_static(b"{}")), "not those that were bound");
    is(&tampered(|records| drop(records.remove(3))), "not those that were bound");
    is(&tampered(|records| drop(records.pop())), "records are missing");
    is(&tampered(|records| records.clear()), "records are missing");
    is(&tampered(|records| records.swap(0, 200)), "not those that were bound");
}

#[test]
fn a_newer_start_fences_the_older_incarnation() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path());
    let engine = Running::start(config(2), &logs);
    engine.wait_released(&logs.append(&[counted("before", 1)]));
    let newer = Entry { incarnation: 42, body: Body::Start { topics: Vec::new() } }.encode();
    logs.bindings.append(vec![NewRecord::new(0, newer.into())]).unwrap().wait().unwrap();
    logs.append(&[counted("after", 1)]);
    let (error, fold) = engine.fails();
    assert!(matches!(error, EngineError::Fenced { by: 42 }), "{error}");
    let counted_to =
        bindings(&logs).iter().filter(|(_, counts)| *counts).fold(0, |last, (entry, _)| match &entry.body {
            Body::Binding(binding) => last.max(binding.tick),
            _ => last,
        });
    fold.look(|folded| {
        assert_eq!(folded.sum("run_progress", "counted", "finished"), 1, "what came after is not shown");
        assert!(folded.time <= counted_to, "{} was released, {counted_to} is the last that counts", folded.time);
    });
    // The next incarnation binds it anew.
    let fold = Running::live(config(2), &logs).end();
    assert_eq!(fold.look(|folded| folded.sum("run_progress", "counted", "finished")), 2);
}

#[test]
fn an_outage_is_marked_in_the_bindings() {
    let folder = tempfile::tempdir().unwrap();
    for life in 0..3 {
        let logs = Logs::open(folder.path());
        let engine = Running::start(config(1), &logs);
        engine.wait_released(&logs.append(&[counted(&format!("life{life}"), 1)]));
        engine.end();
    }
    let logs = Logs::open(folder.path());
    let entries = bindings(&logs);
    assert!(entries.iter().all(|(_, counts)| *counts));
    let (mut last, mut begins, mut lives) = (0, false, 0);
    for (entry, _) in &entries {
        match &entry.body {
            Body::Start { topics } => {
                begins = true;
                let topics: Vec<_> = topics.iter().map(|of| (of.number, of.identity, &of.processes[..])).collect();
                let (events, control) = (logs.events.identity(), logs.control.identity());
                assert_eq!(topics, [(0, events, &[0; 4][..]), (1, control, &[0])]);
            }
            Body::Binding(binding) => {
                assert!(binding.tick > last && binding.tick % 10 == 0, "{} after {last}", binding.tick);
                if std::mem::take(&mut begins) && last > 0 {
                    assert_eq!((binding.tick, binding.records()), (last + 10, 0), "the very next tick, empty");
                    assert_eq!(binding.parts.len(), 5, "it says where every partition stands");
                    lives += 1;
                }
                last = binding.tick;
            }
            Body::Digests { .. } => {}
        }
    }
    assert_eq!(lives, 2);
}

#[test]
fn digests_of_whole_minutes_are_recorded_and_a_different_past_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path());
    // A minute passes at once.
    let time = Stepped::by(0);
    let engine = Running::start(EngineConfig { time: Arc::<Stepped>::clone(&time), ..config(2) }, &logs);
    engine.wait_released(&logs.append(&[counted("s", 1)]));
    time.offset_ms.store(61_000, std::sync::atomic::Ordering::SeqCst);
    engine.fold.wait("a minute has passed", |folded| folded.time > folded.history.keys().next().unwrap() + 60_000);
    engine.end();
    let recorded = bindings(&logs).into_iter().find(|(entry, _)| matches!(entry.body, Body::Digests { .. }));
    let (Entry { body: Body::Digests { tick, epoch, mut views }, .. }, true) = recorded.expect("a minute was recorded")
    else {
        panic!("it counts");
    };
    // The same past is accepted.
    let fold = Running::live(config(1), &logs).end();
    let last =
        fold.look(|folded| folded.history.range(..=tick).next_back().map(|(_, digests)| digests.clone())).unwrap();
    assert_eq!(views, last.iter().map(|digest| digest.0).collect::<Vec<_>>());
    views[2] ^= 1;
    let incarnation = bindings(&logs).last().unwrap().0.incarnation;
    let lie = Entry { incarnation, body: Body::Digests { tick, epoch, views } }.encode();
    logs.bindings.append(vec![NewRecord::new(0, lie.into())]).unwrap().wait().unwrap();
    let (error, _) = Running::start(config(1), &logs).fails();
    assert!(matches!(error, EngineError::Digest { view: "test_results", tick: at, .. } if at == tick), "{error}");
}

#[test]
fn a_log_shortened_by_retention_begins_anew_at_one_tick_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::with(folder.path(), 16 << 10);
    let engine = Running::live(config(2), &logs);
    for number in 1..=60 {
        // Partitions fill at different speeds, so retention cuts them at different ticks.
        let streams = (0..8).filter(|stream| number % (stream + 1) == 0);
        let events: Vec<_> = streams.map(|stream| counted(&format!("s{stream}"), number / (stream + 1))).collect();
        engine.wait_released(&logs.append(&events));
    }
    let before = engine.end().look(|folded| folded.epoch.clone());
    logs.events.retain(0, &logs.events.ends()).unwrap();
    let starts = logs.events.starts();
    assert!(starts.iter().any(|start| *start > 0), "retention dropped something: {starts:?}");
    let mut kept = 0;
    for (entry, _) in bindings(&logs) {
        if let Body::Binding(binding) = entry.body {
            let of_events = || binding.parts.iter().filter(|part| part.topic == 0);
            let whole = of_events().all(|part| part.first_offset() >= starts[part.partition as usize]);
            kept = if whole { kept + binding.records() } else { 0 };
        }
    }
    let retained: u64 = logs.events.ends().iter().zip(&starts).map(|(end, start)| end - start).sum();
    assert!(0 < kept && kept <= retained, "{kept} of {retained}");
    let mut epochs = Vec::new();
    for workers in [2, 1] {
        let engine = Running::live(config(workers), &logs);
        let notices = engine.status.get().notices;
        assert!(notices.iter().any(|notice| notice.contains("new epoch")), "{notices:?}");
        engine.end().look(|folded| {
            epochs.push(folded.epoch.clone());
            assert_eq!(folded.sum("run_progress", "counted", "finished"), i64::try_from(kept).unwrap());
        });
    }
    assert_eq!(epochs[0], epochs[1], "the same shortened past has the same name");
    assert_ne!(epochs[0], before);
}

#[test]
fn a_jump_of_time_in_a_running_engine_is_marked_and_is_no_silence_of_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path());
    let time = Stepped::by(0);
    let dataflow = weir_dataflows::Config { run_timeout_ms: 1_800_000, ..weir_dataflows::Config::default() };
    let config = || EngineConfig { dataflow: dataflow.clone(), ..config(2) };
    let engine = Running::live(EngineConfig { time: Arc::<Stepped>::clone(&time), ..config() }, &logs);
    engine.wait_released(&logs.append(&[counted("s", 1)]));
    let before = engine.fold.look(|folded| folded.time);
    let hour = 3_600_000;
    time.offset_ms.store(hour, std::sync::atomic::Ordering::SeqCst);
    let passed = before + u64::try_from(hour).unwrap() + 1_000;
    engine.fold.wait("an hour has passed, and a second", |folded| folded.time > passed);
    engine.wait_released(&logs.append(&[counted("s", 2)]));
    let ended = engine.end();
    let history = ended.look(|folded| {
        assert_eq!(folded.view("missing").count(), 0, "nothing is abandoned");
        folded.history.clone()
    });
    let bindings: Vec<_> = bindings(&logs)
        .into_iter()
        .filter_map(|(entry, _)| if let Body::Binding(binding) = entry.body { Some(binding) } else { None })
        .collect();
    let far = |at: &usize| bindings[at + 1].tick > bindings[*at].tick + 3_500_000;
    let [marked] = (0..bindings.len() - 1).filter(far).collect::<Vec<_>>()[..] else { panic!("there was one jump") };
    let (last, mark, next) = (&bindings[marked - 1], &bindings[marked], &bindings[marked + 1]);
    assert!(mark.outage_ahead && mark.tick == last.tick + 10, "{mark:?} is the very next tick and marks it");
    assert_eq!(next.parts.len(), 5, "{next:?} begins another minute and says where every partition stands");
    Running::live(config(), &logs).end().look(|folded| {
        assert_eq!(folded.view("missing").count(), 0, "nor in another life");
        assert!(history.iter().all(|(time, digests)| folded.history.get(time) == Some(digests)));
    });
}

#[test]
fn records_that_outlive_their_bindings_are_left_out_and_those_after_them_are_not() {
    let folder = tempfile::tempdir().unwrap();
    // Each commit is a segment of its own.
    let logs = Logs::with(folder.path(), 1);
    let engine = Running::live(config(2), &logs);
    engine.wait_released(&logs.append(&[counted("quiet", 1), counted("other", 1)]));
    engine.end();
    Running::live(config(1), &logs).end();
    // One more that was acknowledged and never bound.
    logs.append(&[counted("quiet", 2)]);
    // Retention leaves what the second life wrote: that nothing came.
    let entries = bindings(&logs);
    let second = entries.iter().rposition(|(entry, _)| matches!(entry.body, Body::Start { .. })).unwrap() as u64;
    logs.bindings.retain(0, &[second + 1]).unwrap();
    assert_eq!((logs.bindings.starts(), logs.events.starts()), (vec![second + 1], vec![0; 4]));
    let mut shown = Vec::new();
    for life in 0..3 {
        let engine = Running::live(config(2), &logs);
        let notices = engine.status.get().notices;
        assert!(notices.iter().any(|notice| notice.contains("shortened")), "{notices:?}");
        let later = format!("life{life}");
        engine.wait_released(&logs.append(&[counted(&later, 1)]));
        engine.end().look(|folded| {
            assert_eq!(
                folded.sum("run_progress", "counted", "finished"),
                2 + life,
                "all but the two that are forgotten"
            );
            shown.push(folded.epoch.clone());
        });
    }
    assert!(shown.iter().all(|epoch| *epoch == shown[0]), "{shown:?}");
}

/// Tells what the status says when the past is replayed.
struct Replayed(Status, crossbeam_channel::Sender<Phase>);

impl FrameSink for Replayed {
    fn epoch(&self, _: Arc<str>) {}
    fn frame(&self, _: Frame) {}
    fn rejected(&self, _upper: u64, _rejected: &[weir::engine::Rejected]) {}
    fn rows(&self) -> Vec<Vec<Row>> {
        Vec::new()
    }
    fn restore(&self, _: u64, _: Vec<Vec<Row>>, _: &[Digest]) {}

    fn live(&self) {
        self.1.send(self.0.phase()).unwrap();
    }
}

#[test]
fn a_replay_tells_of_every_record() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path());
    let engine = Running::live(config(2), &logs);
    for number in 1..=40 {
        let events: Vec<_> = (0..10).map(|stream| counted(&format!("s{stream}"), number)).collect();
        engine.wait_released(&logs.append(&events));
    }
    engine.end();
    let (status, shutdown) = (Status::default(), Shutdown::default());
    let (tell, told) = crossbeam_channel::bounded(1);
    let sink = Arc::new(Replayed(status.clone(), tell));
    // So few may be unreleased that the replay waits for its own records every few ticks.
    let config = EngineConfig { unreleased_records_max: 25, ..config(2) };
    let engine = weir::engine::start(config, logs.all(), sink, status, Default::default(), shutdown.clone()).unwrap();
    let phase = told.recv_timeout(PATIENCE).unwrap();
    shutdown.trigger();
    engine.join().unwrap();
    assert_eq!(phase, Phase::Recovering { replayed: 400, total: 400 });
}

#[test]
fn times_ahead_of_their_ticks_are_counted_once() {
    let metrics = weir::telemetry::metrics();
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path());
    let engine = Running::live(config(2), &logs);
    let now = SystemTimeSource::default().wall_ms();
    let ahead = [0, 60_000, 120_000].map(|ms| counted_at(&format!("by{ms}"), 1, now + ms));
    engine.wait_released(&logs.append(&ahead));
    engine.end();
    Running::live(config(1), &logs).end();
    let text = metrics.render();
    let counted: Vec<_> = text.lines().filter(|line| line.starts_with("weir_event_clock_skew_total")).collect();
    assert_eq!(counted, ["weir_event_clock_skew_total 2"]);
}
