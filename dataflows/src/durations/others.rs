//! Attempts of tests that found no room among the durations: how many there are in the memory, by project.

use crate::facts::{AttemptFact, RowChange};
use crate::input::Text;
use crate::keyed::{Home, Machine, Step};
use crate::views::live_metrics::local::project_scope;
use crate::window::{Panes, Window};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::Cause;
use weir_schemas::view::SLOW_TESTS;

/// The others of a project.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Other {
    days: Panes<i64>,
    shown: Option<Row>,
    withdrawn: bool,
    /// When it is looked at next.
    due: u64,
}

/// The others of all projects of a worker.
pub(super) struct Others {
    memory: Window,
    projects: BTreeMap<Text, Other>,
    writer: RowWriter,
}

impl Others {
    pub(super) fn new(memory: Window) -> Others {
        Others { memory, projects: BTreeMap::new(), writer: RowWriter::default() }
    }

    fn row(&mut self, project: &Text, runs: i64) -> Option<Row> {
        (runs > 0).then(|| {
            self.writer.str(project).str("").null().null().null().null().int(runs).null();
            self.writer.finish(&SLOW_TESTS)
        })
    }

    fn show(&mut self, name: &Text, step: &mut Step<'_, RowChange>) {
        let now = step.now();
        let Some(other) = self.projects.get_mut(name) else { return };
        while other.days.expire(self.memory, now).is_some() {}
        let runs = other.days.iter().map(|(_, count)| count).sum();
        let row = self.row(name, runs);
        let Some(other) = self.projects.get_mut(name) else { return };
        if row != other.shown {
            let cause = if std::mem::take(&mut other.withdrawn) { Cause::Withdrawn } else { Cause::Changed };
            other.shown.take().into_iter().for_each(|row| step.emit(RowChange { row, cause }, -1));
            row.iter().for_each(|row| step.emit(RowChange { row: row.clone(), cause }, 1));
            other.shown = row;
        }
        match other.days.oldest() {
            Some(day) => {
                other.due = self.memory.expiry(day);
                step.wake_at(other.due);
            }
            None => drop(self.projects.remove(name)),
        }
    }
}

impl Machine for Others {
    type Input = AttemptFact;
    type Output = RowChange;
    type Entry = (Text, Other);

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Others::new(self.memory))
    }

    fn step(&mut self, data: &mut Vec<(AttemptFact, i64)>, step: &mut Step<'_, RowChange>) {
        let now = step.now();
        let point = now.next_multiple_of(SLOW_TESTS.cadence_ms);
        for (fact, diff) in data.drain(..) {
            let other = self.projects.entry(Arc::clone(&fact.names.project)).or_default();
            *other.days.pane(self.memory.pane(fact.at)).0 += diff;
            other.withdrawn |= diff < 0;
            other.due = point;
            if point > now {
                step.wake_at(point);
            }
        }
        let due = |other: &Other| other.due <= now;
        let due: Vec<Text> =
            self.projects.iter().filter(|(_, other)| due(other)).map(|(name, _)| Arc::clone(name)).collect();
        due.iter().for_each(|name| self.show(name, step));
    }

    fn entries(&self) -> Vec<(Text, Other)> {
        self.projects.iter().map(|(name, other)| (Arc::clone(name), other.clone())).collect()
    }

    fn home((project, _): &Self::Entry) -> Home {
        Home::Routed(project_scope(project).route())
    }

    fn restore(&mut self, entries: Vec<(Text, Other)>) -> Vec<u64> {
        self.projects.extend(entries);
        self.projects.values().map(|other| other.due).collect()
    }
}
