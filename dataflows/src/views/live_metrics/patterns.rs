//! How many different failure patterns are in each window of a scope.
//!
//! Contract: a pattern's occurrences are counted by level, level `n` being what is in window `n` and in no shorter one, so
//! window `n` has the patterns of which something is in the levels up to `n`. At most [`PATTERNS_MAX`] are known at a time: an
//! occurrence of one more is not admitted, and the caller forgets it. So the numbers are exact up to there and lower bounds
//! above.
//!
//! # Cost
//! One look-up a change; about 40 bytes a pattern.

use super::WINDOWS;
use crate::map::Map;
use weir_schemas::id::Id;

/// How many patterns are counted in a scope.
pub(super) const PATTERNS_MAX: usize = 4_096;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns {
    counts: Map<Id, [i64; WINDOWS.len()]>,
    /// By window.
    distinct: [u64; WINDOWS.len()],
}

impl Patterns {
    /// Whether `count` occurrences of a pattern can be taken in: it is known or there is room. What is taken back of one
    /// that is not known was never taken.
    pub(super) fn admits(&self, pattern: Id, count: i64) -> bool {
        self.counts.contains(&pattern) || (count > 0 && self.counts.len() < PATTERNS_MAX)
    }

    /// Moves `count` occurrences from one level to another; `None`: out of sight.
    pub(super) fn shift(&mut self, pattern: Id, from: Option<usize>, to: Option<usize>, count: i64) {
        let counts = self.counts.get_or_insert_with(pattern, Default::default);
        let (mut before, mut after) = (0, 0);
        for (level, (of_level, distinct)) in counts.iter_mut().zip(&mut self.distinct).enumerate() {
            before += *of_level;
            *of_level += count * (i64::from(to == Some(level)) - i64::from(from == Some(level)));
            after += *of_level;
            *distinct = *distinct + u64::from(after > 0) - u64::from(before > 0);
        }
        if counts.iter().all(|count| *count == 0) {
            self.counts.remove(&pattern);
        }
    }

    /// How many there are in a window.
    pub(super) fn distinct(&self, window: usize) -> u64 {
        self.distinct[window]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distinct(patterns: &Patterns) -> [u64; 3] {
        [0, 1, 2].map(|window| patterns.distinct(window))
    }

    #[test]
    fn a_pattern_counts_in_every_window_that_holds_an_occurrence() {
        let mut patterns = Patterns::default();
        for (pattern, level, count) in [(1, 0, 2), (2, 1, 1), (1, 2, 1)] {
            patterns.shift(Id(pattern), None, Some(level), count);
        }
        assert_eq!(distinct(&patterns), [1, 2, 2]);
        // The first one's younger occurrences age by a level, the other one leaves.
        patterns.shift(Id(1), Some(0), Some(1), 2);
        patterns.shift(Id(2), Some(1), None, 1);
        assert_eq!(distinct(&patterns), [0, 1, 1]);
        patterns.shift(Id(1), Some(1), None, 2);
        patterns.shift(Id(1), Some(2), None, 1);
        assert_eq!((distinct(&patterns), patterns.counts.len()), ([0, 0, 0], 0));
    }

    #[test]
    fn what_finds_no_room_is_not_taken_until_there_is_some() {
        let (mut patterns, other) = (Patterns::default(), Id(u128::MAX));
        for pattern in 0..PATTERNS_MAX as u128 {
            assert!(patterns.admits(Id(pattern), 1) && !patterns.admits(Id(pattern), -1));
            patterns.shift(Id(pattern), None, Some(0), 1);
        }
        assert!(!patterns.admits(other, 1) && patterns.admits(Id(5), 1) && patterns.admits(Id(5), -1));
        patterns.shift(Id(7), Some(0), None, 1);
        assert!(patterns.admits(other, 1));
        assert_eq!(distinct(&patterns), [PATTERNS_MAX as u64 - 1; 3]);
    }
}
