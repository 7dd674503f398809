//! One alert rule, ready to be held against rows: the only place that knows when an alert fires and goes back.
//!
//! Contract: [`Watch::look`] is a pure function of a row, of how the rule stood with it before, and of the time. The dataflow asks it
//! whenever one of these changed or may have; a dry run asks it once. The age of a time is counted in ticks; how long conditions
//! have held, on the silent clock, which stands still while Weir itself was away or behind.
//!
//! # Cost
//! O(conditions) once the row's values are read.

use super::message;
use crate::input::Text;
use crate::runs::silence::Silence;
use serde::{Deserialize, Serialize};
use weir_schemas::control::{AlertRule, Comparison};
use weir_schemas::row::{Row, RowWriter, Value};
use weir_schemas::view::{ALERTS, Kind, View};

/// Ticks are multiples of this.
const TICK_MS: u64 = 10;

/// A rule in the units of its view's columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    id: Text,
    rule: AlertRule,
    view: &'static View,
    /// Columns that must have one of these values.
    filter: Vec<(usize, Vec<String>)>,
    when: Vec<Limit>,
    /// The first condition's way back.
    clear: i64,
}

/// A condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit {
    column: usize,
    kind: Kind,
    is: Comparison,
    limit: i64,
}

/// How a rule stands with a row of which all its conditions hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Since when, on the silent clock: not yet for long enough.
    Waiting(u64),
    /// The alert's row.
    Firing(Row),
}

/// What a look came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// How the rule stands with the row.
    pub standing: Option<Standing>,
    /// When to look again though nothing changed; none while the silent clock stands still short of it.
    pub again_at: Option<u64>,
}

/// When a look is taken.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The tick.
    pub now: u64,
    /// The silent clock.
    pub silence: &'a Silence,
}

impl Limit {
    /// What is compared; nothing of null.
    fn value(&self, values: &[Value<'_>], now: u64) -> Option<i64> {
        match values.get(self.column) {
            Some(Value::Int(at)) if self.kind == Kind::Time => Some(now.cast_signed().saturating_sub(*at)),
            Some(Value::Int(value)) => Some(*value),
            _ => None,
        }
    }

    fn holds(&self, values: &[Value<'_>], now: u64) -> bool {
        self.value(values, now).is_some_and(|value| self.is.holds(value, self.limit))
    }

    /// The tick, after `now`, from which on an age is on the other side of the limit.
    fn crossed_at(&self, values: &[Value<'_>], now: u64) -> Option<u64> {
        let Some(Value::Int(at)) = values.get(self.column).filter(|_| self.kind == Kind::Time) else { return None };
        let past = matches!(self.is, Comparison::More | Comparison::AtMost);
        let at = at.saturating_add(self.limit).saturating_add(i64::from(past));
        u64::try_from(at).ok()?.checked_next_multiple_of(TICK_MS).filter(|at| *at > now)
    }
}

impl Watch {
    /// Of a rule; none if it is not acceptable.
    #[must_use]
    pub fn new(id: &str, rule: &AlertRule) -> Option<Watch> {
        let view = rule.view().ok()?;
        let filter = rule.filter.iter().map(|(name, values)| Some((view.column(name)?, values.clone())));
        let when = rule.when.iter().map(|condition| {
            let column = view.column(&condition.column)?;
            let limit = AlertRule::limit(&view.columns[column], condition.threshold)?;
            Some(Limit { column, kind: view.columns[column].kind, is: condition.is, limit })
        });
        let when: Vec<Limit> = when.collect::<Option<_>>()?;
        let first = when.first()?;
        let clear = match rule.clear {
            Some(clear) => AlertRule::limit(&view.columns[first.column], clear)?,
            None => first.limit,
        };
        Some(Watch { id: id.into(), rule: rule.clone(), view, filter: filter.collect::<Option<_>>()?, when, clear })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &Text {
        &self.id
    }

    /// The view that it looks at.
    #[must_use]
    pub fn view(&self) -> &'static View {
        self.view
    }

    /// Whether it never fires.
    #[must_use]
    pub fn disabled(&self) -> bool {
        self.rule.disabled
    }

    /// How the rule stands with a row of its view, whose values are `values`, after it stood so before.
    #[must_use]
    pub fn look(&self, values: &[Value<'_>], before: Option<Standing>, moment: Moment<'_>) -> Look {
        let Moment { now, silence } = moment;
        let mut when = self.when.clone();
        if let (Some(Standing::Firing(_)), Some(first)) = (&before, when.first_mut()) {
            first.limit = self.clear;
        }
        let of_time = |limit: &Limit| limit.kind == Kind::Time;
        let stands = self.filter.iter().all(|(column, wanted)| is_one_of(values.get(*column), wanted))
            && when.iter().filter(|limit| !of_time(limit)).all(|limit| limit.holds(values, now));
        if !stands {
            return Look::default(); // Only a change of the row can alter this.
        }
        let crossed_at = when.iter().filter_map(|limit| limit.crossed_at(values, now)).min();
        if !when.iter().filter(|limit| of_time(limit)).all(|limit| limit.holds(values, now)) {
            return Look { standing: None, again_at: crossed_at };
        }
        let since = match before {
            Some(Standing::Firing(row)) => {
                return Look { standing: Some(Standing::Firing(row)), again_at: crossed_at };
            }
            Some(Standing::Waiting(since)) => since,
            None => silence.at(now),
        };
        let due = since.saturating_add(self.rule.for_ms);
        if silence.at(now) >= due {
            let row = self.fire(values, now);
            // The way back may lie elsewhere.
            return self.look(values, Some(Standing::Firing(row)), moment);
        }
        let due_at = silence.reaches(due).map(|at| at.next_multiple_of(TICK_MS));
        Look { standing: Some(Standing::Waiting(since)), again_at: due_at.into_iter().chain(crossed_at).min() }
    }

    /// When the alert fires that waits since then, if nothing changes until then and the silent clock goes on.
    #[must_use]
    pub fn due_at(&self, since: u64, silence: &Silence) -> Option<u64> {
        silence.reaches(since.saturating_add(self.rule.for_ms)).map(|at| at.next_multiple_of(TICK_MS))
    }

    /// The name of a row among those of its project.
    #[must_use]
    pub fn subject(&self, values: &[Value<'_>]) -> String {
        message::subject(self.view, values)
    }

    /// The alert's row.
    pub(super) fn fire(&self, values: &[Value<'_>], now: u64) -> Row {
        let project = match values.first() {
            Some(Value::Str(project)) => project,
            _ => "",
        };
        let first = self.when[0];
        let value = message::outside(first.kind, first.value(values, now).unwrap_or(0));
        let threshold = message::outside(first.kind, first.limit);
        let told = message::message(&self.rule.message, self.view, values, value, threshold);
        let mut writer = RowWriter::default();
        writer.str(project).str(&self.id).str(&self.subject(values)).str(self.view.name);
        writer.str(self.rule.severity.as_str()).int(value).int(threshold).uint(now).str(&told);
        writer.finish(&ALERTS)
    }
}

/// Whether a value is one of those wanted; of a list, whether any of it is.
fn is_one_of(value: Option<&Value<'_>>, wanted: &[String]) -> bool {
    let among = |text: &str| wanted.iter().any(|wanted| wanted == text);
    match value {
        Some(Value::Str(text)) => among(text),
        Some(Value::Bool(truth)) => among(if *truth { "true" } else { "false" }),
        Some(Value::Int(value)) => among(&value.to_string()),
        Some(Value::List(list)) => list.iter().any(among),
        Some(Value::Null) | None => false,
    }
}
