//! What the benches have in common.
#![allow(dead_code, clippy::cast_possible_truncation, reason = "each bench uses its part, with numbers that fit")]

pub(crate) mod fleet;
pub(crate) mod process;
