//! View schemas: the single source for the WebSocket, the queries, the history and the docs.
//!
//! Contract: a [`View`] names its columns in order, key columns first; every key begins with `project`. A column enters a
//! schema when it is computed, not before. Adding, removing or retyping one raises the view's `version`, which changes
//! the epoch.
//!
//! # Invariants
//! Filterable are the key columns and those of kind str, enum, bool and list. The dataflow that computes a view writes
//! exactly these columns (checked where the row is finished). What a view's columns mean stands where the view is, by subject.

mod failures;
mod measures;
mod people;
mod runs;

pub use failures::{ERROR_STREAM, FAILURE_PATTERNS, FLAKY_TESTS};
pub use measures::{
    COVERAGE, COVERAGE_OVERVIEW, COVERAGE_SUMMARY, LIVE_METRICS, PERFORMANCE, PERFORMANCE_SUMMARY, SLOW_TESTS,
};
pub use people::{ALERTS, DASHBOARD, REJECTS, RULES, USER_ACTIVITY};
pub use runs::{MISSING, RUN_PROGRESS, SUITE_PROGRESS, SUITE_SUMMARY, TEST_RESULTS};

use serde::Serialize;

/// The kind of a column's values; every column but those of the key may be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Text.
    Str,
    /// One of a few words; which ones the view's docs say.
    Enum,
    /// A truth value.
    Bool,
    /// A count.
    Int,
    /// Milliseconds since the Unix epoch.
    Time,
    /// A length of time: µs inside, ms with up to three decimals outside.
    Duration,
    /// A fraction or rate: × 10⁶ inside, a decimal outside.
    Ratio,
    /// A list of texts.
    List,
}

impl Kind {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Str => "str",
            Kind::Enum => "enum",
            Kind::Bool => "bool",
            Kind::Int => "int",
            Kind::Time => "time",
            Kind::Duration => "duration",
            Kind::Ratio => "ratio",
            Kind::List => "list",
        }
    }
}

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, snake_case.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
}

/// One view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Its name, snake_case.
    pub name: &'static str,
    /// Raised with every change of columns or meaning.
    pub version: u32,
    /// The channel that carries it.
    pub channel: &'static str,
    /// How many of the first columns are the key.
    pub key: usize,
    /// Rows move at multiples of this on the tick axis, and are exact there; 0: at every tick.
    pub cadence_ms: u64,
    /// All columns, those of the key first.
    pub columns: &'static [Column],
}

impl View {
    /// The index of a column.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Whether a column can be filtered on.
    #[must_use]
    pub fn filterable(&self, index: usize) -> bool {
        index < self.key
            || self
                .columns
                .get(index)
                .is_some_and(|column| matches!(column.kind, Kind::Str | Kind::Enum | Kind::Bool | Kind::List))
    }
}

/// The view of a name.
#[must_use]
pub fn view(name: &str) -> Option<&'static View> {
    VIEWS.iter().copied().find(|view| view.name == name)
}

/// The position of a view in [`VIEWS`]: its number in frames.
#[must_use]
pub fn view_index(name: &str) -> Option<usize> {
    VIEWS.iter().position(|view| view.name == name)
}

/// All views, in the order in which frames carry them. One line a view.
pub const VIEWS: &[&View] = &[
    &RUN_PROGRESS,
    &SUITE_PROGRESS,
    &TEST_RESULTS,
    &LIVE_METRICS,
    &COVERAGE,
    &COVERAGE_SUMMARY,
    &FAILURE_PATTERNS,
    &ERROR_STREAM,
    &FLAKY_TESTS,
    &MISSING,
    &USER_ACTIVITY,
    &SLOW_TESTS,
    &ALERTS,
    &PERFORMANCE,
    &REJECTS,
    &RULES,
    &DASHBOARD,
    &SUITE_SUMMARY,
    &COVERAGE_OVERVIEW,
    &PERFORMANCE_SUMMARY,
];

/// Channels that have an aggregated form, and the view that is it. It is no part of the channel itself.
pub const AGGREGATED: &[(&str, &View)] = &[
    (SUITE_PROGRESS.channel, &SUITE_SUMMARY),
    (COVERAGE_SUMMARY.channel, &COVERAGE_OVERVIEW),
    (PERFORMANCE.channel, &PERFORMANCE_SUMMARY),
];

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_aggregated_form_of_a_channel_is_a_view_of_its_own() {
        for (channel, aggregated) in AGGREGATED {
            assert!(VIEWS.contains(aggregated) && aggregated.channel != *channel, "{}", aggregated.name);
            let of_channel = |view: &&&View| view.channel == *channel;
            let base = VIEWS.iter().filter(of_channel).find(|view| {
                let slower = view.cadence_ms < aggregated.cadence_ms;
                slower && aggregated.columns.iter().all(|column| view.columns.contains(column))
            });
            assert!(base.is_some(), "{} is made of columns of a faster view of {channel}", aggregated.name);
        }
    }

    #[test]
    fn every_view_is_sound() {
        for (index, view) in VIEWS.iter().enumerate() {
            assert_eq!(view.columns[0].name, "project", "{}: every key begins with the project", view.name);
            assert!(view.key >= 1 && view.key < view.columns.len(), "{}", view.name);
            assert_eq!(view_index(view.name), Some(index), "{}: the name is taken twice", view.name);
            assert_eq!(view.cadence_ms % 10, 0, "{}: a cadence is a multiple of the tick's unit", view.name);
            for (position, column) in view.columns.iter().enumerate() {
                assert_eq!(view.column(column.name), Some(position), "{}.{} stands twice", view.name, column.name);
            }
        }
    }
}
