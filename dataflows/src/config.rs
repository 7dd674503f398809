//! What the dataflow can be told: lengths of memory, timeouts, sizes.
//!
//! Contract: every value here changes what a view says, so [`Config::fingerprint`] is part of the epoch: positions and
//! digests of one configuration say nothing about another's.

use serde::{Deserialize, Serialize};
use weir_schemas::id::Id;
use weir_schemas::view::VIEWS;

/// Raised when a view's meaning changes without a change of its columns or of this configuration.
pub const DEFINITION: u32 = 1;

/// Configuration of the dataflow. Lengths of time in ms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// A run whose streams are complete is finished after so much silence.
    pub run_quiet_ms: u64,
    /// A run that is not finished is abandoned after so much silence.
    pub run_timeout_ms: u64,
    /// A shard of a running run that is not complete is silent when it said nothing for so long.
    pub shard_silent_ms: u64,
    /// A run's detail stays for so long after it finished or was abandoned.
    pub run_grace_ms: u64,
    /// Tests of live runs in state, of all projects; above, ended runs leave before their grace is over (`budget`).
    pub row_budget: usize,
    /// And of one project, so that none takes all.
    pub project_tests: usize,
    /// Suites of live runs in state a project; above, as with tests.
    pub project_suites: usize,
    /// Files of live runs with coverage in state a project, each flag of one counted; above, as with tests.
    pub project_files: usize,
    /// A stream's version and gaps are kept for so long after its last event.
    pub stream_memory_ms: u64,
    /// Event ids are kept for so long.
    pub event_id_memory_ms: u64,
    /// Ids of runs that left are kept for so long; their events count as late.
    pub late_memory_ms: u64,
    /// Gap ranges kept a stream; above: conflict.
    pub stream_gaps: usize,
    /// Withdrawals of a run that count; what comes above is refused.
    pub withdrawn: usize,
    /// Rejects kept as rows.
    pub rejects: usize,
    /// Failure patterns shown a project.
    pub failure_patterns: usize,
    /// Failure patterns in state a project, a 256th of it a bucket of fingerprints; what comes above is counted in its row
    /// `other`. At least 256.
    pub patterns_held: usize,
    /// Occurrences of one pattern kept one by one; above, its number of tests is a lower bound.
    pub pattern_occurrences: usize,
    /// A failure pattern without news is forgotten after so long.
    pub pattern_memory_ms: u64,
    /// Errors shown a project; twice as many are kept.
    pub errors: usize,
    /// An error is forgotten after so long.
    pub error_memory_ms: u64,
    /// What is said of one file and flag, or by one session of one flag, is kept apart up to so often; above, it is put together and
    /// cannot be taken back.
    pub coverage_said: usize,
    /// Suites with attempts or measurements within an hour in state of `live_metrics` a project, and as many branches and frameworks, a 256th
    /// of it a bucket by hash, so that the first are turned away at about five sixths; what comes above is counted in the row without a
    /// name. At least 256.
    pub live_scopes: usize,
    /// Measurements of a run kept apart up to so many; above, they are counted and cannot be taken back.
    pub performance_said: usize,
    /// Suites in state of `performance` a project, and as many tests, a 256th of it a bucket; what comes above is counted in the row
    /// without a name. At least 256.
    pub performance_scopes: usize,
    /// Named metrics of a suite or test; what comes above is not taken.
    pub performance_metrics: usize,
    /// The percentage that runs of a main branch are compared with is forgotten after so long.
    pub coverage_memory_ms: u64,
    /// The main branches, the first ones first.
    pub main_branches: Vec<String>,
    /// Users in state a project; what comes above is counted in the row of the user without a name.
    pub users: usize,
    /// A user none of whose runs is in state is forgotten so long after the last event of one.
    pub user_memory_ms: u64,
    /// Rings of outcomes of flaky tests in state a project, a 256th of it a bucket of tests; what comes above is not seen. At
    /// least 256.
    pub flaky_tests: usize,
    /// A ring of outcomes is forgotten so long after the last failure in it.
    pub flaky_memory_ms: u64,
    /// Slow tests shown a project.
    pub slow_tests: usize,
    /// Tests of which durations are kept a project, a 256th of it a bucket of tests; attempts of others are counted together. At
    /// least 256.
    pub slow_tests_held: usize,
    /// Durations are remembered for seven parts of this, in whole parts.
    pub duration_memory_ms: u64,
    /// Tests of a run, or on one machine of it, from which on the infrastructure may be to blame.
    pub guard_tests: usize,
    /// Names of the topics, by their number in positions and bindings: a topic keeps its number, so new ones come last.
    pub topics: Vec<String>,
    /// Nothing at or past this time is emitted: the end of a bounded replay.
    pub until: u64,
}

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

impl Default for Config {
    fn default() -> Self {
        Config {
            run_quiet_ms: MINUTE / 2,
            run_timeout_ms: 2 * HOUR,
            shard_silent_ms: 2 * MINUTE,
            run_grace_ms: HOUR,
            row_budget: 5_000_000,
            project_tests: 2_500_000,
            project_suites: 250_000,
            project_files: 1_000_000,
            stream_memory_ms: 7 * DAY,
            event_id_memory_ms: DAY,
            late_memory_ms: 30 * DAY,
            stream_gaps: 64,
            withdrawn: 100_000,
            rejects: 10_000,
            failure_patterns: 1_000,
            patterns_held: 16_384,
            pattern_occurrences: 10_000,
            pattern_memory_ms: 30 * DAY,
            errors: 500,
            error_memory_ms: 7 * DAY,
            coverage_said: 1_000,
            live_scopes: 65_536,
            performance_said: 10_000,
            performance_scopes: 10_240,
            performance_metrics: 32,
            coverage_memory_ms: 30 * DAY,
            main_branches: ["main", "master", "trunk"].map(str::to_owned).to_vec(),
            users: 10_000,
            user_memory_ms: 7 * DAY,
            flaky_tests: 16_384,
            flaky_memory_ms: 30 * DAY,
            slow_tests: 500,
            slow_tests_held: 500_000,
            duration_memory_ms: 7 * DAY,
            guard_tests: 5,
            topics: ["weir.events", "weir.control"].map(str::to_owned).to_vec(),
            until: u64::MAX,
        }
    }
}

impl Config {
    /// The longest time for which anything is remembered: the log must reach back further.
    #[must_use]
    pub fn memory_ms(&self) -> u64 {
        let run = self.run_timeout_ms + self.run_grace_ms;
        [
            run,
            self.stream_memory_ms,
            self.event_id_memory_ms,
            self.late_memory_ms,
            self.pattern_memory_ms,
            self.coverage_memory_ms,
            self.error_memory_ms,
            self.user_memory_ms,
            self.flaky_memory_ms,
            self.duration_memory_ms,
        ]
        .into_iter()
        .fold(0, u64::max)
    }

    /// Names everything that the views' rows depend on besides the input.
    #[must_use]
    pub fn fingerprint(&self) -> Id {
        let mut words = vec![format!("definition {DEFINITION}")];
        words.extend(VIEWS.iter().map(|view| format!("{} {}", view.name, view.version)));
        // `until` ends a replay and changes no row before it.
        words.push(format!("{:?}", Config { until: 0, ..self.clone() }));
        Id::of(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_the_fingerprint_but_the_end_of_a_replay() {
        let config = Config::default();
        assert_eq!(config.fingerprint(), Config { until: 5, ..config.clone() }.fingerprint());
        assert_ne!(config.fingerprint(), Config { run_quiet_ms: 5, ..config.clone() }.fingerprint());
        assert_ne!(config.fingerprint(), Config { topics: vec![], ..config.clone() }.fingerprint());
        assert_eq!(config.memory_ms(), 30 * DAY);
    }
}
