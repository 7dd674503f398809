//! The alert rules that are there without anybody having put them.
//!
//! Contract: they hold for all projects under ids of their own; a rule that somebody puts under the same id holds instead, in its
//! project or in all, so one that is `disabled` switches the built-in one off. A change of what is here changes what the view
//! `alerts` says: it raises that view's version.

use super::{AlertRule, Comparison, Condition};
use crate::event::Severity;

/// What their ids begin with.
pub const PREFIX: &str = "builtin:";

/// All of them, by id.
#[must_use]
pub fn alerts() -> Vec<(&'static str, AlertRule)> {
    vec![
        ("builtin:success-rate", success_rate()),
        ("builtin:error-rate", error_rate()),
        ("builtin:new-failure", new_failure()),
        ("builtin:silent-run", silent_run()),
        ("builtin:coverage-drop", coverage_drop()),
    ]
}

/// The built-in rule of an id.
#[must_use]
pub fn alert(id: &str) -> Option<AlertRule> {
    alerts().into_iter().find(|(known, _)| *known == id).map(|(_, rule)| rule)
}

fn rule(view: &str, filter: &[(&str, &str)], when: &[(&str, Comparison, f64)], message: &str) -> AlertRule {
    let condition = |(column, is, threshold): &(&str, Comparison, f64)| Condition {
        column: (*column).to_owned(),
        is: *is,
        threshold: *threshold,
    };
    AlertRule {
        view: view.to_owned(),
        filter: filter.iter().map(|(column, value)| ((*column).to_owned(), vec![(*value).to_owned()])).collect(),
        when: when.iter().map(condition).collect(),
        for_ms: 0,
        clear: None,
        severity: Severity::Warning,
        message: message.to_owned(),
        disabled: false,
    }
}

/// Less than 90 % of what finished in the last minute passed, for a minute.
fn success_rate() -> AlertRule {
    let filter = [("scope", "project"), ("window", "60s")];
    let when = [("success_rate", Comparison::Less, 90.0), ("tests_per_second", Comparison::More, 0.0)];
    let rule = rule("live_metrics", &filter, &when, "{name}: only {value} % of the tests of the last minute passed");
    AlertRule { for_ms: 60_000, severity: Severity::Error, ..rule }
}

/// More than 5 % of what finished in the last ten minutes failed, for a minute.
fn error_rate() -> AlertRule {
    let filter = [("scope", "project"), ("window", "10m")];
    let when = [("error_rate", Comparison::More, 5.0)];
    let rule = rule("live_metrics", &filter, &when, "{name}: {value} % of the tests of the last ten minutes failed");
    AlertRule { for_ms: 60_000, ..rule }
}

/// A failure that was not known ten minutes ago is in three runs.
fn new_failure() -> AlertRule {
    let when = [("runs", Comparison::AtLeast, 3.0), ("first_seen_at", Comparison::AtMost, 600.0)];
    let rule = rule("failure_patterns", &[], &when, "a new failure is in {value} runs: {pattern}");
    AlertRule { severity: Severity::Error, ..rule }
}

/// A run has said nothing for ten minutes, and for another half minute in which Weir itself was neither away nor behind.
fn silent_run() -> AlertRule {
    let when = [("last_event_at", Comparison::AtLeast, 600.0)];
    let rule = rule("run_progress", &[("state", "running")], &when, "run {run} has been silent for {value} s");
    AlertRule { for_ms: 30_000, ..rule }
}

/// A run of which all has been reported covers over a point less than the last finished one of the main branch, for a minute.
fn coverage_drop() -> AlertRule {
    let when = [("trend", Comparison::Less, -1.0)];
    let message = "run {run} covers {percent} % of the lines, {value} points against {compared_with}";
    let filter = [("flag", "*"), ("complete", "true")];
    AlertRule { for_ms: 60_000, ..rule("coverage_summary", &filter, &when, message) }
}
