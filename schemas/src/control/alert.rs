//! Alert rules: which rows of which views somebody is to be told of.
//!
//! Contract: a rule looks at the rows of one view; when all its conditions have held of a row for so long, an alert fires, and it
//! goes back when one of them no longer does, the first one by a threshold of its own. A condition on null does not hold.

use super::{InvalidControl, TEXT_MAX, bad, text};
use crate::event::Severity;
use crate::row::RATIO_UNIT;
use crate::view::{Column, Kind, View, view};
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The views that alert rules can look at: those of which few rows a project change at a time. A view of details is summed up in one
/// of these.
pub const WATCHABLE: &[&str] = &[
    "run_progress",
    "suite_progress",
    "live_metrics",
    "coverage_summary",
    "failure_patterns",
    "missing",
    "user_activity",
    "slow_tests",
    "flaky_tests",
];
/// Conditions of an alert rule, at most.
pub const CONDITIONS_MAX: usize = 8;
/// How long conditions can be asked to hold, in ms: a week.
pub const FOR_MS_MAX: u64 = 7 * 86_400_000;

/// A rule by which an alert fires and resolves. Between workers, where fields have no names, all of them stand ([`Serialize`]).
#[derive(Clone, Debug, PartialEq, Deserialize)]
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
    #[serde(default)]
    pub clear: Option<f64>,
    /// How bad it is.
    pub severity: Severity,
    /// What to tell, with `{column}` for the row's values, `{value}` and `{threshold}`.
    pub message: String,
    /// It is there and never fires: so that a project does without one that holds for all projects.
    #[serde(default)]
    pub disabled: bool,
}

impl Serialize for AlertRule {
    /// Leaves out what says nothing, but only where fields are found by their names.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = !serializer.is_human_readable();
        let (clear, disabled) = (all || self.clear.is_some(), all || self.disabled);
        let mut fields = serializer.serialize_struct("AlertRule", 6 + usize::from(clear) + usize::from(disabled))?;
        fields.serialize_field("view", &self.view)?;
        fields.serialize_field("filter", &self.filter)?;
        fields.serialize_field("when", &self.when)?;
        fields.serialize_field("forMs", &self.for_ms)?;
        match clear {
            true => fields.serialize_field("clear", &self.clear)?,
            false => fields.skip_field("clear")?,
        }
        fields.serialize_field("severity", &self.severity)?;
        fields.serialize_field("message", &self.message)?;
        match disabled {
            true => fields.serialize_field("disabled", &self.disabled)?,
            false => fields.skip_field("disabled")?,
        }
        fields.end()
    }
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

    pub(super) fn check(&self) -> Result<(), InvalidControl> {
        let view = self.view()?;
        if !WATCHABLE.contains(&view.name) {
            return bad(
                "view",
                format!("alerts do not look at {}; they can look at {}", view.name, WATCHABLE.join(", ")),
            );
        }
        text("message", &self.message, TEXT_MAX)?;
        for (name, values) in &self.filter {
            let Some(column) = view.column(name).filter(|index| view.filterable(*index)) else {
                return bad(format!("filter.{name}"), format!("{} has no such column to filter by", view.name));
            };
            let truth = view.columns[column].kind == Kind::Bool;
            if let Some(odd) = values.iter().find(|value| truth && !matches!(value.as_str(), "true" | "false")) {
                return bad(format!("filter.{name}"), format!("{odd:?} is neither true nor false"));
            }
            if values.is_empty() || values.len() > 32 {
                return bad(format!("filter.{name}"), "from 1 to 32 values are allowed");
            }
        }
        if self.when.is_empty() || self.when.len() > CONDITIONS_MAX {
            return bad("when", format!("from 1 to {CONDITIONS_MAX} conditions are allowed"));
        }
        if self.for_ms > FOR_MS_MAX {
            return bad("forMs", format!("{}: at most {FOR_MS_MAX} are allowed", self.for_ms));
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
        let Some(clear) = self.clear else { return Ok(()) };
        if !clear.is_finite() || clear.abs() > LIMIT_MAX {
            return bad("clear", "not a number of a size that is compared");
        }
        let Condition { is, threshold, .. } = self.when[0];
        let behind = match is {
            Comparison::Less | Comparison::AtMost => clear < threshold,
            Comparison::More | Comparison::AtLeast => clear > threshold,
        };
        if behind { bad("clear", "the alert would go back while its condition holds") } else { Ok(()) }
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
