//! The view `run_progress`.

use super::Runs;
use super::attempts::{Test, fails, write_counts};
use super::runs::{Run, announced, names, planned, streams};
use std::sync::Arc;
use weir_dataflows::input::Event;
use weir_schemas::event::EventType;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::RUN_PROGRESS;

/// The first of a tick and position that has it.
pub fn first_origin(run: &Run, of: impl Fn(&Event) -> Option<Arc<str>>) -> Option<Arc<str>> {
    run.events.iter().find_map(|(_, event)| of(event))
}

/// When a running run will be done at its average pace; never after the year 9999.
fn eta(run: &Run, tests: &[&Test]) -> Option<u64> {
    let finished = tests.iter().filter(|test| test.outcome().is_some()).count() as u128;
    let planned = u128::from(planned(run).0?);
    let times = || run.events.iter().map(|(at, event)| u128::from(event.at.min(*at)));
    let (first, last) = (times().min()?, times().max()?);
    let open = run.phase == "running" && finished > 0 && finished < planned;
    let at = open.then(|| last + (last - first) * (planned - finished) / finished)?;
    Some(at.min(253_402_300_799_999) as u64)
}

/// How often a failing test is tried, if anybody said it: the run itself, or one of its suites.
fn max_attempts(run: &Run) -> Option<u64> {
    let by_suites = run.events.iter().filter(|(_, event)| event.kind == EventType::TestSuiteStarted);
    let largest = by_suites.filter_map(|(_, event)| event.max_attempts()).max();
    announced(run, |event| event.max_attempts()).or(largest.map(u64::from))
}

/// Whether a test failed as often as it may be tried; an attempt under way may still pass.
fn lost(test: &Test, max: u64) -> bool {
    let used = test.attempts.len() as u64 - u64::from(test.running());
    test.outcome().is_some_and(Outcome::fails) && used >= max
}

/// The latest event time.
pub fn last_event_at(run: &Run) -> u64 {
    run.events.iter().map(|(at, event)| event.at.min(*at)).max().expect("a run has events")
}

/// Whether the run itself failed.
fn broken(run: &Run) -> bool {
    !run.failures.is_empty()
}

/// The state of the run, as in its row.
pub fn state(run: &Run) -> &'static str {
    let tests: Vec<&Test> = run.tests.values().collect();
    match run.phase {
        "finished" if fails(&tests) || broken(run) => "failed",
        "finished" => "passed",
        phase => phase,
    }
}

/// The rows.
pub fn rows(runs: &Runs<'_>) -> Vec<Row> {
    let row = |run: &Run| {
        let (project, name) = names(run);
        let tests: Vec<&Test> = run.tests.values().collect();
        let (seen, open) = streams(run);
        let times = || run.events.iter().map(|(at, event)| event.at.min(*at));
        let mut writer = RowWriter::default();
        writer.str(&project).str(&name).str(state(run));
        for field in [
            first_origin(run, |event| event.origin.branch.clone()),
            first_origin(run, |event| event.origin.commit.clone()),
            first_origin(run, |event| event.origin.user.clone()),
            first_origin(run, |event| event.origin.framework.clone()),
        ] {
            writer.opt_str(field.as_deref());
        }
        writer.opt_uint(planned(run).0);
        write_counts(&mut writer, &tests);
        writer.opt_uint(times().min()).opt_uint(times().max()).uint(seen).uint(open);
        writer.opt_uint(announced(run, |event| event.planned_shards()));
        match eta(run, &tests) {
            Some(at) => writer.uint(at),
            None => writer.null(),
        };
        match max_attempts(run) {
            Some(max) => writer.bool(!broken(run) && !tests.iter().any(|t| lost(t, max))),
            None => writer.null(),
        };
        writer.finish(&RUN_PROGRESS)
    };
    runs.values().map(|run| row(run)).collect()
}
