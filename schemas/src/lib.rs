//! What crosses a boundary in Weir: events, identities, outcomes, view schemas, rows, updates, frames and the client
//! protocol.
//!
//! Contract: types and pure functions only. Everything that two parts of Weir (or Weir and somebody else) must agree on
//! stands here once: how an event looks on the wire, how a row is encoded so that its hash is the same everywhere, what
//! a view's columns are, what a browser may say.
//!
//! # Invariants
//! No I/O, no clock, no timely, no thread. Encodings are stable: each has test vectors, and changing one changes the
//! epoch of every deployment.

#![warn(missing_docs)]

pub mod control;
pub mod event;
pub mod id;
pub mod limits;
pub mod lines;
pub mod outcome;
pub mod protocol;
pub mod row;
pub mod text;
pub mod timestamp;
pub mod update;
pub mod view;
