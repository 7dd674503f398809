//! What `weir watch` shows of each view, and how a value looks.
//!
//! Contract: a [`Layout`] a view, read from a table (`layouts.txt`): which columns, in the order in which they give way when the screen is narrow (the last
//! first), and the order of rows. A view without a layout shows all its columns as they come.

use serde_json::Value;
use std::cmp::Reverse;
use std::sync::LazyLock;
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
    pub(super) columns: Vec<Column>,
    order: Order,
}

/// Which rows come first: those whose word stands first here, then the largest value.
struct Order {
    word: &'static str,
    words: Vec<&'static str>,
    largest: &'static str,
}

/// See the file, which says how it is read.
static LAYOUTS: LazyLock<Vec<Layout>> = LazyLock::new(|| {
    let mut layouts: Vec<Layout> = Vec::new();
    for line in include_str!("layouts.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match (line.strip_prefix('['), layouts.last_mut()) {
            (Some(head), _) => layouts.push(Layout::of(head)),
            (None, Some(layout)) => layout.columns.push(Column::of(line)),
            (None, None) => unreachable!("columns stand under a view"),
        }
    }
    layouts
});

/// The two sides of the first `mark`.
fn halves(line: &'static str, mark: &str) -> Option<(&'static str, &'static str)> {
    line.split_once(mark).map(|(one, other)| (one.trim(), other.trim()))
}

impl Layout {
    /// Of a line without its first bracket.
    fn of(line: &'static str) -> Layout {
        let (view, order) = halves(line, "]").expect("a view stands in brackets");
        let (words, largest) = halves(order, ";").unwrap_or(("", order));
        let (word, words) = halves(words, ":").unwrap_or_default();
        let words = words.split(',').map(str::trim).collect();
        Layout { view, columns: Vec::new(), order: Order { word, words, largest } }
    }
}

impl Column {
    fn of(line: &'static str) -> Column {
        let (title, rest) = halves(line, "|").expect("a title and a column");
        if let Some(name) = rest.strip_suffix(" %") {
            return Column { title, name, look: Look::Percent, width_max: 8 };
        }
        if let Some((name, of)) = halves(rest, "/") {
            return Column { title, name, look: Look::Share(of), width_max: 22 };
        }
        let (name, width) = halves(rest, "|").expect("a column and its width");
        Column { title, name, look: Look::Kind, width_max: width.parse().expect("a number of cells") }
    }
}

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
            for column in &layout.columns {
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
