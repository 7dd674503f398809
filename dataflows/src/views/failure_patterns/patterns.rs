//! The patterns of a worker's buckets: who has room, and when each of them is looked at.
//!
//! Contract: takes failing attempts, and tells of the patterns that they belong to at cadence points. What finds no room
//! (`crate::room`) leaves as [`PatternOutput::Overflow`], its withdrawal as well: an occurrence that came before its pattern got in is
//! not the pattern's, unless it came to count again since.
//!
//! # Invariants
//! Within a tick, updates are first netted, then removals and additions are done in the order of their keys: which
//! occurrences are kept, and which patterns, does not depend on the order of arrival.
//!
//! # Failure
//! A withdrawal of what has left the 24 h is ignored, as is a failure that comes when its own 24 h have passed.

use super::pattern::{Candidate, DAY, Key, Occurrence, Pattern};
use crate::config::Config;
use crate::input::Origin;
use crate::keyed::{Home, Machine, Step};
use crate::map::Map;
use crate::room::{Entry, Room};
use crate::top_k::Ranked;
use crate::window::Agenda;
use differential_dataflow::consolidation::consolidate;
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::row::RowWriter;
use weir_schemas::update::Cause;
use weir_schemas::view::FAILURE_PATTERNS;

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
        if !pattern.remembers() || forget_at <= now {
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
        let entry = |(id, pattern): (&(Id, Id), &Pattern)| (*id, pattern.clone(), pattern.kept());
        self.patterns.sorted().into_iter().map(entry).collect()
    }

    fn home((_, pattern, _): &Self::Entry) -> Home {
        Home::Routed(super::route(pattern.group))
    }

    fn restore(&mut self, entries: Vec<Self::Entry>) -> Vec<u64> {
        for (id, mut pattern, kept) in entries {
            pattern.keep(kept);
            self.room.restore(pattern.group);
            let memory = (pattern.shown.is_none() && pattern.due == 0).then(|| forget_at(&pattern, &self.config));
            if memory.is_some() {
                self.room.rest(pattern.group, pattern.news_at, id.1);
            }
            let due = (pattern.due > 0).then_some(pattern.due);
            for time in pattern.expiries().chain(due).chain(memory) {
                self.agenda.add(time, id);
            }
            self.patterns.insert(id, pattern);
        }
        self.agenda.times().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::pattern::{HOUR, RECENT};
    use super::*;
    use crate::facts::Failure;
    use crate::input::Names;
    use std::collections::BTreeSet;

    fn occurrence(at: u64) -> Occurrence {
        let origin = Origin { stream: Id(4), stream_name: "s".into(), project: "web".into(), ..Origin::default() };
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
