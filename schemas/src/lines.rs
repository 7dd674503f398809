//! Sets of source lines, and the text in which events carry them: `1-4,7`.
//!
//! Contract: the text is lines and inclusive ranges, separated by commas, without blanks; nothing at all is the empty set.
//! Any order and any overlap may be read; what is written is canonical: ascending, ranges as long as they can be, a range
//! of one line as that line. Lines count from 1 to [`LINE_MAX`].
//!
//! # Invariants
//! The ranges of [`Lines`] ascend, are disjoint and do not touch, so equal sets are equal values and equal texts.
//!
//! # Cost
//! 8 bytes a range. Reading is one pass, plus a sort where the text does not ascend; union and intersection are
//! O(ranges of both). [`Lines::insert`] is O(1) at the end and O(ranges) before it: whoever has many lines in no order
//! collects them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// The highest line that a set may have: 24 bits.
pub const LINE_MAX: u32 = (1 << 24) - 1;
/// The most ranges that one text may have. A set with more is told in several texts.
pub const RANGES_MAX: usize = 1 << 17;

/// First and last line.
type Range = (u32, u32);

/// A set of lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lines(Vec<Range>);

/// Why a text is no set of lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedLines {
    /// A part is neither a line nor a range.
    #[error("`{part}` (at character {at}) is no line or range of lines: such as `7` or `1-4`, separated by commas")]
    NotARange {
        /// Where the part begins, from 1.
        at: usize,
        /// The beginning of the part.
        part: String,
    },
    /// A range ends before it begins.
    #[error("the range {from}-{to} runs backwards")]
    Backwards {
        /// Its first line.
        from: u32,
        /// Its last line.
        to: u32,
    },
    /// Line 0.
    #[error("line 0: lines count from 1")]
    Zero,
    /// A line above the highest.
    #[error("line {line} is above {LINE_MAX}, the highest that may be named")]
    TooHigh {
        /// The digits.
        line: String,
    },
    /// More ranges than a text may have.
    #[error("more than {RANGES_MAX} ranges in one text: tell them in several")]
    TooMany,
}

impl Lines {
    /// No lines.
    #[must_use]
    pub const fn new() -> Lines {
        Lines(Vec::new())
    }

    /// Reads a text.
    ///
    /// # Errors
    /// It is no set of lines, or has more than [`RANGES_MAX`] ranges.
    pub fn parse(text: &str) -> Result<Lines, MalformedLines> {
        let mut lines = Lines::new();
        let mut ascends = true;
        for range in Parts::new(text) {
            let (from, to) = range?;
            match lines.0.last_mut() {
                Some(last) if ascends && from >= last.0 && from <= last.1 + 1 => last.1 = last.1.max(to),
                Some(last) => {
                    ascends &= from > last.1;
                    lines.0.push((from, to));
                }
                None => lines.0.push((from, to)),
            }
        }
        if !ascends {
            lines.0 = joined(lines.0);
        }
        Ok(lines)
    }

    /// Whether a text is a set of lines, without building it.
    ///
    /// # Errors
    /// As [`Lines::parse`], for the same texts.
    pub fn check(text: &str) -> Result<(), MalformedLines> {
        Parts::new(text).try_for_each(|range| range.map(|_| ()))
    }

    /// Whether there is no line.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many lines.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(from, to)| u64::from(to - from) + 1).sum()
    }

    /// Whether the line is in it.
    #[must_use]
    pub fn contains(&self, line: u32) -> bool {
        let after = self.0.partition_point(|(from, _)| *from <= line);
        after.checked_sub(1).is_some_and(|at| line <= self.0[at].1)
    }

    /// Its ranges, ascending: first and last line.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range> + DoubleEndedIterator + '_ {
        self.0.iter().copied()
    }

    /// Adds a line; says whether it was not in it before.
    ///
    /// # Panics
    /// The line is 0 or above [`LINE_MAX`].
    pub fn insert(&mut self, line: u32) -> bool {
        assert!((1..=LINE_MAX).contains(&line), "line {line} is not in 1 to {LINE_MAX}");
        let at = self.0.partition_point(|(from, _)| *from <= line);
        if at > 0 && line <= self.0[at - 1].1 {
            return false;
        }
        let joins_before = at > 0 && self.0[at - 1].1 + 1 == line;
        let joins_after = self.0.get(at).is_some_and(|(from, _)| *from == line + 1);
        match (joins_before, joins_after) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 = line,
            (false, true) => self.0[at].0 = line,
            (false, false) => self.0.insert(at, (line, line)),
        }
        true
    }

    /// The lines of either.
    #[must_use]
    pub fn union(&self, other: &Lines) -> Lines {
        let mut ranges: Vec<Range> = Vec::with_capacity(self.0.len().max(other.0.len()));
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let Some(next) = match (ours.peek(), theirs.peek()) {
            (Some(our), Some(their)) if our.0 <= their.0 => ours.next(),
            (_, Some(_)) => theirs.next(),
            (_, None) => ours.next(),
        } {
            add(&mut ranges, *next);
        }
        Lines(ranges)
    }

    /// The lines of both.
    #[must_use]
    pub fn intersect(&self, other: &Lines) -> Lines {
        let mut ranges = Vec::new();
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(our), Some(their)) = (ours.peek(), theirs.peek()) {
            let (from, to) = (our.0.max(their.0), our.1.min(their.1));
            if from <= to {
                ranges.push((from, to));
            }
            if our.1 < their.1 {
                ours.next()
            } else {
                theirs.next()
            };
        }
        Lines(ranges)
    }
}

/// Appends a range that begins at or after the beginning of the last one.
fn add(ranges: &mut Vec<Range>, (from, to): Range) {
    match ranges.last_mut() {
        Some(last) if from <= last.1 + 1 => last.1 = last.1.max(to),
        _ => ranges.push((from, to)),
    }
}

/// Ranges in any order as a set.
fn joined(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut joined = Vec::with_capacity(ranges.len());
    ranges.into_iter().for_each(|range| add(&mut joined, range));
    joined
}

/// Lines in any order.
///
/// # Panics
/// A line is 0 or above [`LINE_MAX`].
impl FromIterator<u32> for Lines {
    fn from_iter<I: IntoIterator<Item = u32>>(lines: I) -> Lines {
        lines.into_iter().map(|line| (line, line)).collect()
    }
}

/// Inclusive ranges in any order.
///
/// # Panics
/// A range runs backwards, or a line is 0 or above [`LINE_MAX`].
impl FromIterator<Range> for Lines {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> Lines {
        let (mut found, mut ascends): (Vec<Range>, bool) = (Vec::new(), true);
        for (from, to) in ranges {
            assert!(from >= 1 && from <= to && to <= LINE_MAX, "the range {from}-{to} is not in 1 to {LINE_MAX}");
            match found.last_mut() {
                Some(last) if from >= last.0 && from <= last.1 + 1 => last.1 = last.1.max(to),
                Some(last) => {
                    ascends &= from > last.1;
                    found.push((from, to));
                }
                None => found.push((from, to)),
            }
        }
        Lines(if ascends { found } else { joined(found) })
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (from, to)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{from}")?;
            if to > from {
                write!(f, "-{to}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Lines {
    type Err = MalformedLines;
    fn from_str(text: &str) -> Result<Lines, MalformedLines> {
        Lines::parse(text)
    }
}

impl Serialize for Lines {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Lines, D::Error> {
        let text = crate::text::Text::deserialize(deserializer)?;
        Lines::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The ranges of a text, as they stand there.
struct Parts<'t> {
    text: &'t str,
    /// Where the next part begins; past the end when there is none.
    at: usize,
    seen: usize,
}

impl<'t> Parts<'t> {
    fn new(text: &'t str) -> Parts<'t> {
        Parts { text, at: if text.is_empty() { 1 } else { 0 }, seen: 0 }
    }

    /// The number that begins at `at`, and the byte after it; `None` where no digit stands.
    fn number(&self, at: usize) -> Result<Option<(u32, usize)>, MalformedLines> {
        let digits = self.text.as_bytes()[at..].iter().take_while(|byte| byte.is_ascii_digit());
        let (mut line, mut end) = (0_u32, at);
        for digit in digits {
            line = line.saturating_mul(10).saturating_add(u32::from(digit - b'0')).min(LINE_MAX + 1);
            end += 1;
        }
        match line {
            _ if end == at => Ok(None),
            0 => Err(MalformedLines::Zero),
            1..=LINE_MAX => Ok(Some((line, end))),
            _ => Err(MalformedLines::TooHigh { line: beginning(&self.text[at..end]) }),
        }
    }

    fn range(&self) -> Result<Option<(Range, usize)>, MalformedLines> {
        let Some((from, end)) = self.number(self.at)? else { return Ok(None) };
        if self.text.as_bytes().get(end) != Some(&b'-') {
            return Ok(Some(((from, from), end)));
        }
        let Some((to, end)) = self.number(end + 1)? else { return Ok(None) };
        if to < from { Err(MalformedLines::Backwards { from, to }) } else { Ok(Some(((from, to), end))) }
    }

    fn part(&mut self) -> Result<Range, MalformedLines> {
        if self.seen == RANGES_MAX {
            return Err(MalformedLines::TooMany);
        }
        self.seen += 1;
        match self.range()? {
            Some((range, end)) if matches!(self.text.as_bytes().get(end), None | Some(b',')) => {
                self.at = end + 1;
                Ok(range)
            }
            _ => {
                let part = self.text[self.at..].split(',').next().unwrap_or_default();
                let at = self.text[..self.at].chars().count() + 1;
                Err(MalformedLines::NotARange { at, part: beginning(part) })
            }
        }
    }
}

/// As much of a part as a message needs.
fn beginning(part: &str) -> String {
    crate::limits::cut(part, 40).into_owned()
}

impl Iterator for Parts<'_> {
    type Item = Result<Range, MalformedLines>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.at > self.text.len() {
            return None;
        }
        let part = self.part();
        if part.is_err() {
            self.at = self.text.len() + 1;
        }
        Some(part)
    }
}

#[cfg(test)]
mod tests;
