//! Weir's views as one timely/differential dataflow.
//!
//! Contract: given the same inputs at the same ticks, every view has the same rows at every tick, whatever the number of
//! workers, the batching of the input or the path by which it came (live, recovered, replayed). [`graph::build`] makes the
//! dataflow on a worker; [`graph::Inputs`] feeds it; a sink receives [`output::Released`] frames on worker 0.
//!
//! # Invariants
//! No I/O, no clock, no environment, no JSON: time arrives as data (A5). No floating-point numbers in state, no iteration
//! over hash maps ([`map::Map`] has none), every state with a rule by which it leaves (A6).

#![warn(missing_docs)]

#[cfg(test)]
extern crate self as weir_dataflows;

pub mod admission;
pub mod budget;
pub mod by_test;
pub mod config;
pub mod context;
pub mod control;
pub mod departed;
pub mod dry_run;
pub mod durations;
pub mod facts;
pub mod fingerprint;
pub mod fork;
pub mod gate;
pub mod graph;
pub mod input;
pub mod keyed;
pub mod map;
pub mod notes;
pub mod output;
mod pace;
mod pairs;
pub mod percentiles;
pub mod results;
mod room;
pub mod run_failures;
pub mod runs;
mod sharing;
pub mod sums;
pub mod top_k;
pub mod views;
pub mod window;
pub mod withdrawals;

pub use config::Config;
