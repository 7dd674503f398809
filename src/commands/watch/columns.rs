//! What `weir watch` shows of each view, and how a value looks.
//!
//! Contract: a [`Layout`] a view: which columns, in the order in which they give way when the screen is narrow (the last
//! first), and the order of rows. A view without a layout shows all its columns as they come.

use serde_json::Value;
use std::cmp::Reverse;
use weir_schemas::protocol::ViewSchema;

/// How a cell is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tint {
    #[default]
    Plain,
    Good,
    Bad,
    Busy,
    Odd,
    Faint,
}

/// One cell: text without control characters, and its tint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tint: Tint,
}

/// How a column's values look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// By its kind.
    Kind,
    /// A bar of this column of that other.
    Share(&'static str),
    Percent,
}

/// A column on the screen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    name: &'static str,
    look: Look,
    /// Cells, at most.
    pub(super) width_max: usize,
}

/// What is shown of a view.
pub(super) struct Layout {
    view: &'static str,
    pub(super) columns: &'static [Column],
    order: Order,
}

/// Which rows come first: those whose word stands first here, then the largest value.
struct Order {
    word: &'static str,
    words: &'static [&'static str],
    largest: &'static str,
}

const fn column(title: &'static str, name: &'static str, width_max: usize) -> Column {
    Column { title, name, look: Look::Kind, width_max }
}

const fn share(title: &'static str, name: &'static str, of: &'static str) -> Column {
    Column { title, name, look: Look::Share(of), width_max: 22 }
}

const fn percent(title: &'static str, name: &'static str) -> Column {
    Column { title, name, look: Look::Percent, width_max: 8 }
}

const LAYOUTS: &[Layout] = &[
    Layout {
        view: "run_progress",
        columns: &[
            column("state", "state", 9),
            column("run", "run", 36),
            share("progress", "finished", "planned"),
            column("failed", "failed", 7),
            column("errors", "errored", 7),
            column("flaky", "flaky", 6),
            column("project", "project", 20),
            column("last", "last_event_at", 8),
            column("done", "eta_at", 9),
            column("branch", "branch", 28),
            column("open", "open_streams", 5),
            column("skipped", "skipped", 7),
            column("user", "user", 12),
        ],
        // By their beginning, which stays: rows do not dance.
        order: Order { word: "state", words: &["running"], largest: "first_event_at" },
    },
    Layout {
        view: "suite_progress",
        columns: &[
            column("state", "state", 9),
            column("suite", "name", 48),
            share("progress", "finished", "planned"),
            column("failed", "failed", 7),
            column("errors", "errored", 7),
            column("flaky", "flaky", 6),
            column("run", "run", 28),
            column("time", "duration", 9),
            column("latest", "latest_result", 9),
            column("project", "project", 16),
        ],
        order: Order { word: "state", words: &["running", "failed"], largest: "finished" },
    },
    Layout {
        view: "test_results",
        columns: &[
            column("outcome", "outcome", 8),
            column("test", "name", 56),
            column("error", "error", 60),
            column("tries", "attempts", 5),
            column("time", "duration", 9),
            column("suite", "suite", 32),
            column("run", "run", 28),
            column("worker", "worker", 14),
        ],
        order: Order { word: "outcome", words: &["timeout", "error", "failed", "running"], largest: "finished_at" },
    },
    Layout {
        view: "live_metrics",
        columns: &[
            column("scope", "scope", 8),
            column("name", "name", 40),
            column("last", "window", 4),
            column("tests/s", "tests_per_second", 9),
            percent("success", "success_rate"),
            percent("errors", "error_rate"),
            column("average", "average_duration", 9),
            column("p95", "p95", 9),
            column("running", "running_tests", 8),
            column("patterns", "failure_patterns", 8),
            column("p50", "p50", 9),
            column("p99", "p99", 9),
            column("open", "open_streams", 6),
            column("not seen", "not_seen", 8),
            percent("covered", "live_coverage"),
            column("trend", "coverage_trend", 7),
            column("memory", "memory_average", 14),
            column("project", "project", 16),
        ],
        // The shortest window first; in each, a project has more tests than its parts.
        order: Order { word: "window", words: &["60s", "10m", "1h"], largest: "tests_per_second" },
    },
    Layout {
        view: "failure_patterns",
        columns: &[
            column("10 min", "count_10m", 7),
            column("1 h", "count_1h", 6),
            column("24 h", "count_24h", 7),
            column("trend", "trend", 7),
            column("tests", "tests", 6),
            column("runs", "runs", 6),
            column("pattern", "pattern", 70),
            column("type", "type", 24),
            column("last", "last_seen_at", 8),
            column("all on", "common", 40),
            column("users", "users", 6),
            column("workers", "workers", 7),
            column("project", "project", 16),
            column("for instance", "sample_test", 40),
        ],
        order: Order { word: "", words: &[], largest: "count_10m" },
    },
    Layout {
        view: "flaky_tests",
        columns: &[
            column("state", "state", 8),
            column("why", "reason", 8),
            column("test", "name", 60),
            column("branch", "branch", 24),
            percent("failed", "flake_rate"),
            column("of", "outcomes", 4),
            column("flips", "flips", 5),
            column("passes needed", "passes_needed", 13),
            column("last flake", "last_flake_at", 10),
            column("project", "project", 16),
        ],
        order: Order { word: "state", words: &["broken", "flaky", "fixed"], largest: "last_flake_at" },
    },
    Layout {
        view: "slow_tests",
        columns: &[
            column("median", "p50", 9),
            column("p95", "p95", 9),
            percent("change", "change"),
            column("runs", "runs", 7),
            column("test", "name", 70),
            column("suite", "suite", 32),
            column("id", "test", 32),
            column("project", "project", 16),
        ],
        order: Order { word: "", words: &[], largest: "p50" },
    },
    Layout {
        view: "performance",
        columns: &[
            column("scope", "scope", 6),
            column("name", "name", 56),
            column("last", "window", 4),
            column("average", "average_duration", 9),
            column("longest", "max_duration", 9),
            column("p95", "p95", 9),
            column("memory", "average_memory", 14),
            column("most", "max_memory", 14),
            column("cpu", "average_cpu", 6),
            column("tests", "tests", 7),
            column("measured", "measured", 8),
            column("metrics", "metrics", 48),
            column("project", "project", 16),
        ],
        order: Order { word: "window", words: &["10s", "10m"], largest: "average_duration" },
    },
    Layout {
        view: "missing",
        columns: &[
            column("missing", "kind", 17),
            column("run", "run", 32),
            column("what", "id", 48),
            column("count", "count", 6),
            column("since", "since", 8),
            column("worker", "worker", 14),
            column("project", "project", 16),
        ],
        order: Order { word: "", words: &[], largest: "since" },
    },
    Layout {
        view: "user_activity",
        columns: &[
            column("user", "user", 24),
            column("running", "running_runs", 7),
            column("today", "runs_today", 6),
            column("result", "last_result", 9),
            column("last run", "last_run", 36),
            column("last", "last_active_at", 8),
            column("project", "project", 20),
        ],
        order: Order { word: "", words: &[], largest: "last_active_at" },
    },
    Layout {
        view: "alerts",
        columns: &[
            column("severity", "severity", 8),
            column("alert", "message", 80),
            column("since", "fired_at", 8),
            column("rule", "rule", 28),
            column("value", "value", 12),
            column("limit", "threshold", 12),
            column("of", "subject", 40),
            column("view", "view", 16),
            column("project", "project", 16),
        ],
        order: Order { word: "severity", words: &["error", "warning", "info"], largest: "fired_at" },
    },
    Layout {
        view: "rejects",
        columns: &[
            column("rejected", "kind", 10),
            column("count", "count", 7),
            column("why", "message", 60),
            column("stream", "stream", 32),
            column("at", "at", 8),
            column("project", "project", 16),
        ],
        order: Order { word: "", words: &[], largest: "at" },
    },
    Layout {
        view: "coverage",
        columns: &[
            column("file", "file", 70),
            percent("covered", "percent"),
            share("lines", "lines_covered", "lines_total"),
            column("flag", "flag", 12),
            column("run", "run", 28),
            column("sessions", "sessions", 8),
            column("project", "project", 16),
        ],
        order: Order { word: "", words: &[], largest: "lines_total" },
    },
    Layout {
        view: "coverage_summary",
        columns: &[
            column("run", "run", 36),
            column("flag", "flag", 12),
            percent("covered", "percent"),
            column("trend", "trend", 7),
            column("against", "compared_with", 16),
            share("lines", "lines_covered", "lines_total"),
            column("files", "files", 7),
            column("reported", "sessions_reported", 8),
            column("of", "sessions_expected", 5),
            column("inexact", "inexact", 7),
            column("state", "state", 9),
            column("branch", "branch", 24),
            column("project", "project", 16),
        ],
        order: Order { word: "flag", words: &["*"], largest: "lines_total" },
    },
    Layout {
        view: "error_stream",
        columns: &[
            column("at", "at", 8),
            column("test", "test_name", 48),
            column("error", "message", 70),
            column("type", "type", 20),
            column("outcome", "outcome", 8),
            column("run", "run", 28),
            column("worker", "worker", 16),
            column("project", "project", 16),
        ],
        order: Order { word: "", words: &[], largest: "at" },
    },
    Layout {
        view: "dashboard",
        columns: &[
            column("project", "project", 24),
            column("runs", "running_runs", 6),
            percent("success", "success_rate"),
            column("alerts", "firing_alerts", 7),
            column("failing", "failing_patterns", 8),
            column("flaky", "flaky_tests", 7),
            percent("covered", "live_coverage"),
            column("tests/s", "tests_per_second", 9),
        ],
        order: Order { word: "", words: &[], largest: "running_runs" },
    },
    Layout {
        view: "suite_summary",
        columns: &[
            column("state", "state", 9),
            column("suite", "name", 48),
            share("progress", "finished", "planned"),
            column("latest", "latest_result", 9),
            column("run", "run", 28),
            column("project", "project", 16),
        ],
        order: Order { word: "state", words: &["running", "failed"], largest: "finished" },
    },
    Layout {
        view: "coverage_overview",
        columns: &[
            column("run", "run", 36),
            percent("covered", "percent"),
            column("trend", "trend", 7),
            share("lines", "lines_covered", "lines_total"),
            column("files", "files", 7),
            column("reported", "sessions_reported", 8),
            column("of", "sessions_expected", 5),
            column("branch", "branch", 24),
            column("project", "project", 16),
        ],
        order: Order { word: "", words: &[], largest: "lines_total" },
    },
    Layout {
        view: "performance_summary",
        columns: &[
            column("scope", "scope", 6),
            column("name", "name", 56),
            column("average", "average_duration", 9),
            column("longest", "max_duration", 9),
            column("memory", "average_memory", 14),
            column("project", "project", 16),
        ],
        order: Order { word: "scope", words: &["suite"], largest: "average_duration" },
    },
    Layout {
        view: "rules",
        columns: &[
            column("kind", "kind", 8),
            column("id", "id", 32),
            column("project", "project", 16),
            column("says", "text", 100),
            column("since", "since", 8),
            column("by", "said_by", 16),
        ],
        order: Order { word: "kind", words: &["incident"], largest: "since" },
    },
];

/// The layout of a view, if it has one.
pub(super) fn layout(view: &str) -> Option<&'static Layout> {
    LAYOUTS.iter().find(|layout| layout.view == view)
}

impl Layout {
    /// Sorts rows, the most interesting first; ties by key, so that rows do not dance.
    pub(super) fn sort(&self, schema: &ViewSchema, rows: &mut [&Vec<Value>]) {
        let (word, largest) = (index(schema, self.order.word), index(schema, self.order.largest));
        let rank = |row: &Vec<Value>| {
            let word = word.and_then(|word| row.get(word)?.as_str()).unwrap_or_default();
            self.order.words.iter().position(|first| *first == word).unwrap_or(self.order.words.len())
        };
        // Thousandths, so that decimals have an order as well.
        #[expect(clippy::cast_possible_truncation, reason = "an order among numbers of people's size")]
        let size = |row: &Vec<Value>| {
            largest.and_then(|largest| row.get(largest)?.as_f64()).map_or(i128::MIN, |value| (value * 1e3) as i128)
        };
        rows.sort_by_cached_key(|row| (rank(row), Reverse(size(row))));
    }
}

fn index(schema: &ViewSchema, name: &str) -> Option<usize> {
    schema.columns.iter().position(|(column, _)| column == name)
}

/// A column's cell of a row.
pub(super) fn cell(column: &Column, schema: &ViewSchema, row: &[Value], now_ms: u64) -> Cell {
    let value = |name: &str| index(schema, name).and_then(|index| row.get(index)).unwrap_or(&Value::Null);
    let this = value(column.name);
    match column.look {
        Look::Share(of) => Cell { text: bar(this.as_u64().unwrap_or(0), value(of).as_u64()), tint: Tint::Plain },
        Look::Percent => Cell { text: this.as_f64().map_or(String::new(), |p| format!("{p:.1} %")), tint: Tint::Plain },
        Look::Kind => {
            let kind = index(schema, column.name).map_or("str", |index| schema.columns[index].1.as_str());
            plain(this, kind, column.name, now_ms)
        }
    }
}

/// A value as its kind looks.
pub(super) fn plain(value: &Value, kind: &str, name: &str, now_ms: u64) -> Cell {
    let text = match (kind, value) {
        (_, Value::Null) => String::new(),
        ("time", Value::Number(ms)) => ms.as_u64().map_or(String::new(), |ms| ago(ms, now_ms)),
        ("duration", Value::Number(ms)) => ms.as_f64().map_or(String::new(), span),
        ("ratio", Value::Number(ratio)) => ratio.as_f64().map_or(String::new(), |ratio| format!("{ratio:.1}")),
        (_, Value::String(text)) => clean(text),
        (_, Value::Array(list)) => clean(&list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")),
        (_, Value::Bool(true)) => "yes".to_owned(),
        (_, Value::Bool(false)) => String::new(),
        (_, other) => clean(&other.to_string()),
    };
    let tint = match (kind, text.as_str(), name) {
        ("enum", "passed", _) => Tint::Good,
        ("enum", "failed" | "error" | "timeout", _) => Tint::Bad,
        ("enum", "running", _) => Tint::Busy,
        ("enum", "abandoned" | "not_finished" | "not_started" | "shard_not_started", _) => Tint::Odd,
        ("enum", "version_gap" | "silent_shard" | "overflow", _) => Tint::Odd,
        ("enum", "skipped", _) => Tint::Faint,
        ("int", count, "failed" | "errored") if count != "0" => Tint::Bad,
        ("int", count, "flaky") if count != "0" => Tint::Odd,
        ("int", "0", _) => Tint::Faint,
        _ => Tint::Plain,
    };
    Cell { text, tint }
}

/// Names and messages come from outside: nothing of them may move the cursor or change colours.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect()
}

const BAR_CELLS: u64 = 10;

fn bar(done: u64, planned: Option<u64>) -> String {
    let Some(planned) = planned.filter(|planned| *planned > 0) else { return format!("{done}") };
    let filled = (done.min(planned) * BAR_CELLS / planned).min(BAR_CELLS);
    let cells: String = (0..BAR_CELLS).map(|cell| if cell < filled { '█' } else { '░' }).collect();
    format!("{cells} {done}/{planned}")
}

/// How long ago a time was, or how far ahead it is.
fn ago(ms: u64, now_ms: u64) -> String {
    let ahead = ms.saturating_sub(now_ms);
    if ahead >= 1_000 {
        return format!("in {}", ago(now_ms, ms));
    }
    match now_ms.saturating_sub(ms) / 1_000 {
        0 => "now".to_owned(),
        seconds @ 1..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..86_400 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

fn span(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms if ms < 60_000.0 => format!("{:.1} s", ms / 1e3),
        ms => format!("{:.1} min", ms / 60e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use weir_schemas::view::VIEWS;

    #[test]
    fn every_view_has_a_layout_of_columns_that_it_has() {
        for view in VIEWS {
            let layout = layout(view.name).unwrap_or_else(|| panic!("{} has no layout", view.name));
            for column in layout.columns {
                assert!(view.column(column.name).is_some(), "{}.{}", view.name, column.name);
                if let Look::Share(of) = column.look {
                    assert!(view.column(of).is_some(), "{}.{of}", view.name);
                }
            }
            let Order { word, largest, .. } = &layout.order;
            assert!(word.is_empty() || view.column(word).is_some(), "{}.{word}", view.name);
            assert!(view.column(largest).is_some(), "{}.{largest}", view.name);
        }
    }

    #[test]
    fn values_look_as_people_read_them() {
        let text = |value: Value, kind: &str| plain(&value, kind, "x", 100_000).text;
        assert_eq!(text(json!(30_000), "time"), "1 min");
        assert_eq!(text(json!(100_500), "time"), "now");
        assert_eq!(text(json!(190_000), "time"), "in 1 min");
        assert_eq!(text(json!(0.2), "duration"), "0.2 ms");
        assert_eq!(text(json!(61_000), "duration"), "1.0 min");
        assert_eq!(text(json!("a\u{1b}[31m\nb"), "str"), "a [31m b", "no control character reaches the terminal");
        assert_eq!(text(json!(["db", "slow"]), "list"), "db, slow");
        assert_eq!(text(Value::Null, "int"), "");
        assert_eq!(plain(&json!("failed"), "enum", "state", 0).tint, Tint::Bad);
        assert_eq!(bar(5, Some(10)), "█████░░░░░ 5/10");
        assert_eq!(bar(12, Some(10)), "██████████ 12/10");
        assert_eq!(bar(3, None), "3");
    }
}
