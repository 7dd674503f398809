//! The views that outlive runs, against oracles: plain functions from the updates up to a time to the rows at that time.

#[path = "../common/mod.rs"]
mod common;
mod failure_patterns;
mod fingerprint;
mod harness;
mod hold_back;
mod live_metrics;
mod rejects;
