//! What a rule is said to change is what it changes once it holds, and asking changes nothing.

mod common;

use common::history::{Dice, config, history};
use common::oracle::control::masks;
use common::steady::steady;
use common::{Feeding, Folded, Tick, json, run};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::control::ControlInput;
use weir_dataflows::dry_run::{Answer, Question};
use weir_dataflows::facts::Failure;
use weir_dataflows::fingerprint;
use weir_dataflows::input::{ErrorText, Input, Position};
use weir_dataflows::output::Released;
use weir_schemas::control::{ControlChange, ControlRecord, FlakyRule, MaskRule};
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::{Row, Value};
use weir_schemas::view::{ERROR_STREAM, FLAKY_TESTS, View};

fn seeds(short: u64, long: u64) -> std::ops::Range<u64> {
    0..if std::env::var_os("WEIR_LONG").is_some() { long } else { short }
}

fn feeding(seed: u64) -> Feeding {
    let small = |seed: u64| usize::try_from(seed).expect("small");
    Feeding { workers: [1, 2, 4][small(seed % 3)], ticks_a_step: 1 + small(seed % 5), seed }
}

fn record(project: &str, id: String, change: ControlChange) -> Arc<ControlRecord> {
    Arc::new(ControlRecord { project: project.to_owned(), id, change, said_at: 7, said_by: String::new() })
}

/// The beginning of a history, up to a point at which a view of this cadence is exact, and a question of its last tick but one.
/// The last tick is that point, at which nothing happens.
fn until_asked(ticks: &[Tick], cadence_ms: u64, record: &Arc<ControlRecord>, dice: &mut Dice) -> Option<Vec<Tick>> {
    let last = ticks.len() / 3 + usize::try_from(dice.roll(ticks.len() as u64 * 2 / 3)).expect("small");
    let at = ticks[last].at.next_multiple_of(cadence_ms);
    let next = ticks.get(last + 1).map_or(u64::MAX, |tick| tick.at);
    let mut asked: Vec<Tick> = ticks.get(..=last)?.to_vec();
    asked.iter_mut().for_each(|tick| tick.questions.clear());
    asked[last].questions.push(Question { id: 5, record: Arc::clone(record), peer: 0 });
    asked.push(Tick { at, ..Tick::default() });
    (ticks[last].at < at && at < next).then_some(asked)
}

/// The same history, in which nobody asks, and the rule is put at the end.
fn put(asked: &[Tick], record: &Arc<ControlRecord>) -> Vec<Tick> {
    let mut ticks = asked.to_vec();
    ticks.iter_mut().for_each(|tick| tick.questions.clear());
    let position = Position { topic: 1, offset: 1_000_000, ..Position::default() };
    let last = ticks.last_mut().expect("there are ticks");
    last.control.push(ControlInput { position, record: Arc::clone(record) });
    ticks
}

/// The rows at the end, and what was answered.
fn end(config: &Config, ticks: &[Tick], feeding: Feeding, view: &View) -> (BTreeSet<Row>, Vec<(u64, Answer)>) {
    let (mut folded, mut answers) = (Folded::new(), Vec::new());
    for released in run(config, ticks, feeding) {
        folded.apply(&released);
        answers.extend(released.answers);
    }
    (folded.rows(view).into_iter().collect(), answers)
}

#[test]
fn asking_leaves_no_trace() {
    let (mut answers, without) = (0, |released: Vec<Released>| -> Vec<Released> {
        released.into_iter().map(|released| Released { answers: Vec::new(), ..released }).collect()
    });
    for seed in seeds(60, 600) {
        let asked = history(seed, 50);
        let mut silent = asked.clone();
        silent.iter_mut().for_each(|tick| tick.questions.clear());
        let released = run(&config(), &asked, feeding(seed));
        answers += released.iter().map(|released| released.answers.len()).sum::<usize>();
        assert_eq!(without(released), run(&config(), &silent, Feeding::SIMPLE), "history {seed}");
    }
    assert!(answers > 30, "{answers} answers");
}

#[test]
fn the_rows_that_a_flaky_rule_is_said_to_change_are_those_that_it_changes() {
    let config =
        Config { flaky_tests: 16_384, event_id_memory_ms: 200_000_000, stream_memory_ms: 200_000_000, ..config() };
    let (mut asked_at_all, mut turned) = (0, BTreeSet::new());
    for seed in seeds(90, 900) {
        let mut dice = Dice(seed ^ 0xd17);
        let mut below = |sides| 1 + u32::try_from(dice.roll(sides)).expect("small");
        let (window, flips, broken, passes) = (3 * below(9), below(4), 1 + below(4), below(6));
        let rule = FlakyRule { window, flips, broken, passes, days: 1, ..FlakyRule::default() };
        let (project, id) = (["web", "web", "", "app"][usize::try_from(dice.roll(4)).expect("small")], dice.roll(2));
        let record = record(project, format!("i{id}"), ControlChange::Flaky(rule));
        let Some(ticks) = until_asked(&steady(seed, 120), 1_000, &record, &mut dice) else { continue };
        let (before, answers) = end(&config, &ticks, feeding(seed), &FLAKY_TESTS);
        let (after, _) = end(&config, &put(&ticks, &record), Feeding::SIMPLE, &FLAKY_TESTS);
        let at = ticks.last().expect("there are ticks").at;
        let [(time, answer)] = &answers[..] else { panic!("history {seed}: one answer and not {answers:?}") };
        assert_eq!((*time, answer.id, answer.too_many), (at, 5, false));
        let text = |rows: Vec<&Row>| rows.into_iter().map(|row| json(row, &FLAKY_TESTS)).collect::<Vec<_>>();
        let said = (text(answer.rows.go.iter().collect()), text(answer.rows.come.iter().collect()));
        let is = (text(before.difference(&after).collect()), text(after.difference(&before).collect()));
        assert_eq!(said, is, "history {seed}: {record:?}");
        assert_eq!(answer.over, if project == "app" { 0 } else { before.len() as u64 }, "history {seed}");
        asked_at_all += 1;
        let state = |row: &Row| format!("{:?}", row.column(5));
        turned.extend(answer.rows.go.iter().zip(&answer.rows.come).map(|(was, is)| (state(was), state(is))));
    }
    assert!(asked_at_all > 30, "{asked_at_all} rules");
    assert!(turned.iter().filter(|(was, is)| was != is).count() >= 4, "{turned:?}");
}

/// What a row of `error_stream` says in a column of text.
fn text(row: &Row, column: &str) -> String {
    match row.column(ERROR_STREAM.column(column).expect("a column")) {
        Value::Str(text) => text.to_owned(),
        _ => String::new(),
    }
}

/// The event that an error was told by.
fn told_by(ticks: &[Tick], row: &Row) -> (ErrorText, Outcome) {
    let words = ["failed", "error", "timeout"].iter().zip([Outcome::Failed, Outcome::Error, Outcome::Timeout]);
    let outcome = words.into_iter().find(|(word, _)| text(row, "outcome") == **word).expect("it failed").1;
    let events = ticks.iter().flat_map(|tick| &tick.inputs).filter_map(|input| match input {
        Input::Event(event) => Some(event),
        Input::Refused(_) => None,
    });
    let named = events.filter(|event| {
        *event.origin.stream_name == *text(row, "stream")
            && event.name().is_some_and(|name| **name == *text(row, "event"))
    });
    let errors = named.map(|event| event.error().map(|error| ErrorText::clone(error)).unwrap_or_default());
    let same = |error: &ErrorText| {
        let failure = fingerprint::failure(error, outcome, &[]);
        *failure.message == *text(row, "message") && *failure.kind == *text(row, "type")
    };
    (errors.into_iter().find(same).expect("some event told of it"), outcome)
}

fn recognised(ticks: &[Tick], row: &Row) -> Failure {
    let ((error, outcome), at) = (told_by(ticks, row), ticks.last().expect("there are ticks").at);
    let masks = masks(ticks, &text(row, "project"), at);
    fingerprint::failure(&error, outcome, &masks.iter().collect::<Vec<_>>())
}

type Patterns = BTreeMap<(String, Id), u64>;

#[test]
fn what_a_mask_is_said_to_make_of_errors_is_what_their_whole_texts_become() {
    let config = Config { errors: 30, ..config() };
    let mut seen = [0; 4];
    for seed in seeds(120, 1_200) {
        let mut dice = Dice(seed ^ 0x3a5c);
        let patterns = ["row", "expected [a-z%]+", "no [a-z]+", "o+", "nothing says this"];
        let pattern = patterns[usize::try_from(dice.roll(5)).expect("small")].to_owned();
        let mask = MaskRule { pattern, order: u32::try_from(dice.roll(2)).expect("small") };
        let (project, id) = (["web", "", "app"][usize::try_from(dice.roll(3)).expect("small")], dice.roll(2));
        let record = record(project, format!("i{id}"), ControlChange::Mask(mask));
        let Some(ticks) = until_asked(&history(seed, 60), 250, &record, &mut dice) else { continue };
        let (errors, answers) = end(&config, &ticks, feeding(seed), &ERROR_STREAM);
        let [(_, answer)] = &answers[..] else { panic!("history {seed}: one answer and not {answers:?}") };
        let (with, mut changed) = (put(&ticks, &record), BTreeSet::new());
        let (mut before, mut after, mut over) = (Patterns::new(), Patterns::new(), 0);
        for row in errors.iter().filter(|row| project.is_empty() || text(row, "project") == project) {
            let (was, is) = (recognised(&ticks, row).fingerprint, recognised(&with, row).fingerprint);
            let project = text(row, "project");
            *before.entry((project.clone(), was)).or_default() += 1;
            *after.entry((project.clone(), is)).or_default() += 1;
            over += 1;
            if was != is {
                changed.insert((project, text(row, "stream"), text(row, "event"), was, is));
            }
        }
        let only = |one: &Patterns, other: &Patterns| -> Patterns {
            one.iter()
                .filter(|(name, _)| !other.contains_key(*name))
                .map(|(name, count)| (name.clone(), *count))
                .collect()
        };
        let told = |list: &[weir_dataflows::dry_run::Pattern]| -> Patterns {
            list.iter().map(|of| ((of.project.to_string(), of.fingerprint), of.errors)).collect()
        };
        let failures = &answer.failures;
        let text_of = |of: &weir_dataflows::dry_run::Changed| {
            (of.project.to_string(), of.stream.to_string(), of.event.to_string(), of.from, of.to)
        };
        assert_eq!((answer.over, failures.cut), (over, 0), "history {seed}");
        assert_eq!(
            failures.changed.iter().map(text_of).collect::<BTreeSet<_>>(),
            changed,
            "history {seed}: {record:?}"
        );
        assert_eq!(told(&failures.come), only(&after, &before), "history {seed}");
        assert_eq!(told(&failures.go), only(&before, &after), "history {seed}");
        for (seen, count) in seen.iter_mut().zip([1, changed.len(), failures.come.len(), failures.go.len()]) {
            *seen += count;
        }
    }
    assert!(seen.iter().all(|count| *count > 20), "asked, changed, come, gone: {seen:?}");
}
