//! The first layer of `live_metrics` for what is running, awaited and covered: a worker's own changes, summed by scope.
//!
//! Contract: [`LocalGauges`] turns them into one [`Delta`] a suite, a branch and a project at each cadence point. What came and went
//! in between is nothing.
//!
//! # Cost
//! One look-up an update; projects' sums are made from those of their suites. State O(suites and
//! branches with a change since the last cadence point).

use super::delta::{Change, Delta, Gauges, ScopeKind, ScopeName};
use crate::facts::{Awaited, AwaitedKind, Running};
use crate::input::Text;
use crate::keyed::{Home, Machine, Step};
use crate::map::Map;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::row::Row;
use weir_schemas::view::{COVERAGE_SUMMARY, LIVE_METRICS};

/// What [`LocalGauges`] sums.
#[derive(Clone, Debug)]
pub enum Gauge {
    /// A test is running.
    Running(Running),
    /// Something is awaited.
    Awaited(Awaited),
    /// A run covers something.
    Covered(Covered),
}

/// The lines of a run that is in state, of all flags together: counted by the difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Its project.
    pub project: Text,
    /// Its branch, where it names one.
    pub branch: Option<Text>,
    /// Lines covered.
    pub covered: i64,
    /// Lines that count.
    pub lines: i64,
}

impl Covered {
    /// What a row of `coverage_summary` says, if it is of all flags of a run and there are lines.
    #[must_use]
    pub fn of(row: &Row) -> Option<Covered> {
        let column = |name| COVERAGE_SUMMARY.column(name);
        if row.text(column("flag")?) != Some("*") {
            return None;
        }
        Some(Covered {
            project: row.text(column("project")?)?.into(),
            branch: row.text(column("branch")?).map(Text::from),
            covered: row.number(column("lines_covered")?)?,
            lines: row.number(column("lines_total")?).filter(|lines| *lines > 0)?,
        })
    }
}

/// A scope's sums until the next cadence point, its own without its suites'.
struct Slot {
    scope: Id,
    name: ScopeName,
    /// The slot of a suite's project.
    project: Option<usize>,
    gauges: Gauges,
}

/// Sums gauges by scope.
#[derive(Default)]
pub struct LocalGauges {
    index: Map<Id, usize>,
    slots: Vec<Slot>,
    /// The project that was asked for last.
    last: Option<usize>,
    /// The cadence point at which it is told; 0: there is nothing to tell.
    due: u64,
}

impl LocalGauges {
    fn slot(&mut self, scope: Id, name: impl FnOnce() -> ScopeName, project: Option<usize>) -> usize {
        let slots = &mut self.slots;
        *self.index.get_or_insert_with(scope, || {
            slots.push(Slot { scope, name: name(), project, gauges: Gauges::default() });
            slots.len() - 1
        })
    }

    fn project(&mut self, project: &Text) -> usize {
        if let Some(slot) = self.last.filter(|slot| self.slots[*slot].name.project == *project) {
            return slot;
        }
        let name = Arc::clone(project);
        let name = ScopeName { project: Arc::clone(project), kind: ScopeKind::Project, name };
        let slot = self.slot(name.id(), || name, None);
        self.last = Some(slot);
        slot
    }

    fn suite(&mut self, suite: Id, project: &Text, name: &Text) -> usize {
        if let Some(slot) = self.index.get(&suite) {
            return *slot;
        }
        let parent = self.project(project);
        let (project, name) = (Arc::clone(project), Arc::clone(name));
        self.slot(suite, || ScopeName { project, kind: ScopeKind::Suite, name }, Some(parent))
    }

    fn branch(&mut self, project: &Text, name: &Text) -> usize {
        let (project, name) = (Arc::clone(project), Arc::clone(name));
        let name = ScopeName { project, kind: ScopeKind::Branch, name };
        self.slot(name.id(), || name, None)
    }

    fn add(&mut self, gauge: &Gauge, diff: i64) {
        let (slot, gauges) = match gauge {
            Gauge::Covered(Covered { project, branch, covered, lines }) => {
                let gauges = Gauges { covered: diff * covered, lines: diff * lines, ..Gauges::default() };
                if let Some(branch) = branch {
                    let slot = self.branch(project, branch);
                    self.slots[slot].gauges.add(&gauges);
                }
                (self.project(project), gauges)
            }
            Gauge::Running(Running { project, suite, suite_name }) => {
                let suite_less = *suite == Id::default();
                let slot = if suite_less { self.project(project) } else { self.suite(*suite, project, suite_name) };
                (slot, Gauges { running: diff, ..Gauges::default() })
            }
            Gauge::Awaited(Awaited { project, what: AwaitedKind::Stream }) => {
                (self.project(project), Gauges { streams: diff, ..Gauges::default() })
            }
            Gauge::Awaited(Awaited { project, what: AwaitedKind::Test }) => {
                (self.project(project), Gauges { tests: diff, ..Gauges::default() })
            }
        };
        self.slots[slot].gauges.add(&gauges);
    }

    fn flush(&mut self, step: &mut Step<'_, Delta>) {
        for slot in 0..self.slots.len() {
            if let Some(project) = self.slots[slot].project {
                let gauges = self.slots[slot].gauges;
                self.slots[project].gauges.add(&gauges);
            }
        }
        for Slot { scope, name, gauges, .. } in self.slots.drain(..) {
            if gauges != Gauges::default() {
                step.emit(Delta { scope, name, change: Change::Gauges(gauges) }, 1);
            }
        }
        self.index.clear();
        self.last = None;
        self.due = 0;
    }
}

/// A scope's own sums in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    name: ScopeName,
    gauges: Gauges,
    due: u64,
}

impl Machine for LocalGauges {
    type Input = Gauge;
    type Output = Delta;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(LocalGauges::default())
    }

    fn step(&mut self, data: &mut Vec<(Gauge, i64)>, step: &mut Step<'_, Delta>) {
        let point = step.now().next_multiple_of(LIVE_METRICS.cadence_ms);
        if !data.is_empty() && point > step.now() {
            self.due = point;
            step.wake_at(point);
        }
        for (gauge, diff) in data.drain(..) {
            self.add(&gauge, diff);
        }
        if point == step.now() {
            self.flush(step);
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let entry = |slot: &Slot| Entry { name: slot.name.clone(), gauges: slot.gauges, due: self.due };
        let mut entries: Vec<Entry> = self.slots.iter().map(entry).collect();
        entries.sort_unstable();
        entries
    }

    fn home(_: &Self::Entry) -> Home {
        Home::Anywhere
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        for Entry { name, gauges, due } in entries {
            self.due = due;
            let slot = match name.kind {
                ScopeKind::Suite => self.suite(name.id(), &name.project, &name.name),
                ScopeKind::Branch => self.branch(&name.project, &name.name),
                _ => self.project(&name.project),
            };
            self.slots[slot].gauges.add(&gauges);
        }
        if self.due > 0 { vec![self.due] } else { Vec::new() }
    }
}
