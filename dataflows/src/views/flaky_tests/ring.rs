//! A ring: the last outcomes of one test on one branch.
//!
//! Contract: entries stand in the order of (event time, run, attempt, tick at which it was told), whatever the order in which
//! they came; [`Ring::truncate`] drops the oldest above [`RING`]. An entry that infrastructure or an incident explains stays and
//! does not count. The ring leaves without a failing entry, or `memory_ms` after the last one, at a whole hour.
//!
//! # Cost
//! 88 bytes an entry, with room for at most 8 more than are kept; its texts shared with the run's other attempts.

use crate::facts::AttemptFact;
use crate::input::{Names, Text};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;

/// Outcomes kept.
pub const RING: usize = 64;

const HOUR_MS: u64 = 3_600_000;

/// One attempt that passed or failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it ended.
    pub at: u64,
    /// Its run.
    pub run_id: Id,
    /// Which attempt in it.
    pub attempt: u32,
    /// The tick at which it was told.
    pub came: u64,
    /// How it ended; not skipped.
    pub outcome: Outcome,
    /// The run's name.
    pub run: Text,
    /// The commit, where known.
    pub commit: Option<Text>,
    /// The machine, where known.
    pub worker: Option<Text>,
    /// Whether its run is in state since it was told.
    pub live: bool,
    /// Whether the infrastructure was broken.
    pub guarded: bool,
    /// Whether an incident covers it.
    pub covered: bool,
}

impl Entry {
    /// What a fact says; `None` of a test that was skipped.
    #[must_use]
    pub fn new(fact: &AttemptFact) -> Option<Entry> {
        (fact.outcome != Outcome::Skipped).then(|| Entry {
            at: fact.at,
            run_id: fact.names.run_id,
            attempt: fact.attempt,
            came: fact.came,
            outcome: fact.outcome,
            run: Arc::clone(&fact.names.run),
            commit: fact.origin.commit.clone(),
            worker: fact.origin.worker.clone(),
            live: true,
            guarded: false,
            covered: false,
        })
    }

    /// The place in a ring.
    #[must_use]
    pub fn place(&self) -> (u64, Id, u32, u64) {
        (self.at, self.run_id, self.attempt, self.came)
    }

    /// Whether it failed.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.outcome.fails()
    }

    /// Whether it is evidence of anything.
    #[must_use]
    pub fn counts(&self) -> bool {
        !self.guarded && !self.covered
    }
}

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ring {
    /// The names as last told.
    pub names: Arc<Names>,
    /// In order.
    pub entries: Vec<Entry>,
    /// When it is looked at, whether anything came or not; 0: not.
    pub look_at: u64,
    /// Whether it is looked at at the next whole second.
    pub due: bool,
}

impl Ring {
    /// An empty one.
    #[must_use]
    pub fn new(names: &Arc<Names>) -> Ring {
        Ring { names: Arc::clone(names), entries: Vec::new(), look_at: 0, due: false }
    }

    /// Puts an entry in its place.
    pub fn add(&mut self, entry: Entry) {
        let held = self.entries.len();
        if held == self.entries.capacity() {
            // Doubling would leave a full ring with room for as many again.
            self.entries.reserve_exact(if held < RING { held.max(4).min(RING - held) } else { RING / 8 });
        }
        let index = self.entries.partition_point(|other| other.place() <= entry.place());
        self.entries.insert(index, entry);
    }

    /// Takes an entry out; says whether it was there.
    pub fn remove(&mut self, entry: &Entry) -> bool {
        let Ok(index) = self.entries.binary_search_by_key(&entry.place(), Entry::place) else { return false };
        self.entries.remove(index);
        true
    }

    /// Drops the oldest above what is kept.
    pub fn truncate(&mut self) {
        let much = self.entries.len().saturating_sub(RING);
        self.entries.drain(..much);
    }

    /// When the last attempt failed that failed.
    #[must_use]
    pub fn failed_at(&self) -> Option<u64> {
        self.entries.iter().rev().find(|entry| entry.fails()).map(|entry| entry.at)
    }

    /// When it leaves if nothing comes; 0 if at once.
    #[must_use]
    pub fn forget_at(&self, memory_ms: u64) -> u64 {
        self.failed_at().map_or(0, |at| at.saturating_add(memory_ms.max(1)).next_multiple_of(HOUR_MS))
    }
}
