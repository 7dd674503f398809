//! The views equal their oracles at every frame, on random histories, for any workers and any batching.

mod common;

use common::history::{START, config, history};
use common::oracle::Oracle;
use common::{Feeding, Folded, Tick, json, run};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use weir_dataflows::control::ControlInput;
use weir_dataflows::input::{Event, Input, Interner, Names, Position, Withdraws};
use weir_dataflows::output::Released;
use weir_schemas::control::{ControlChange, ControlKind, ControlRecord, Incident};
use weir_schemas::event::TestEvent;
use weir_schemas::id::Id;
use weir_schemas::limits::Limits;
use weir_schemas::row::Row;
use weir_schemas::view::{VIEWS, View, view};

/// Histories to try: the long form with WEIR_LONG.
fn cases(short: u32, long: u32) -> ProptestConfig {
    let cases = if std::env::var_os("WEIR_LONG").is_some() { long } else { short };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn assert_rows(view: &View, time: u64, mut found: Vec<Row>, mut expected: Vec<Row>) -> Result<(), TestCaseError> {
    found.sort();
    expected.sort();
    if found == expected {
        return Ok(());
    }
    let text = |rows: Vec<Row>| rows.iter().map(|row| json(row, view)).collect::<BTreeSet<String>>();
    let count = (found.len(), expected.len());
    let (found, expected) = (text(found), text(expected));
    let only = |one: &BTreeSet<String>, other| one.difference(other).cloned().collect::<Vec<_>>();
    prop_assert_eq!(only(&found, &expected), only(&expected, &found), "{} at {}", view.name, time);
    prop_assert_eq!(count.0, count.1, "{} at {}: rows that stand twice", view.name, time);
    Err(TestCaseError::fail(format!("{} at {time}: rows that look alike", view.name)))
}

/// Whether `released` says, view by view, what the oracle says of `ticks`: at the end of each frame, and just before it at
/// the last whole second for which there was no frame, so that nothing had changed.
fn check(oracle: &Oracle, released: &[Released]) -> Result<(), TestCaseError> {
    let mut folded = Folded::new();
    for released in released {
        let quiet = (released.frame.upper - 1) / 1_000 * 1_000;
        if folded.time > 0 && quiet > folded.time {
            assert_all(oracle, &folded, quiet)?;
        }
        folded.try_apply(released).map_err(TestCaseError::fail)?;
        assert_all(oracle, &folded, folded.time)?;
    }
    Ok(())
}

fn assert_all(oracle: &Oracle, folded: &Folded, time: u64) -> Result<(), TestCaseError> {
    VIEWS.iter().try_for_each(|view| assert_rows(view, time, folded.rows(view), oracle.rows(view, time)))
}

proptest! {
    #![proptest_config(cases(150, 5_000))]

    #[test]
    fn views_equal_their_oracles_at_every_frame(
        seed: u64, length in 1usize..60, workers in prop::sample::select(vec![1usize, 2, 4]), ticks_a_step in 1usize..12,
    ) {
        let ticks = history(seed, length);
        check(&Oracle::new(&config(), &ticks), &run(&config(), &ticks, Feeding { workers, ticks_a_step, seed }))?;
    }

    #[test]
    fn digests_and_rows_do_not_depend_on_workers_or_batching(seed: u64, length in 1usize..80, ticks_a_step in 1usize..12) {
        let ticks = history(seed, length);
        let plain = run(&config(), &ticks, Feeding::SIMPLE);
        for workers in [2, 4] {
            let other = run(&config(), &ticks, Feeding { workers, ticks_a_step, seed });
            prop_assert_eq!(&plain, &other, "{} workers", workers);
        }
    }
}

#[test]
fn an_incident_of_the_tick_at_which_a_run_leaves_still_reaches_it() {
    let event = |at: u64, version: u64, kind: &str, data: &str| {
        let json = format!(
            r#"{{"eventId":"{version}","eventType":"{kind}","streamId":"s","version":{version},"timestamp":{at},"correlationId":"r",
            "data":{data},"metadata":{{"project":"web","worker":"w1"}}}}"#
        );
        let event: TestEvent<'_> = serde_json::from_str(&json).expect("decodes");
        let position = Position { offset: version, ..Position::default() };
        Input::Event(Arc::new(Event::new(&event, position, &Limits::default(), &mut Interner::default())))
    };
    let tick = |at, inputs| Tick { at, inputs, ..Tick::default() };
    let incident = Incident { worker: "w1".to_owned(), ..Incident::default() };
    let change = ControlChange::Incident(incident);
    let (project, id) = ("web".to_owned(), "i".to_owned());
    let record = Arc::new(ControlRecord { project, id, change, said_at: 0, said_by: String::new() });
    let said = ControlInput { position: Position { topic: 1, ..Position::default() }, record };
    let leaves = START + 1_000 + config().run_grace_ms;
    let ticks = [
        tick(
            START + 500,
            vec![
                event(START, 1, "test_failed", r#"{"testId":"a"}"#),
                event(START, 2, "setup_failed", "{}"),
                event(START, 3, "performance_measured", r#"{"testId":"a","performance":{"memory":5}}"#),
            ],
        ),
        tick(START + 1_000, vec![event(START, 4, "run_completed", "{}")]),
        Tick { control: vec![said], ..tick(leaves, vec![]) },
        tick(leaves + 1_000, vec![]),
        tick(START + 30_000, vec![]),
    ];
    let released = run(&config(), &ticks, Feeding::SIMPLE);
    check(&Oracle::new(&config(), &ticks), &released).expect("what the oracle says");
    let mut folded = Folded::new();
    released.iter().for_each(|released| folded.apply(released));
    assert!(folded.rows(view("failure_patterns").expect("a view")).is_empty(), "the incident took both back");
}

/// What an operator could do wrong to a view's updates. The digests go along, as they would if an operator did it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// A row that should have left stays.
    LostRetraction,
    /// A row that came comes once more.
    DoubledInsertion,
    /// A row that came does not.
    LostInsertion,
}

/// Lets the fault happen once, to the last update of the view that it can happen to; says whether there was one.
fn break_view(released: &mut [Released], view: usize, fault: Fault) -> bool {
    let sign = if fault == Fault::LostRetraction { -1 } else { 1 };
    let touched = |released: &Released| released.frame.views[view].updates.iter().rposition(|u| u.diff == sign);
    let Some((frame, update)) =
        released.iter().enumerate().rev().find_map(|(frame, released)| Some((frame, touched(released)?)))
    else {
        return false;
    };
    let updates = &mut released[frame].frame.views[view].updates;
    let row = updates[update].row.clone();
    if fault == Fault::DoubledInsertion {
        updates.insert(update, updates[update].clone());
    } else {
        updates.remove(update);
    }
    let error = if fault == Fault::LostInsertion { -1 } else { 1 };
    released[frame..].iter_mut().for_each(|released| released.frame.views[view].digest.apply(&row, error));
    true
}

#[test]
fn an_operator_that_loses_or_doubles_one_update_is_caught_in_every_view() {
    for (index, view) in VIEWS.iter().enumerate() {
        for fault in [Fault::LostRetraction, Fault::DoubledInsertion, Fault::LostInsertion] {
            let caught = (0..100u64).find_map(|seed| {
                let ticks = history(seed, 40);
                let mut released = run(&config(), &ticks, Feeding::SIMPLE);
                let oracle = Oracle::new(&config(), &ticks);
                check(&oracle, &released).expect("sound before it is broken");
                break_view(&mut released, index, fault).then(|| check(&oracle, &released))
            });
            let said =
                caught.expect("some history has such an update").expect_err("a broken view is caught").to_string();
            assert!(said.contains(view.name), "{fault:?} in {}: {said}", view.name);
        }
    }
}

/// The same event, but if it takes anything back, then what nobody ever said.
fn without_effect(input: &Input) -> Input {
    let Input::Event(event) = input else { return input.clone() };
    match event.withdrawal() {
        None => input.clone(),
        Some(Withdraws::Test { .. }) => {
            let mut other = Event::clone(event);
            other.names = Arc::new(Names { test_id: Some(Id(1)), ..Names::clone(&event.names) });
            Input::Event(Arc::new(other))
        }
        Some(Withdraws::Event(Id(id))) => {
            let text = serde_json::to_string(event).expect("an event can be written");
            let other = text.replace(&format!(r#"{{"Event":{id}}}"#), r#"{"Event":1}"#);
            assert_ne!(text, other);
            Input::Event(Arc::new(serde_json::from_str(&other).expect("and read")))
        }
    }
}

/// Asserts that histories without what `deafen` takes out of them are told from their oracles in each view of `views`.
fn assert_caught_in(mut views: BTreeSet<&str>, what: &str, deafen: fn(&mut Tick)) {
    for seed in 0..1_000 {
        let ticks = history(seed, 40);
        let mut deaf = ticks.clone();
        deaf.iter_mut().for_each(deafen);
        let (oracle, mut folded) = (Oracle::new(&config(), &ticks), Folded::new());
        for released in run(&config(), &deaf, Feeding::SIMPLE) {
            folded.apply(&released);
            let same = |view: &View| assert_rows(view, folded.time, folded.rows(view), oracle.rows(view, folded.time));
            views.retain(|name| same(view(name).expect("a view")).is_ok());
        }
        if views.is_empty() {
            return;
        }
    }
    panic!("no {what} ever shows in {views:?}");
}

/// The views of results: what people say is none.
fn of_results() -> BTreeSet<&'static str> {
    VIEWS.iter().map(|view| view.name).filter(|name| *name != "rules").collect()
}

#[test]
fn withdrawals_reach_every_view_and_one_that_does_not_is_caught() {
    assert_caught_in(of_results(), "withdrawal", |tick| {
        tick.inputs.iter_mut().for_each(|input| *input = without_effect(input));
    });
}

#[test]
fn incidents_reach_every_view_and_one_that_does_not_is_caught() {
    assert_caught_in(of_results(), "incident", |tick| {
        tick.control.retain(|said| said.record.change.kind() != ControlKind::Incident);
    });
}
