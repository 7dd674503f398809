//! The views: one file each. `graph::build` wires them.

pub mod alerts;
pub mod coverage;
pub mod dashboard;
pub mod error_stream;
pub mod failure_patterns;
pub mod flaky_tests;
pub mod live_metrics;
pub mod missing;
pub mod performance;
pub mod rejects;
pub mod run_progress;
pub mod suite_progress;
pub mod summaries;
pub mod test_results;
pub mod user_activity;
