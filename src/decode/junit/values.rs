//! The values that JUnit writers put into attributes: durations, times, statuses.
//!
//! Contract: total functions over text; what cannot be understood is `None`, never a guess that could be wrong by orders
//! of magnitude and never a time without a zone taken for an absolute one.

use std::borrow::Cow;
use weir_schemas::outcome::Outcome;
use weir_schemas::timestamp::Timestamp;

/// Times before the year 2000 are placeholders.
const PLAUSIBLE_MS_MIN: u64 = 946_684_800_000;

/// A duration in seconds, as milliseconds to the microsecond: `0.5`, `1.2E-4`, `1,234.56`, `0,5`, `3s`, `12ms`.
pub(super) fn duration_ms(text: &str) -> Option<f64> {
    let text = text.trim();
    let (number, scale) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let number = point(number.trim_end());
    if !number.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let seconds = number.parse::<f64>().ok()? * scale;
    // A hundred years is no duration of a test.
    (0.0..3.2e9).contains(&seconds).then(|| (seconds * 1e6).round() / 1e3)
}

/// The number with a decimal point and no thousands separators.
fn point(number: &str) -> Cow<'_, str> {
    let Some((before, after)) = number.rsplit_once(',') else { return Cow::Borrowed(number) };
    let groups = number.split('.').next().unwrap_or_default().split(',');
    let thousands = groups.clone().skip(1).all(|group| group.len() == 3) && !before.starts_with('0');
    if number.contains('.') && after.contains('.') || !number.contains('.') && thousands {
        Cow::Owned(number.replace(',', ""))
    } else {
        Cow::Owned(format!("{}.{after}", before.replace(['.', ','], "")))
    }
}

/// An absolute time in epoch ms: RFC 3339 with an offset, the same with ` UTC` or ` GMT`, or epoch seconds or
/// milliseconds. A time without a zone is none.
pub(super) fn timestamp_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    let zoned = [" UTC", " GMT"].iter().find_map(|zone| text.strip_suffix(zone)).map(|time| format!("{time}Z"));
    let ms = match text.len() {
        10 if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse::<u64>().ok()? * 1_000,
        13 if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok()?,
        _ => Timestamp::parse(zoned.as_deref().unwrap_or(text)).ok()?.0,
    };
    (ms >= PLAUSIBLE_MS_MIN).then_some(ms)
}

/// What an attribute `status` or `result` says of a case without a failure of its own.
pub(super) fn status(text: &str) -> Option<Outcome> {
    match text.trim().to_ascii_lowercase().as_str() {
        "notrun" | "not run" | "not_run" | "disabled" | "skipped" | "skip" | "ignored" | "pending" | "suppressed"
        | "excluded" | "todo" | "untested" | "undefined" => Some(Outcome::Skipped),
        "failed" | "fail" | "failure" => Some(Outcome::Failed),
        "errored" | "error" | "broken" => Some(Outcome::Error),
        "timeout" | "timedout" | "timed out" => Some(Outcome::Timeout),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_every_spelling() {
        for (text, ms) in [
            ("0.093", 93.0),
            ("0", 0.0),
            ("1.0E-4", 0.1),
            ("2.5e1", 25_000.0),
            ("1,234.56", 1_234_560.0),
            ("1,234", 1_234_000.0),
            ("1,234,567.8", 1_234_567_800.0),
            ("0,093", 93.0),
            ("12,5", 12_500.0),
            ("1.234,5", 1_234_500.0),
            (" 0.1s ", 100.0),
            ("12 ms", 12.0),
            (".5", 500.0),
            ("0.0000004", 0.0),
        ] {
            assert_eq!(duration_ms(text), Some(ms), "{text}");
        }
        for text in ["<<computed>>", "", "-0.5", "NaN", "inf", "1e99", "a", "1 2", "s", "--", "0x10"] {
            assert_eq!(duration_ms(text), None, "{text}");
        }
    }

    #[test]
    fn only_absolute_times_are_times() {
        for (text, ms) in [
            ("2021-03-07T10:36:56 UTC", Some(1_615_113_416_000)),
            ("2021-03-07T10:36:56Z", Some(1_615_113_416_000)),
            ("2025-11-15T11:51:49.548396-05:00", Some(1_763_225_509_548)),
            ("1615113416", Some(1_615_113_416_000)),
            ("1615113416123", Some(1_615_113_416_123)),
            ("2020-09-10T13:34:55", None),
            ("1970-01-01T00:00:00Z", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(timestamp_ms(text), ms, "{text}");
        }
    }
}
