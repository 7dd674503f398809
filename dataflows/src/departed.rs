//! Runs that have left: their ids are remembered, so that a straggler is late instead of a new run.
//!
//! Contract: two operators keep one each (the runs' lives, which must not begin a second one, and the gate, which refuses
//! the events); both are told at the same tick and forget at the same whole hour, so they never disagree.
//!
//! # Cost
//! 40 bytes a run for `late_memory` (30 days).

use crate::map::Map;
use std::collections::BTreeMap;
use weir_schemas::id::Id;

const HOUR_MS: u64 = 3_600_000;

/// The ids of runs that left.
#[derive(Default)]
pub struct Departed {
    ids: Map<Id, u64>,
    forget: BTreeMap<u64, Vec<Id>>,
}

impl Departed {
    /// Whether the run has left and is still remembered.
    #[must_use]
    pub fn contains(&self, run: Id) -> bool {
        self.ids.contains(&run)
    }

    /// Remembers a run that leaves at `now`; returns when to call [`Departed::forget`].
    pub fn insert(&mut self, run: Id, now: u64, memory_ms: u64) -> u64 {
        self.insert_until(run, (now + memory_ms.max(1)).next_multiple_of(HOUR_MS))
    }

    /// Remembers a run until a whole hour.
    pub fn insert_until(&mut self, run: Id, until: u64) -> u64 {
        if self.ids.insert(run, until) != Some(until) {
            self.forget.entry(until).or_default().push(run);
        }
        until
    }

    /// Forgets what is due.
    pub fn forget(&mut self, now: u64) {
        while let Some(entry) = self.forget.first_entry().filter(|entry| *entry.key() <= now) {
            for run in entry.remove() {
                self.ids.remove(&run);
            }
        }
    }

    /// All of them in order, each with when it is forgotten.
    #[must_use]
    pub fn entries(&self) -> Vec<(Id, u64)> {
        self.ids.sorted().into_iter().map(|(id, until)| (*id, *until)).collect()
    }
}
