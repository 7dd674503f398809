//! Chance, drawn from a seed.
//!
//! Contract: the same seed and the same questions in the same order give the same answers in one build of Weir.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A source of chance.
pub(super) struct Dice(StdRng);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(StdRng::seed_from_u64(seed))
    }

    /// A number below `end`; 0 when `end` is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { self.0.random_range(0..end) }
    }

    /// A number of `low..=high`.
    pub(super) fn between(&mut self, low: usize, high: usize) -> usize {
        self.0.random_range(low..=high.max(low))
    }

    /// Whether something of this chance (parts in a million) happens.
    pub(super) fn chance(&mut self, per_million: u32) -> bool {
        self.0.random_range(0..1_000_000) < per_million
    }

    /// One of several.
    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A positive factor around 1 whose mean is 1: the sum of four draws, for noise on a duration.
    pub(super) fn noise(&mut self) -> f64 {
        let sum: f64 = (0..4).map(|_| self.0.random_range(0.0..0.5)).sum();
        0.1 + 0.9 * sum
    }

    /// So many hex digits.
    pub(super) fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from(b"0123456789abcdef"[self.below(16)])).collect()
    }

    /// A UUID, version 4.
    pub(super) fn uuid(&mut self) -> String {
        let (a, b, c, d, e) = (self.hex(8), self.hex(4), self.hex(3), self.hex(3), self.hex(12));
        format!("{a}-{b}-4{c}-a{d}-{e}")
    }
}
