//! Panes: how a sliding window is cut, when a pane leaves it, and who has to be looked at then.
//!
//! Contract: an event of time `at` that came at tick `a` is in a window of length W during `[a, pane_end(at) + W)`
//! (`time.md`, windows). [`Window`] is that arithmetic, [`Panes`] the sums of one key, [`Agenda`] the times at which keys
//! are due. A row that moves at multiples of a cadence only is exact there: pane ends and lengths are multiples of 1 s,
//! and so of every cadence, so an expiry is a cadence point.
//!
//! # Cost
//! A key holds at most W / pane + 2 panes, and only those in which something happened; finding the newest is O(1).

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// A sliding window's length and the width of its panes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    length_ms: u64,
    pane_ms: u64,
}

impl Window {
    /// The window of a length: panes are a sixtieth of it, but at least one second wide.
    #[must_use]
    pub const fn of(length_ms: u64) -> Window {
        let pane_ms = length_ms / 60;
        Window { length_ms, pane_ms: if pane_ms < 1_000 { 1_000 } else { pane_ms } }
    }

    /// A window in panes of a width of its own; both multiples of every cadence that rows by it have.
    #[must_use]
    pub const fn in_panes(length_ms: u64, pane_ms: u64) -> Window {
        Window { length_ms, pane_ms }
    }

    /// The length in whole seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.length_ms / 1_000
    }

    /// The pane of an event time.
    #[must_use]
    pub const fn pane(self, at: u64) -> u64 {
        at / self.pane_ms
    }

    /// The first ms of a pane.
    #[must_use]
    pub const fn begin(self, pane: u64) -> u64 {
        pane.saturating_mul(self.pane_ms)
    }

    /// The first tick at which a pane is no longer in the window.
    #[must_use]
    pub const fn expiry(self, pane: u64) -> u64 {
        pane.saturating_add(1).saturating_mul(self.pane_ms).saturating_add(self.length_ms)
    }

    /// Whether an event of time `at` is no longer in the window at tick `now`: if it comes then, it is late.
    #[must_use]
    pub const fn passed(self, at: u64, now: u64) -> bool {
        self.expiry(self.pane(at)) <= now
    }
}

/// What one key has in each pane, oldest first; panes without anything are not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panes<S>(VecDeque<(u64, S)>);

impl<S> Default for Panes<S> {
    fn default() -> Self {
        Panes(VecDeque::new())
    }
}

impl<S: Default> Panes<S> {
    /// What is in a pane, made when absent, and whether it was.
    pub fn pane(&mut self, pane: u64) -> (&mut S, bool) {
        let newer = self.0.iter().rev().take_while(|(number, _)| *number > pane).count();
        let index = self.0.len() - newer;
        if index > 0 && self.0[index - 1].0 == pane {
            return (&mut self.0[index - 1].1, false);
        }
        self.0.insert(index, (pane, S::default()));
        (&mut self.0[index].1, true)
    }

    /// Takes out the oldest pane if it has left `window` by `now`.
    pub fn expire(&mut self, window: Window, now: u64) -> Option<(u64, S)> {
        if self.0.front().is_some_and(|(pane, _)| window.expiry(*pane) <= now) { self.0.pop_front() } else { None }
    }

    /// The oldest pane.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        self.0.front().map(|(pane, _)| *pane)
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The panes, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &S)> {
        self.0.iter().map(|(pane, sums)| (*pane, sums))
    }
}

/// Which keys are due at which times.
#[derive(Clone, Debug)]
pub struct Agenda<K>(BTreeMap<u64, Vec<K>>);

impl<K> Default for Agenda<K> {
    fn default() -> Self {
        Agenda(BTreeMap::new())
    }
}

impl<K: Ord> Agenda<K> {
    /// Puts a key down for a time; says whether it is the first one then, so that a wake-up is needed.
    pub fn add(&mut self, time: u64, key: K) -> bool {
        let keys = self.0.entry(time).or_default();
        keys.push(key);
        keys.len() == 1
    }

    /// Takes a key back; a wake-up that was asked for it finds nothing.
    pub fn remove(&mut self, time: u64, key: &K) {
        if let Some(keys) = self.0.get_mut(&time) {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.0.remove(&time);
            }
        }
    }

    /// Takes out the keys that are due by `now`, each once, in order.
    pub fn due(&mut self, now: u64) -> Vec<K> {
        let mut due = Vec::new();
        while let Some(entry) = self.0.first_entry().filter(|entry| *entry.key() <= now) {
            due.append(&mut entry.remove());
        }
        due.sort_unstable();
        due.dedup();
        due
    }

    /// The times for which something is put down.
    pub fn times(&self) -> impl Iterator<Item = u64> {
        self.0.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stays_until_its_pane_has_left() {
        let minute = Window::of(60_000);
        assert_eq!(minute.pane(59_999), 59);
        assert_eq!((minute.begin(59), minute.expiry(59)), (59_000, 120_000));
        assert!(!minute.passed(59_999, 119_990) && minute.passed(59_999, 120_000));
        assert_eq!(Window::of(10_000).expiry(0), 11_000);
        assert_eq!(Window::of(600_000).expiry(0), 610_000);
        assert_eq!(Window::of(86_400_000).pane(1_440_000), 1);
        assert!(!minute.passed(u64::MAX, u64::MAX - 1));
    }

    #[test]
    fn panes_are_in_order_whatever_the_order_of_arrival() {
        let mut panes = Panes::<u32>::default();
        let new: Vec<bool> = [5, 3, 5, 4, 9, 3]
            .into_iter()
            .map(|pane| {
                let (sum, new) = panes.pane(pane);
                *sum += 1;
                new
            })
            .collect();
        assert_eq!(new, [true, true, false, true, true, false]);
        assert_eq!(panes.iter().map(|(pane, sum)| (pane, *sum)).collect::<Vec<_>>(), [(3, 2), (4, 1), (5, 2), (9, 1)]);
        assert_eq!((panes.oldest(), panes.expire(Window::of(60_000), 63_990)), (Some(3), None));
        assert_eq!(panes.expire(Window::of(60_000), 64_000), Some((3, 2)));
        assert_eq!(panes.expire(Window::of(60_000), 64_000), None);
    }

    #[test]
    fn whoever_is_due_comes_once() {
        let mut agenda = Agenda::default();
        assert!(agenda.add(10, 'b') && !agenda.add(10, 'a') && agenda.add(20, 'a') && agenda.add(30, 'c'));
        assert_eq!(agenda.due(9), []);
        assert_eq!(agenda.due(20), ['a', 'b']);
        assert_eq!(agenda.times().collect::<Vec<_>>(), [30]);
        agenda.remove(30, &'c');
        agenda.remove(40, &'c');
        assert_eq!((agenda.times().count(), agenda.due(99)), (0, vec![]));
    }
}
