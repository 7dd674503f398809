//! `suite_summary`, `coverage_overview` and `performance_summary`: a `map` and a `filter` over the forms of the views that they are
//! taken from.

use super::stages::{Rows, Stages};
use super::{coverage, performance, suite_progress};
use weir_dataflows::Config;
use weir_schemas::row::{RowWriter, Value};
use weir_schemas::view::{
    COVERAGE_OVERVIEW, COVERAGE_SUMMARY, PERFORMANCE, PERFORMANCE_SUMMARY, SUITE_PROGRESS, SUITE_SUMMARY, View,
};

/// Those columns that `view` has, of the rows that have a word in a column of `base`, where one is named.
fn taken<'s>(
    rows: Rows<'s>,
    base: &'static View,
    view: &'static View,
    only: Option<(&'static str, &'static str)>,
) -> Rows<'s> {
    let column = |name: &str| base.column(name).expect("a column of the base");
    let only = only.map(|(name, word)| (column(name), word));
    let columns: Vec<usize> = view.columns.iter().map(|of| column(of.name)).collect();
    rows.filter(move |row| only.is_none_or(|(column, word)| row.text(column) == Some(word))).map(move |row| {
        let mut writer = RowWriter::default();
        for column in &columns {
            match row.column(*column) {
                Value::Null => writer.null(),
                Value::Bool(value) => writer.bool(value),
                Value::Int(number) => writer.int(number),
                Value::Str(text) => writer.str(text),
                Value::List(list) => writer.list(list.iter().collect::<Vec<_>>().into_iter()),
            };
        }
        writer.finish(view)
    })
}

pub(crate) fn of_suites<'s>(stages: &Stages<'s>, config: &Config) -> Rows<'s> {
    taken(suite_progress::rows(stages, config), &SUITE_PROGRESS, &SUITE_SUMMARY, None)
}

pub(crate) fn of_coverage<'s>(stages: &Stages<'s>, config: &Config) -> Rows<'s> {
    taken(coverage::summary(stages, config), &COVERAGE_SUMMARY, &COVERAGE_OVERVIEW, Some(("flag", "*")))
}

pub(crate) fn of_performance<'s>(stages: &Stages<'s>, config: &Config) -> Rows<'s> {
    taken(performance::rows(stages, config), &PERFORMANCE, &PERFORMANCE_SUMMARY, Some(("window", "10s")))
}
