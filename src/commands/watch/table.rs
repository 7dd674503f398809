//! The live table: the state of a watch as lines that fit a screen.
//!
//! Contract: pure. [`render`] gives at most `height` lines of at most `width` cells each: a status line, then each view's
//! table with as many rows as fit and how many do not. Columns are as wide as what they show; where the screen is too
//! narrow the widest shrink, then the last ones go.

use super::columns::{Cell, Layout, Tint, cell, layout, plain};
use super::fold::{Fold, ViewRows};
use console::{Alignment, measure_text_width, pad_str, truncate_str};
use serde_json::Value;

/// A screen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) colours: bool,
}

/// How the connection is, told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// No data yet.
    Connecting,
    /// Numbers move.
    Live,
    /// Connected and current; nothing changes.
    Quiet,
    /// These are not the numbers of now: why.
    Stale(String),
}

/// What stands in the first line.
#[derive(Clone, Debug)]
pub(super) struct Status {
    pub(super) title: String,
    pub(super) health: Health,
    /// What is not in yet.
    pub(super) completeness: String,
}

const GAP: &str = "  ";
const WIDTH_MIN: usize = 6;

/// The whole screen.
pub(super) fn render(fold: &Fold, status: &Status, now_ms: u64, size: Size) -> Vec<String> {
    let mut lines = vec![status_line(status, size)];
    let views = fold.views();
    let room = size.height.saturating_sub(1) / views.len().max(1);
    for view in views {
        lines.push(String::new());
        lines.extend(table(view, now_ms, size, room.saturating_sub(1)));
    }
    lines.truncate(size.height);
    lines.into_iter().map(|line| truncate_str(&line, size.width, "…").into_owned()).collect()
}

fn status_line(status: &Status, size: Size) -> String {
    let (word, tint) = match &status.health {
        Health::Connecting => ("connecting".to_owned(), Tint::Busy),
        Health::Live => ("live".to_owned(), Tint::Good),
        Health::Quiet => ("quiet".to_owned(), Tint::Plain),
        Health::Stale(why) => (format!("STALE: {why}"), Tint::Bad),
    };
    let mut line = format!("{}{GAP}{}", status.title, paint(&word, tint, size.colours));
    if !status.completeness.is_empty() {
        line.push_str(GAP);
        line.push_str(&paint(&status.completeness, Tint::Faint, size.colours));
    }
    line
}

/// One view's table in at most `room` lines.
fn table(view: &ViewRows, now_ms: u64, size: Size, room: usize) -> Vec<String> {
    let mut rows: Vec<&Vec<Value>> = view.rows.values().collect();
    let layout = layout(&view.schema.view);
    if let Some(layout) = layout {
        layout.sort(&view.schema, &mut rows);
    }
    let all = rows.len();
    // The titles, and a last line that says what is not shown.
    let shown = if all + 1 > room { room.saturating_sub(2) } else { all };
    rows.truncate(shown);
    let mut columns = cells(layout, view, &rows, now_ms);
    fit(&mut columns, size.width);
    let mut lines = Vec::with_capacity(shown + 2);
    lines.push(paint(&line_of(columns.iter().map(|c| (&c.title, c.width))), Tint::Faint, size.colours));
    for row in 0..shown {
        let cells = columns.iter().map(|column| {
            let Cell { text, tint } = &column.cells[row];
            paint(&fixed(text, column.width), *tint, size.colours)
        });
        lines.push(cells.collect::<Vec<_>>().join(GAP));
    }
    if shown < all {
        lines.push(paint(&format!("… and {} more", all - shown), Tint::Faint, size.colours));
    } else if all == 0 {
        lines.push(paint(&format!("{}: nothing yet", view.schema.view), Tint::Faint, size.colours));
    }
    lines
}

struct Shown {
    title: String,
    cells: Vec<Cell>,
    width: usize,
}

fn cells(layout: Option<&Layout>, view: &ViewRows, rows: &[&Vec<Value>], now_ms: u64) -> Vec<Shown> {
    let shown = |title: &str, width_max: usize, cells: Vec<Cell>| {
        let widest = cells.iter().map(|cell| measure_text_width(&cell.text)).max().unwrap_or(0);
        Shown { title: title.to_owned(), width: widest.min(width_max).max(measure_text_width(title)), cells }
    };
    match layout {
        Some(layout) => {
            let of = |column| rows.iter().map(|row| cell(column, &view.schema, row, now_ms)).collect();
            layout.columns.iter().map(|column| shown(column.title, column.width_max, of(column))).collect()
        }
        None => {
            let named = view.schema.columns.iter().enumerate();
            let value = |row: &Vec<Value>, index: usize| row.get(index).cloned().unwrap_or(Value::Null);
            named
                .map(|(index, (name, kind))| {
                    let of = rows.iter().map(|row| plain(&value(row, index), kind, name, now_ms)).collect();
                    shown(name, 32, of)
                })
                .collect()
        }
    }
}

/// Makes columns fit: the widest shrink first, then the last ones go.
fn fit(columns: &mut Vec<Shown>, width: usize) {
    loop {
        let gaps = GAP.len() * columns.len().saturating_sub(1);
        let total: usize = columns.iter().map(|column| column.width).sum::<usize>() + gaps;
        if total <= width || columns.len() == 1 {
            return;
        }
        let surplus = total - width;
        // A column that lost more than half would say nothing.
        match columns.iter_mut().filter(|column| column.width > WIDTH_MIN * 4).max_by_key(|column| column.width) {
            Some(widest) => widest.width = (widest.width - surplus.min(widest.width / 4).max(1)).max(WIDTH_MIN * 4),
            None => _ = columns.pop(),
        }
    }
}

fn line_of<'a>(cells: impl Iterator<Item = (&'a String, usize)>) -> String {
    cells.map(|(text, width)| fixed(text, width)).collect::<Vec<_>>().join(GAP)
}

fn fixed(text: &str, width: usize) -> String {
    pad_str(&truncate_str(text, width, "…"), width, Alignment::Left, None).into_owned()
}

fn paint(text: &str, tint: Tint, colours: bool) -> String {
    let code = match tint {
        Tint::Plain => return text.to_owned(),
        Tint::Good => 32,
        Tint::Bad => 31,
        Tint::Busy => 36,
        Tint::Odd => 33,
        Tint::Faint => 2,
    };
    if colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use weir_schemas::protocol::{InitialData, Mode, ServerMessage, SubscriptionConfirmed};
    use weir_schemas::view::{RUN_PROGRESS, View};

    fn fold(views: &[&View], rows: Vec<Vec<Value>>) -> Fold {
        let text = |text: &str| text.to_owned();
        let mut fold = Fold::default();
        let confirmed = SubscriptionConfirmed {
            subscription_id: text("s"),
            subscription: text("n"),
            channel: text("c"),
            filter_id: text("f"),
            mode: Mode::Snapshot,
            epoch: text("e"),
            time: 1,
            group: 1,
            schemas: views.iter().map(|view| (*view).into()).collect(),
            excluded_views: Vec::new(),
        };
        fold.take(ServerMessage::SubscriptionConfirmed(confirmed)).expect("follows");
        let (subscription_id, subscription, view, epoch) = (text("s"), text("n"), text("run_progress"), text("e"));
        let part = InitialData { subscription_id, subscription, view, epoch, time: 1, part: 0, last: true, rows };
        fold.take(ServerMessage::InitialData(part)).expect("follows");
        fold
    }

    fn run(name: &str, state: &str, at: u64) -> Vec<Value> {
        vec![
            json!("web"),
            json!(name),
            json!(state),
            json!("main"),
            json!("c0ffee"),
            json!("ann"),
            json!("pytest"),
            json!(10),
            json!(6),
            json!(5),
            json!(4),
            json!(1),
            json!(0),
            json!(0),
            json!(0),
            json!(1),
            json!(at),
            json!(1),
            json!(1),
            json!(2),
        ]
    }

    fn status() -> Status {
        let (title, completeness) = ("run_progress at http://x".to_owned(), "12 open streams".to_owned());
        Status { title, health: Health::Live, completeness }
    }

    #[test]
    fn whatever_the_screen_the_lines_fit_it() {
        let rows = (0..60).map(|n| run(&format!("run-ä-漢字-{n}-{}", "x".repeat(n)), "running", n as u64)).collect();
        let fold = fold(&[&RUN_PROGRESS], rows);
        for width in [1, 8, 20, 40, 80, 120, 400] {
            for height in [1, 2, 3, 5, 24, 100] {
                for colours in [false, true] {
                    let lines = render(&fold, &status(), 100_000, Size { width, height, colours });
                    assert!(lines.len() <= height, "{} lines of {height}", lines.len());
                    for line in &lines {
                        assert!(measure_text_width(line) <= width, "{width}: {line:?}");
                        assert!(colours || !line.contains('\u{1b}'), "{line:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_runs_stands_first_and_what_is_not_shown_is_counted() {
        let mut rows = vec![run("old", "running", 10), run("done", "passed", 99), run("new", "running", 50)];
        let size = Size { width: 120, height: 20, colours: false };
        let lines = render(&fold(&[&RUN_PROGRESS], rows.clone()), &status(), 100_000, size);
        let order: Vec<&str> = lines.iter().skip(3).filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(order, ["new", "old", "done"], "{lines:#?}");
        assert!(lines[0].contains("live") && lines[0].contains("12 open streams"), "{lines:#?}");
        assert!(lines[3].contains("█████░░░░░ 5/10"), "{lines:#?}");
        rows.extend((0..30).map(|n| run(&format!("r{n}"), "passed", n)));
        let lines = render(&fold(&[&RUN_PROGRESS], rows), &status(), 100_000, size);
        assert_eq!((lines.len(), lines[19].as_str()), (20, "… and 17 more"), "{lines:#?}");
    }

    #[test]
    fn a_stale_screen_says_so_and_why() {
        let stale = Status { health: Health::Stale("disconnected".to_owned()), ..status() };
        let lines = render(&Fold::default(), &stale, 0, Size { width: 80, height: 5, colours: false });
        assert!(lines[0].contains("STALE: disconnected"), "{lines:?}");
    }
}
