//! The state of each failure pattern, and its row.
//!
//! Contract: takes failing attempts, counts them in 10 min and 1 h, keeps those of the last 24 h one by one up to a configured
//! number, and emits the pattern's [`Candidate`] at cadence points. What comes above that number is *folded*: counted in
//! panes of 24 min with the first and last time, so that the numbers of tests, runs, users and workers become lower bounds, what all
//! have in common is unknown, and `first_seen_at` and `last_seen_at` follow a withdrawal only when its pane empties.
//!
//! What finds no room (`crate::room`) leaves as [`PatternOutput::Overflow`], its withdrawal as well: an occurrence that came before
//! its pattern got in is not the pattern's, unless it came to count again since.
//!
//! # Invariants
//! Within a tick, updates are first netted, then removals and additions are done in the order of their keys: which
//! occurrences are kept, and which patterns, does not depend on the order of arrival.
//!
//! # Failure
//! A withdrawal of what has left the 24 h is ignored, as is a failure that comes when its own 24 h have passed.

use super::OTHER;
use super::shared::Shared;
use crate::config::Config;
use crate::facts::Failure;
use crate::input::{Names, Origin, Text};
use crate::keyed::{Machine, Step};
use crate::map::Map;
use crate::room::{Entry, Room};
use crate::top_k::{Group, Ranked};
use crate::window::{Agenda, Panes, Window};
use differential_dataflow::consolidation::consolidate;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::Cause;
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

/// What patterns have to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternOutput {
    /// A pattern that competes for a place in the view.
    Ranked(Ranked<Candidate>),
    /// An occurrence of a pattern that found no room.
    Overflow(Occurrence),
}

/// All patterns of one worker.
pub struct Patterns {
    config: Arc<Config>,
    patterns: Map<(Id, Id), Pattern>,
    room: Room,
    agenda: Agenda<(Id, Id)>,
    writer: RowWriter,
}

/// The state of one pattern.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pattern {
    group: Group,
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
    news_at: u64,
    due: u64,
    withdrawn: bool,
    shown: Option<Candidate>,
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
    fn new(occurrence: &Occurrence, now: u64) -> Pattern {
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
    fn add(&mut self, occurrence: &Occurrence, now: u64, limit: usize) -> [Option<u64>; 3] {
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
    fn has(&self, occurrence: &Occurrence) -> bool {
        let pane = DAY.pane(occurrence.key.at);
        let folded = || self.day.iter().any(|(number, folded)| number == pane && folded.count > 0);
        self.kept.contains_key(&occurrence.key) || occurrence.key.came >= self.since && self.folded > 0 && folded()
    }

    /// Takes an occurrence back that was taken in and is in the 24 h.
    fn take_back(&mut self, occurrence: &Occurrence, now: u64) {
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

    fn expire(&mut self, now: u64) {
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

    fn expired(&mut self, at: u64) {
        self.first_expired_at = Some(self.first_expired_at.map_or(at, |first| first.min(at)));
    }

    fn candidate(&mut self, fingerprint: Id, writer: &mut RowWriter) -> Option<Candidate> {
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

impl Patterns {
    /// None yet, with room for so many in a bucket.
    #[must_use]
    pub fn new(config: Arc<Config>, share: usize) -> Self {
        let (patterns, agenda) = (Map::default(), Agenda::default());
        Patterns { config, patterns, room: Room::new(share), agenda, writer: RowWriter::default() }
    }

    /// The pattern that a new occurrence becomes one of, made if there is room for it.
    fn place(&mut self, occurrence: &Occurrence, now: u64) -> Option<&mut Pattern> {
        let (group, fingerprint) = (occurrence.group(), occurrence.failure.fingerprint);
        let id = (occurrence.project, fingerprint);
        if let Some(pattern) = self.patterns.get(&id) {
            self.room.wake(group, pattern.news_at, fingerprint);
            return self.patterns.get_mut(&id);
        }
        match self.room.enter(group) {
            Entry::Free => {}
            Entry::InPlaceOf(left) => {
                let left = (occurrence.project, left);
                if let Some(pattern) = self.patterns.remove(&left) {
                    self.agenda.remove(forget_at(&pattern, &self.config), &left);
                }
            }
            Entry::Full => return None,
        }
        Some(self.patterns.get_or_insert_with(id, || Pattern::new(occurrence, now)))
    }

    fn apply(&mut self, occurrence: &Occurrence, diff: i64, step: &mut Step<'_, PatternOutput>) {
        let now = step.now();
        if DAY.passed(occurrence.key.at, now) {
            return;
        }
        let id = (occurrence.project, occurrence.failure.fingerprint);
        let limit = self.config.pattern_occurrences;
        let pattern = if diff > 0 {
            self.place(occurrence, now)
        } else {
            self.patterns.get_mut(&id).filter(|pattern| pattern.has(occurrence))
        };
        let Some(pattern) = pattern else {
            return step.emit(PatternOutput::Overflow(occurrence.clone()), diff);
        };
        let mut times = [None; 3];
        for _ in 0..diff {
            // Of one that comes twice, the first begins the panes.
            let begun = pattern.add(occurrence, now, limit);
            times.iter_mut().zip(begun).for_each(|(time, begun)| *time = time.or(begun));
        }
        for _ in diff..0 {
            pattern.take_back(occurrence, now);
        }
        let point = now.next_multiple_of(FAILURE_PATTERNS.cadence_ms);
        let due = (pattern.due != point).then_some(point);
        pattern.due = point;
        for time in times.into_iter().chain([due]).flatten() {
            if self.agenda.add(time, id) && time > now {
                step.wake_at(time);
            }
        }
    }

    fn show(&mut self, id: (Id, Id), step: &mut Step<'_, PatternOutput>) {
        let now = step.now();
        let Some(pattern) = self.patterns.get_mut(&id) else { return };
        pattern.expire(now);
        let candidate = pattern.candidate(id.1, &mut self.writer);
        if candidate != pattern.shown {
            let cause = if pattern.withdrawn { Cause::Withdrawn } else { Cause::Changed };
            if let Some(value) = pattern.shown.take() {
                step.emit(PatternOutput::Ranked(Ranked { group: pattern.group, value, cause }), -1);
            }
            if let Some(value) = candidate.clone() {
                let ranked = Ranked { group: pattern.group, value, cause: Cause::Changed };
                step.emit(PatternOutput::Ranked(ranked), 1);
            }
            pattern.shown = candidate;
        }
        pattern.due = 0;
        pattern.withdrawn = false;
        if pattern.shown.is_some() {
            return;
        }
        let (forget_at, group, news_at) = (forget_at(pattern, &self.config), pattern.group, pattern.news_at);
        if pattern.first_expired_at.is_none() || forget_at <= now {
            self.patterns.remove(&id);
            self.room.leave(group, news_at, id.1);
            return;
        }
        self.room.rest(group, news_at, id.1);
        if self.agenda.add(forget_at, id) {
            step.wake_at(forget_at);
        }
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

/// When a pattern that has left the view is forgotten.
fn forget_at(pattern: &Pattern, config: &Config) -> u64 {
    pattern.news_at.saturating_add(config.pattern_memory_ms).next_multiple_of(FAILURE_PATTERNS.cadence_ms)
}

impl Machine for Patterns {
    type Input = Occurrence;
    type Output = PatternOutput;
    type Entry = ((Id, Id), Pattern, Vec<(Key, Arc<Origin>)>);

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Patterns::new(Arc::clone(&self.config), self.room.share()))
    }

    fn step(&mut self, data: &mut Vec<(Occurrence, i64)>, step: &mut Step<'_, Self::Output>) {
        consolidate(data);
        for removal in [true, false] {
            for (occurrence, diff) in data.iter().filter(|(_, diff)| (*diff < 0) == removal) {
                self.apply(occurrence, *diff, step);
            }
        }
        if step.now().is_multiple_of(FAILURE_PATTERNS.cadence_ms) {
            for id in self.agenda.due(step.now()) {
                self.show(id, step);
            }
        }
    }

    fn entries(&self) -> Vec<Self::Entry> {
        let kept = |pattern: &Pattern| pattern.kept.iter().map(|(key, origin)| (*key, Arc::clone(origin))).collect();
        self.patterns.sorted().into_iter().map(|(id, pattern)| (*id, pattern.clone(), kept(pattern))).collect()
    }

    fn restore(&mut self, entries: Vec<Self::Entry>) -> Vec<u64> {
        for (id, mut pattern, kept) in entries {
            (pattern.kept, pattern.shared) = (BTreeMap::new(), Shared::default());
            for (key, origin) in kept {
                pattern.shared.add(&key, &origin);
                pattern.kept.insert(key, origin);
            }
            self.room.restore(pattern.group);
            let memory = (pattern.shown.is_none() && pattern.due == 0).then(|| forget_at(&pattern, &self.config));
            if memory.is_some() {
                self.room.rest(pattern.group, pattern.news_at, id.1);
            }
            let recent = pattern.recent.iter().map(|(pane, _)| RECENT.expiry(pane));
            let hour = pattern.hour.iter().map(|(pane, _)| HOUR.expiry(pane));
            let day = pattern.day.iter().map(|(pane, _)| DAY.expiry(pane));
            let due = (pattern.due > 0).then_some(pattern.due);
            for time in recent.chain(hour).chain(day).chain(due).chain(memory) {
                self.agenda.add(time, id);
            }
            self.patterns.insert(id, pattern);
        }
        self.agenda.times().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn occurrence(at: u64) -> Occurrence {
        let origin = Origin {
            stream: Id(4),
            stream_name: "s".into(),
            project: "web".into(),
            framework: None,
            user: None,
            branch: None,
            commit: None,
            worker: None,
            shard: None,
            severity: None,
            tags: Vec::new(),
        };
        Occurrence {
            project: Id(1),
            key: Key { at, run: Id(2), test: Id(3), attempt: 1, came: at },
            names: Arc::new(Names::default()),
            origin: Arc::new(origin),
            failure: Arc::new(Failure::default()),
        }
    }

    #[test]
    fn what_comes_twice_in_a_tick_leaves_every_window_in_time() {
        let (at, mut out, mut wake) = (1_800_000_000_000, Vec::new(), BTreeSet::new());
        let mut patterns = Patterns::new(Arc::new(Config::default()), 1);
        patterns.step(&mut vec![(occurrence(at), 2)], &mut Step::new(at, &mut out, &mut wake));
        let leaves = [RECENT, HOUR, DAY].map(|window| window.expiry(window.pane(at)));
        assert!(leaves.iter().all(|time| wake.contains(time)), "{leaves:?} and {wake:?}");
    }
}
