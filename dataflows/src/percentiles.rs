//! Percentiles of lengths of time, from counts in log-spaced buckets (`time.md`, D3).
//!
//! Contract: a length in whole µs is in one [`bucket`]: below 128 µs in its own, above in one of the 64 equal parts of
//! `[2^k, 2^(k+1))`. A percentile is the nearest-rank one: of `n` lengths in ascending order, the one at `⌈n × p ÷ 100⌉`,
//! shown as the [`middle`] of its bucket, so it is off by at most 1/128 of itself. Everything is an integer.
//!
//! Counts come in two forms: [`Counts`], a few bytes an entry, for what is only carried and merged; and [`Histogram`], which
//! is changed and read in place.
//!
//! # Invariants
//! What a [`Histogram`] has counted is below zero in no bucket when it is read; in between, and in [`Counts`], it may be.
//!
//! # Cost
//! A count is changed in O(1). Percentiles read a total an octave, then at most 64 counts each. A histogram is 264 bytes for
//! each octave of lengths in it, at most 15.6 KB; counts are mostly 2 bytes for each bucket in use, at most 4.

use serde::{Deserialize, Serialize};

/// Parts of an octave.
const PARTS: usize = 64;
/// Octaves of buckets that a `u64` can fall into.
const OCTAVES: usize = 59;

/// The bucket of a length of time.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "below 59 × 64")]
pub const fn bucket(us: u64) -> u16 {
    if us < PARTS as u64 {
        return us as u16;
    }
    // us = (64 + part) × 2^shift + rest.
    let shift = us.ilog2() - 6;
    (shift as u64 * PARTS as u64 + (us >> shift)) as u16
}

/// The middle of a bucket, in µs.
#[must_use]
pub const fn middle(bucket: u16) -> u64 {
    let (octave, part) = (bucket as u64 / PARTS as u64, bucket as u64 % PARTS as u64);
    if octave == 0 {
        return part;
    }
    let width = 1 << (octave - 1);
    (PARTS as u64 + part) * width + width / 2
}

/// A length that came or was taken back: its bucket, and whether it was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark(u16);

/// Set in a mark that takes back.
const TAKEN: u16 = 1 << 15;

impl Mark {
    /// The mark of a length.
    #[must_use]
    pub const fn new(us: u64, taken: bool) -> Mark {
        Mark(bucket(us) | if taken { TAKEN } else { 0 })
    }

    fn bucket(self) -> u16 {
        self.0 & !TAKEN
    }

    fn sign(self) -> i64 {
        if self.0 & TAKEN == 0 { 1 } else { -1 }
    }
}

/// Memory that counts are made in.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    bytes: Vec<u8>,
    counts: Vec<i64>,
}

/// Counts or their differences by bucket; none is zero.
///
/// In order of the buckets, for each the distance to the one before and the count, each in LEB128, the count in zigzag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts(Vec<u8>);

impl Counts {
    /// The sums of marks, which come back in another order.
    #[must_use]
    pub fn of(marks: &mut [Mark], scratch: &mut Scratch) -> Counts {
        // Up to here sorting is cheaper than looking through every bucket of their octaves.
        const FEW: usize = 48;
        scratch.bytes.clear();
        let mut writer = Writer { bytes: &mut scratch.bytes, before: 0 };
        if marks.len() <= FEW {
            marks.sort_unstable_by_key(|mark| mark.bucket());
            for same in marks.chunk_by(|a, b| a.bucket() == b.bucket()) {
                writer.push(same[0].bucket(), same.iter().map(|mark| mark.sign()).sum());
            }
        } else {
            scratch.counts.resize(OCTAVES * PARTS, 0);
            let mut octaves = 0u64;
            for mark in marks.iter() {
                scratch.counts[usize::from(mark.bucket())] += mark.sign();
                octaves |= 1 << (usize::from(mark.bucket()) / PARTS);
            }
            for octave in bits(octaves) {
                let first = octave * PARTS;
                for (bucket, count) in (first..).zip(&mut scratch.counts[first..first + PARTS]) {
                    writer.push(u16::try_from(bucket).expect("below 59 × 64"), std::mem::take(count));
                }
            }
        }
        Counts(scratch.bytes.as_slice().into())
    }

    /// The buckets in order, with their counts.
    #[must_use]
    pub fn iter(&self) -> Entries<'_> {
        Entries { rest: &self.0, bucket: 0 }
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Counts, scratch: &mut Scratch) {
        if self.0.is_empty() {
            self.0.extend_from_slice(&other.0);
            return;
        }
        if other.0.is_empty() {
            return;
        }
        scratch.bytes.clear();
        let mut writer = Writer { bytes: &mut scratch.bytes, before: 0 };
        let (mut ours, mut theirs) = (self.iter(), other.iter());
        let (mut our, mut their) = (ours.next(), theirs.next());
        loop {
            match (our, their) {
                (Some((a, n)), Some((b, m))) if a == b => {
                    writer.push(a, n + m);
                    (our, their) = (ours.next(), theirs.next());
                }
                (Some((a, n)), Some((b, _))) if a < b => {
                    writer.push(a, n);
                    our = ours.next();
                }
                (_, Some((b, m))) => {
                    writer.push(b, m);
                    their = theirs.next();
                }
                (Some((a, n)), None) => {
                    writer.push(a, n);
                    our = ours.next();
                }
                (None, None) => break,
            }
        }
        self.0.clear();
        self.0.reserve_exact(scratch.bytes.len());
        self.0.extend_from_slice(&scratch.bytes);
    }

    /// Counts `difference` more in a bucket, in place: nothing before it is touched, and at most one entry behind it.
    pub fn count(&mut self, bucket: u16, difference: i64, scratch: &mut Scratch) {
        let (mut before, mut start, mut behind) = (0, 0, None);
        let mut entries = self.iter();
        while let Some((other, count)) = entries.next() {
            let end = self.0.len() - entries.rest.len();
            if other >= bucket {
                behind = Some((other, count, end));
                break;
            }
            (before, start) = (other, end);
        }
        scratch.bytes.clear();
        let mut writer = Writer { bytes: &mut scratch.bytes, before };
        let end = match behind {
            Some((other, count, end)) if other == bucket => {
                writer.push(bucket, count + difference);
                match entries.next().filter(|_| count + difference == 0) {
                    // The next one stands at another distance now.
                    Some((next, count)) => {
                        writer.push(next, count);
                        self.0.len() - entries.rest.len()
                    }
                    None => end,
                }
            }
            Some((other, count, end)) => {
                writer.push(bucket, difference);
                writer.push(other, count);
                end
            }
            None => {
                writer.push(bucket, difference);
                start
            }
        };
        self.0.reserve_exact(scratch.bytes.len().saturating_sub(end - start));
        self.0.splice(start..end, scratch.bytes.iter().copied());
    }

    /// Whether something is counted in a bucket.
    #[must_use]
    pub fn has(&self, bucket: u16) -> bool {
        self.iter().any(|(other, count)| other == bucket && count > 0)
    }

    /// How many there are.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.iter().map(|(_, count)| count).sum()
    }

    /// A percentile in µs, by nearest rank; `None` when there are none.
    #[must_use]
    pub fn percentile(&self, percent: i64) -> Option<u64> {
        let rank = (self.total() * percent + 99) / 100;
        let mut before = 0;
        let found = self.iter().find(|(_, count)| {
            before += count;
            before >= rank
        });
        found.filter(|_| rank > 0).map(|(bucket, _)| middle(bucket))
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
    before: u16,
}

impl Writer<'_> {
    /// Adds a bucket that is not before the last one.
    fn push(&mut self, bucket: u16, count: i64) {
        if count != 0 {
            write(self.bytes, u64::from(bucket - self.before));
            write(self.bytes, ((count << 1) ^ (count >> 63)).cast_unsigned());
            self.before = bucket;
        }
    }
}

/// See [`Counts::iter`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
    bucket: u16,
}

impl Iterator for Entries<'_> {
    type Item = (u16, i64);

    fn next(&mut self) -> Option<(u16, i64)> {
        let distance = read(&mut self.rest)?;
        let count = read(&mut self.rest)?;
        self.bucket += u16::try_from(distance).ok()?;
        Some((self.bucket, (count >> 1).cast_signed() ^ -(count & 1).cast_signed()))
    }
}

fn write(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push((value & 0x7f) as u8);
}

#[inline]
fn read(rest: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

/// How many lengths are in each bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// The octaves in which something is, one bit each.
    octaves: u64,
    total: u64,
    /// Of these octaves in order.
    totals: Vec<u32>,
    counts: Vec<[u32; PARTS]>,
}

impl Histogram {
    /// Adds `times` times `counts`.
    pub fn add(&mut self, counts: &Counts, times: i64) {
        for (bucket, count) in counts.iter() {
            self.change(bucket, count * times);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "2³² in an hour are 1.19 million attempts a second in a bucket"
    )]
    fn change(&mut self, bucket: u16, difference: i64) {
        let (octave, part) = (usize::from(bucket) / PARTS, usize::from(bucket) % PARTS);
        let index = self.index(octave);
        if self.octaves & (1 << octave) == 0 {
            self.octaves |= 1 << octave;
            // Octaves hardly ever come: room for no more than there are.
            self.totals.reserve_exact(1);
            self.counts.reserve_exact(1);
            self.totals.insert(index, 0);
            self.counts.insert(index, [0; PARTS]);
        }
        let add = |count: u32| (i64::from(count) + difference) as u32;
        let count = &mut self.counts[index][part];
        *count = add(*count);
        self.totals[index] = add(self.totals[index]);
        self.total = self.total.wrapping_add_signed(difference);
        // What is taken back may be told before what came, by another worker: then a total says nothing of its parts.
        if self.totals[index] == 0 && self.counts[index] == [0; PARTS] {
            self.octaves &= !(1 << octave);
            self.totals.remove(index);
            self.counts.remove(index);
        }
    }

    /// How many octaves in use are before one.
    fn index(&self, octave: usize) -> usize {
        (self.octaves & ((1 << octave) - 1)).count_ones() as usize
    }

    fn octave(&self, octave: usize) -> Option<usize> {
        (self.octaves & (1 << octave) != 0).then(|| self.index(octave))
    }
}

/// p50, p95 and p99, in µs, of all that is in some histograms; `None` when nothing is.
#[must_use]
pub fn percentiles<const N: usize>(histograms: [&Histogram; N]) -> Option<[u64; 3]> {
    let total: u64 = histograms.iter().map(|histogram| histogram.total).sum();
    if total == 0 {
        return None;
    }
    let ranks = [50, 95, 99].map(|percent| (total * percent).div_ceil(100));
    let (mut values, mut found, mut before) = ([0; 3], 0, 0);
    for octave in bits(histograms.iter().fold(0, |octaves, histogram| octaves | histogram.octaves)) {
        let indexes = histograms.map(|histogram| histogram.octave(octave));
        let parts = || histograms.iter().zip(indexes).filter_map(|(histogram, index)| Some((histogram, index?)));
        let after = before + parts().map(|(histogram, index)| u64::from(histogram.totals[index])).sum::<u64>();
        for part in 0..PARTS {
            if ranks[found] > after {
                break;
            }
            before += parts().map(|(histogram, index)| u64::from(histogram.counts[index][part])).sum::<u64>();
            while ranks[found] <= before {
                values[found] = middle(u16::try_from(octave * PARTS + part).expect("below 59 × 64"));
                found += 1;
                if found == ranks.len() {
                    return Some(values);
                }
            }
        }
        before = after;
    }
    None
}

/// The numbers of the bits that are set, ascending.
fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (set != 0).then_some(set.trailing_zeros() as usize);
        set &= set.wrapping_sub(1);
        bit
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Lengths of every size: as many below 1 ms as of days.
    fn length() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0u32..64).prop_map(|(bits, shift)| bits >> shift)
    }

    /// Whether `shown` is off by at most 1 % of `exact`.
    fn close(shown: u64, exact: u64) -> bool {
        u128::from(shown.abs_diff(exact)) * 100 <= u128::from(exact)
    }

    fn counts_of(lengths: &[(u64, bool)]) -> Counts {
        let mut marks: Vec<Mark> = lengths.iter().map(|(us, taken)| Mark::new(*us, *taken)).collect();
        Counts::of(&mut marks, &mut Scratch::default())
    }

    fn plain(lengths: &[(u64, bool)]) -> Vec<(u16, i64)> {
        let mut sums = BTreeMap::new();
        for (us, taken) in lengths {
            *sums.entry(bucket(*us)).or_insert(0) += if *taken { -1 } else { 1 };
        }
        sums.into_iter().filter(|(_, count)| *count != 0).collect()
    }

    proptest! {
        #[test]
        fn a_length_is_shown_within_one_percent_in_an_order_that_is_kept(a in length(), b in length()) {
            prop_assert!(close(middle(bucket(a)), a), "{a} is shown as {}", middle(bucket(a)));
            prop_assert_eq!(bucket(middle(bucket(a))), bucket(a));
            prop_assert!(a > b || bucket(a) <= bucket(b));
        }

        #[test]
        fn percentiles_are_those_of_an_exact_sort_within_one_percent(
            mut lengths in prop::collection::vec(length(), 1..400), removed in prop::collection::vec(length(), 0..50),
        ) {
            let all = |lengths: &[u64]| counts_of(&lengths.iter().map(|us| (*us, false)).collect::<Vec<_>>());
            let (first, second) = lengths.split_at(lengths.len() / 3);
            let (first, second) = (all(first), all(second));
            let (mut one, mut other) = (Histogram::default(), Histogram::default());
            one.add(&all(&removed), 1);
            one.add(&first, 1);
            one.add(&all(&removed), -1);
            other.add(&second, 1);
            let shown = percentiles([&one, &other]).expect("there are some");
            lengths.sort_unstable();
            for (shown, percent) in shown.into_iter().zip([50, 95, 99]) {
                let exact = lengths[(lengths.len() * percent).div_ceil(100) - 1];
                prop_assert!(close(shown, exact), "p{percent}: {shown} is shown for {exact}");
            }
            one.add(&first, -1);
            one.add(&second, -1);
            one.add(&second, 1);
            prop_assert_eq!(one, Histogram::default(), "nothing is left behind");
        }

        #[test]
        fn counts_are_sums_however_they_are_made(
            a in prop::collection::vec((0u64..300, any::<bool>()), 0..200), b in prop::collection::vec((length(), any::<bool>()), 0..40),
        ) {
            let mut sum = counts_of(&a);
            prop_assert_eq!(sum.iter().collect::<Vec<_>>(), plain(&a));
            let mut one_by_one = Counts::default();
            for (us, taken) in &a {
                one_by_one.count(bucket(*us), if *taken { -1 } else { 1 }, &mut Scratch::default());
            }
            prop_assert_eq!(&one_by_one, &sum);
            sum.add(&counts_of(&b), &mut Scratch::default());
            prop_assert_eq!(sum.iter().collect::<Vec<_>>(), plain(&[a, b].concat()));
        }
    }

    #[test]
    fn the_limits_are_where_they_are_said_to_be() {
        assert!((0..128).all(|us| middle(bucket(us)) == us), "exact below 128 µs");
        assert_eq!((bucket(128), bucket(129), middle(bucket(129))), (128, 128, 129));
        assert_eq!(usize::from(bucket(u64::MAX)) + 1, OCTAVES * PARTS);
        assert_eq!(percentiles([&Histogram::default(); 3]), None);
    }

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let shown = |lengths: std::ops::RangeInclusive<u64>| {
            let mut histogram = Histogram::default();
            histogram.add(&counts_of(&lengths.map(|us| (us, false)).collect::<Vec<_>>()), 1);
            percentiles([&histogram])
        };
        assert_eq!(shown(1..=100), Some([50, 95, 99]));
        assert_eq!(shown(1..=1), Some([1, 1, 1]));
        assert_eq!(shown(1..=2), Some([1, 2, 2]));
        assert_eq!(shown(0..=20), Some([10, 19, 20]));
    }
}
