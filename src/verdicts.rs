//! Verdicts on single records, on their way from the engine back to whoever waits for one (`?wait=admitted`).
//!
//! Contract: ingest calls [`Verdicts::wait_for`] with the position of a record that this process appended; the engine calls
//! [`Verdicts::released`] for each frame, with what was not accepted in it and how far each partition is released. A
//! waiter whose position lies within and is not among the refusals learns `Accepted`. A position is known only once it is
//! durable, and the engine may release it before its waiter comes: the last refusals are remembered for such.
//!
//! # Invariants
//! Bounded: above [`WAITERS_MAX`] nobody is added, and the caller answers 202 as if the time had run out; of refusals the
//! last [`REMEMBERED_MAX`] are kept, and nothing is said of positions before what they cover. The engine never waits for a
//! waiter.

use crate::log::Position;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use tokio::sync::oneshot;

/// At most so many requests wait at a time.
pub const WAITERS_MAX: usize = 10_000;

/// So many refusals are remembered for waiters that come late.
pub const REMEMBERED_MAX: usize = 4_096;

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
    /// The last refusals, oldest first.
    remembered: VecDeque<(Position, Verdict)>,
    /// From this offset on all refusals of a partition are remembered.
    remembered_from: Vec<u64>,
}

impl Waiters {
    fn remember(&mut self, position: Position, verdict: Verdict) {
        self.remembered.push_back((position, verdict));
        if self.remembered.len() > REMEMBERED_MAX
            && let Some((forgotten, _)) = self.remembered.pop_front()
            && let Some(from) = self.remembered_from.get_mut(forgotten.partition as usize)
        {
            *from = (*from).max(forgotten.offset + 1);
        }
    }

    /// The verdict on a released position, as far as it is remembered.
    fn recall(&self, position: Position) -> Option<Verdict> {
        let from = self.remembered_from.get(position.partition as usize).copied().unwrap_or(0);
        (position.offset >= from).then(|| {
            let refusal = self.remembered.iter().rev().find(|(refused, _)| *refused == position);
            refusal.map_or(Verdict::Accepted, |(_, verdict)| verdict.clone())
        })
    }
}

/// The board on which waiters and verdicts meet.
#[derive(Default)]
pub struct Verdicts(Mutex<Waiters>);

impl Verdicts {
    /// Waits for the verdict on the record at `position`; `None` when too many wait, or it was released so long ago that
    /// its verdict is forgotten.
    pub fn wait_for(&self, position: Position) -> Option<oneshot::Receiver<Verdict>> {
        let mut waiters = self.lock();
        let released = waiters.released.get(position.partition as usize).copied().unwrap_or(0);
        let (sender, receiver) = oneshot::channel();
        if position.offset < released {
            // The receiver is at hand, so it takes it.
            let _taken = sender.send(waiters.recall(position)?);
        } else if waiters.by_position.len() < WAITERS_MAX {
            waiters.by_position.insert(position, sender);
        } else {
            return None;
        }
        Some(receiver)
    }

    /// Tells waiters: `refusals` are the verdicts other than `Accepted`; `ends` the offset after the last released record
    /// of each partition.
    pub fn released(&self, refusals: impl IntoIterator<Item = (Position, Verdict)>, ends: &[u64]) {
        let mut waiters = self.lock();
        waiters.remembered_from.resize(ends.len(), 0);
        for (position, verdict) in refusals {
            match waiters.by_position.remove(&position) {
                // A waiter that has gone is no concern of the engine.
                Some(waiter) => {
                    let _gone = waiter.send(verdict);
                }
                None => waiters.remember(position, verdict),
            }
        }
        let Waiters { by_position, .. } = &mut *waiters;
        for (_, waiter) in by_position.extract_if(.., |position, waiter| {
            waiter.is_closed() || ends.get(position.partition as usize).is_some_and(|end| position.offset < *end)
        }) {
            let _gone = waiter.send(Verdict::Accepted);
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
    }

    #[test]
    fn who_comes_late_learns_it_too_as_far_as_it_is_remembered() {
        let verdicts = Verdicts::default();
        let at = |offset| Position { partition: 0, offset };
        let late = |offset| verdicts.wait_for(at(offset)).map(|mut verdict| verdict.try_recv());
        verdicts.released([(at(4), Verdict::Duplicate)], &[6]);
        assert_eq!(late(4), Some(Ok(Verdict::Duplicate)));
        assert_eq!(late(5), Some(Ok(Verdict::Accepted)));
        let flood = (10..10 + REMEMBERED_MAX as u64).map(|offset| (at(offset), Verdict::Conflict { expected: 1 }));
        verdicts.released(flood, &[100_000]);
        assert_eq!(late(4), None, "forgotten");
        assert_eq!(late(5), Some(Ok(Verdict::Accepted)), "after the last one forgotten");
        assert_eq!(late(10), Some(Ok(Verdict::Conflict { expected: 1 })));
    }
}
