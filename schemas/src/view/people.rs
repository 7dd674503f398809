//! Views for those who run and watch: who does what, alerts, the rules that hold, what was refused.

use super::{Kind, View, column};

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
    version: 2,
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

/// What was not taken, and why: the last 10,000, and counts by kind. `kind`: `malformed` `invalid` `oversize` `conflict` and
/// `moved` (the first event of a stream outside of its partition, which may count all the same) one row each; `duplicate` and
/// `late` one row a project with their `count`, at topic "", partition, offset and index 0.
pub const REJECTS: View = View {
    name: "rejects",
    version: 2,
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

/// Each project at a glance, as long as anything is known of it, from the rows of other views at the same whole second.
///
/// `running_runs`: those of `run_progress` that are running. `tests_per_second`, `success_rate` and `live_coverage` are the project's
/// own of the last 60 s in `live_metrics` (0, 100 and null where it has no such row), `failing_patterns` its `failure_patterns` of
/// the last 10 minutes there, with the same bound. `firing_alerts` counts its rows of `alerts`, `flaky_tests` those of
/// `flaky_tests` that are `flaky`: a test once for each branch.
pub const DASHBOARD: View = View {
    name: "dashboard",
    version: 1,
    channel: "dashboard_updates",
    key: 1,
    cadence_ms: 1_000,
    columns: &[
        column("project", Kind::Str),
        column("running_runs", Kind::Int),
        column("tests_per_second", Kind::Ratio),
        column("success_rate", Kind::Ratio),
        column("failing_patterns", Kind::Int),
        column("firing_alerts", Kind::Int),
        column("live_coverage", Kind::Ratio),
        column("flaky_tests", Kind::Int),
    ],
};
