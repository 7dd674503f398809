//! What live coverage was ten minutes ago.
//!
//! Contract: [`Past::note`] is told what it is at each time at which it may have changed; [`Past::trend`] is how far that is
//! from what it was [`SPAN_MS`] before the last whole [`PANE_MS`]: none until it has been known for so long without a gap.
//!
//! # Cost
//! 16 bytes for each 10 s of the last ten minutes in which it changed; one wake-up for each.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// How far back coverage is compared.
const SPAN_MS: u64 = 600_000;

/// What it was is known at multiples of it.
const PANE_MS: u64 = 10_000;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Past(VecDeque<(u64, i64)>);

/// With what is compared at `now`.
fn reference(now: u64) -> Option<u64> {
    (now - now % PANE_MS).checked_sub(SPAN_MS)
}

impl Past {
    /// Takes in what it is from `now` on.
    pub(super) fn note(&mut self, now: u64, value: Option<i64>) {
        let Some(value) = value else {
            self.0.clear();
            return;
        };
        let pane = now.next_multiple_of(PANE_MS);
        if self.0.back().is_none_or(|(_, last)| *last != value) {
            self.0.pop_back_if(|(last, _)| *last == pane);
            self.0.push_back((pane, value));
        }
        while self.0.get(1).is_some_and(|(pane, _)| reference(now) >= Some(*pane)) {
            self.0.pop_front();
        }
    }

    /// How many points it has gained, as noted at `now`.
    pub(super) fn trend(&self, now: u64) -> Option<i64> {
        let (pane, was) = self.0.front()?;
        let (_, is) = self.0.back()?;
        (reference(now) >= Some(*pane)).then_some(is - was)
    }

    /// When it has to be looked at again, as noted at `now`.
    pub(super) fn due(&self, now: u64) -> Option<u64> {
        self.0.iter().find(|(pane, _)| reference(now) < Some(*pane)).map(|(pane, _)| pane + SPAN_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_is_compared_with_that_of_ten_minutes_ago_once_there_is_any() {
        let mut past = Past::default();
        let mut trends = Vec::new();
        for (now, value) in [
            (1_000, Some(10)),
            (9_000, Some(20)), // Within the same 10 s: what holds at their end.
            (300_000, Some(50)),
            (609_000, Some(50)),
            (610_000, Some(50)),
            (611_000, Some(45)),
            (899_000, Some(45)),
            (900_000, Some(45)),
            (1_220_000, Some(45)),
            (1_221_000, None),
            (1_222_000, Some(7)),
            (1_829_000, Some(7)),
            (1_830_000, Some(9)),
        ] {
            past.note(now, value);
            trends.push(past.trend(now));
        }
        let unknown = [None; 4];
        let known = [Some(30), Some(25), Some(25), Some(-5), Some(0), None, None, None, Some(2)];
        assert_eq!(trends, [&unknown[..], &known[..]].concat());
    }

    #[test]
    fn it_is_looked_at_again_when_what_it_is_compared_with_changes_and_keeps_no_more_than_that() {
        let (mut past, mut now, mut looks) = (Past::default(), 500, 0);
        for value in 0..2_000 {
            past.note(now + value * 1_000, Some(value.cast_signed()));
            assert!(past.0.len() <= 62, "{}", past.0.len());
        }
        now += 1_999_000;
        while let Some(due) = past.due(now) {
            assert!(due > now && due % PANE_MS == 0);
            let before = past.trend(now);
            past.note(due - 1_000, Some(1_999));
            assert_eq!(past.trend(due - 1_000), before, "nothing moves before");
            past.note(due, Some(1_999));
            assert_ne!(past.trend(due), before);
            (now, looks) = (due, looks + 1);
        }
        assert_eq!((past.trend(now), past.0.len(), looks), (Some(0), 1, 61));
    }
}
