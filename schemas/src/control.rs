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

use crate::row::RATIO_UNIT;
use crate::view::{Column, Kind, View, view};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An id, at most, in bytes.
pub const ID_MAX: usize = 128;
/// A text of a rule, at most, in bytes.
pub const TEXT_MAX: usize = 1 << 10;
/// Conditions of an alert rule, at most.
pub const CONDITIONS_MAX: usize = 8;

/// One record of the topic `weir.control`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub said_by: String,
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

/// A rule by which an alert fires and resolves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertRule {
    /// The view whose rows it looks at.
    pub view: String,
    /// Rows it looks at: each column named has one of these values.
    #[serde(default)]
    pub filter: BTreeMap<String, Vec<String>>,
    /// All of them must hold; the first one's value is the alert's.
    pub when: Vec<Condition>,
    /// For how long, in ms, before it fires.
    #[serde(default)]
    pub for_ms: u64,
    /// The first condition's threshold to go back; without one the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear: Option<f64>,
    /// How bad it is.
    pub severity: crate::event::Severity,
    /// What to tell, with `{column}` for the row's values, `{value}` and `{threshold}`.
    pub message: String,
}

/// A comparison of a column with a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// The column: a number, or a time, of which the age in seconds is compared.
    pub column: String,
    /// How.
    pub is: Comparison,
    /// With what, in the unit in which the column is shown (durations in ms, ratios as decimals); of a time, seconds.
    pub threshold: f64,
}

/// How a value is compared with a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// Less.
    #[serde(rename = "<")]
    Less,
    /// At most.
    #[serde(rename = "<=")]
    AtMost,
    /// More.
    #[serde(rename = ">")]
    More,
    /// At least.
    #[serde(rename = ">=")]
    AtLeast,
}

impl Comparison {
    /// Whether it holds.
    #[must_use]
    pub fn holds(self, value: i64, threshold: i64) -> bool {
        match self {
            Comparison::Less => value < threshold,
            Comparison::AtMost => value <= threshold,
            Comparison::More => value > threshold,
            Comparison::AtLeast => value >= threshold,
        }
    }
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

impl AlertRule {
    /// The view that it looks at.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn view(&self) -> Result<&'static View, InvalidControl> {
        match view(&self.view) {
            Some(view) => Ok(view),
            None => bad("view", format!("{:?} is no view", self.view)),
        }
    }

    fn check(&self) -> Result<(), InvalidControl> {
        let view = self.view()?;
        if view.name == "alerts" {
            return bad("view", "alerts do not look at alerts");
        }
        text("message", &self.message, TEXT_MAX)?;
        for (name, values) in &self.filter {
            match view.column(name) {
                Some(index) if view.filterable(index) => {}
                _ => return bad(format!("filter.{name}"), format!("{} has no such column to filter by", view.name)),
            }
            if values.is_empty() || values.len() > 32 {
                return bad(format!("filter.{name}"), "from 1 to 32 values are allowed");
            }
        }
        if self.when.is_empty() || self.when.len() > CONDITIONS_MAX {
            return bad("when", format!("from 1 to {CONDITIONS_MAX} conditions are allowed"));
        }
        for (index, condition) in self.when.iter().enumerate() {
            let field = |name| format!("when[{index}].{name}");
            let Some(column) = view.column(&condition.column).and_then(|column| view.columns.get(column)) else {
                return bad(field("column"), format!("{} has no column {:?}", view.name, condition.column));
            };
            if !matches!(column.kind, Kind::Int | Kind::Time | Kind::Duration | Kind::Ratio) {
                return bad(field("column"), format!("{} is no number", column.name));
            }
            if AlertRule::limit(column, condition.threshold).is_none() {
                return bad(field("threshold"), "not a number of a size that is compared");
            }
        }
        if self.clear.is_some_and(|clear| !clear.is_finite() || clear.abs() > LIMIT_MAX) {
            return bad("clear", "not a number of a size that is compared");
        }
        Ok(())
    }

    /// A threshold in the unit in which a column is kept: µs of a duration, millionths of a ratio; of a time the age in ms.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "within what i64 holds exactly")]
    pub fn limit(column: &Column, threshold: f64) -> Option<i64> {
        let unit = match column.kind {
            Kind::Ratio => RATIO_UNIT as f64,
            Kind::Duration | Kind::Time => 1_000.0,
            _ => 1.0,
        };
        (threshold.is_finite() && threshold.abs() <= LIMIT_MAX).then(|| (threshold * unit).round() as i64)
    }
}

/// The largest threshold, in its outside unit.
const LIMIT_MAX: f64 = 9e9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Severity;

    fn rule() -> AlertRule {
        AlertRule {
            view: "live_metrics".to_owned(),
            filter: BTreeMap::from([("scope".to_owned(), vec!["project".to_owned()])]),
            when: vec![Condition { column: "success_rate".to_owned(), is: Comparison::Less, threshold: 90.0 }],
            for_ms: 60_000,
            clear: Some(95.0),
            severity: Severity::Error,
            message: "{name}: {value} % pass".to_owned(),
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
            problem(ControlChange::Incident(Incident::default())),
            "worker: missing: name a worker, an interval (from, to), or both"
        );
        assert_eq!(
            problem(ControlChange::Flaky(FlakyRule { window: 65, ..FlakyRule::default() })),
            "window: 65: from 1 to 64 are allowed"
        );
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
