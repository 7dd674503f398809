//! The view `dashboard`: counted and copied from the rows of the other views' oracles.

use std::collections::BTreeSet;
use weir_schemas::row::{Row, RowWriter, Value};
use weir_schemas::view::{ALERTS, DASHBOARD, FLAKY_TESTS, LIVE_METRICS, RUN_PROGRESS, View};

fn value<'a>(view: &View, row: &'a Row, column: &str) -> Value<'a> {
    row.values().nth(view.columns.iter().position(|own| own.name == column).expect("a column")).expect("a value")
}

/// The rows of a view in which all of these columns have these words.
fn with(view: &'static View, rows: Vec<Row>, words: &[(&str, &str)]) -> Vec<Row> {
    let is = |row: &Row| words.iter().all(|(column, word)| value(view, row, column) == Value::Str(word));
    rows.into_iter().filter(is).collect()
}

/// The rows at a whole second, from those that other views have then.
pub fn rows(of: impl Fn(&'static View) -> Vec<Row>) -> Vec<Row> {
    let metrics = |window| with(&LIVE_METRICS, of(&LIVE_METRICS), &[("scope", "project"), ("window", window)]);
    let running = with(&RUN_PROGRESS, of(&RUN_PROGRESS), &[("state", "running")]);
    let flaky = with(&FLAKY_TESTS, of(&FLAKY_TESTS), &[("state", "flaky")]);
    let (minute, ten_minutes, alerts) = (metrics("60s"), metrics("10m"), of(&ALERTS));
    let all = [&running, &flaky, &minute, &ten_minutes, &alerts];
    let project = |row: &Row| match row.column(0) {
        Value::Str(project) => project.to_owned(),
        _ => panic!("a key begins with the project"),
    };
    let projects: BTreeSet<String> = all.iter().flat_map(|rows| rows.iter().map(project)).collect();
    let row = |name: String| {
        let count = |rows: &[Row]| rows.iter().filter(|row| project(row) == name).count() as u64;
        let number = |rows: &[Row], column: &str| {
            let row = rows.iter().find(|row| project(row) == name)?;
            if let Value::Int(number) = value(&LIVE_METRICS, row, column) { Some(number) } else { None }
        };
        let mut writer = RowWriter::default();
        writer.str(&name).uint(count(&running)).int(number(&minute, "tests_per_second").unwrap_or(0));
        writer.int(number(&minute, "success_rate").unwrap_or(100_000_000));
        writer.int(number(&ten_minutes, "failure_patterns").unwrap_or(0)).uint(count(&alerts));
        writer.opt_int(number(&minute, "live_coverage")).uint(count(&flaky));
        writer.finish(&DASHBOARD)
    };
    projects.into_iter().map(row).collect()
}
