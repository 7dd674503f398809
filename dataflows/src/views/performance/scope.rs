//! One scope of `performance`: its panes, the names of its metrics, and its rows.
//!
//! Contract: what came is held once: in a pane of 1 s while that is in 10 s, then in one of 10 s until that has left 10 min. Rows are
//! summed from the panes when they are written.
//!
//! A scope has at most `performance_metrics` names of metrics at a time: at each whole second, those of which nothing is left in 10 min make
//! room, then new ones come in the order of (pane, name). What of a name found no room is not taken, and what is taken back of it is not
//! either: so a name that gets in later begins after the last pane in which any was turned away.
//!
//! # Cost
//! Bytes: 300 for a scope besides its names and two rows; a pane of 208, and 2 for each bucket of durations and of memory in it, 64 for
//! each metric. A suite with 20 attempts a second for 10 min takes about 30 KB, a test that is measured once 2 to 3. Rows cost O(panes) each.

use super::content::{Content, Delta, Kind, Name, largest};
use super::{LONG_CADENCE_MS, WINDOW_NAMES, WINDOWS};
use crate::facts::RowChange;
use crate::input::Text;
use crate::keyed::Step;
use crate::percentiles::Scratch;
use crate::window::Panes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_schemas::row::{Row, RowWriter, write_decimal};
use weir_schemas::update::Cause;
use weir_schemas::view::PERFORMANCE;

/// The state of one scope.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scope {
    name: Name,
    /// The pane of 10 s from which on what happened is its own; what happened before, while there was no room for all, is not.
    since: u64,
    panes: [Panes<Content>; WINDOWS.len()],
    metrics: BTreeMap<Text, Metric>,
    /// The pane of 10 s from which on new names of metrics get in.
    metrics_since: u64,
    /// Whether the row of a window may have changed since it was last shown.
    changed: [bool; WINDOWS.len()],
    /// Whether a withdrawal was part of that.
    withdrawn: [bool; WINDOWS.len()],
    shown: [Option<Row>; WINDOWS.len()],
    /// When it has to be looked at again.
    due: u64,
}

/// The first and the last pane of 10 s in which a metric can be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Metric {
    since: u64,
    last: u64,
}

/// What rows are made with.
#[derive(Default)]
pub(super) struct Tools {
    pub(super) writer: RowWriter,
    pub(super) scratch: Scratch,
}

impl Scope {
    /// A scope of which nothing is known yet.
    pub(super) fn new(name: Name, since: u64) -> Scope {
        let (panes, metrics, metrics_since, changed, withdrawn, shown, due) = Default::default();
        Scope { name, since, panes, metrics, metrics_since, changed, withdrawn, shown, due }
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    pub(super) fn since(&self) -> u64 {
        self.since
    }

    pub(super) fn due(&self) -> u64 {
        self.due
    }

    /// Whether nothing of it is left in any window.
    pub(super) fn gone(&self) -> bool {
        self.panes.iter().all(Panes::is_empty)
    }

    /// Moves what has left a window on to the longer one, or out.
    pub(super) fn move_on(&mut self, now: u64, tools: &mut Tools) {
        let [short, long] = WINDOWS;
        while let Some((pane, content)) = self.panes[0].expire(short, now) {
            self.changed[0] = true;
            self.panes[1].pane(long.pane(short.begin(pane))).0.add(&content, &mut tools.scratch);
        }
        while self.panes[1].expire(long, now).is_some() {
            self.changed[1] = true;
        }
        self.metrics.retain(|_, metric| long.expiry(metric.last) > now);
    }

    /// Takes a change in, once everything is moved on to `now`; with room for so many metrics.
    pub(super) fn take(&mut self, delta: Delta, now: u64, metrics_max: usize, tools: &mut Tools) {
        let Some((level, pane)) = place(delta.pane, now) else { return };
        let (mut content, at) = (delta.content, WINDOWS[0].begin(delta.pane));
        content.metrics.retain(|(name, _)| self.admits(name, WINDOWS[1].pane(at), now, metrics_max));
        for window in level..WINDOWS.len() {
            self.changed[window] = true;
            self.withdrawn[window] |= delta.withdrawn;
        }
        self.panes[level].pane(pane).0.add(&content, &mut tools.scratch);
    }

    /// Whether what happened of a metric in a pane of 10 s is taken.
    fn admits(&mut self, name: &Text, pane: u64, now: u64, metrics_max: usize) -> bool {
        if let Some(metric) = self.metrics.get_mut(name) {
            metric.last = metric.last.max(pane);
            return metric.since <= pane;
        }
        if pane < self.metrics_since {
            return false;
        }
        if self.metrics.len() >= metrics_max {
            self.metrics_since = WINDOWS[1].pane(now) + 1;
            return false;
        }
        self.metrics.insert(Arc::clone(name), Metric { since: self.metrics_since, last: pane });
        true
    }

    /// Shows what has changed, as far as `now` is a time for it; says when to look at it next, if that is news.
    pub(super) fn show<O>(
        &mut self,
        tools: &mut Tools,
        step: &mut Step<'_, O>,
        output: impl Fn(RowChange) -> O,
    ) -> Option<u64> {
        let now = step.now();
        let windows = if now.is_multiple_of(LONG_CADENCE_MS) { WINDOWS.len() } else { 1 };
        for window in 0..windows {
            if !std::mem::take(&mut self.changed[window]) {
                continue;
            }
            let withdrawn = std::mem::take(&mut self.withdrawn[window]);
            let cause = if withdrawn { Cause::Withdrawn } else { Cause::Changed };
            let row = self.row(window, tools);
            let shown = &mut self.shown[window];
            if row != *shown {
                if let Some(row) = shown.take() {
                    step.emit(output(RowChange { row, cause }), -1);
                }
                if let Some(row) = &row {
                    step.emit(output(RowChange { row: row.clone(), cause: Cause::Changed }), 1);
                }
                *shown = row;
            }
        }
        let due = self.next(now);
        (std::mem::replace(&mut self.due, due) != due && due > 0).then_some(due)
    }

    /// The next time at which something leaves a window or the longer window's row is due; 0: none.
    fn next(&self, now: u64) -> u64 {
        let panes = self.panes.iter().zip(WINDOWS);
        let expiry = panes.filter_map(|(panes, window)| panes.oldest().map(|pane| window.expiry(pane))).min();
        let long = self.changed[1].then(|| (now + 1).next_multiple_of(LONG_CADENCE_MS));
        expiry.into_iter().chain(long).min().unwrap_or(0)
    }

    fn row(&self, window: usize, tools: &mut Tools) -> Option<Row> {
        let mut all = Content::default();
        for (_, content) in self.panes[..=window].iter().flat_map(Panes::iter) {
            all.add(content, &mut tools.scratch);
        }
        if all.ended <= 0 && all.measured <= 0 {
            return None;
        }
        let (Name { project, kind, name, .. }, writer) = (&self.name, &mut tools.writer);
        writer.str(project).str(kind.as_str()).str(name).str(WINDOW_NAMES[window]);
        writer.opt_int((*kind == Kind::Suite).then_some(all.ended)).int(all.measured);
        let (duration, memory) = (all.duration.average(), all.memory.average());
        writer.opt_int(duration).opt_uint(largest(&all.durations, duration)).opt_uint(all.durations.percentile(95));
        writer.opt_int(memory).opt_uint(largest(&all.memories, memory)).opt_int(all.cpu.average());
        let metrics: Vec<String> =
            all.metrics.iter().filter_map(|(name, sum)| Some(metric(name, sum.average()?))).collect();
        writer.list(metrics.iter().map(String::as_str));
        Some(writer.finish(&PERFORMANCE))
    }
}

fn metric(name: &str, millionths: i64) -> String {
    let mut text = format!("{name}=");
    write_decimal(millionths, 6, &mut text);
    text
}

/// The first window that still holds a pane of the shortest one, and the pane there.
pub(super) fn place(pane: u64, now: u64) -> Option<(usize, u64)> {
    let at = WINDOWS[0].begin(pane);
    let level = WINDOWS.iter().position(|window| !window.passed(at, now))?;
    Some((level, WINDOWS[level].pane(at)))
}
