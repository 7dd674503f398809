//! Verdicts on single records, on their way from the engine back to whoever waits for one (`?wait=admitted`).
//!
//! Contract: ingest calls [`Verdicts::wait_for`] with the topic and position of a record that this process appended; the
//! engine calls [`Verdicts::released`] for each frame and topic, with the tick, what was not accepted in it and how far each
//! partition is released. A waiter whose position lies within and is not among the refusals learns `Accepted`, and at which
//! tick. A position is known only once it is durable, and the engine may release it before its waiter comes: the last
//! refusals and releases are remembered for such.
//!
//! # Invariants
//! Bounded, by topic: above [`WAITERS_MAX`] nobody is added, and the caller answers 202 as if the time had run out; of refusals
//! and of releases the last [`REMEMBERED_MAX`] are kept, and nothing is said of positions before what they cover. The engine
//! never waits for a waiter.

use crate::log::Position;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use tokio::sync::oneshot;

/// At most so many requests wait at a time.
pub const WAITERS_MAX: usize = 10_000;

/// So many refusals, and so many releases, are remembered for waiters that come late.
pub const REMEMBERED_MAX: usize = 4_096;

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Accepted {
        /// From this tick on.
        tick: u64,
    },
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

/// What is known of one topic.
#[derive(Default)]
struct Waiters {
    by_position: BTreeMap<Position, oneshot::Sender<Verdict>>,
    released: Vec<u64>,
    /// The last refusals, oldest first.
    refusals: VecDeque<(Position, Verdict)>,
    /// The last releases that moved an end, oldest first: the tick, and the ends by partition.
    releases: VecDeque<(u64, Vec<u64>)>,
    /// From this offset on, everything of a partition is remembered.
    remembered_from: Vec<u64>,
}

impl Waiters {
    fn remember_refusal(&mut self, position: Position, verdict: Verdict) {
        self.refusals.push_back((position, verdict));
        if self.refusals.len() > REMEMBERED_MAX
            && let Some((forgotten, _)) = self.refusals.pop_front()
        {
            self.forget(forgotten.partition as usize, forgotten.offset + 1);
        }
    }

    fn remember_release(&mut self, tick: u64, ends: &[u64]) {
        if self.releases.back().is_some_and(|(_, last)| last == ends) {
            return;
        }
        self.releases.push_back((tick, ends.to_vec()));
        if self.releases.len() > REMEMBERED_MAX
            && let Some((_, forgotten)) = self.releases.pop_front()
        {
            for (partition, end) in forgotten.into_iter().enumerate() {
                self.forget(partition, end);
            }
        }
    }

    fn forget(&mut self, partition: usize, to: u64) {
        if let Some(from) = self.remembered_from.get_mut(partition) {
            *from = (*from).max(to);
        }
    }

    /// The verdict on a released position, as far as it is remembered.
    fn recall(&self, position: Position) -> Option<Verdict> {
        let partition = position.partition as usize;
        if position.offset < self.remembered_from.get(partition).copied().unwrap_or(0) {
            return None;
        }
        if let Some((_, verdict)) = self.refusals.iter().rev().find(|(refused, _)| *refused == position) {
            return Some(verdict.clone());
        }
        let at =
            self.releases.partition_point(|(_, ends)| ends.get(partition).is_none_or(|end| *end <= position.offset));
        self.releases.get(at).map(|(tick, _)| Verdict::Accepted { tick: *tick })
    }
}

/// The board on which waiters and verdicts meet.
#[derive(Default)]
pub struct Verdicts(Mutex<BTreeMap<String, Waiters>>);

impl Verdicts {
    /// Waits for the verdict on the record at `position` of a topic; `None` when too many wait, or it was released so long
    /// ago that its verdict is forgotten.
    pub fn wait_for(&self, topic: &str, position: Position) -> Option<oneshot::Receiver<Verdict>> {
        let mut topics = self.lock();
        let waiters = Verdicts::of(&mut topics, topic);
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

    /// Tells those who wait for a topic what a frame that ends at `tick` has released: `refusals` are the verdicts other than
    /// `Accepted`; `ends` the offset after the last released record of each partition.
    pub fn released(
        &self,
        topic: &str,
        tick: u64,
        refusals: impl IntoIterator<Item = (Position, Verdict)>,
        ends: &[u64],
    ) {
        let mut topics = self.lock();
        let waiters = Verdicts::of(&mut topics, topic);
        waiters.remembered_from.resize(ends.len(), 0);
        for (position, verdict) in refusals {
            match waiters.by_position.remove(&position) {
                // A waiter that has gone is no concern of the engine.
                Some(waiter) => {
                    let _gone = waiter.send(verdict);
                }
                None => waiters.remember_refusal(position, verdict),
            }
        }
        for (_, waiter) in waiters.by_position.extract_if(.., |position, waiter| {
            waiter.is_closed() || ends.get(position.partition as usize).is_some_and(|end| position.offset < *end)
        }) {
            let _gone = waiter.send(Verdict::Accepted { tick });
        }
        waiters.remember_release(tick, ends);
        waiters.released = ends.to_vec();
    }

    fn of<'t>(topics: &'t mut BTreeMap<String, Waiters>, topic: &str) -> &'t mut Waiters {
        if !topics.contains_key(topic) {
            topics.insert(topic.to_owned(), Waiters::default());
        }
        topics.get_mut(topic).expect("is there now")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Waiters>> {
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
        let mut first = verdicts.wait_for("t", at(3)).expect("waits");
        let mut second = verdicts.wait_for("t", at(4)).expect("waits");
        let mut other = verdicts.wait_for("u", at(3)).expect("waits");
        verdicts.released("t", 10, [], &[9, 3]);
        assert!(first.try_recv().is_err(), "offset 3 is not released by an end of 3");
        verdicts.released("t", 20, [(at(4), Verdict::Duplicate)], &[9, 5]);
        assert_eq!(first.try_recv(), Ok(Verdict::Accepted { tick: 20 }));
        assert_eq!(second.try_recv(), Ok(Verdict::Duplicate));
        assert!(other.try_recv().is_err(), "another topic says nothing");
        verdicts.released("u", 30, [], &[0, 4]);
        assert_eq!(other.try_recv(), Ok(Verdict::Accepted { tick: 30 }));
    }

    #[test]
    fn who_comes_late_learns_it_too_as_far_as_it_is_remembered() {
        let verdicts = Verdicts::default();
        let at = |offset| Position { partition: 0, offset };
        let late = |offset| verdicts.wait_for("t", at(offset)).map(|mut verdict| verdict.try_recv());
        verdicts.released("t", 10, [], &[3]);
        verdicts.released("t", 20, [(at(4), Verdict::Duplicate)], &[6]);
        verdicts.released("t", 30, [], &[6]);
        assert_eq!(late(2), Some(Ok(Verdict::Accepted { tick: 10 })));
        assert_eq!(late(3), Some(Ok(Verdict::Accepted { tick: 20 })));
        assert_eq!(late(4), Some(Ok(Verdict::Duplicate)));
        let flood = (10..10 + REMEMBERED_MAX as u64).map(|offset| (at(offset), Verdict::Conflict { expected: 1 }));
        verdicts.released("t", 40, flood, &[100_000]);
        assert_eq!(late(4), None, "forgotten");
        assert_eq!(late(5), Some(Ok(Verdict::Accepted { tick: 20 })), "after the last one forgotten");
        assert_eq!(late(10), Some(Ok(Verdict::Conflict { expected: 1 })));
        for more in 1..=REMEMBERED_MAX as u64 {
            verdicts.released("t", 40 + more, [], &[100_000 + more]);
        }
        assert_eq!(late(99_999), None, "its release is forgotten");
        assert_eq!(late(100_000), Some(Ok(Verdict::Accepted { tick: 41 })));
    }
}
