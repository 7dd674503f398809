//! What an alert tells people: the name of its row, and its rule's message filled in.
//!
//! Contract: pure functions of a row's values. A message is at most [`TEXT_MAX`] bytes, cut at a character.

use std::fmt::Write as _;
use weir_schemas::control::TEXT_MAX;
use weir_schemas::row::{RATIO_UNIT, Value};
use weir_schemas::timestamp::Timestamp;
use weir_schemas::view::{Kind, View};

/// A value of a column as a decimal × 10⁶ in the unit in which it is shown; of a time, its age in ms as seconds.
#[must_use]
pub(super) fn outside(kind: Kind, value: i64) -> i64 {
    match kind {
        Kind::Ratio => value,
        Kind::Duration | Kind::Time => value.saturating_mul(RATIO_UNIT / 1_000),
        _ => value.saturating_mul(RATIO_UNIT),
    }
}

/// The key of a row without the project. Of several columns each `·` is doubled, so different keys have different names.
#[must_use]
pub(super) fn subject(view: &View, values: &[Value<'_>]) -> String {
    let key = values.get(1..view.key).unwrap_or_default();
    let several = key.len() > 1;
    let mut subject = String::new();
    for (index, value) in key.iter().enumerate() {
        if index > 0 {
            subject.push_str(" · ");
        }
        match value {
            Value::Str(text) if several => subject.push_str(&text.replace('·', "··")),
            other => write_value(*other, Kind::Str, &mut subject),
        }
    }
    subject
}

/// The message with `{column}`, `{value}` and `{threshold}` filled in; other braces stay.
#[must_use]
pub(super) fn message(template: &str, view: &View, values: &[Value<'_>], value: i64, threshold: i64) -> String {
    let (mut told, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        told.push_str(before);
        let filled = after.split_once('}').and_then(|(name, after)| {
            match name {
                "value" => write_decimal(value, &mut told),
                "threshold" => write_decimal(threshold, &mut told),
                _ => {
                    let column = view.column(name)?;
                    write_value(*values.get(column)?, view.columns[column].kind, &mut told);
                }
            }
            Some(after)
        });
        rest = filled.unwrap_or_else(|| {
            told.push('{');
            after
        });
        if told.len() > TEXT_MAX {
            break;
        }
    }
    told.push_str(rest);
    let end = (0..=TEXT_MAX.min(told.len())).rev().find(|end| told.is_char_boundary(*end)).unwrap_or(0);
    told.truncate(end);
    told
}

fn write_value(value: Value<'_>, kind: Kind, out: &mut String) {
    match (value, kind) {
        (Value::Null, _) => out.push('–'),
        (Value::Bool(truth), _) => out.push_str(if truth { "true" } else { "false" }),
        (Value::Int(at), Kind::Time) => {
            let _infallible = write!(out, "{}", Timestamp(u64::try_from(at).unwrap_or(0)));
        }
        (Value::Int(value), kind) => write_decimal(outside(kind, value), out),
        (Value::Str(text), _) => out.push_str(text),
        (Value::List(list), _) => {
            for (index, text) in list.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                out.push_str(text);
            }
        }
    }
}

/// A decimal × 10⁶ with at most two places, rounded half away from zero.
fn write_decimal(value: i64, out: &mut String) {
    let hundredths = (value.unsigned_abs() + 5_000) / 10_000;
    let sign = if value < 0 && hundredths > 0 { "-" } else { "" };
    let _infallible = write!(out, "{sign}{}", hundredths / 100);
    match hundredths % 100 {
        0 => {}
        part if part % 10 == 0 => {
            let _infallible = write!(out, ".{}", part / 10);
        }
        part => {
            let _infallible = write!(out, ".{part:02}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_schemas::view::LIVE_METRICS;

    fn values<'a>(name: &'a str, window: &'a str) -> Vec<Value<'a>> {
        let mut values = vec![Value::Str("web"), Value::Str("suite"), Value::Str(name), Value::Str(window)];
        values.extend([Value::Int(1_500_000), Value::Null, Value::Int(-1), Value::Int(1_234)]);
        values
    }

    #[test]
    fn different_keys_have_different_names() {
        let name = |name: &str, window: &str| subject(&LIVE_METRICS, &values(name, window));
        assert_eq!(name("a", "60s"), "suite · a · 60s");
        assert_ne!(name("a · b", "c"), name("a", "b · c"));
        assert_ne!(name("a ·", "b"), name("a", "· b"));
    }

    #[test]
    fn messages_are_filled_in_and_cut() {
        let told = |template: &str| message(template, &LIVE_METRICS, &values("s", "60s"), 89_996_000, 1_100_000);
        assert_eq!(told("{name}: {value} of {threshold}, {odd} {"), "s: 90 of 1.1, {odd} {");
        assert_eq!(told("{tests_per_second} {success_rate} {average_duration}"), "1.5 – 1.23");
        assert_eq!(told(&format!("{{name}}{}", "ä".repeat(600))).len(), 1_023, "at most 1 KiB, whole characters");
    }

    #[test]
    fn values_are_in_the_units_that_are_shown() {
        assert_eq!(outside(Kind::Int, 3), 3_000_000);
        assert_eq!(outside(Kind::Duration, 1_500), 1_500_000, "1.5 ms");
        assert_eq!(outside(Kind::Time, 2_500), 2_500_000, "an age of 2.5 s");
        assert_eq!(outside(Kind::Int, i64::MAX), i64::MAX);
    }
}
