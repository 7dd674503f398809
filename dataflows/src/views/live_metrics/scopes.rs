//! The second layer of `live_metrics`: each scope's panes and its row.
//!
//! Contract: takes [`Delta`]s of any workers, keeps the window's sums, and moves a scope's row at cadence points: at the
//! first one at or after each change, and at each expiry of a pane.
//!
//! # Invariants
//! The window's sums are the sums of its panes. A scope without a row, panes, running or awaited tests is forgotten.

use super::WINDOW;
use super::local::{Change, Delta, Gauges, PaneDelta, Sums};
use crate::facts::RowChange;
use crate::input::Text;
use crate::keyed::{Machine, Step};
use crate::map::Map;
use crate::window::{Agenda, Panes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::row::{RATIO_UNIT, Row, RowWriter, ratio};
use weir_schemas::update::Cause;
use weir_schemas::view::LIVE_METRICS;

/// All scopes of one worker.
#[derive(Default)]
pub struct Scopes {
    scopes: Map<Id, Scope>,
    agenda: Agenda<Id>,
    writer: RowWriter,
}

/// The state of one scope.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scope {
    project: Text,
    suite: Text,
    panes: Panes<Pane>,
    window: Pane,
    gauges: Gauges,
    /// The cadence point for which it is put down because something changed; 0: nothing did.
    due: u64,
    withdrawn: bool,
    shown: Option<Row>,
}

/// Sums, and attempts by failure fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Pane {
    sums: Sums,
    patterns: BTreeMap<Id, i64>,
}

impl Pane {
    fn add_patterns(&mut self, patterns: impl Iterator<Item = (Id, i64)>) {
        for (fingerprint, diff) in patterns {
            let count = self.patterns.entry(fingerprint).or_default();
            *count += diff;
            if *count == 0 {
                self.patterns.remove(&fingerprint);
            }
        }
    }
}

impl Scope {
    fn new(delta: &Delta) -> Scope {
        Scope {
            project: Arc::clone(&delta.project),
            suite: Arc::clone(&delta.suite),
            panes: Panes::default(),
            window: Pane::default(),
            gauges: Gauges::default(),
            due: 0,
            withdrawn: false,
            shown: None,
        }
    }

    /// Takes a pane's change in; says whether the pane is new.
    fn add(&mut self, delta: PaneDelta) -> bool {
        let (pane, new) = self.panes.pane(delta.pane);
        pane.sums.add(&delta.sums, 1);
        self.window.sums.add(&delta.sums, 1);
        if !delta.patterns.is_empty() {
            pane.add_patterns(delta.patterns.iter().copied());
            self.window.add_patterns(delta.patterns.into_iter());
        }
        self.withdrawn |= delta.withdrawn;
        new
    }

    fn expire(&mut self, now: u64) {
        while let Some((_, pane)) = self.panes.expire(WINDOW, now) {
            self.window.sums.add(&pane.sums, -1);
            self.window.add_patterns(pane.patterns.into_iter().map(|(fingerprint, count)| (fingerprint, -count)));
        }
    }

    fn row(&self, writer: &mut RowWriter) -> Option<Row> {
        let (sums, project) = (&self.window.sums, self.suite.is_empty());
        if sums.finished() == 0 && self.gauges == Gauges::default() {
            return None;
        }
        let completed = sums.passed + sums.failing;
        let (scope, name) = if project { ("project", &self.project) } else { ("suite", &self.suite) };
        writer.str(&self.project).str(scope).str(name).str("60s");
        writer.opt_int(ratio(sums.finished(), 1, WINDOW.seconds().cast_signed()));
        writer.int(ratio(sums.passed, 100, completed).unwrap_or(100 * RATIO_UNIT));
        writer.int(ratio(sums.failing, 100, completed).unwrap_or(0));
        writer.opt_int(average(sums));
        writer.int(self.gauges.running).uint(self.window.patterns.len() as u64);
        writer.opt_int(project.then_some(self.gauges.streams)).opt_int(project.then_some(self.gauges.tests));
        Some(writer.finish(&LIVE_METRICS))
    }

    fn idle(&self) -> bool {
        self.panes.is_empty() && self.gauges == Gauges::default() && self.shown.is_none()
    }
}

/// The mean duration in whole µs, rounded half up; none when nothing was timed.
fn average(sums: &Sums) -> Option<i64> {
    let timed = i128::from(sums.timed);
    if timed == 0 { None } else { i64::try_from((sums.duration_us + timed / 2).div_euclid(timed)).ok() }
}

impl Scopes {
    fn apply(&mut self, delta: Delta, step: &mut Step<'_, RowChange>) {
        let now = step.now();
        let scope = self.scopes.get_or_insert_with(delta.scope, || Scope::new(&delta));
        let point = now.next_multiple_of(LIVE_METRICS.cadence_ms);
        let mut put_down = |time: u64| {
            if self.agenda.add(time, delta.scope) && time > now {
                step.wake_at(time);
            }
        };
        if scope.due != point {
            scope.due = point;
            put_down(point);
        }
        match delta.change {
            Change::Gauges(gauges) => scope.gauges.add(&gauges),
            Change::Pane(pane) => {
                let expiry = WINDOW.expiry(pane.pane);
                if scope.add(pane) {
                    put_down(expiry);
                }
            }
        }
    }

    fn show(&mut self, id: Id, step: &mut Step<'_, RowChange>) {
        let Some(scope) = self.scopes.get_mut(&id) else { return };
        scope.expire(step.now());
        let row = scope.row(&mut self.writer);
        if row != scope.shown {
            let cause = if scope.withdrawn { Cause::Withdrawn } else { Cause::Changed };
            if let Some(row) = scope.shown.take() {
                step.emit(RowChange { row, cause }, -1);
            }
            if let Some(row) = &row {
                step.emit(RowChange { row: row.clone(), cause: Cause::Changed }, 1);
            }
            scope.shown = row;
        }
        scope.due = 0;
        scope.withdrawn = false;
        if scope.idle() {
            self.scopes.remove(&id);
        }
    }
}

impl Machine for Scopes {
    type Input = Delta;
    type Output = RowChange;
    type Entry = (Id, Scope);

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Scopes::default())
    }

    fn step(&mut self, data: &mut Vec<(Delta, i64)>, step: &mut Step<'_, RowChange>) {
        for (delta, _) in data.drain(..) {
            self.apply(delta, step);
        }
        if step.now().is_multiple_of(LIVE_METRICS.cadence_ms) {
            for id in self.agenda.due(step.now()) {
                self.show(id, step);
            }
        }
    }

    fn entries(&self) -> Vec<(Id, Scope)> {
        self.scopes.sorted().into_iter().map(|(id, scope)| (*id, scope.clone())).collect()
    }

    fn restore(&mut self, entries: Vec<(Id, Scope)>) -> Vec<u64> {
        for (id, scope) in entries {
            if scope.due > 0 {
                self.agenda.add(scope.due, id);
            }
            for (pane, _) in scope.panes.iter() {
                self.agenda.add(WINDOW.expiry(pane), id);
            }
            self.scopes.insert(id, scope);
        }
        self.agenda.times().collect()
    }
}
