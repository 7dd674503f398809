//! Failures of tests whose rings found no room: how many there were of a project, in its row without a test's name.
//!
//! Contract: takes how many failing attempts were turned away at a tick; a count is forgotten at the first whole hour
//! `flaky_memory_ms` after the last of them. Nobody remembers which they were, so nothing is taken back. Moves at whole seconds.

use crate::facts::RowChange;
use crate::input::Text;
use crate::keyed::{Home, Machine, Step};
use crate::views::live_metrics::delta::project_scope;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::Cause;
use weir_schemas::view::FLAKY_TESTS;

const HOUR_MS: u64 = 3_600_000;

/// Failing attempts of a project that were turned away: counted by the difference.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TurnedAway {
    pub(super) project: Text,
}

/// Those of one project.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Count {
    failures: i64,
    forget_at: u64,
    shown: Option<Row>,
    /// When it is looked at next.
    due: u64,
}

/// Those of all projects of a worker.
pub(super) struct Unjudged {
    memory_ms: u64,
    projects: BTreeMap<Text, Count>,
    writer: RowWriter,
}

impl Unjudged {
    pub(super) fn new(memory_ms: u64) -> Unjudged {
        Unjudged { memory_ms, projects: BTreeMap::new(), writer: RowWriter::default() }
    }

    fn show(&mut self, project: &Text, step: &mut Step<'_, RowChange>) {
        let Some(count) = self.projects.get_mut(project) else { return };
        if count.forget_at <= step.now() {
            let shown = self.projects.remove(project).and_then(|count| count.shown);
            shown.into_iter().for_each(|row| step.emit(RowChange { row, cause: Cause::Evicted }, -1));
            return;
        }
        let row = row(&mut self.writer, project, count.failures);
        if count.shown.as_ref() != Some(&row) {
            let cause = Cause::Changed;
            let before = count.shown.replace(row.clone());
            before.into_iter().for_each(|row| step.emit(RowChange { row, cause }, -1));
            step.emit(RowChange { row, cause }, 1);
        }
        count.due = count.forget_at;
        step.wake_at(count.due);
    }
}

fn row(writer: &mut RowWriter, project: &str, failures: i64) -> Row {
    writer.str(project).str("").str("").null().null().str("unjudged").null().null().int(0).int(failures);
    writer.null().null().list([].into_iter()).null().null().null().null();
    writer.finish(&FLAKY_TESTS)
}

impl Machine for Unjudged {
    type Input = TurnedAway;
    type Output = RowChange;
    type Entry = (Text, Count);

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Unjudged::new(self.memory_ms))
    }

    fn step(&mut self, data: &mut Vec<(TurnedAway, i64)>, step: &mut Step<'_, RowChange>) {
        let now = step.now();
        let point = now.next_multiple_of(FLAKY_TESTS.cadence_ms);
        for (TurnedAway { project }, failures) in data.drain(..) {
            let count = self.projects.entry(project).or_default();
            // What is forgotten by now is not what these are added to.
            count.failures = if count.forget_at <= now { failures } else { count.failures + failures };
            count.forget_at = (now + self.memory_ms).next_multiple_of(HOUR_MS);
            count.due = point;
            if point > now {
                step.wake_at(point);
            }
        }
        let due = self.projects.iter().filter(|(_, count)| count.due <= now);
        let due: Vec<Text> = due.map(|(project, _)| Text::clone(project)).collect();
        due.iter().for_each(|project| self.show(project, step));
    }

    fn entries(&self) -> Vec<(Text, Count)> {
        self.projects.iter().map(|(project, count)| (Text::clone(project), count.clone())).collect()
    }

    fn home((project, _): &Self::Entry) -> Home {
        Home::Routed(project_scope(project).route())
    }

    fn restore(&mut self, entries: Vec<(Text, Count)>) -> Vec<u64> {
        self.projects.extend(entries);
        self.projects.values().map(|count| count.due).collect()
    }
}
