//! Views of what fails: by pattern, one by one, and tests that fail now and then.

use super::{Kind, View, column};

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
///
/// The row without a test's name, in the state `unjudged`, counts in `outcomes` the failures of tests for which there was no room,
/// until a configured time (30 days) after the last of them.
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
