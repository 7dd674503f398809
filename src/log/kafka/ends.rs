//! Where the partitions begin and end, as far as it is known here, and who waits for more.
//!
//! Contract: ends come from answers to readers and to the producer, and from asking; they only grow. Bells are rung when
//! one has grown, when a reader has something to read, and at the close.
//!
//! # Cost
//! Nobody asks but who opens a reader, and who waits by [`Ends::wait_past`], every [`FRESH`].

use super::super::Change;
use super::super::bell::Bells;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is older than this is asked for anew by whoever waits.
const FRESH: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Default)]
pub(super) struct Ends {
    known: Mutex<Known>,
    /// Notified whenever an end has moved, and at the close.
    moved: Condvar,
    pub(super) bells: Bells,
}

#[derive(Default)]
struct Known {
    starts: Vec<u64>,
    ends: Vec<u64>,
    /// When the brokers were last asked.
    asked: Option<Instant>,
    closed: bool,
    /// What the topic no longer is.
    changed: Option<Change>,
}

impl Ends {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins with the first offset of each partition and the one after its last.
    pub(super) fn begin(&self, offsets: Vec<(u64, u64)>) {
        let mut known = self.known();
        (known.starts, known.ends) = offsets.into_iter().unzip();
        known.asked = Some(Instant::now());
    }

    pub(super) fn starts(&self) -> Vec<u64> {
        self.known().starts.clone()
    }

    pub(super) fn ends(&self) -> Vec<u64> {
        self.known().ends.clone()
    }

    /// The first offset of a partition and the one after its last.
    pub(super) fn of(&self, partition: u32) -> (u64, u64) {
        let known = self.known();
        (known.starts[partition as usize], known.ends[partition as usize])
    }

    /// That a partition begins at `start` and ends at `end` at least.
    pub(super) fn learn(&self, partition: u32, start: u64, end: u64) {
        let moved = {
            let (mut known, index) = (self.known(), partition as usize);
            known.starts[index] = known.starts[index].max(start);
            let moved = known.ends[index] < end;
            known.ends[index] = known.ends[index].max(end);
            moved
        };
        if moved {
            self.moved.notify_all();
            self.bells.ring();
        }
    }

    /// That the brokers were asked just now.
    pub(super) fn asked(&self) {
        self.known().asked = Some(Instant::now());
    }

    /// Blocks until an end is past `seen`, the time is over or the log is closed; gives the ends. `ask` asks the brokers.
    pub(super) fn wait_past(&self, seen: &[u64], at_most: Duration, ask: impl Fn()) -> Vec<u64> {
        let until = Instant::now() + at_most;
        loop {
            let known = self.known();
            let left = until.saturating_duration_since(Instant::now());
            if known.closed || left.is_zero() || known.ends.iter().zip(seen).any(|(end, seen)| end > seen) {
                return known.ends.clone();
            }
            let age = known.asked.map_or(FRESH, |asked| asked.elapsed());
            if age >= FRESH {
                drop(known);
                ask();
            } else {
                let waited = self.moved.wait_timeout(known, left.min(FRESH - age));
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    pub(super) fn close(&self) {
        self.known().closed = true;
        self.moved.notify_all();
        self.bells.ring();
    }

    /// Waits for the close, for the time given at most; whether it has come.
    pub(super) fn wait_closed(&self, at_most: Duration) -> bool {
        let known = self.known();
        let waited = self.moved.wait_timeout_while(known, at_most, |known| !known.closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// The topic has changed: whoever reads it is to end.
    pub(super) fn changed(&self, change: Change) {
        self.known().changed.get_or_insert(change);
        self.moved.notify_all();
        self.bells.ring();
    }

    /// How the topic has changed.
    pub(super) fn change(&self) -> Option<Change> {
        self.known().changed.clone()
    }

    pub(super) fn closed(&self) -> bool {
        self.known().closed
    }
}
