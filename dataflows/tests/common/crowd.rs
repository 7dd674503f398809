//! Histories of suites, branches and tests that all want a place in one bucket, and of metrics that want one in a scope: what
//! `performance`, `live_metrics` and `flaky_tests` do when there is no room for all.
//!
//! Like those of [`super::history`] a pure function of a seed and a length: one run after the other; several newcomers in one
//! tick; what happened seconds or minutes before it is told, so that it lies before or after a refusal; times at which places become
//! free; results and measurements that are taken back; incidents. Every other one is six times as slow, as the longest window of
//! `live_metrics` is six times that of `performance`.

use super::Tick;
use super::history::{Dice, START};
use std::sync::{Arc, LazyLock};
use weir_dataflows::control::ControlInput;
use weir_dataflows::input::{Event, Input, Interner, Position};
use weir_schemas::control::{ControlChange, ControlKind, ControlRecord, Incident};
use weir_schemas::event::TestEvent;
use weir_schemas::id::{Id, test_id};
use weir_schemas::limits::Limits;

/// Suites of one bucket.
static SUITES: LazyLock<Vec<String>> = LazyLock::new(|| rivals("suite", |name| Id::of(&["suite", "web", name])));
/// Tests of one bucket.
static TESTS: LazyLock<Vec<String>> = LazyLock::new(|| rivals("t", |name| test_id("web", name)));

/// The main branch, and others of its bucket.
static BRANCHES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let id = |name: &str| Id::of(&["branch", "web", name]);
    let of_main = id("main").0 % 256;
    let others = (0..).map(|number| format!("side{number}")).filter(|name| id(name).0 % 256 == of_main);
    std::iter::once("main".to_owned()).chain(others.take(3)).collect()
});

fn rivals(kind: &str, id: impl Fn(&str) -> Id) -> Vec<String> {
    let names = (0..).map(|number| format!("{kind}{number}"));
    names.filter(|name| id(name).0 % 256 == 7).take(4).collect()
}

/// The run that is under way.
struct Run {
    number: u64,
    version: u64,
    commit: u64,
    offset: u64,
}

/// A history of `length` ticks.
pub fn crowd(seed: u64, length: usize) -> Vec<Tick> {
    let mut dice = Dice(seed ^ 0x0c20_4d5e);
    let (mut at, mut ticks) = (START, Vec::new());
    let mut run = Run { number: 0, version: 0, commit: 0, offset: 0 };
    let pace = if seed.is_multiple_of(2) { 1 } else { 6 };
    for _ in 0..length {
        at += 10 * pace * step_of(&mut dice);
        let mut tick = Tick { at, ..Tick::default() };
        if dice.one_in(15) {
            run.offset += 1;
            let position = Position { topic: 1, offset: run.offset, ..Position::default() };
            tick.control.push(ControlInput { position, record: Arc::new(said(at, &mut dice)) });
        }
        if dice.one_in(6) {
            if dice.one_in(2) {
                tick.inputs.push(input("run_completed", "", at, &mut run, &mut dice));
            }
            (run.number, run.version, run.commit) = (run.number + 1, 0, run.number / 2);
        }
        for _ in 0..dice.roll(6) {
            tick.inputs.push(any(at, pace, &mut run, &mut dice));
        }
        ticks.push(tick);
    }
    ticks
}

/// In units of 10 ms.
fn step_of(dice: &mut Dice) -> u64 {
    match dice.roll(40) {
        0 => 360_000 * (1 + dice.roll(30)),
        1..=3 => 1_000 * (1 + dice.roll(70)),
        4..=14 => 100 * (1 + dice.roll(12)),
        _ => 1 + dice.roll(60),
    }
}

fn any(at: u64, pace: u64, run: &mut Run, dice: &mut Dice) -> Input {
    let age = pace
        * match dice.roll(8) {
            0 => dice.roll(650_000),
            1 | 2 => dice.roll(25_000),
            _ => dice.roll(2_000),
        };
    let one_of = |names: &[String], dice: &mut Dice| names[usize::try_from(dice.roll(4)).expect("small")].clone();
    let (suite, test) = (one_of(&SUITES, dice), one_of(&TESTS, dice));
    let names = format!(r#""testId":"{test}","testSuiteId":"{suite}""#);
    let (kind, data) = match dice.roll(14) {
        0 => ("result_withdrawn", format!(r#""withdraws":"{}-{}""#, run.number, 1 + dice.roll(run.version + 2))),
        1 => ("result_withdrawn", format!(r#"{names},"attempt":{}"#, 1 + dice.roll(2))),
        2..=6 => {
            let metrics = (0..dice.roll(3)).map(|_| format!(r#""m{}":{}"#, dice.roll(4), dice.roll(900)));
            let metrics = metrics.collect::<Vec<_>>().join(",");
            let measured = format!(r#""performance":{{"memory":{},"metrics":{{{metrics}}}}}"#, dice.roll(1_000));
            // Of a suite, of a test, of both.
            let names = [format!(r#""testSuiteId":"{suite}""#), names][usize::from(!dice.one_in(3))].clone();
            ("performance_measured", format!(r#"{names},"duration":{},{measured}"#, dice.roll(5_000)))
        }
        7 => ("test_case_started", names),
        8 if dice.one_in(2) => {
            let lines = format!(r#""covered":"1-{}","instrumented":"1-9""#, 1 + dice.roll(8));
            ("coverage_updated", format!(r#""coverage":{{"files":[{{"path":"src/a",{lines}}}]}}"#))
        }
        outcome => {
            let kind = if outcome < 11 { "test_failed" } else { "test_passed" };
            (kind, format!(r#"{names},"attempt":{},"duration":{}"#, 1 + dice.roll(3), dice.roll(5_000)))
        }
    };
    input(kind, &data, at - age, run, dice)
}

fn input(kind: &str, data: &str, at: u64, run: &mut Run, dice: &mut Dice) -> Input {
    (run.version, run.offset) = (run.version + 1, run.offset + 1);
    let Run { number, version, commit, offset } = run;
    let branch = if dice.one_in(6) { 1 + usize::try_from(dice.roll(3)).expect("small") } else { 0 };
    let (branch, worker) = (&BRANCHES[branch], 1 + dice.roll(2));
    let json = format!(
        r#"{{"eventId":"{number}-{version}","eventType":"{kind}","streamId":"s{number}","version":{version},"timestamp":{at},
        "correlationId":"r{number}","data":{{{data}}},
        "metadata":{{"project":"web","branch":"{branch}","commit":"c{commit}","worker":"w{worker}"}}}}"#
    );
    let event: TestEvent<'_> = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{json}: {error}"));
    let position = Position { offset: *offset, ..Position::default() };
    Input::Event(Arc::new(Event::new(&event, position, &Limits::default(), &mut Interner::default())))
}

fn said(at: u64, dice: &mut Dice) -> ControlRecord {
    let change = if dice.one_in(2) {
        ControlChange::Incident(Incident { worker: "w1".to_owned(), ..Incident::default() })
    } else {
        ControlChange::Removed(ControlKind::Incident)
    };
    ControlRecord { project: "web".to_owned(), id: "i".to_owned(), change, said_at: at, said_by: String::new() }
}
