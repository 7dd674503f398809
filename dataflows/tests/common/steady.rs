//! Histories of a few tests that run again and again, so that their outcomes pile up: what `flaky_tests` looks at.
//!
//! Like those of [`super::history`] a pure function of a seed and a length, but nothing is torn: one run after the other on a few
//! commits, most on a main branch; tests that mostly pass, that are flaky, that are broken for a while; machines on which all
//! fails for a while; results that are taken back; incidents, also of runs that have left; rules that change; hours and days
//! between runs.

use super::Tick;
use super::history::{Dice, START};
use std::sync::Arc;
use weir_dataflows::control::ControlInput;
use weir_dataflows::input::{Event, Input, Interner, Position};
use weir_schemas::control::{ControlChange, ControlKind, ControlRecord, FlakyRule, Incident};
use weir_schemas::event::TestEvent;
use weir_schemas::limits::Limits;

/// The run that is under way.
struct Run {
    number: u64,
    version: u64,
    branch: &'static str,
    commit: u64,
    /// Attempts by test.
    attempts: [u64; TESTS],
    /// Whether all fails, or all on the machine `w1`.
    broken: (bool, bool),
}

const TESTS: usize = 5;

/// A history of `length` ticks.
pub fn steady(seed: u64, length: usize) -> Vec<Tick> {
    let mut dice = Dice(seed ^ 0x57ea_d1e5);
    let (mut at, mut offset, mut ticks) = (START, 0, Vec::new());
    let mut run = begin(0, &mut dice);
    let mut failing = [false; TESTS];
    for _ in 0..length {
        at += 10 * step_of(&mut dice);
        let mut tick = Tick { at, ..Tick::default() };
        if dice.one_in(12) {
            let position = Position { topic: 1, offset, ..Position::default() };
            tick.control.push(ControlInput { position, record: Arc::new(said(at, &mut dice)) });
        }
        if dice.one_in(4) {
            if dice.one_in(2) {
                tick.inputs.push(input("run_completed", "", at, &mut run, &mut offset));
            }
            run = begin(run.number + 1, &mut dice);
        }
        for _ in 0..1 + dice.roll(3) {
            let test = usize::try_from(dice.roll(TESTS as u64)).expect("small");
            failing[test] ^= dice.one_in(9);
            tick.inputs.push(result(test, failing[test], at, &mut run, &mut offset, &mut dice));
        }
        ticks.push(tick);
    }
    ticks
}

fn begin(number: u64, dice: &mut Dice) -> Run {
    let branch = ["main", "main", "main", "side"][usize::try_from(dice.roll(4)).expect("small")];
    let broken = (dice.one_in(9), dice.one_in(6));
    Run { number, version: 0, branch, commit: number / 2 + dice.roll(2), attempts: [0; TESTS], broken }
}

/// In units of 10 ms.
fn step_of(dice: &mut Dice) -> u64 {
    match dice.roll(60) {
        0 => 360_000 * (1 + dice.roll(30)),
        1..=9 => 100 * (1 + dice.roll(30)),
        _ => 1 + dice.roll(60),
    }
}

fn result(test: usize, failing: bool, at: u64, run: &mut Run, offset: &mut u64, dice: &mut Dice) -> Input {
    if dice.one_in(25) {
        let data = format!(r#""testId":"t{test}","attempt":{}"#, 1 + dice.roll(2));
        return input("result_withdrawn", &data, at, run, offset);
    }
    let worker = ["w1", "w2"][usize::try_from(dice.roll(2)).expect("small")];
    let flakes = match test {
        0 => dice.one_in(12),
        1 => dice.one_in(3),
        _ => failing,
    };
    let kind = match flakes || run.broken.0 || run.broken.1 && worker == "w1" {
        true => "test_failed",
        false if dice.one_in(12) => "test_skipped",
        false => "test_passed",
    };
    run.attempts[test] += u64::from(!dice.one_in(12));
    let data = format!(r#""testId":"t{test}","attempt":{},"worker":"{worker}""#, run.attempts[test].max(1));
    input(kind, &data, at.saturating_sub(dice.roll(3_000)), run, offset)
}

fn input(kind: &str, data: &str, at: u64, run: &mut Run, offset: &mut u64) -> Input {
    (run.version, *offset) = (run.version + 1, *offset + 1);
    let Run { number, version, branch, commit, .. } = run;
    let (data, worker) = data.split_once(r#","worker":"#).unwrap_or((data, "null"));
    let json = format!(
        r#"{{"eventId":"{number}-{version}","eventType":"{kind}","streamId":"s{number}","version":{version},"timestamp":{at},
        "correlationId":"r{number}","data":{{{data}}},
        "metadata":{{"project":"web","branch":"{branch}","commit":"c{commit}","worker":{worker}}}}}"#
    );
    let event: TestEvent<'_> = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{json}: {error}"));
    let position = Position { offset: *offset, ..Position::default() };
    Input::Event(Arc::new(Event::new(&event, position, &Limits::default(), &mut Interner::default())))
}

fn said(at: u64, dice: &mut Dice) -> ControlRecord {
    let change = match dice.roll(8) {
        0 => ControlChange::Incident(Incident { worker: "w1".to_owned(), ..Incident::default() }),
        1 => {
            let from = Some(at.saturating_sub(dice.roll(100_000)));
            ControlChange::Incident(Incident { from, to: Some(at), ..Incident::default() })
        }
        2 | 3 => ControlChange::Removed(ControlKind::Incident),
        4..=6 => {
            let mut below = |sides| 1 + u32::try_from(dice.roll(sides)).expect("small");
            let (window, flips, broken, passes) = (3 * below(9), below(5), 1 + below(4), below(7));
            ControlChange::Flaky(FlakyRule { window, flips, broken, passes, days: 1, ..FlakyRule::default() })
        }
        _ => ControlChange::Removed(ControlKind::Flaky),
    };
    let all = change.kind() == ControlKind::Flaky && dice.one_in(3);
    let (project, id) = (if all { "" } else { "web" }, format!("i{}", dice.roll(2)));
    ControlRecord { project: project.to_owned(), id, change, said_at: at, said_by: String::new() }
}
