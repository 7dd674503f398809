//! The state of one failure pattern, and its row.
//!
//! Contract: takes failing attempts, counts them in 10 min and 1 h, keeps those of the last 24 h one by one up to a configured
//! number, and makes the pattern's [`Candidate`]. What comes above that number is *folded*: counted in
//! panes of 24 min with the first and last time, so that the numbers of tests, runs, users and workers become lower bounds, what all
//! have in common is unknown, and `first_seen_at` and `last_seen_at` follow a withdrawal only when its pane empties.
//!
//! # Invariants
//! What is taken back was taken in ([`Pattern::has`]) and is in the 24 h.

use super::OTHER;
use super::shared::Shared;
use crate::facts::Failure;
use crate::input::{Names, Origin, Text};
use crate::top_k::Group;
use crate::window::{Panes, Window};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::FAILURE_PATTERNS;

/// The window of `count_10m`.
pub const RECENT: Window = Window::of(600_000);
/// The window of `count_1h`.
pub const HOUR: Window = Window::of(3_600_000);
/// The window of a pattern's occurrences.
pub const DAY: Window = Window::of(86_400_000);
/// Messages kept of a pattern.
const SAMPLES: usize = 64;

/// One failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Occurrence {
    /// The project's identity.
    pub project: Id,
    /// Which attempt.
    pub key: Key,
    /// Why it failed.
    pub failure: Arc<Failure>,
    /// The names of the test.
    pub names: Arc<Names>,
    /// Where it ran.
    pub origin: Arc<Origin>,
}

impl Occurrence {
    /// The bucket of its project in which its pattern stands.
    #[must_use]
    pub fn group(&self) -> Group {
        (self.project, bucket(self.failure.fingerprint))
    }
}

/// The bucket of a project in which a pattern stands.
pub(super) fn bucket(fingerprint: Id) -> u32 {
    (fingerprint.0 % super::BUCKETS) as u32
}

/// Which attempt, in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// When it ended.
    pub at: u64,
    /// The run.
    pub run: Id,
    /// The test.
    pub test: Id,
    /// The attempt.
    pub attempt: u32,
    /// The tick at which it was told: a run that left and began again may tell the same once more.
    pub came: u64,
}

/// A pattern as it competes for a place in the view: the first come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Candidate {
    /// How often in 10 minutes.
    pub count: Reverse<i64>,
    /// When last.
    pub last_seen_at: Reverse<u64>,
    /// Its identity.
    pub fingerprint: Id,
    /// Its row.
    pub row: Row,
}

/// The state of one pattern.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pattern {
    pub(super) group: Group,
    project: Text,
    pattern: Text,
    kind: Text,
    recent: Panes<i64>,
    count: i64,
    hour: Panes<i64>,
    of_hour: i64,
    day: Panes<Folded>,
    folded: i64,
    /// Written down beside the pattern: a key is no word.
    #[serde(skip)]
    kept: BTreeMap<Key, Arc<Origin>>,
    /// Follows from those kept.
    #[serde(skip)]
    shared: Shared,
    /// In the order of their keys.
    samples: Vec<(Key, Sample)>,
    sample: Sample,
    /// The first of those that have left the 24 h.
    first_expired_at: Option<u64>,
    /// The tick at which it got in.
    since: u64,
    /// The tick of the last that came.
    pub(super) news_at: u64,
    pub(super) due: u64,
    pub(super) withdrawn: bool,
    pub(super) shown: Option<Candidate>,
}

/// The occurrences of a pane that are not kept one by one.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Folded {
    count: i64,
    first_at: u64,
    last_at: u64,
}

/// What is shown of an occurrence.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sample {
    test: Text,
    message: Text,
}

impl Pattern {
    pub(super) fn new(occurrence: &Occurrence, now: u64) -> Pattern {
        Pattern {
            group: occurrence.group(),
            project: Arc::clone(&occurrence.names.project),
            pattern: Arc::clone(&occurrence.failure.pattern),
            kind: Arc::clone(&occurrence.failure.kind),
            recent: Panes::default(),
            count: 0,
            hour: Panes::default(),
            of_hour: 0,
            day: Panes::default(),
            folded: 0,
            kept: BTreeMap::new(),
            shared: Shared::default(),
            samples: Vec::new(),
            sample: Sample::default(),
            first_expired_at: None,
            since: now,
            news_at: 0,
            due: 0,
            withdrawn: false,
            shown: None,
        }
    }

    /// Takes an occurrence in; says when to look at the pattern again.
    pub(super) fn add(&mut self, occurrence: &Occurrence, now: u64, limit: usize) -> [Option<u64>; 3] {
        let key = occurrence.key;
        let mut expiries = [None; 3];
        if !RECENT.passed(key.at, now) {
            let pane = RECENT.pane(key.at);
            let (count, new) = self.recent.pane(pane);
            *count += 1;
            self.count += 1;
            expiries[0] = new.then(|| RECENT.expiry(pane));
        }
        if !HOUR.passed(key.at, now) {
            let pane = HOUR.pane(key.at);
            let (count, new) = self.hour.pane(pane);
            *count += 1;
            self.of_hour += 1;
            expiries[1] = new.then(|| HOUR.expiry(pane));
        }
        let pane = DAY.pane(key.at);
        let (folded, new) = self.day.pane(pane);
        expiries[2] = new.then(|| DAY.expiry(pane));
        if self.kept.len() < limit && !self.kept.contains_key(&key) {
            self.kept.insert(key, Arc::clone(&occurrence.origin));
            self.shared.add(&key, &occurrence.origin);
            if self.samples.len() < SAMPLES {
                let Names { test, test_name, .. } = &*occurrence.names;
                let test = Arc::clone(if test_name.is_empty() { test } else { test_name });
                let sample = Sample { test, message: Arc::clone(&occurrence.failure.message) };
                let index = self.samples.partition_point(|(other, _)| *other < key);
                self.samples.insert(index, (key, sample));
            }
        } else {
            let first = folded.count == 0;
            folded.first_at = if first { key.at } else { folded.first_at.min(key.at) };
            folded.last_at = if first { key.at } else { folded.last_at.max(key.at) };
            folded.count += 1;
            self.folded += 1;
        }
        self.news_at = now;
        expiries
    }

    /// Whether an occurrence that is in the 24 h was taken in. Of those that are not kept one by one: if it came since the
    /// pattern got in.
    pub(super) fn has(&self, occurrence: &Occurrence) -> bool {
        let pane = DAY.pane(occurrence.key.at);
        let folded = || self.day.iter().any(|(number, folded)| number == pane && folded.count > 0);
        self.kept.contains_key(&occurrence.key) || occurrence.key.came >= self.since && self.folded > 0 && folded()
    }

    /// Takes an occurrence back that was taken in and is in the 24 h.
    pub(super) fn take_back(&mut self, occurrence: &Occurrence, now: u64) {
        let key = occurrence.key;
        self.withdrawn = true;
        if !RECENT.passed(key.at, now) {
            *self.recent.pane(RECENT.pane(key.at)).0 -= 1;
            self.count -= 1;
        }
        if !HOUR.passed(key.at, now) {
            *self.hour.pane(HOUR.pane(key.at)).0 -= 1;
            self.of_hour -= 1;
        }
        if !self.forget_kept(&key) {
            self.day.pane(DAY.pane(key.at)).0.count -= 1;
            self.folded -= 1;
        }
    }

    /// Removes an occurrence that is kept one by one; says whether it was.
    fn forget_kept(&mut self, key: &Key) -> bool {
        let Some(origin) = self.kept.remove(key) else { return false };
        self.shared.remove(key, &origin);
        if let Ok(index) = self.samples.binary_search_by_key(key, |(key, _)| *key) {
            self.samples.remove(index);
        }
        true
    }

    pub(super) fn expire(&mut self, now: u64) {
        while let Some((_, count)) = self.recent.expire(RECENT, now) {
            self.count -= count;
        }
        while let Some((_, count)) = self.hour.expire(HOUR, now) {
            self.of_hour -= count;
        }
        while let Some(key) = self.kept.keys().next().copied().filter(|key| DAY.passed(key.at, now)) {
            self.forget_kept(&key);
            self.expired(key.at);
        }
        while let Some((_, folded)) = self.day.expire(DAY, now) {
            self.folded -= folded.count;
            if folded.count > 0 {
                self.expired(folded.first_at);
            }
        }
    }

    /// Whether something of it has left the 24 h, so that `first_seen_at` is remembered when nothing else is.
    pub(super) fn remembers(&self) -> bool {
        self.first_expired_at.is_some()
    }

    /// The occurrences that are kept one by one.
    pub(super) fn kept(&self) -> Vec<(Key, Arc<Origin>)> {
        self.kept.iter().map(|(key, origin)| (*key, Arc::clone(origin))).collect()
    }

    /// Keeps those that were written down beside it.
    pub(super) fn keep(&mut self, kept: Vec<(Key, Arc<Origin>)>) {
        (self.kept, self.shared) = (BTreeMap::new(), Shared::default());
        for (key, origin) in kept {
            self.shared.add(&key, &origin);
            self.kept.insert(key, origin);
        }
    }

    /// When its panes leave their windows.
    pub(super) fn expiries(&self) -> impl Iterator<Item = u64> {
        let recent = self.recent.iter().map(|(pane, _)| RECENT.expiry(pane));
        let hour = self.hour.iter().map(|(pane, _)| HOUR.expiry(pane));
        recent.chain(hour).chain(self.day.iter().map(|(pane, _)| DAY.expiry(pane)))
    }

    fn expired(&mut self, at: u64) {
        self.first_expired_at = Some(self.first_expired_at.map_or(at, |first| first.min(at)));
    }

    pub(super) fn candidate(&mut self, fingerprint: Id, writer: &mut RowWriter) -> Option<Candidate> {
        // Of most patterns all are kept: then no pane has any.
        let panes = || (self.folded > 0).then_some(&self.day).into_iter().flat_map(Panes::iter);
        let folded = || panes().map(|(_, folded)| folded).filter(|folded| folded.count > 0);
        let kept_last_at = self.kept.keys().next_back().map(|key| key.at);
        let last_seen_at = kept_last_at.into_iter().chain(folded().map(|folded| folded.last_at)).max()?;
        let kept_first_at = self.kept.keys().next().map(|key| key.at);
        let first_seen_at = [self.first_expired_at, kept_first_at]
            .into_iter()
            .flatten()
            .chain(folded().map(|folded| folded.first_at))
            .min();
        if let Some((_, sample)) = self.samples.first() {
            self.sample = sample.clone();
        }
        match fingerprint {
            OTHER => writer.str(&self.project).str("other"),
            _ => writer.str(&self.project).str(&fingerprint.to_string()),
        };
        writer.str(&self.pattern).str(&self.kind);
        let (of_day, capped) = (self.kept.len() as i64 + self.folded, self.folded > 0);
        writer.int(self.count).int(self.of_hour).int(of_day).str(trend(self.count, self.of_hour));
        self.shared.write(writer, capped);
        writer.opt_uint(first_seen_at).uint(last_seen_at);
        writer.opt_str(Some(&*self.sample.test).filter(|test| !test.is_empty())).str(&self.sample.message);
        let row = writer.finish(&FAILURE_PATTERNS);
        Some(Candidate { count: Reverse(self.count), last_seen_at: Reverse(last_seen_at), fingerprint, row })
    }
}

/// Whether it comes more often in the last 10 minutes than in the 50 before: at least three, and more than twice as often.
fn trend(recent: i64, of_hour: i64) -> &'static str {
    let before = of_hour - recent; // In five times as long.
    match () {
        () if recent >= 3 && 5 * recent > 2 * before => "rising",
        () if before >= 3 && 10 * recent < before => "falling",
        () => "steady",
    }
}
