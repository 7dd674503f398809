//! Durations and sizes as they are written: a number with its unit.
//!
//! Contract: [`Period`] reads `"20ms"`, `"30s"`, `"5m"`, `"2h"`, `"7d"`; [`Size`] reads `"128B"`, `"64KiB"`, `"16MiB"`,
//! `"1GiB"` (and `kB`, `MB`, `GB` as powers of ten). A bare number is an error: nobody should have to guess its unit.
//! What is written is read back as the same value.

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

/// A duration in whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    ms: u64,
}

const PERIOD_UNITS: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Period {
    /// Of so many milliseconds.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Period {
        Period { ms }
    }

    /// Of so many seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Period {
        Period { ms: secs * 1_000 }
    }

    /// Of so many hours.
    #[must_use]
    pub const fn from_hours(hours: u64) -> Period {
        Period { ms: hours * 3_600_000 }
    }

    /// Of so many days.
    #[must_use]
    pub const fn from_days(days: u64) -> Period {
        Period { ms: days * 86_400_000 }
    }

    /// So many minutes.
    #[must_use]
    pub const fn from_mins(minutes: u64) -> Period {
        Period { ms: minutes * 60_000 }
    }

    /// In milliseconds.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.ms
    }

    /// As the standard library's type.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.ms)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size {
    bytes: u64,
}

/// Units in which a size is written, then those that are only read.
const SIZE_UNITS: &[(&str, u64)] = &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const SIZE_UNITS_DECIMAL: &[(&str, u64)] =
    &[("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000)];

impl Size {
    /// Of so many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Size {
        Size { bytes }
    }

    /// Of so many times 1,024 bytes.
    #[must_use]
    pub const fn from_kib(kib: u64) -> Size {
        Size { bytes: kib << 10 }
    }

    /// Of so many times 1,048,576 bytes.
    #[must_use]
    pub const fn from_mib(mib: u64) -> Size {
        Size { bytes: mib << 20 }
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// In bytes, as a length in memory; a size beyond the address space is its end.
    #[must_use]
    pub fn len(self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }

    /// Whether it is no byte at all.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.bytes == 0
    }
}

/// The text is no value with a unit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct BadUnit {
    text: String,
    expected: &'static str,
}

const PERIOD_EXPECTED: &str = "a duration: a whole number with one of the units ms, s, m, h, d, such as \"30s\"";
const SIZE_EXPECTED: &str = "a size: a whole number with one of the units B, KiB, MiB, GiB, TiB, such as \"16MiB\"";

fn parse(text: &str, units: &[&[(&str, u64)]], expected: &'static str) -> Result<u64, BadUnit> {
    let bad = || BadUnit { text: text.to_owned(), expected };
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = trimmed[..digits].parse().map_err(|_| bad())?;
    let unit = trimmed[digits..].trim_start();
    let factor = units.iter().copied().flatten().find(|(name, _)| *name == unit).ok_or_else(bad)?.1;
    number.checked_mul(factor).filter(|value| *value <= i64::MAX.unsigned_abs()).ok_or_else(bad)
}

/// Writes `value` in the largest unit that divides it.
fn write(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)], zero: &str) -> fmt::Result {
    match units.iter().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor)) {
        Some((unit, factor)) => write!(f, "{}{unit}", value / factor),
        None => f.write_str(zero),
    }
}

impl FromStr for Period {
    type Err = BadUnit;
    fn from_str(text: &str) -> Result<Period, BadUnit> {
        parse(text, &[PERIOD_UNITS], PERIOD_EXPECTED).map(Period::from_ms)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.ms, PERIOD_UNITS, "0s")
    }
}

impl FromStr for Size {
    type Err = BadUnit;
    fn from_str(text: &str) -> Result<Size, BadUnit> {
        parse(text, &[SIZE_UNITS, SIZE_UNITS_DECIMAL], SIZE_EXPECTED).map(Size::from_bytes)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.bytes, SIZE_UNITS, "0B")
    }
}

/// Reads a value from its text, and only from a text.
struct FromText<T>(&'static str, PhantomData<T>);

impl<T: FromStr<Err = BadUnit>> Visitor<'_> for FromText<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FromText(PERIOD_EXPECTED, PhantomData))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FromText(SIZE_EXPECTED, PhantomData))
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_read_and_bare_numbers_are_not() {
        for (text, ms) in [("20ms", 20), ("30s", 30_000), ("5 m", 300_000), ("2h", 7_200_000), ("7d", 604_800_000)] {
            assert_eq!(text.parse(), Ok(Period::from_ms(ms)), "{text}");
        }
        for (text, bytes) in
            [("128B", 128), ("64KiB", 65_536), ("16 MiB", 16 << 20), ("1GiB", 1 << 30), ("2MB", 2_000_000)]
        {
            assert_eq!(text.parse(), Ok(Size::from_bytes(bytes)), "{text}");
        }
        for text in ["", "20", "ms", "-1s", "1.5h", "1w", "99999999999999999999d", "9999999999999d"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
        for text in ["", "16", "MiB", "16mib", "-1B", "16777216TiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in 0..=i64::MAX.unsigned_abs()) {
            prop_assert_eq!(Period::from_ms(value).to_string().parse(), Ok(Period::from_ms(value)));
            prop_assert_eq!(Size::from_bytes(value).to_string().parse(), Ok(Size::from_bytes(value)));
        }
    }
}
