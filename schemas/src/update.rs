//! Signed updates, frames and digests: what leaves the engine.
//!
//! Contract: a [`Frame`] is everything that changed in `(lower, upper]`, net: within a view a row stands at most once and
//! its differences are +1 or −1; for a key, the −1 stands before the +1. Applying all frames up to a time gives exactly
//! each view at that time. Frames of one epoch follow each other without gap: the `lower` of one is the `upper` of the
//! one before.
//!
//! # Invariants
//! A view's [`Digest`] at `upper` is the wrapping sum of `hash(row) × diff` over all its updates up to then: it depends on
//! the state alone, not on the path to it (`time.md`, D7).

use crate::row::Row;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a row left. Hub and clients apply all three alike; history ignores evictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The row changed to another, or began.
    Changed,
    /// A result that it rested on was taken back.
    Withdrawn,
    /// It was dropped to keep state bounded; the fact still holds.
    Evicted,
}

/// One signed update of a view.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Update {
    /// The row.
    pub row: Row,
    /// +1 or −1.
    pub diff: i64,
    /// Why.
    pub cause: Cause,
}

/// The name of a view's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(pub u128);

impl Digest {
    /// Takes an update in.
    pub fn apply(&mut self, row: &Row, diff: i64) {
        self.0 = self.0.wrapping_add(row.hash().wrapping_mul(i128::from(diff).cast_unsigned()));
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One view's part of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewFrame {
    /// The view's updates in an order that depends on the rows alone; of a key, −1 right before +1.
    pub updates: Vec<Update>,
    /// The view's digest at the frame's `upper`.
    pub digest: Digest,
}

/// All changes of `(lower, upper]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The tick before the first that it covers.
    pub lower: u64,
    /// The last tick that it covers: the client's `time`.
    pub upper: u64,
    /// By view, in the order of [`crate::view::VIEWS`].
    pub views: Vec<ViewFrame>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::RowWriter;
    use crate::view::MISSING;

    fn row(run: &str) -> Row {
        let mut writer = RowWriter::default();
        writer.str("p").str(run).str("abandoned").str("").int(1).int(5).null();
        writer.finish(&MISSING)
    }

    #[test]
    fn a_digest_names_the_state_not_the_path() {
        let (a, b) = (row("a"), row("b"));
        let mut one = Digest::default();
        one.apply(&a, 1);
        let mut other = Digest::default();
        for (row, diff) in [(&b, 1), (&a, 1), (&b, -1)] {
            other.apply(row, diff);
        }
        assert_eq!(one, other);
        assert_ne!(one, Digest::default());
        one.apply(&a, -1);
        assert_eq!(one, Digest::default());
    }
}
