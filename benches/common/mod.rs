//! What the benches have in common.
#![allow(dead_code, clippy::cast_possible_truncation, reason = "each bench uses its part, with numbers that fit")]

pub(crate) mod chart;
pub(crate) mod drive;
pub(crate) mod fleet;
pub(crate) mod ledger;
pub(crate) mod operators;
pub(crate) mod process;
