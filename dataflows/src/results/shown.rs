//! What is shown of a test, and what of it changed.

use super::ResultOutput;
use super::attempts::{Standing, Test};
use crate::facts::{AttemptFact, RowChange, Running};
use crate::keyed::Step;
use crate::views::{missing, test_results};
use std::cmp::Ordering;
use std::sync::Arc;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::Cause;

/// What is shown of a test.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) standing: Option<Standing>,
    row: Option<Row>,
    missing: Option<Row>,
}

impl Shown {
    pub(super) fn of(test: &Test, ended_at: Option<u64>, writer: &mut RowWriter) -> Shown {
        let Some(standing) = test.standing() else { return Shown::default() };
        Shown {
            standing: Some(standing),
            row: Some(test_results::row(writer, test, &standing)),
            missing: ended_at
                .filter(|_| standing.outcome.is_none())
                .map(|ended_at| missing::not_finished(writer, &test.names, ended_at, test.origin.worker.as_deref())),
        }
    }

    fn running(&self, ended: bool) -> bool {
        !ended && self.standing.is_some_and(|standing| standing.running)
    }
}

/// Emits what changed of a test's facts: both in order of their attempts, at most one of each.
pub(super) fn tell_facts(
    before: Vec<AttemptFact>,
    after: impl Iterator<Item = AttemptFact>,
    step: &mut Step<'_, ResultOutput>,
) {
    let (mut before, mut after) = (before.into_iter().peekable(), after.peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (Some(was), Some(is)) => was.attempt.cmp(&is.attempt),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        let was = if order.is_le() { before.next() } else { None };
        let is = if order.is_ge() { after.next() } else { None };
        if was != is {
            was.into_iter().for_each(|fact| step.emit(ResultOutput::Fact(fact), -1));
            is.into_iter().for_each(|fact| step.emit(ResultOutput::Fact(fact), 1));
        }
    }
}

/// Emits what changed of what is shown of a test. `ended`: whether its run had ended, and has.
pub(super) fn tell(
    test: &Test,
    before: Shown,
    after: Shown,
    cause: Cause,
    ended: (bool, bool),
    step: &mut Step<'_, ResultOutput>,
) {
    let (was, is) = (before.running(ended.0), after.running(ended.1));
    rows(before.row, after.row, cause, |row, diff| step.emit(ResultOutput::Row(row), diff));
    rows(before.missing, after.missing, cause, |row, diff| step.emit(ResultOutput::Missing(row), diff));
    if was != is {
        let names = &test.names;
        let (project, suite_name) = (Arc::clone(&names.project), Arc::clone(&names.suite));
        let running = Running { project, suite: names.suite_id, suite_name };
        step.emit(ResultOutput::Running(running), i64::from(is) - i64::from(was));
    }
}

fn rows(before: Option<Row>, after: Option<Row>, cause: Cause, mut emit: impl FnMut(RowChange, i64)) {
    if before == after {
        return;
    }
    if let Some(row) = before {
        emit(RowChange { row, cause }, -1);
    }
    if let Some(row) = after {
        emit(RowChange { row, cause }, 1);
    }
}
