//! Rules and incidents in the engine: bound, hashed and replayed like events, from a topic that is kept for ever. What people
//! said holds after any restart, also when retention has dropped the past in which they said it.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

#[path = "common/engine.rs"]
mod rig;

use bytes::Bytes;
use rig::{Folded, Load, Logs, Running, Stepped, broken, config, counted, on};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use weir::engine::{Binding, Body, Chain, EngineConfig, EngineError, Entry, Part};
use weir::log::embedded::{Embedded, EmbeddedConfig};
use weir::log::{Log, NewRecord, Record};
use weir::serve::CONTROL_TOPIC;
use weir::verdicts::Verdict;
use weir_schemas::control::{ControlChange, ControlKind, FlakyRule, MaskRule};
use weir_schemas::row::Value;
use weir_schemas::update::Digest;
use weir_schemas::view::view_index;

const CONTROL: u16 = 1;

fn finished(folded: &Folded) -> i64 {
    folded.sum("run_progress", "counted", "finished")
}

fn bindings(logs: &Logs) -> Vec<Binding> {
    let mut reader = logs.bindings.reader(&logs.bindings.starts()).unwrap();
    let mut records = Vec::new();
    while reader.read(10_000, usize::MAX, &mut records).unwrap() > 0 {}
    let entries = records.iter().map(|record| Entry::decode(&record.payload).unwrap().body);
    entries.filter_map(|body| if let Body::Binding(binding) = body { Some(binding) } else { None }).collect()
}

fn removed(kind: ControlKind) -> ControlChange {
    ControlChange::Removed(kind)
}

/// A log of control records in a folder of `Logs::open`.
fn control(folder: &Path) -> Embedded {
    let config = EmbeddedConfig { partitions: 1, ..EmbeddedConfig::new(folder.join(CONTROL_TOPIC), CONTROL_TOPIC) };
    Embedded::open(config, &mut |_, _| {}).unwrap().0
}

#[test]
fn what_people_say_is_bound_and_holds_the_same_in_every_life() {
    let folder = tempfile::tempdir().unwrap();
    let mut load = Load::new(11, 2_000);
    let (mut history, mut epochs) = (BTreeMap::<u64, Vec<Digest>>::new(), Vec::new());
    for (life, workers) in [2, 1, 4].into_iter().enumerate() {
        let logs = Logs::open(folder.path());
        let engine = Running::start(config(workers), &logs);
        for step in 0..4 {
            let worker = format!("w{}", step % 3);
            logs.say(&format!("machine{step}"), broken(&worker));
            let positions =
                logs.append(load.next(300).iter().chain(&[on(&worker, counted(&format!("l{life}-{step}"), 1))]));
            let said = logs.say("machine0", if step % 2 == 0 { removed(ControlKind::Incident) } else { broken("w0") });
            engine.wait_released(&positions);
            engine.wait_released_of(CONTROL_TOPIC, &[said]);
        }
        // What nobody waits for is drained.
        logs.say(&format!("mask{life}"), ControlChange::Mask(MaskRule { pattern: "[0-9]+".to_owned(), order: 1 }));
        engine.end().look(|folded| {
            epochs.push(folded.epoch.clone());
            for (time, digests) in &history {
                assert_eq!(folded.history.get(time), Some(digests), "position {time} with {workers} workers");
            }
            history.extend(folded.history.iter().map(|(time, digests)| (*time, digests.clone())));
            assert_eq!(folded.rules().len(), 4 + life + 1, "{:?}", folded.rules());
        });
        let bound: u64 = bindings(&logs)
            .iter()
            .flat_map(|binding| &binding.parts)
            .filter(|part| part.topic == CONTROL)
            .map(|part| part.count)
            .sum();
        assert_eq!(vec![bound], logs.control.ends(), "each is bound once");
    }
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
}

#[test]
fn an_incident_takes_results_back_at_its_tick_and_its_end_restores_them() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path());
    let engine = Running::live(config(2), &logs);
    engine.wait_released(&logs.append(&[on("w7", counted("a", 1)), on("w8", counted("b", 1))]));
    assert_eq!(engine.fold.look(finished), 2);
    for (change, left) in [(broken("w7"), 1), (removed(ControlKind::Incident), 2)] {
        let said = logs.say("w7 is broken", change);
        let verdict = engine.verdicts.wait_for(CONTROL_TOPIC, said).unwrap();
        let Verdict::Accepted { tick } = rig::within("it is applied", verdict).unwrap() else {
            panic!("it is acceptable")
        };
        engine.fold.look(|folded| {
            assert!(folded.time >= tick && folded.history.contains_key(&tick), "the tick is a position that was shown");
            assert_eq!(finished(folded), left);
        });
        let at = |binding: &&Binding| binding.tick == tick && binding.parts.iter().any(|part| part.topic == CONTROL);
        assert_eq!(bindings(&logs).iter().filter(at).count(), 1, "and the one that it is bound to");
    }
    engine.end();
}

#[test]
fn what_says_nothing_readable_is_a_reject_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path());
    let engine = Running::live(config(2), &logs);
    for bytes in [&b"{"[..], br#"{"project":"counted","id":"m","change":{"mask":{"pattern":"("}}}"#] {
        let record = NewRecord::new(0, Bytes::from_static(bytes));
        let position = logs.control.append(vec![record]).unwrap().wait().unwrap()[0];
        let verdict = engine.verdicts.wait_for(CONTROL_TOPIC, position).unwrap();
        assert!(matches!(rig::within("it is refused", verdict).unwrap(), Verdict::Refused { .. }));
    }
    let said = logs.say("f", ControlChange::Flaky(FlakyRule::default()));
    engine.wait_released_of(CONTROL_TOPIC, &[said]);
    engine.fold.wait("both are shown with their topic", |folded| {
        folded.view("rejects").filter(|row| row.column(2) == Value::Str(CONTROL_TOPIC)).count() == 2
    });
    engine.end().look(|folded| assert_eq!(folded.rules(), ["f"]));
}

#[test]
fn a_control_log_that_was_changed_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path());
    let engine = Running::live(config(1), &logs);
    let said: Vec<_> = (0..4).map(|n| logs.say(&format!("m{n}"), broken("w"))).collect();
    engine.wait_released_of(CONTROL_TOPIC, &said);
    engine.end();
    drop(logs);
    // What it is replaced by, and what that is said to be.
    for (count, problem) in [(4, "not those that were bound"), (2, "records are missing"), (0, "records are missing")] {
        let other = tempfile::tempdir().unwrap();
        rig::copy(folder.path(), other.path());
        std::fs::remove_dir_all(other.path().join(CONTROL_TOPIC)).unwrap();
        let replaced = control(other.path());
        let record = NewRecord::new(0, Bytes::from_static(b"{}"));
        replaced.append(vec![record; count]).unwrap().wait().unwrap();
        drop(replaced);
        let (error, _) = Running::start(config(1), &Logs::open(other.path())).fails();
        let text = error.to_string();
        assert!(matches!(&error, EngineError::AnotherTopic { topic } if topic == CONTROL_TOPIC), "{text}");
        Logs::forget_identities(other.path());
        let (error, _) = Running::start(config(1), &Logs::open(other.path())).fails();
        let text = error.to_string();
        assert!(matches!(error, EngineError::Mismatch { .. }), "{text}");
        assert!(text.contains("the log of weir.control") && text.contains(problem), "{text}");
    }
}

/// A folder as it was before there were control records: events, and bindings that know only them.
fn before_control(folder: &Path) {
    let logs = Logs::open(folder);
    let events: Vec<_> = (1..=3).map(|number| on("w7", counted("old", number))).collect();
    let positions = logs.append(&events);
    let partition = positions[0].partition;
    let mut chain = Chain::after(0);
    events.iter().for_each(|event| chain.record(&serde_json::to_vec(event).unwrap(), None));
    let part = |of| if of == partition { (3, 3, chain.hash()) } else { (0, 0, 0) };
    let parts = (0..4).map(|of| (of, part(of))).map(|(partition, (next_offset, count, hash))| Part {
        topic: 0,
        partition,
        next_offset,
        count,
        holes: 0,
        hash,
    });
    let binding = Binding { tick: 1_700_000_000_000, parts: parts.collect(), ..Binding::default() };
    for body in [Body::Start { topics: Vec::new() }, Body::Binding(binding)] {
        let payload = Entry { incarnation: 1, body }.encode().into();
        logs.bindings.append(vec![NewRecord::new(0, payload)]).unwrap().wait().unwrap();
    }
    drop(logs);
    std::fs::remove_dir_all(folder.join(CONTROL_TOPIC)).unwrap();
}

#[test]
fn a_folder_from_before_there_were_rules_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    before_control(folder.path());
    let mut history = BTreeMap::new();
    for life in 0..3 {
        let logs = Logs::open(folder.path());
        let engine = Running::live(config(2), &logs);
        assert!(engine.status.get().notices.is_empty());
        if life == 1 {
            let said = logs.say("w7 was broken", broken("w7"));
            engine.wait_released_of(CONTROL_TOPIC, &[said]);
        }
        engine.end().look(|folded| {
            assert_eq!(finished(folded), if life == 0 { 3 } else { 0 });
            assert!(history.iter().all(|(time, digests)| folded.history.get(time) == Some(digests)), "life {life}");
            history.clone_from(&folded.history);
        });
    }
}

/// What is said in the beginning and in the middle, and a past of which retention drops the first part.
fn shortened(folder: &Path) -> Logs {
    let logs = Logs::with(folder, 2 << 10);
    let engine = Running::live(config(2), &logs);
    logs.say("mask", ControlChange::Mask(MaskRule { pattern: "[0-9]+".to_owned(), order: 1 }));
    logs.say("gone", broken("w9"));
    logs.say("w7", broken("w7"));
    for number in 1..=60 {
        let worker = if number % 2 == 0 { "w7" } else { "w9" };
        let events: Vec<_> = (0..4).map(|stream| on(worker, counted(&format!("s{stream}"), number))).collect();
        engine.wait_released(&logs.append(&events));
        if number == 30 {
            engine.wait_released_of(CONTROL_TOPIC, &[logs.say("gone", removed(ControlKind::Incident))]);
        }
        if number == 35 {
            let said = logs.say("late", ControlChange::Flaky(FlakyRule::default()));
            engine.wait_released_of(CONTROL_TOPIC, &[said]);
        }
    }
    engine.end();
    logs.events.retain(0, &logs.events.ends()).unwrap();
    let (starts, ends) = (logs.events.starts(), logs.events.ends());
    assert!(
        starts.iter().zip(&ends).all(|(start, end)| *start >= end / 2),
        "retention dropped more than half: {starts:?}"
    );
    logs
}

/// What holds at the first position, and how many of w9's and w7's tests count in the end.
fn first_and_last(engine: Running) -> (Vec<String>, i64, String, BTreeMap<u64, Vec<Digest>>) {
    engine.end().look(|folded| (folded.rules(), finished(folded), folded.epoch.clone(), folded.history.clone()))
}

#[test]
fn what_was_said_before_a_shortened_past_holds_from_its_first_tick() {
    let folder = tempfile::tempdir().unwrap();
    let logs = shortened(folder.path());
    let everything = ["late", "mask", "w7"];
    let mut told = Vec::new();
    for (life, workers) in [1, 2, 4].into_iter().enumerate() {
        if life == 1 {
            // Now the bindings of all that was said have gone as well.
            let last = last_binding(&logs);
            logs.bindings.retain(0, &[last]).unwrap();
            assert!(logs.bindings.starts()[0] > 0);
            let left = bindings(&logs);
            assert!(left.iter().any(|binding| binding.records() > 0), "events are still bound");
            let of_control = left.iter().flat_map(|binding| &binding.parts).filter(|part| part.topic == CONTROL);
            assert_eq!(of_control.map(|part| part.count).sum::<u64>(), 0);
        }
        let engine = Running::live(config(workers), &logs);
        assert!(engine.status.get().notices.iter().any(|notice| notice.contains("shortened")));
        let (rules, finished, epoch, history) = first_and_last(engine);
        assert_eq!(rules, everything, "in life {life}");
        let kept: u64 = logs.events.ends().iter().zip(logs.events.starts()).map(|(end, start)| end - start).sum();
        assert!(
            finished > 0 && u64::try_from(finished).unwrap() < kept,
            "{finished} of {kept}: w9's count, w7's do not"
        );
        let first = history.values().next().unwrap();
        assert_ne!(first[view_index("rules").unwrap()], Digest::default(), "rules hold at the first position already");
        told.push((epoch, history));
    }
    let (again, last) = (&told[1], &told[2]);
    assert_eq!(again.0, last.0, "the same shortened past has the same name");
    assert!(again.1.iter().all(|(time, digests)| last.1.get(time) == Some(digests)), "and the same positions");
}

/// The offset of the last binding that binds something: retention leaves its segment.
fn last_binding(logs: &Logs) -> u64 {
    let mut reader = logs.bindings.reader(&logs.bindings.starts()).unwrap();
    let mut records = Vec::new();
    while reader.read(10_000, usize::MAX, &mut records).unwrap() > 0 {}
    let binds = |record: &&Record| match Entry::decode(&record.payload).unwrap().body {
        Body::Binding(binding) => binding.records() > 0,
        _ => false,
    };
    records.iter().rfind(binds).unwrap().offset
}

#[test]
fn with_nothing_left_to_replay_what_was_said_holds_from_the_first_new_tick() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::with(folder.path(), 1);
    let engine = Running::live(config(2), &logs);
    engine.wait_released_of(CONTROL_TOPIC, &[logs.say("w7", broken("w7"))]);
    // Ticks without records follow.
    let said_at = engine.fold.look(|folded| folded.time);
    engine.fold.wait("a second has passed", |folded| folded.time > said_at + 1_000);
    engine.end();
    // Neither a binding of it nor an event is left, but what was said is.
    logs.bindings.retain(0, &logs.bindings.ends()).unwrap();
    assert!(bindings(&logs).iter().all(|binding| binding.parts.is_empty()), "{:?}", bindings(&logs));
    let time = Stepped::by(0);
    let mut epochs = Vec::new();
    for life in 0..3 {
        let engine = Running::live(EngineConfig { time: Arc::<Stepped>::clone(&time), ..config(2) }, &logs);
        engine.wait_released(
            &logs.append(&[on("w7", counted(&format!("bad{life}"), 1)), on("w8", counted(&format!("good{life}"), 1))]),
        );
        time.offset_ms.fetch_add(1_000, Ordering::SeqCst);
        engine.end().look(|folded| {
            assert_eq!((folded.rules(), finished(folded)), (vec!["w7".to_owned()], life + 1), "life {life}");
            epochs.push(folded.epoch.clone());
        });
    }
    assert_eq!(epochs[1], epochs[2]);
}
