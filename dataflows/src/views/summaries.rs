//! The aggregated forms of fast views: `suite_summary`, `coverage_overview` and `performance_summary`.
//!
//! Contract: each is a base view at a slower pace, with the columns that a glance needs ([`pace`]), and exact at its own cadence points. They
//! are computed from row changes of the base, never from events.
//!
//! # Cost
//! That of [`pace`]: a look-up a row change of the base.

use crate::context::Context;
use crate::facts::{RowChange, Rows};
use crate::fork::Forks;
use crate::pace::pace;
use weir_schemas::row::Row;
use weir_schemas::view::{
    COVERAGE_OVERVIEW, COVERAGE_SUMMARY, PERFORMANCE, PERFORMANCE_SUMMARY, SUITE_PROGRESS, SUITE_SUMMARY, View,
};

/// Rows that have a word in a column.
fn with(view: &'static View, column: &str, word: &'static str) -> impl Fn(&Row) -> bool + use<> {
    let column = view.column(column).expect("a column of the view");
    move |row| row.text(column) == Some(word)
}

/// `suite_summary`, of the rows of `suite_progress`.
#[must_use]
pub fn of_suites<'s>(cx: &Context<'s>, rows: &mut Forks<'s, RowChange>) -> Rows<'s> {
    pace(cx, (&SUITE_PROGRESS, &SUITE_SUMMARY), |_| true, rows)
}

/// `coverage_overview`, of the rows of `coverage_summary`: those of all flags together.
#[must_use]
pub fn of_coverage<'s>(cx: &Context<'s>, rows: &mut Forks<'s, RowChange>) -> Rows<'s> {
    pace(cx, (&COVERAGE_SUMMARY, &COVERAGE_OVERVIEW), with(&COVERAGE_SUMMARY, "flag", "*"), rows)
}

/// `performance_summary`, of the rows of `performance`: those of the last 10 s.
#[must_use]
pub fn of_performance<'s>(cx: &Context<'s>, rows: &mut Forks<'s, RowChange>) -> Rows<'s> {
    pace(cx, (&PERFORMANCE, &PERFORMANCE_SUMMARY), with(&PERFORMANCE, "window", "10s"), rows)
}
