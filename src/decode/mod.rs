//! Decoding: bytes that came from outside into events.
//!
//! Contract: pure functions. [`event`] reads TestEvent JSON, [`batch`] finds the items of a request body.

pub mod batch;
pub mod event;
