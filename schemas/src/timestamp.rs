//! Event times on the wire: RFC 3339 or epoch milliseconds.
//!
//! Contract: read from either form, kept as milliseconds since the Unix epoch, written as a number. Times before 1970 or
//! after the year 9999 are an error: no runner has such a clock on purpose.

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// The last millisecond of the year 9999.
pub const TIMESTAMP_MS_MAX: u64 = 253_402_300_799_999;

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Reads RFC 3339 (`2026-11-22T10:00:00.123Z`, any offset).
    ///
    /// # Errors
    /// A text that is no RFC 3339 time with an offset, or one outside 1970 to 9999.
    pub fn parse(text: &str) -> Result<Timestamp, BadTimestamp> {
        let parsed: jiff::Timestamp = text.parse().map_err(|_| BadTimestamp)?;
        u64::try_from(parsed.as_millisecond()).map_err(|_| BadTimestamp).and_then(Timestamp::from_ms)
    }

    /// Checks the range.
    ///
    /// # Errors
    /// A time after the year 9999.
    pub fn from_ms(ms: u64) -> Result<Timestamp, BadTimestamp> {
        if ms <= TIMESTAMP_MS_MAX { Ok(Timestamp(ms)) } else { Err(BadTimestamp) }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(ms) {
            Ok(time) => time.fmt(f),
            Err(_) => self.0.fmt(f),
        }
    }
}

/// The text or number is not a usable time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time: RFC 3339 with an offset, or milliseconds since 1970, up to the year 9999")]
pub struct BadTimestamp;

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimestampVisitor;
        impl Visitor<'_> for TimestampVisitor {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time or milliseconds since 1970")
            }
            fn visit_u64<E: de::Error>(self, ms: u64) -> Result<Timestamp, E> {
                Timestamp::from_ms(ms).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, ms: i64) -> Result<Timestamp, E> {
                u64::try_from(ms).map_err(|_| E::custom(BadTimestamp)).and_then(|ms| self.visit_u64(ms))
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked first")]
            fn visit_f64<E: de::Error>(self, ms: f64) -> Result<Timestamp, E> {
                if (0.0..1e15).contains(&ms) { self.visit_u64(ms as u64) } else { Err(E::custom(BadTimestamp)) }
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(TimestampVisitor)
    }
}

impl schemars::JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Timestamp")
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "RFC 3339 with an offset, or milliseconds since the Unix epoch",
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "integer", "minimum": 0, "maximum": TIMESTAMP_MS_MAX}
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_one_time() {
        for text in
            ["1732270000123", "\"2024-11-22T10:06:40.123Z\"", "\"2024-11-22T11:06:40.123+01:00\"", "1732270000123.0"]
        {
            assert_eq!(serde_json::from_str::<Timestamp>(text).ok(), Some(Timestamp(1_732_270_000_123)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_an_error() {
        for text in ["-1", "\"yesterday\"", "\"2024-11-22T10:06:40\"", "253402300800000", "null", "1e300"] {
            assert!(serde_json::from_str::<Timestamp>(text).is_err(), "{text}");
        }
    }
}
