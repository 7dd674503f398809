//! Views of runs that are in state: how far they are, what their tests came to, what is missing of them.

use super::{Kind, View, column};

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
    version: 2,
    channel: "test_suite_progress",
    key: 3,
    cadence_ms: 250,
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

/// Each suite of each run at a glance: `suite_progress` once a second, the aggregated form of its channel.
pub const SUITE_SUMMARY: View = View {
    name: "suite_summary",
    version: 1,
    channel: "suite_summary",
    key: 3,
    cadence_ms: 1_000,
    columns: &[
        column("project", Kind::Str),
        column("run", Kind::Str),
        column("suite", Kind::Str),
        column("name", Kind::Str),
        column("planned", Kind::Int),
        column("finished", Kind::Int),
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

/// What was announced or begun and is not there. `kind`: `not_started` (id: the suite, or empty for the run; `count` of
/// announced tests never seen, once the run has ended), `not_finished` (id: the test, begun and without an outcome when the
/// run ended), `abandoned` (id: empty; the run itself), `shard_not_started` (id: empty; `count` of announced shards never
/// seen, once the run has ended), `version_gap` (id: the stream; `count` of its versions that never came, since it is
/// complete or its run has ended; a version is missed by the run of the first event beyond it), `silent_shard` (id: the
/// stream, of a running run, that is not complete and has said nothing for a configured time, since its last event),
/// `overflow` (id: `tests`, `suites` or `files`; `count` of the run's events that were left out because there was no room for new
/// ones of these, since the first; moves at whole seconds).
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
