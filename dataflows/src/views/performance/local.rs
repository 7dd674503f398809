//! The first layer for what was measured: a worker's own, summed by scope and pane.
//!
//! Contract: [`LocalMeasures`] turns measurements into one [`Delta`] a pane for each suite and test at each cadence point.
//!
//! # Cost
//! Two look-ups a measurement. State O(suites and tests × panes with a measurement since the last cadence point).

use super::WINDOWS;
use super::content::{Content, Delta, Kind, Name, Sum};
use super::measures::Measurement;
use crate::keyed::{Home, Machine, Step};
use crate::percentiles::{Counts, Mark, Scratch};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::view::PERFORMANCE;

/// Sums measurements by scope and pane.
#[derive(Default)]
pub struct LocalMeasures {
    slots: BTreeMap<(Id, u64), Slot>,
    scratch: Scratch,
}

/// What came of a scope in a pane.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Slot {
    name: Name,
    pane: u64,
    content: Content,
    durations: Vec<Mark>,
    memories: Vec<Mark>,
    withdrawn: bool,
    /// The cadence point at which it is told.
    due: u64,
}

impl Slot {
    fn add(&mut self, measurement: &Measurement, diff: i64) {
        let (Measurement { duration_us, performance, .. }, content) = (measurement, &mut self.content);
        let mark = |value: u64, marks: &mut Vec<Mark>| {
            (0..diff.unsigned_abs()).for_each(|_| marks.push(Mark::new(value, diff < 0)));
        };
        content.measured += diff;
        // Attempts say how long a suite's tests take.
        if let (Kind::Test, Some(us)) = (self.name.kind, duration_us) {
            content.duration.add(Sum { count: diff, sum: i128::from(*us) * i128::from(diff) });
            mark(*us, &mut self.durations);
        }
        if let Some(memory) = performance.memory {
            // Nobody uses less than nothing.
            let memory = memory.max(0);
            content.memory.add_value(memory, diff);
            mark(memory.unsigned_abs(), &mut self.memories);
        }
        if let Some(cpu) = performance.cpu {
            content.cpu.add_value(cpu, diff);
        }
        for (name, value) in &performance.metrics {
            content.metric(name).add_value(*value, diff);
        }
        self.withdrawn |= diff < 0;
    }

    fn delta(mut self, scratch: &mut Scratch) -> Delta {
        self.content.durations = Counts::of(&mut self.durations, scratch);
        self.content.memories = Counts::of(&mut self.memories, scratch);
        Delta { name: self.name, pane: self.pane, content: self.content, withdrawn: self.withdrawn }
    }
}

impl LocalMeasures {
    fn slot(&mut self, id: Id, pane: u64, due: u64, name: impl FnOnce() -> Name) -> &mut Slot {
        self.slots.entry((id, pane)).or_insert_with(|| {
            let (content, durations, memories, withdrawn) = Default::default();
            Slot { name: name(), pane, content, durations, memories, withdrawn, due }
        })
    }

    fn add(&mut self, measurement: &Measurement, diff: i64, due: u64) {
        let (names, pane) = (Arc::clone(&measurement.names), WINDOWS[0].pane(measurement.at));
        let scopes = [(Kind::Suite, names.suite_id, &names.suite), (Kind::Test, names.test_or_zero(), &names.test)];
        for (kind, id, name) in scopes.into_iter().filter(|(_, id, _)| *id != Id::default()) {
            self.slot(id, pane, due, || Name::new(kind, id, &names.project, name)).add(measurement, diff);
        }
    }
}

impl Machine for LocalMeasures {
    type Input = Measurement;
    type Output = Delta;
    type Entry = Slot;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(LocalMeasures::default())
    }

    fn step(&mut self, data: &mut Vec<(Measurement, i64)>, step: &mut Step<'_, Delta>) {
        let point = step.now().next_multiple_of(PERFORMANCE.cadence_ms);
        for (measurement, diff) in data.drain(..) {
            self.add(&measurement, diff, point);
        }
        if point == step.now() {
            let slots = std::mem::take(&mut self.slots).into_values();
            slots.for_each(|slot| step.emit(slot.delta(&mut self.scratch), 1));
        } else if !self.slots.is_empty() {
            step.wake_at(point);
        }
    }

    fn entries(&self) -> Vec<Slot> {
        self.slots.values().cloned().collect()
    }

    fn home(_: &Self::Entry) -> Home {
        Home::Anywhere
    }

    fn restore(&mut self, entries: Vec<Slot>) -> Vec<u64> {
        let due = entries.iter().map(|slot| slot.due).max();
        for Slot { name, pane, due, content, durations, memories, withdrawn } in entries {
            let slot = self.slot(name.id, pane, due, || name);
            slot.content.add(&content, &mut Scratch::default());
            slot.durations.extend(durations);
            slot.memories.extend(memories);
            slot.withdrawn |= withdrawn;
        }
        due.into_iter().collect()
    }
}
