//! How values look as JSON.
//!
//! Contract: text is appended to a string. Durations are milliseconds and ratios are decimals, both exact: no float comes near
//! them. Control characters are escaped.

use super::Value;
use crate::view::Kind;
use std::fmt::Write as _;

/// Appends a value of a column of this kind.
pub(super) fn write_value(value: Value<'_>, kind: Kind, out: &mut String) {
    match (value, kind) {
        (Value::Null, _) => out.push_str("null"),
        (Value::Bool(value), _) => out.push_str(if value { "true" } else { "false" }),
        (Value::Int(micros), Kind::Duration) => write_decimal(micros, 3, out),
        (Value::Int(micros), Kind::Ratio) => write_decimal(micros, 6, out),
        (Value::Int(value), _) => {
            let _infallible = write!(out, "{value}");
        }
        (Value::Str(text), _) => write_json_str(text, out),
        (Value::List(list), _) => {
            out.push('[');
            for (index, text) in list.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_json_str(text, out);
            }
            out.push(']');
        }
    }
}

/// Appends `value ÷ 10^decimals` without trailing zeros.
pub fn write_decimal(value: i64, decimals: u32, out: &mut String) {
    let unit = 10u64.pow(decimals);
    let (whole, part) = (value.unsigned_abs() / unit, value.unsigned_abs() % unit);
    if value < 0 {
        out.push('-');
    }
    let _infallible = write!(out, "{whole}");
    if part > 0 {
        let digits = format!("{part:0width$}", width = decimals as usize);
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
}

/// Appends a JSON string.
pub fn write_json_str(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (index, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..=0x1f => "",
            _ => continue,
        };
        out.push_str(&text[plain..index]);
        if escape.is_empty() {
            let _infallible = write!(out, "\\u{byte:04x}");
        } else {
            out.push_str(escape);
        }
        plain = index + 1;
    }
    out.push_str(&text[plain..]);
    out.push('"');
}
