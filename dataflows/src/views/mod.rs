//! The views: one file each. `context::build` wires them.

pub mod missing;
pub mod run_progress;
pub mod suite_progress;
pub mod test_results;
