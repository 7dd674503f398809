//! View schemas: the single source for the WebSocket, the queries, the history and the docs.
//!
//! Contract: a [`View`] names its columns in order, key columns first; every key begins with `project`. A column enters a
//! schema when it is computed, not before. Adding, removing or retyping one raises the view's `version`, which changes
//! the epoch.
//!
//! # Invariants
//! Filterable are the key columns and those of kind str, enum, bool and list. The dataflow that computes a view writes
//! exactly these columns (checked where the row is finished).

use serde::Serialize;

/// The kind of a column's values; every column but those of the key may be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Text.
    Str,
    /// One of a few words; which ones the view's docs say.
    Enum,
    /// A truth value.
    Bool,
    /// A count.
    Int,
    /// Milliseconds since the Unix epoch.
    Time,
    /// A length of time: µs inside, ms with up to three decimals outside.
    Duration,
    /// A fraction or rate: × 10⁶ inside, a decimal outside.
    Ratio,
    /// A list of texts.
    List,
}

impl Kind {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Str => "str",
            Kind::Enum => "enum",
            Kind::Bool => "bool",
            Kind::Int => "int",
            Kind::Time => "time",
            Kind::Duration => "duration",
            Kind::Ratio => "ratio",
            Kind::List => "list",
        }
    }
}

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, snake_case.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
}

/// One view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Its name, snake_case.
    pub name: &'static str,
    /// Raised with every change of columns or meaning.
    pub version: u32,
    /// The channel that carries it.
    pub channel: &'static str,
    /// How many of the first columns are the key.
    pub key: usize,
    /// Rows move at multiples of this on the tick axis, and are exact there; 0: at every tick.
    pub cadence_ms: u64,
    /// All columns, those of the key first.
    pub columns: &'static [Column],
}

impl View {
    /// The index of a column.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Whether a column can be filtered on.
    #[must_use]
    pub fn filterable(&self, index: usize) -> bool {
        index < self.key
            || self
                .columns
                .get(index)
                .is_some_and(|column| matches!(column.kind, Kind::Str | Kind::Enum | Kind::Bool | Kind::List))
    }
}

/// The view of a name.
#[must_use]
pub fn view(name: &str) -> Option<&'static View> {
    VIEWS.iter().copied().find(|view| view.name == name)
}

/// The position of a view in [`VIEWS`]: its number in frames.
#[must_use]
pub fn view_index(name: &str) -> Option<usize> {
    VIEWS.iter().position(|view| view.name == name)
}

/// All views, in the order in which frames carry them. One line a view.
pub const VIEWS: &[&View] = &[
    &RUN_PROGRESS,
    &SUITE_PROGRESS,
    &TEST_RESULTS,
    &LIVE_METRICS,
    &COVERAGE,
    &COVERAGE_SUMMARY,
    &FAILURE_PATTERNS,
    &ERROR_STREAM,
    &FLAKY_TESTS,
    &MISSING,
    &USER_ACTIVITY,
    &SLOW_TESTS,
    &ALERTS,
    &PERFORMANCE,
    &REJECTS,
    &RULES,
];

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind }
}

/// Each run that is live or ended less than a grace ago. `state`: `running` `passed` `failed` `abandoned`.
///
/// `started`, `finished` and the outcomes count tests, not attempts; `errored` counts error and timeout. `streams` and
/// `open_streams` are the streams seen and those not yet complete; `planned` and `planned_shards` are what was announced.
///
/// `eta_at`: when a running run will be done if its tests keep finishing as fast as they did on average between its first
/// and its latest event; null without a plan, before the first test has finished, and once as many as planned have.
/// `can_still_pass`: null while no `maxAttempts` was announced (by the run, else the largest of its suites); false while a
/// setup has failed, or a test fails that has used up as many attempts (one under way is not used up); else true.
pub const RUN_PROGRESS: View = View {
    name: "run_progress",
    version: 2,
    channel: "test_suite_progress",
    key: 2,
    cadence_ms: 0,
    columns: &[
        column("project", Kind::Str),
        column("run", Kind::Str),
        column("state", Kind::Enum),
        column("branch", Kind::Str),
        column("commit", Kind::Str),
        column("user", Kind::Str),
        column("framework", Kind::Str),
        column("planned", Kind::Int),
        column("started", Kind::Int),
        column("finished", Kind::Int),
        column("passed", Kind::Int),
        column("failed", Kind::Int),
        column("skipped", Kind::Int),
        column("errored", Kind::Int),
        column("flaky", Kind::Int),
        column("first_event_at", Kind::Time),
        column("last_event_at", Kind::Time),
        column("streams", Kind::Int),
        column("open_streams", Kind::Int),
        column("planned_shards", Kind::Int),
        column("eta_at", Kind::Time),
        column("can_still_pass", Kind::Bool),
    ],
};

/// Each suite of each run. `state` as of the run, by the suite's own tests; `latest_result` is the outcome of the test that
/// finished last; `duration` is the sum over its tests' final attempts.
pub const SUITE_PROGRESS: View = View {
    name: "suite_progress",
    version: 1,
    channel: "test_suite_progress",
    key: 3,
    cadence_ms: 0,
    columns: &[
        column("project", Kind::Str),
        column("run", Kind::Str),
        column("suite", Kind::Str),
        column("name", Kind::Str),
        column("planned", Kind::Int),
        column("started", Kind::Int),
        column("finished", Kind::Int),
        column("passed", Kind::Int),
        column("failed", Kind::Int),
        column("skipped", Kind::Int),
        column("errored", Kind::Int),
        column("flaky", Kind::Int),
        column("duration", Kind::Duration),
        column("state", Kind::Enum),
        column("latest_result", Kind::Enum),
    ],
};

/// Each test of each run. `outcome`: `running` until an attempt has ended, then that of the last attempt.
pub const TEST_RESULTS: View = View {
    name: "test_results",
    version: 1,
    channel: "test_case_results",
    key: 3,
    cadence_ms: 0,
    columns: &[
        column("project", Kind::Str),
        column("run", Kind::Str),
        column("test", Kind::Str),
        column("name", Kind::Str),
        column("suite", Kind::Str),
        column("outcome", Kind::Enum),
        column("error", Kind::Str),
        column("attempts", Kind::Int),
        column("flaky", Kind::Bool),
        column("duration", Kind::Duration),
        column("finished_at", Kind::Time),
        column("error_fingerprint", Kind::Str),
        column("framework", Kind::Str),
        column("user", Kind::Str),
        column("branch", Kind::Str),
        column("severity", Kind::Enum),
        column("tags", Kind::List),
        column("worker", Kind::Str),
        column("shard", Kind::Str),
    ],
};

/// The last 60 s, 10 min and hour of each project, framework, branch and suite. `scope`: `project` `framework` `branch`
/// `suite`, named by `name`; `window`: `60s`, `10m`, `1h`. The rows of `10m` and `1h` move at whole seconds.
///
/// `tests_per_second` is over the whole window; `success_rate` and `error_rate` are shares of passed and failing, in percent,
/// 100 and 0 while nothing finished. `average_duration` is the mean; `p50` `p95` `p99` are nearest-rank percentiles: of `n`
/// durations in ascending order the one at `⌈n × p ÷ 100⌉`, off by at most 1 % of itself, exact below 128 µs. All four are
/// null while no attempt says how long it took. `performance_score` is the share, in percent, of attempts that took at most twice
/// the median of their test over the last 7 days before their tick, of those that were not skipped and say how long they took; what has
/// no such median was on time. `failure_patterns` counts different failures in the window, exactly up to
/// 4,096 different ones in the last hour; above, it is a lower bound.
///
/// The other columns are of now, whatever the window, and are null but in the rows of `60s`: `running_tests` of a project and
/// a suite (what runs is not told by framework or branch), and of a project `open_streams` and `not_seen`, which say how
/// complete its numbers are: streams not yet complete, and tests announced and not yet seen, over its running runs.
pub const LIVE_METRICS: View = View {
    name: "live_metrics",
    version: 3,
    channel: "real_time_metrics",
    key: 4,
    cadence_ms: 250,
    columns: &[
        column("project", Kind::Str),
        column("scope", Kind::Enum),
        column("name", Kind::Str),
        column("window", Kind::Enum),
        column("tests_per_second", Kind::Ratio),
        column("success_rate", Kind::Ratio),
        column("error_rate", Kind::Ratio),
        column("average_duration", Kind::Duration),
        column("p50", Kind::Duration),
        column("p95", Kind::Duration),
        column("p99", Kind::Duration),
        column("performance_score", Kind::Ratio),
        column("failure_patterns", Kind::Int),
        column("running_tests", Kind::Int),
        column("open_streams", Kind::Int),
        column("not_seen", Kind::Int),
    ],
};

/// The failure patterns of each project that occurred within 24 h: the first 1,000 by count in 10 minutes, then by when
/// they were last seen.
///
/// `count_10m` `count_1h` `count_24h`: failed attempts. `trend`: the last 10 minutes against the 50 before, `rising` (at least three,
/// and more than twice as often), `falling` (less than half as often as at least three), else `steady`. `tests` `runs` `users`
/// `workers`: how many different ones in 24 h, exact up to 10,000 occurrences; `capped` says that there may be more. `common`: what
/// all occurrences share, of branch, framework and worker, as `branch=main`; empty while `capped`.
/// Failures of a run itself (a setup, an error without a test) are occurrences of no test. The sample is of the first one.
pub const FAILURE_PATTERNS: View = View {
    name: "failure_patterns",
    version: 2,
    channel: "error_stream",
    key: 2,
    cadence_ms: 1_000,
    columns: &[
        column("project", Kind::Str),
        column("fingerprint", Kind::Str),
        column("pattern", Kind::Str),
        column("type", Kind::Str),
        column("count_10m", Kind::Int),
        column("count_1h", Kind::Int),
        column("count_24h", Kind::Int),
        column("trend", Kind::Enum),
        column("tests", Kind::Int),
        column("runs", Kind::Int),
        column("users", Kind::Int),
        column("workers", Kind::Int),
        column("capped", Kind::Bool),
        column("common", Kind::List),
        column("first_seen_at", Kind::Time),
        column("last_seen_at", Kind::Time),
        column("sample_test", Kind::Str),
        column("sample_message", Kind::Str),
    ],
};

/// What is covered of each file of each live run, by flag (the kind of tests; empty where none was named). A line is covered if
/// any session of the run covers it, and counts if any session says so; a session is one attempt of one stream. `sessions`
/// counts those that name the file; `percent` is null for a file without lines that count.
pub const COVERAGE: View = View {
    name: "coverage",
    version: 1,
    channel: "live_coverage",
    key: 4,
    cadence_ms: 1_000,
    columns: &[
        column("project", Kind::Str),
        column("run", Kind::Str),
        column("flag", Kind::Str),
        column("file", Kind::Str),
        column("lines_covered", Kind::Int),
        column("lines_total", Kind::Int),
        column("percent", Kind::Ratio),
        column("sessions", Kind::Int),
    ],
};

/// What is covered of each live run, by flag, and under `*` of all flags together, merged line by line.
///
/// `sessions_reported` of `sessions_expected` (the shards announced; null where none were): until they are equal the percentage
/// is not the last word. `inexact`: a session gave a percentage without lines; without any lines `percent` is the mean of these.
/// `trend` is in points against the percentage of the last finished run of the branch `compared_with`: the run's own if it is a
/// main branch, else the first main branch of which there is one; as of when the run first said something under this flag.
pub const COVERAGE_SUMMARY: View = View {
    name: "coverage_summary",
    version: 1,
    channel: "live_coverage",
    key: 3,
    cadence_ms: 1_000,
    columns: &[
        column("project", Kind::Str),
        column("run", Kind::Str),
        column("flag", Kind::Str),
        column("lines_covered", Kind::Int),
        column("lines_total", Kind::Int),
        column("percent", Kind::Ratio),
        column("files", Kind::Int),
        column("sessions_reported", Kind::Int),
        column("sessions_expected", Kind::Int),
        column("inexact", Kind::Bool),
        column("trend", Kind::Ratio),
        column("compared_with", Kind::Str),
        column("branch", Kind::Str),
    ],
};

/// The newest errors of each project (500), one row a failed attempt, or failure of a run itself (a setup, an error without a
/// test: then `test` and `attempt` are null): by the event of which the message is shown. `at` is when it
/// ended; `outcome`: `failed` `error` `timeout`; `test_name` is the test's name, `test` its id.
pub const ERROR_STREAM: View = View {
    name: "error_stream",
    version: 2,
    channel: "error_stream",
    key: 3,
    cadence_ms: 250,
    columns: &[
        column("project", Kind::Str),
        column("stream", Kind::Str),
        column("event", Kind::Str),
        column("at", Kind::Time),
        column("severity", Kind::Enum),
        column("outcome", Kind::Enum),
        column("type", Kind::Str),
        column("message", Kind::Str),
        column("error_fingerprint", Kind::Str),
        column("test", Kind::Str),
        column("test_name", Kind::Str),
        column("suite", Kind::Str),
        column("run", Kind::Str),
        column("attempt", Kind::Int),
        column("framework", Kind::Str),
        column("branch", Kind::Str),
        column("user", Kind::Str),
        column("worker", Kind::Str),
        column("tags", Kind::List),
    ],
};

/// Which tests fail now and then: each test and branch with a failure within a configured time (30 days). `branch` is empty where
/// none was named. `state`: `healthy` `flaky` `broken` `fixed`, over the last 20 attempts that passed or failed and that neither
/// broken infrastructure nor an incident explains; how many these were `outcomes` says, `flake_rate` how many of them failed, in
/// percent, `flips` how often the next one was different.
///
/// `reason`: `retry` (failed, then passed in one run) `commit` (both outcomes on one commit) `flips` (3 of them on a main branch)
/// of a flaky one; `failures` (5 in a row) of a broken one; `passes` (10 in a row) `days` (7 without a failure) of one that is
/// fixed, which it stays until its failures are no longer among the last 20. `since` is the event time from which on it is so, and
/// `evidence` the attempts that decided, as JSON, oldest first, at most 16. `last_flake_at`: when one of the first three reasons
/// was last complete. Of a flaky or broken one, `passes_needed` in a row or no failure until `clears_at` would make it fixed.
/// `rule` is the flaky rule that it is judged by, with the numbers above, and `rule_since` when that was said: null for the
/// default; a project's own before one for all, then the smallest id.
pub const FLAKY_TESTS: View = View {
    name: "flaky_tests",
    version: 1,
    channel: "dashboard_updates",
    key: 3,
    cadence_ms: 1_000,
    columns: &[
        column("project", Kind::Str),
        column("test", Kind::Str),
        column("branch", Kind::Str),
        column("name", Kind::Str),
        column("suite", Kind::Str),
        column("state", Kind::Enum),
        column("reason", Kind::Enum),
        column("since", Kind::Time),
        column("flips", Kind::Int),
        column("outcomes", Kind::Int),
        column("flake_rate", Kind::Ratio),
        column("last_flake_at", Kind::Time),
        column("evidence", Kind::List),
        column("passes_needed", Kind::Int),
        column("clears_at", Kind::Time),
        column("rule", Kind::Str),
        column("rule_since", Kind::Time),
    ],
};

/// The tests of each project that take longest: the first 500 by median, over the last 7 days (UTC days of event time), of attempts
/// that were not skipped and say how long they took. `runs` counts these; `p50` and `p95` are at most 0.8 % off. `change`: how much
/// longer the median of the newest day on which it ran is than that of the days before, in percent; null without such days.
/// A row with an empty `test` counts the attempts of tests for which there is no room.
pub const SLOW_TESTS: View = View {
    name: "slow_tests",
    version: 1,
    channel: "performance_feed",
    key: 2,
    cadence_ms: 10_000,
    columns: &[
        column("project", Kind::Str),
        column("test", Kind::Str),
        column("name", Kind::Str),
        column("suite", Kind::Str),
        column("p50", Kind::Duration),
        column("p95", Kind::Duration),
        column("runs", Kind::Int),
        column("change", Kind::Ratio),
    ],
};

/// How long tests take and what they use, in the last 10 s and 10 min (`window`: `10s`, `10m`), by `scope`: of each `suite` in which an
/// attempt ended or something was measured, and of each `test` of which something was measured. Rows of `10s` move at whole
/// seconds, those of `10m` at whole 10 s.
///
/// `tests`: attempts that ended, null for a test; `measured`: events with measurements, a suite's those of its tests among them.
/// Durations are those of the suite's attempts, for a test those that the measuring events state. `max_duration`, `p95` (nearest
/// rank) and `max_memory` are at most 0.8 % off, maxima never less than the average, which is exact. Memory is in bytes, `average_cpu` in
/// cores. `metrics`: the average of each named
/// number, as `name=12.5`, in the order of names; at most 32 names, the first ones that came within 10 minutes. What was not
/// measured is null.
///
/// A project has at most 10,240 suites and as many tests within 10 minutes; what comes above is together in a row with an empty name.
/// A measurement is taken back by its event's id or an incident.
pub const PERFORMANCE: View = View {
    name: "performance",
    version: 1,
    channel: "performance_feed",
    key: 4,
    cadence_ms: 1_000,
    columns: &[
        column("project", Kind::Str),
        column("scope", Kind::Enum),
        column("name", Kind::Str),
        column("window", Kind::Enum),
        column("tests", Kind::Int),
        column("measured", Kind::Int),
        column("average_duration", Kind::Duration),
        column("max_duration", Kind::Duration),
        column("p95", Kind::Duration),
        column("average_memory", Kind::Int),
        column("max_memory", Kind::Int),
        column("average_cpu", Kind::Ratio),
        column("metrics", Kind::List),
    ],
};

/// What was announced or begun and is not there. `kind`: `not_started` (id: the suite, or empty for the run; `count` of
/// announced tests never seen, once the run has ended), `not_finished` (id: the test, begun and without an outcome when the
/// run ended), `abandoned` (id: empty; the run itself), `shard_not_started` (id: empty; `count` of announced shards never
/// seen, once the run has ended), `version_gap` (id: the stream; `count` of its versions that never came, since it is
/// complete or its run has ended; a version is missed by the run of the first event beyond it), `silent_shard` (id: the
/// stream, of a running run, that is not complete and has said nothing for a configured time, since its last event).
/// `worker`: the first that the test or the stream named.
pub const MISSING: View = View {
    name: "missing",
    version: 2,
    channel: "test_suite_progress",
    key: 4,
    cadence_ms: 0,
    columns: &[
        column("project", Kind::Str),
        column("run", Kind::Str),
        column("kind", Kind::Enum),
        column("id", Kind::Str),
        column("count", Kind::Int),
        column("since", Kind::Time),
        column("worker", Kind::Str),
    ],
};

/// Who is at work: each user whose runs are in state, or had an event within a configured time (7 days). A run is of the first
/// user that it names.
///
/// `runs_today`: those first seen on this UTC day. `last_run` is the one with the latest event, `last_result` (`passed`
/// `failed` `abandoned`) that of the run that ended last: null while none has, changing as long as that run is in state. A
/// project has so many users (10,000); runs of those who found no room are together in the row of the user without a name.
pub const USER_ACTIVITY: View = View {
    name: "user_activity",
    version: 1,
    channel: "user_activity",
    key: 2,
    cadence_ms: 1_000,
    columns: &[
        column("project", Kind::Str),
        column("user", Kind::Str),
        column("running_runs", Kind::Int),
        column("runs_today", Kind::Int),
        column("last_run", Kind::Str),
        column("last_result", Kind::Enum),
        column("last_active_at", Kind::Time),
    ],
};

/// The alerts that fire: one row for each row of `view` of which the conditions of an alert rule have held for as long as it
/// says. A row comes when its alert fires and leaves when it goes back; in between it stands as it was.
///
/// `rule` is the rule's id, of the project's own rules or of those for all projects; `subject` names the row: its key without
/// the project, several columns of it joined by ` · ` (a `·` in one of them is written twice). `value` and `threshold` are of
/// the first condition, as shown there (durations in ms), of a time its age in seconds; `message` is the rule's, filled in.
pub const ALERTS: View = View {
    name: "alerts",
    version: 1,
    channel: "alert_notifications",
    key: 3,
    cadence_ms: 0,
    columns: &[
        column("project", Kind::Str),
        column("rule", Kind::Str),
        column("subject", Kind::Str),
        column("view", Kind::Str),
        column("severity", Kind::Enum),
        column("value", Kind::Ratio),
        column("threshold", Kind::Ratio),
        column("fired_at", Kind::Time),
        column("message", Kind::Str),
    ],
};

/// What was not taken, and why: the last 10,000, and counts by kind. `kind`: `malformed` `invalid` `oversize` `conflict` one
/// row each; `duplicate` and `late` one row a project with their `count`, at topic "", partition, offset and index 0.
pub const REJECTS: View = View {
    name: "rejects",
    version: 1,
    channel: "error_stream",
    key: 6,
    cadence_ms: 1_000,
    columns: &[
        column("project", Kind::Str),
        column("kind", Kind::Enum),
        column("topic", Kind::Str),
        column("partition", Kind::Int),
        column("offset", Kind::Int),
        column("index", Kind::Int),
        column("count", Kind::Int),
        column("message", Kind::Str),
        column("stream", Kind::Str),
        column("at", Kind::Time),
    ],
};

/// What people have said that holds: alert, flaky and mask rules, and incidents. `kind`: `alert` `flaky` `mask` `incident`;
/// `text` is what was said, as JSON; `said_at` and `said_by` are told by whoever took it, `since` is the tick from which on it
/// holds. A rule for all projects has the project "".
pub const RULES: View = View {
    name: "rules",
    version: 1,
    channel: "rules",
    key: 3,
    cadence_ms: 0,
    columns: &[
        column("project", Kind::Str),
        column("kind", Kind::Enum),
        column("id", Kind::Str),
        column("text", Kind::Str),
        column("said_at", Kind::Time),
        column("said_by", Kind::Str),
        column("since", Kind::Time),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_is_sound() {
        for (index, view) in VIEWS.iter().enumerate() {
            assert_eq!(view.columns[0].name, "project", "{}: every key begins with the project", view.name);
            assert!(view.key >= 1 && view.key < view.columns.len(), "{}", view.name);
            assert_eq!(view_index(view.name), Some(index), "{}: the name is taken twice", view.name);
            assert_eq!(view.cadence_ms % 10, 0, "{}: a cadence is a multiple of the tick's unit", view.name);
            for (position, column) in view.columns.iter().enumerate() {
                assert_eq!(view.column(column.name), Some(position), "{}.{} stands twice", view.name, column.name);
            }
        }
    }
}
