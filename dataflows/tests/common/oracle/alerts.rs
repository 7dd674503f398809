//! The view `alerts`: by holding every rule against every row of the other oracles, at every tick at which anything may change.
//!
//! Numbers are compared as millionths of the units that people see.

#![expect(clippy::cast_possible_truncation, reason = "thresholds of histories are small")]

use super::super::Tick;
use super::Oracle;
use super::admission::HOUR;
use super::control::holding;
use super::runs::silent_clock;
use super::slow_tests;
use std::collections::{BTreeMap, BTreeSet};
use weir_schemas::control::{AlertRule, Comparison, Condition, ControlChange, ControlKind, builtin};
use weir_schemas::row::{Row, RowWriter, Value};
use weir_schemas::timestamp::Timestamp;
use weir_schemas::view::{ALERTS, Kind, View, view};

const DAY: u64 = 86_400_000;

/// Rule and row, by project, id and key.
type Name = (String, String, Vec<u8>);

/// Of a rule all of whose conditions hold: since when on the silent clock, and its row once it fires.
#[derive(Clone)]
struct Held {
    rule: AlertRule,
    since: u64,
    fired: Option<Row>,
}

/// The rules that hold for a project at `time`, by id.
fn rules(ticks: &[Tick], project: &str, time: u64) -> BTreeMap<String, AlertRule> {
    let mut rules: BTreeMap<String, AlertRule> = BTreeMap::new();
    let builtin = builtin::alerts().into_iter().map(|(id, rule)| (id.to_owned(), rule));
    rules.extend(builtin);
    for of in ["", project] {
        for ((kind, said_of, id), (record, _)) in holding(ticks, time) {
            if let (ControlKind::Alert, ControlChange::Alert(rule)) = (kind, &record.change)
                && said_of == of
            {
                rules.insert(id.to_owned(), rule.clone());
            }
        }
    }
    rules.retain(|_, rule| !rule.disabled);
    rules
}

/// When rows of a view may change: after something came, and when time alone does it.
fn instants(oracle: &Oracle, view: &View) -> BTreeSet<u64> {
    let left = |at: u64, window: u64| {
        let pane = (window / 60).max(1_000);
        (at / pane + 1) * pane + window
    };
    let ticks = oracle.ticks.iter().map(|tick| tick.at);
    let moments = oracle.lives.values().flatten().map(|moment| moment.at);
    let mut instants: BTreeSet<u64> = ticks.clone().chain(moments).collect();
    match view.name {
        "live_metrics" => {
            // The rows of the longer windows move at whole seconds.
            let seconds: Vec<u64> = instants.iter().map(|at| at.next_multiple_of(1_000)).collect();
            let leave = |at: u64| [60_000, 600_000, 3_600_000].map(|window| left(at, window));
            instants.extend(oracle.facts.iter().flat_map(|(fact, ..)| leave(fact.at)).chain(seconds));
            instants.extend(oracle.measured.iter().flat_map(|((tick, _, event), ..)| leave(event.at.min(*tick))));
            // Coverage is compared with that of ten minutes before the last whole ten seconds.
            let coverage = oracle.coverage_summary.keys();
            instants.extend(coverage.flat_map(|at| [*at, at.next_multiple_of(10_000) + 600_000]));
        }
        "failure_patterns" => {
            let leave = |at: u64| [600_000, 3_600_000, DAY].map(|window| left(at, window));
            instants.extend(oracle.failures.iter().flat_map(|(fact, ..)| leave(fact.at)));
        }
        "missing" => {
            // Streams are forgotten at whole hours, and their gaps with them.
            let hours = oracle.judged.iter().map(|judged| judged.at + oracle.config.stream_memory_ms);
            instants.extend(hours.map(|at| at.next_multiple_of(HOUR)));
            // What was left out is told at whole seconds.
            let seconds: Vec<u64> = ticks.map(|at| at.next_multiple_of(1_000)).collect();
            instants.extend(seconds);
        }
        "coverage_summary" => instants.extend(oracle.coverage_summary.keys()),
        "user_activity" => {
            let events = oracle.judged.iter().map(|judged| judged.event.at.min(judged.at));
            instants.extend(events.map(|at| at + oracle.config.user_memory_ms));
            instants.extend(ticks.map(|at| at / DAY * DAY + DAY));
        }
        "slow_tests" => instants.extend(oracle.facts.iter().map(|(fact, ..)| slow_tests::left(fact, &oracle.config))),
        "flaky_tests" => {
            // Rings are forgotten at whole hours; tests are cleared by days without a failure, of which rules have one or seven.
            let failed = || oracle.facts.iter().map(|(fact, ..)| fact.at);
            instants.extend(failed().map(|at| (at + oracle.config.flaky_memory_ms).next_multiple_of(HOUR)));
            instants.extend(failed().flat_map(|at| [at + DAY, at + 7 * DAY]));
        }
        _ => {}
    }
    instants.into_iter().map(|at| at.next_multiple_of(view.cadence_ms.max(10))).collect()
}

/// What people see of a column, in millionths; of a time its age in seconds.
fn number(view: &View, row: &Row, column: &str, now: u64) -> Option<i128> {
    let column = view.column(column)?;
    let Value::Int(value) = row.column(column) else { return None };
    let value = i128::from(value);
    Some(match view.columns[column].kind {
        Kind::Time => (i128::from(now) - value) * 1_000,
        Kind::Duration => value * 1_000,
        Kind::Ratio => value,
        _ => value * 1_000_000,
    })
}

fn millionths(threshold: f64) -> i128 {
    (threshold * 1e6).round() as i128
}

fn holds(view: &View, row: &Row, condition: &Condition, threshold: f64, now: u64) -> bool {
    let threshold = millionths(threshold);
    number(view, row, &condition.column, now).is_some_and(|value| match condition.is {
        Comparison::Less => value < threshold,
        Comparison::AtMost => value <= threshold,
        Comparison::More => value > threshold,
        Comparison::AtLeast => value >= threshold,
    })
}

fn wanted(view: &View, row: &Row, rule: &AlertRule) -> bool {
    rule.filter.iter().all(|(column, values)| match row.column(view.column(column).expect("checked")) {
        Value::Str(text) => values.iter().any(|value| value == text),
        Value::Bool(truth) => values.contains(&truth.to_string()),
        _ => false,
    })
}

/// Every alert's row, by the ticks at which any came or left.
pub fn history(oracle: &Oracle) -> BTreeMap<u64, Vec<Row>> {
    let (ticks, end) = (&oracle.ticks, oracle.ticks.last().map_or(0, |tick| tick.at));
    let said = ticks.iter().flat_map(|tick| &tick.control).filter_map(|said| match &said.record.change {
        ControlChange::Alert(rule) => Some(rule.view.clone()),
        _ => None,
    });
    let views: BTreeSet<String> = said.chain(builtin::alerts().into_iter().map(|(_, rule)| rule.view)).collect();
    let views: Vec<&View> = views.iter().map(|name| view(name).expect("checked")).collect();
    let changes: Vec<BTreeSet<u64>> = views.iter().map(|view| instants(oracle, view)).collect();
    let mut queue: BTreeSet<u64> = changes.iter().flatten().copied().collect();
    let mut rows: Vec<Vec<Row>> = vec![Vec::new(); views.len()];
    let (mut held, mut history) = (BTreeMap::<Name, Held>::new(), BTreeMap::new());
    let mut by_project = BTreeMap::new();
    while let Some(now) = queue.pop_first().filter(|now| *now <= end) {
        let mut holding = BTreeMap::new();
        if ticks.iter().any(|tick| tick.at == now && !tick.control.is_empty()) {
            by_project.clear();
        }
        for ((view, changes), rows) in views.iter().zip(&changes).zip(&mut rows) {
            if changes.contains(&now) {
                *rows = oracle.rows(view, now);
            }
            for row in rows.iter() {
                let project = text(row.column(0));
                let rules = by_project.entry(project.clone()).or_insert_with(|| rules(ticks, &project, now));
                for (id, rule) in rules.iter().filter(|(_, rule)| rule.view == view.name) {
                    let name = (project.clone(), id.clone(), row.prefix(view.key).to_vec());
                    let before = held.get(&name).filter(|held| held.rule == *rule);
                    queue.extend(ages(view, row, rule).into_iter().filter(|at| *at > now));
                    if let Some(state) = hold(ticks, view, row, id, rule, before, now) {
                        let due = state.since + rule.for_ms;
                        let goes_on = silent_clock(ticks, now + 1) > silent_clock(ticks, now);
                        if goes_on && silent_clock(ticks, now) < due {
                            queue.insert((now + due - silent_clock(ticks, now)).next_multiple_of(10));
                        }
                        holding.insert(name, state);
                    }
                }
            }
        }
        held = holding;
        history.insert(now, held.values().filter_map(|held| held.fired.clone()).collect());
    }
    history
}

/// When the age of a time that a rule looks at is about one of its thresholds.
fn ages(view: &View, row: &Row, rule: &AlertRule) -> Vec<u64> {
    let mut ages = Vec::new();
    for condition in &rule.when {
        let column = view.column(&condition.column).expect("checked");
        let (Value::Int(at), Kind::Time) = (row.column(column), view.columns[column].kind) else { continue };
        for threshold in [Some(condition.threshold), rule.clear].into_iter().flatten() {
            let about = at.cast_unsigned().saturating_add_signed((threshold * 1_000.0).round() as i64);
            ages.extend([about, about + 1].map(|at| at.next_multiple_of(10)));
        }
    }
    ages
}

fn hold(
    ticks: &[Tick],
    view: &View,
    row: &Row,
    id: &str,
    rule: &AlertRule,
    before: Option<&Held>,
    now: u64,
) -> Option<Held> {
    let fires = before.and_then(|held| held.fired.as_ref()).is_some();
    let threshold = |n: usize, condition: &Condition| match rule.clear {
        Some(clear) if n == 0 && fires => clear,
        _ => condition.threshold,
    };
    let all = rule.when.iter().enumerate().all(|(n, c)| holds(view, row, c, threshold(n, c), now));
    if !all || !wanted(view, row, rule) {
        return None;
    }
    let mut held = before.cloned().unwrap_or(Held { rule: rule.clone(), since: silent_clock(ticks, now), fired: None });
    if !fires && silent_clock(ticks, now) >= held.since + rule.for_ms {
        held.fired = Some(fired(view, row, id, rule, now));
    }
    Some(held)
}

fn text(value: Value<'_>) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::Str(text) => text.to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::List(list) => list.iter().collect::<Vec<_>>().join(", "),
    }
}

fn fired(view: &View, row: &Row, id: &str, rule: &AlertRule, now: u64) -> Row {
    let first = &rule.when[0];
    let value = number(view, row, &first.column, now).expect("it holds");
    let key: Vec<String> = row.values().take(view.key).skip(1).map(text).collect();
    let several = key.len() > 1;
    let key: Vec<String> =
        key.iter().map(|text| if several { text.replace('·', "··") } else { text.clone() }).collect();
    let mut message = rule.message.clone();
    message = message.replace("{value}", &decimal(value)).replace("{threshold}", &decimal(millionths(first.threshold)));
    for (column, value) in view.columns.iter().zip(row.values()) {
        let shown = match (value, column.kind) {
            (Value::Int(at), Kind::Time) => Timestamp(at.cast_unsigned()).to_string(),
            (Value::Int(_), _) => decimal(number(view, row, column.name, now).expect("a number")),
            (value, _) => text(value),
        };
        // No name of a history has braces.
        message = message.replace(&format!("{{{}}}", column.name), &shown);
    }
    while message.len() > 1_024 {
        message.pop();
    }
    let clamped = |value: i128| value.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
    let mut writer = RowWriter::default();
    writer.str(&text(row.column(0))).str(id).str(&key.join(" · ")).str(view.name).str(rule.severity.as_str());
    writer.int(clamped(value)).int(clamped(millionths(first.threshold))).uint(now).str(&message);
    writer.finish(&ALERTS)
}

/// With at most two places.
fn decimal(millionths: i128) -> String {
    let hundredths = (millionths.clamp(i64::MIN.into(), i64::MAX.into()).unsigned_abs() + 5_000) / 10_000;
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if millionths < 0 && hundredths > 0 { format!("-{text}") } else { text.to_owned() }
}
