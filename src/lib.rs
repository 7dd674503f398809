//! Weir: events in, exact incremental numbers out.
//!
//! This library owns all I/O around the dataflow of `weir-dataflows`: decoding, the log, HTTP ingest, the engine that owns
//! the workers, the hub, the gateway and the commands. ARCHITECTURE.md has the map.

pub mod client;
pub mod commands;
pub mod config;
mod connections;
pub mod decode;
pub mod engine;
pub mod error;
pub mod exit;
pub mod gateway;
pub mod http;
pub mod hub;
pub mod ingest;
pub mod log;
pub mod probes;
pub mod questions;
pub mod rejects;
pub mod serve;
pub mod shutdown;
pub mod simulation;
pub mod status;
pub mod task;
pub mod telemetry;
pub mod verdicts;
