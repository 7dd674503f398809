//! Views of what is measured: rates and durations, coverage, slow tests, resource use.

use super::{Kind, View, column};

/// The last 60 s, 10 min and hour of each project, framework, branch and suite. `scope`: `project` `framework` `branch`
/// `suite`, named by `name`; `window`: `60s`, `10m`, `1h`. The rows of `10m` and `1h` move at whole seconds.
///
/// `tests_per_second` is over the whole window; `success_rate` and `error_rate` are shares of passed and failing, in percent,
/// 100 and 0 while nothing finished. `average_duration` is the mean; `p50` `p95` `p99` are nearest-rank percentiles: of `n`
/// durations in ascending order the one at `⌈n × p ÷ 100⌉`, off by at most 1 % of itself, exact below 128 µs. All four are
/// null while no attempt says how long it took. `performance_score` is the share, in percent, of attempts that took at most twice
/// the median of their test over the last 7 days before their tick, of those that were not skipped and say how long they took; what has
/// no such median was on time. `failure_patterns` counts different failures in the window, exactly up to
/// 4,096 different ones in the last hour; above, it is a lower bound. `memory_average` is the mean, in bytes, over the events of the
/// window that state a `memory` and name a suite or a test of the scope, each once; null while none did.
///
/// A project has room for so many suites, branches and frameworks with attempts or measurements within an hour (`live_scopes` of each, 65,536
/// unless something else is set). What happened to those that found none is together in the row of their scope without a name; a row of
/// their own then knows only what is running or covered, and its rates are as if nothing had finished. One that gets in later begins with
/// the minute after the last in which any was turned away.
///
/// The other columns are of now, whatever the window, and are null but in the rows of `60s`: `running_tests` of a project and
/// a suite (what runs is not told by framework or branch), and of a project `open_streams` and `not_seen`, which say how
/// complete its numbers are: streams not yet complete, and tests announced and not yet seen, over its running runs.
/// `live_coverage` of a project and a branch: lines covered of all lines that count, in percent, both summed over its runs in state
/// as their rows `*` of `coverage_summary` have them (a line that two runs know counts twice); null while none of them names lines.
/// `coverage_trend`: how many points that is above what it was 10 minutes before the last whole 10 s; null until it has been known
/// for so long.
pub const LIVE_METRICS: View = View {
    name: "live_metrics",
    version: 4,
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
        column("memory_average", Kind::Int),
        column("live_coverage", Kind::Ratio),
        column("coverage_trend", Kind::Ratio),
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
/// `state`: `running` `finished` `abandoned`; `complete`: the run has finished, and as many sessions as were announced, where any
/// were, have reported.
pub const COVERAGE_SUMMARY: View = View {
    name: "coverage_summary",
    version: 2,
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
        column("state", Kind::Enum),
        column("complete", Kind::Bool),
    ],
};

/// What is covered of each live run of all flags together: the rows `*` of `coverage_summary` every 5 s, the aggregated form of its
/// channel.
pub const COVERAGE_OVERVIEW: View = View {
    name: "coverage_overview",
    version: 1,
    channel: "coverage_overview",
    key: 2,
    cadence_ms: 5_000,
    columns: &[
        column("project", Kind::Str),
        column("run", Kind::Str),
        column("lines_covered", Kind::Int),
        column("lines_total", Kind::Int),
        column("percent", Kind::Ratio),
        column("files", Kind::Int),
        column("sessions_reported", Kind::Int),
        column("sessions_expected", Kind::Int),
        column("trend", Kind::Ratio),
        column("branch", Kind::Str),
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

/// How long tests took and what they used in the last 10 s: the rows `10s` of `performance` every 10 s, the aggregated form of its
/// channel.
pub const PERFORMANCE_SUMMARY: View = View {
    name: "performance_summary",
    version: 1,
    channel: "performance_summary",
    key: 3,
    cadence_ms: 10_000,
    columns: &[
        column("project", Kind::Str),
        column("scope", Kind::Enum),
        column("name", Kind::Str),
        column("average_duration", Kind::Duration),
        column("average_memory", Kind::Int),
        column("max_duration", Kind::Duration),
    ],
};
