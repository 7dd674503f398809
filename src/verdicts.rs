//! Verdicts on single records, on their way from the engine back to whoever waits for one (`?wait=admitted`).
//!
//! Contract: ingest calls [`Verdicts::wait_for`] with the position before it can be released; the engine calls
//! [`Verdicts::released`] for each frame, with what was not accepted in it and how far each partition is released. A
//! waiter whose position lies within and is not among the refusals learns `Accepted`.
//!
//! # Invariants
//! Bounded: above [`WAITERS_MAX`] nobody is added, and the caller answers 202 as if the time had run out. The engine
//! never waits for a waiter.

use crate::log::Position;
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::sync::oneshot;

/// At most so many requests wait at a time.
pub const WAITERS_MAX: usize = 10_000;

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Accepted,
    /// Its `eventId` was there before.
    Duplicate,
    /// Its version is taken or behind.
    Conflict {
        /// The version that would have been accepted.
        expected: u64,
    },
    /// It is not acceptable: the reason, for a person.
    Refused {
        /// The kind of reject.
        kind: String,
        /// Why.
        reason: String,
    },
}

#[derive(Default)]
struct Waiters {
    by_position: BTreeMap<Position, oneshot::Sender<Verdict>>,
    released: Vec<u64>,
}

/// The board on which waiters and verdicts meet.
#[derive(Default)]
pub struct Verdicts(Mutex<Waiters>);

impl Verdicts {
    /// Waits for the verdict on the record at `position`; `None` when too many wait or it was released already.
    pub fn wait_for(&self, position: Position) -> Option<oneshot::Receiver<Verdict>> {
        let mut waiters = self.lock();
        let released = waiters.released.get(position.partition as usize).copied().unwrap_or(0);
        if waiters.by_position.len() >= WAITERS_MAX || position.offset < released {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        waiters.by_position.insert(position, sender);
        Some(receiver)
    }

    /// Tells waiters: `refusals` are the verdicts other than `Accepted`; `ends` the offset after the last released record
    /// of each partition.
    pub fn released(&self, refusals: impl IntoIterator<Item = (Position, Verdict)>, ends: &[u64]) {
        let mut waiters = self.lock();
        if !waiters.by_position.is_empty() {
            for (position, verdict) in refusals {
                if let Some(waiter) = waiters.by_position.remove(&position) {
                    // A waiter that has gone is no concern of the engine.
                    let _gone = waiter.send(verdict);
                }
            }
            let Waiters { by_position, .. } = &mut *waiters;
            for (_, waiter) in by_position.extract_if(.., |position, waiter| {
                waiter.is_closed() || ends.get(position.partition as usize).is_some_and(|end| position.offset < *end)
            }) {
                let _gone = waiter.send(Verdict::Accepted);
            }
        }
        waiters.released = ends.to_vec();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiters> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_learns_its_verdict_once_its_position_is_released() {
        let verdicts = Verdicts::default();
        let at = |offset| Position { partition: 1, offset };
        let mut first = verdicts.wait_for(at(3)).expect("waits");
        let mut second = verdicts.wait_for(at(4)).expect("waits");
        verdicts.released([], &[9, 3]);
        assert!(first.try_recv().is_err(), "offset 3 is not released by an end of 3");
        verdicts.released([(at(4), Verdict::Duplicate)], &[9, 5]);
        assert_eq!(first.try_recv(), Ok(Verdict::Accepted));
        assert_eq!(second.try_recv(), Ok(Verdict::Duplicate));
        assert!(verdicts.wait_for(at(4)).is_none(), "released already");
    }
}
