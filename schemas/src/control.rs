//! Control records: rules and incidents, the inputs that people change while Weir runs.
//!
//! Contract: a [`ControlRecord`] is one record of the topic `weir.control`: from its tick on, what it names by (project, kind,
//! id) is what it says, or is gone. The last record of a name wins, in log order; so the current rules are a fold over the
//! topic, and a replay knows when they changed (`time.md`, D5).
//!
//! # Invariants
//! What [`ControlRecord::check`] accepts is acceptable to the dataflow; it is asked before a record is appended and again when
//! one is read, since the topic may have other writers. Numbers are integers in the units of the columns that they are compared
//! with, made once, in [`AlertRule::limit`].

mod alert;
pub mod builtin;

pub use alert::{AlertRule, CONDITIONS_MAX, Comparison, Condition, FOR_MS_MAX, WATCHABLE};

use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

/// An id, at most, in bytes.
pub const ID_MAX: usize = 128;
/// A text of a rule, at most, in bytes.
pub const TEXT_MAX: usize = 1 << 10;

/// One record of the topic `weir.control`. Between workers, where fields have no names, all of them stand ([`Serialize`]).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ControlRecord {
    /// The project that it is for; empty: all projects.
    #[serde(default)]
    pub project: String,
    /// Its name, within project and kind.
    pub id: String,
    /// What it says, or that it is taken back.
    pub change: ControlChange,
    /// When it was said, in epoch ms, by the clock of whoever took it: for people, nothing is computed from it.
    #[serde(default)]
    pub said_at: u64,
    /// Who said it, where known.
    #[serde(default)]
    pub said_by: String,
}

impl Serialize for ControlRecord {
    /// Leaves out who said it where that is not known, but only where fields are found by their names.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = !serializer.is_human_readable() || !self.said_by.is_empty();
        let mut fields = serializer.serialize_struct("ControlRecord", 4 + usize::from(known))?;
        fields.serialize_field("project", &self.project)?;
        fields.serialize_field("id", &self.id)?;
        fields.serialize_field("change", &self.change)?;
        fields.serialize_field("saidAt", &self.said_at)?;
        match known {
            true => fields.serialize_field("saidBy", &self.said_by)?,
            false => fields.skip_field("saidBy")?,
        }
        fields.end()
    }
}

/// What a control record says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlChange {
    /// Results that say nothing about the code.
    Incident(Incident),
    /// When somebody is to be told.
    Alert(AlertRule),
    /// What makes a test flaky.
    Flaky(FlakyRule),
    /// What differs between occurrences of one failure.
    Mask(MaskRule),
    /// What was said under this name is taken back.
    Removed(ControlKind),
}

/// The kinds of what can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlKind {
    /// An [`Incident`].
    Incident,
    /// An [`AlertRule`].
    Alert,
    /// A [`FlakyRule`].
    Flaky,
    /// A [`MaskRule`].
    Mask,
}

impl ControlKind {
    /// The word in rows and paths.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ControlKind::Incident => "incident",
            ControlKind::Alert => "alert",
            ControlKind::Flaky => "flaky",
            ControlKind::Mask => "mask",
        }
    }
}

/// What came from a worker, or in an interval, says nothing about the code: the infrastructure was broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Incident {
    /// The machine; empty: all of them.
    pub worker: String,
    /// From this event time on, in epoch ms.
    pub from: Option<u64>,
    /// Before this event time.
    pub to: Option<u64>,
    /// What happened, for people.
    pub note: String,
}

/// What makes a test flaky, broken, and well again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct FlakyRule {
    /// How many outcomes are judged, at most 64.
    pub window: u32,
    /// So many changes between passed and failed within the window make it flaky, on a main branch.
    pub flips: u32,
    /// So many failures in a row make it broken.
    pub broken: u32,
    /// So many passes in a row make it well again.
    pub passes: u32,
    /// And so many days without a failure.
    pub days: u32,
    /// The branches on which changes from run to run count: elsewhere the code changes too.
    pub main_branches: Vec<String>,
}

impl Default for FlakyRule {
    fn default() -> Self {
        FlakyRule {
            window: 20,
            flips: 3,
            broken: 5,
            passes: 10,
            days: 7,
            main_branches: ["main", "master", "trunk"].map(str::to_owned).to_vec(),
        }
    }
}

/// A part of error texts that differs between occurrences of one failure.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MaskRule {
    /// A regular expression; what it matches is shown as `%`.
    pub pattern: String,
    /// Rules apply in ascending order of this, then of their ids.
    #[serde(default)]
    pub order: u32,
}

/// Why a control record is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidControl {
    /// The path of the field, as on the wire.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

fn bad<T>(field: impl Into<String>, problem: impl Into<String>) -> Result<T, InvalidControl> {
    Err(InvalidControl { field: field.into(), problem: problem.into() })
}

fn text(field: &str, value: &str, limit: usize) -> Result<(), InvalidControl> {
    match value.len() {
        len if len > limit => bad(field, format!("{len} bytes, at most {limit} are allowed")),
        _ => Ok(()),
    }
}

impl ControlChange {
    /// What kind of thing is said or taken back.
    #[must_use]
    pub fn kind(&self) -> ControlKind {
        match self {
            ControlChange::Incident(_) => ControlKind::Incident,
            ControlChange::Alert(_) => ControlKind::Alert,
            ControlChange::Flaky(_) => ControlKind::Flaky,
            ControlChange::Mask(_) => ControlKind::Mask,
            ControlChange::Removed(kind) => *kind,
        }
    }
}

impl ControlRecord {
    /// Applies the rules that make a record unacceptable. Of a mask, that its pattern is a regular expression is checked by
    /// whoever compiles it.
    ///
    /// # Errors
    /// The first field that breaks a rule.
    pub fn check(&self) -> Result<(), InvalidControl> {
        if self.id.is_empty() {
            return bad("id", "empty");
        }
        text("id", &self.id, ID_MAX)?;
        text("project", &self.project, TEXT_MAX)?;
        text("saidBy", &self.said_by, TEXT_MAX)?;
        match &self.change {
            ControlChange::Incident(incident) => incident.check(&self.project),
            ControlChange::Alert(rule) => rule.check(),
            ControlChange::Flaky(rule) => rule.check(),
            ControlChange::Mask(rule) => match rule.pattern.as_str() {
                "" => bad("pattern", "empty"),
                pattern => text("pattern", pattern, TEXT_MAX),
            },
            ControlChange::Removed(_) => Ok(()),
        }
    }
}

impl Incident {
    fn check(&self, project: &str) -> Result<(), InvalidControl> {
        if project.is_empty() {
            return bad("project", "empty: an incident is one project's");
        }
        text("worker", &self.worker, TEXT_MAX)?;
        text("note", &self.note, TEXT_MAX)?;
        if self.worker.is_empty() && self.from.is_none() && self.to.is_none() {
            return bad("worker", "missing: name a worker, an interval (from, to), or both");
        }
        match (self.from, self.to) {
            (Some(from), Some(to)) if to <= from => bad("to", "not after `from`"),
            _ => Ok(()),
        }
    }

    /// Whether it speaks of what happened on a machine at an event time.
    #[must_use]
    pub fn covers(&self, worker: Option<&str>, at: u64) -> bool {
        (self.worker.is_empty() || worker == Some(&*self.worker))
            && self.from.is_none_or(|from| from <= at)
            && self.to.is_none_or(|to| at < to)
    }
}

impl FlakyRule {
    fn check(&self) -> Result<(), InvalidControl> {
        for (field, value, limit) in [
            ("window", self.window, 64),
            ("flips", self.flips, 64),
            ("broken", self.broken, 64),
            ("passes", self.passes, 64),
            ("days", self.days, 30),
        ] {
            if value == 0 || value > limit {
                return bad(field, format!("{value}: from 1 to {limit} are allowed"));
            }
        }
        if self.main_branches.len() > 32 {
            return bad("mainBranches", "at most 32 are allowed");
        }
        self.main_branches.iter().try_for_each(|branch| text("mainBranches", branch, TEXT_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Severity;
    use crate::view::{Column, Kind, view};
    use std::collections::BTreeMap;

    fn rule() -> AlertRule {
        AlertRule {
            view: "live_metrics".to_owned(),
            filter: BTreeMap::from([("scope".to_owned(), vec!["project".to_owned()])]),
            when: vec![Condition { column: "success_rate".to_owned(), is: Comparison::Less, threshold: 90.0 }],
            for_ms: 60_000,
            clear: Some(95.0),
            severity: Severity::Error,
            message: "{name}: {value} % pass".to_owned(),
            disabled: false,
        }
    }

    fn record(change: ControlChange) -> ControlRecord {
        ControlRecord { project: "web".to_owned(), id: "a".to_owned(), change, said_at: 5, said_by: String::new() }
    }

    #[test]
    fn a_record_reads_back() {
        for change in [
            ControlChange::Alert(rule()),
            ControlChange::Incident(Incident { worker: "w1".to_owned(), ..Incident::default() }),
            ControlChange::Flaky(FlakyRule::default()),
            ControlChange::Mask(MaskRule { pattern: "order [0-9]+".to_owned(), order: 3 }),
            ControlChange::Removed(ControlKind::Mask),
        ] {
            let record = record(change);
            record.check().expect("sound");
            let text = serde_json::to_string(&record).expect("can be written");
            assert_eq!(serde_json::from_str::<ControlRecord>(&text).expect("can be read"), record, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let problem = |change: ControlChange| record(change).check().expect_err("refused").to_string();
        let alert = |change: fn(&mut AlertRule)| {
            let mut rule = rule();
            change(&mut rule);
            problem(ControlChange::Alert(rule))
        };
        assert_eq!(alert(|rule| rule.view = "x".to_owned()), r#"view: "x" is no view"#);
        assert_eq!(
            alert(|rule| rule.when[0].column = "x".to_owned()),
            r#"when[0].column: live_metrics has no column "x""#
        );
        assert_eq!(alert(|rule| rule.when[0].column = "scope".to_owned()), "when[0].column: scope is no number");
        assert_eq!(
            alert(|rule| rule.when[0].threshold = f64::NAN),
            "when[0].threshold: not a number of a size that is compared"
        );
        assert_eq!(alert(|rule| rule.when.clear()), "when: from 1 to 8 conditions are allowed");
        assert_eq!(
            alert(|rule| rule.view = "test_results".to_owned()),
            "view: alerts do not look at test_results; they can look at run_progress, suite_progress, live_metrics, \
             coverage_summary, failure_patterns, missing, user_activity, slow_tests, flaky_tests"
        );
        assert_eq!(alert(|rule| rule.clear = Some(85.0)), "clear: the alert would go back while its condition holds");
        assert_eq!(alert(|rule| rule.for_ms = 604_800_001), "forMs: 604800001: at most 604800000 are allowed");
        assert_eq!(
            problem(ControlChange::Incident(Incident::default())),
            "worker: missing: name a worker, an interval (from, to), or both"
        );
        assert_eq!(
            problem(ControlChange::Flaky(FlakyRule { window: 65, ..FlakyRule::default() })),
            "window: 65: from 1 to 64 are allowed"
        );
    }

    #[test]
    fn what_is_built_in_is_sound() {
        for (id, rule) in builtin::alerts() {
            assert!(id.starts_with(builtin::PREFIX) && !rule.disabled, "{id}");
            let record = ControlRecord { id: id.to_owned(), ..record(ControlChange::Alert(rule)) };
            record.check().expect("sound");
        }
        assert!(WATCHABLE.iter().all(|name| view(name).is_some()));
    }

    #[test]
    fn an_incident_covers_its_worker_and_interval() {
        let incident = Incident { worker: "w".to_owned(), from: Some(10), to: Some(20), ..Incident::default() };
        assert!(incident.covers(Some("w"), 10) && incident.covers(Some("w"), 19));
        assert!(!incident.covers(Some("w"), 20) && !incident.covers(Some("w"), 9));
        assert!(!incident.covers(Some("v"), 15) && !incident.covers(None, 15));
        assert!(Incident { from: Some(10), ..Incident::default() }.covers(None, 10));
    }

    #[test]
    fn thresholds_are_in_the_columns_units() {
        let column = |kind| Column { name: "c", kind };
        assert_eq!(AlertRule::limit(&column(Kind::Ratio), 97.5), Some(97_500_000));
        assert_eq!(AlertRule::limit(&column(Kind::Duration), 1.5), Some(1_500));
        assert_eq!(AlertRule::limit(&column(Kind::Time), 600.0), Some(600_000));
        assert_eq!(AlertRule::limit(&column(Kind::Int), -3.0), Some(-3));
        assert_eq!(AlertRule::limit(&column(Kind::Int), f64::INFINITY), None);
    }
}
