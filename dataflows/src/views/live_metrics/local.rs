//! The first layer of `live_metrics` for attempts: a worker's own, summed by scope and pane.
//!
//! Contract: [`LocalPanes`] turns facts into one [`Delta`] a pane for each suite, project, framework and branch at each cadence
//! point, and the late ones into a count a project at once. What was measured is summed with them; what of that is late is nothing.
//!
//! A fact is summed where its suite, framework and branch meet: one look-up. Projects, frameworks and branches are summed
//! from these sums, when they are told.
//!
//! # Invariants
//! What is remembered of streams ([`Groups`]) only saves work and never shows.
//!
//! # Cost
//! Two look-ups a fact, one of them by stream. State O(suites × panes with a fact since the last cadence point), 2 bytes a
//! fact; at most 16,384 streams are remembered, and a few more until the next cadence point.

use super::delta::{Change, Delta, Pane, PaneDelta, ScopeKind, ScopeName, Sums};
use super::{LONGEST, WINDOWS, delta};
use crate::facts::{AttemptFact, Late};
use crate::input::{Origin, Text};
use crate::keyed::{Home, Machine, Step};
use crate::map::Map;
use crate::percentiles::{Counts, Mark, Scratch};
use crate::views::performance::measures::Measurement;
use crate::window::Window;
use differential_dataflow::consolidation::consolidate;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::view::LIVE_METRICS;

pub use delta::project_scope;

/// What comes in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Attempt {
    /// An attempt.
    Ended(AttemptFact),
    /// An attempt was slow for its test.
    Slow(AttemptFact),
    /// A suite or test was measured.
    Measured(Measurement),
}

/// Sums facts by scope and pane.
#[derive(Default)]
pub struct LocalPanes {
    groups: Groups,
    index: Map<(Id, u32), usize>,
    slots: Vec<Slot>,
    /// By [`Group::scopes`].
    rolled: Vec<Vec<Gathered>>,
    late: Map<Id, usize>,
    late_counts: Vec<(Text, i64)>,
    scratch: Scratch,
    /// The next cadence point, at which it is told, and its pane.
    due: u64,
    due_pane: u64,
}

/// Panes of a window that may have something at a cadence point, at most.
const PLACES: u64 = 64;

/// What came of a suite, framework and branch in a pane.
struct Slot {
    suite: Id,
    suite_name: Text,
    group: u32,
    gathered: Gathered,
}

/// What came in a pane.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Gathered {
    pane: u64,
    sums: Sums,
    marks: Vec<Mark>,
    patterns: Vec<(Id, i64)>,
    withdrawn: bool,
    attempted: bool,
}

impl Gathered {
    fn new(pane: u64) -> Gathered {
        let (sums, marks, patterns) = Default::default();
        Gathered { pane, sums, marks, patterns, withdrawn: false, attempted: false }
    }

    fn add(&mut self, fact: &AttemptFact, diff: i64) {
        self.sums.add_attempt(fact.outcome, fact.duration_us, diff);
        self.withdrawn |= diff < 0;
        self.attempted = true;
        if let Some(duration_us) = fact.duration_us {
            (0..diff.unsigned_abs()).for_each(|_| self.marks.push(Mark::new(duration_us, diff < 0)));
        }
        if let Some(failure) = &fact.failure {
            self.patterns.push((failure.fingerprint, diff));
        }
    }

    fn add_all(&mut self, other: &Gathered) {
        self.sums.add(&other.sums, 1);
        self.marks.extend_from_slice(&other.marks);
        self.patterns.extend_from_slice(&other.patterns);
        self.withdrawn |= other.withdrawn;
        self.attempted |= other.attempted;
    }

    fn delta(mut self, scratch: &mut Scratch) -> PaneDelta {
        consolidate(&mut self.patterns);
        let durations = Counts::of(&mut self.marks, scratch);
        let content = Pane { sums: self.sums, durations, patterns: self.patterns };
        PaneDelta { pane: self.pane, content, withdrawn: self.withdrawn, attempted: self.attempted }
    }
}

/// A framework and branch of a project, and the scopes to which its facts belong besides their suite, by number.
struct Group {
    names: GroupNames,
    scopes: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct GroupNames {
    project: Text,
    framework: Option<Text>,
    branch: Option<Text>,
}

/// The groups of streams, by what they last said of themselves.
#[derive(Default)]
struct Groups {
    streams: Map<Id, (Arc<Origin>, u32)>,
    index: Map<Id, u32>,
    groups: Vec<Group>,
    scopes: Map<Id, usize>,
    names: Vec<(Id, ScopeName)>,
}

/// How many streams, or groups, are remembered from one cadence point to the next.
const REMEMBERED: usize = 16_384;

impl Groups {
    fn of(&mut self, origin: &Arc<Origin>) -> u32 {
        if let Some((known, group)) = self.streams.get(&origin.stream)
            && (Arc::ptr_eq(known, origin) || same(known, origin))
        {
            return *group;
        }
        let Origin { project, framework, branch, .. } = &**origin;
        let names = GroupNames { project: Arc::clone(project), framework: framework.clone(), branch: branch.clone() };
        let group = self.find(names);
        self.streams.insert(origin.stream, (Arc::clone(origin), group));
        group
    }

    fn find(&mut self, names: GroupNames) -> u32 {
        let GroupNames { project, framework, branch } = &names;
        // What is empty is absent.
        let key = [framework, branch].map(|name| name.as_deref().unwrap_or_default());
        let key = Id::of(&[project, key[0], key[1]]);
        if let Some(group) = self.index.get(&key) {
            return *group;
        }
        let named = [
            (ScopeKind::Project, Some(project)),
            (ScopeKind::Framework, framework.as_ref()),
            (ScopeKind::Branch, branch.as_ref()),
        ];
        let named = named
            .into_iter()
            .filter_map(|(kind, name)| Some(ScopeName { project: Arc::clone(project), kind, name: Arc::clone(name?) }));
        let scopes = named.map(|name| self.scope(name)).collect();
        let group = u32::try_from(self.groups.len()).expect("forgotten long before");
        self.groups.push(Group { names, scopes });
        self.index.insert(key, group);
        group
    }

    fn scope(&mut self, name: ScopeName) -> usize {
        let (id, names) = (name.id(), &mut self.names);
        *self.scopes.get_or_insert_with(id, || {
            names.push((id, name));
            names.len() - 1
        })
    }

    /// Starts anew when too much is remembered; not while a group's number is in use.
    fn forget(&mut self) {
        if self.streams.len().max(self.groups.len()) > REMEMBERED {
            *self = Groups::default();
        }
    }
}

fn same(a: &Origin, b: &Origin) -> bool {
    a.framework == b.framework && a.branch == b.branch && a.project == b.project
}

impl LocalPanes {
    fn add(&mut self, fact: &AttemptFact, diff: i64, now: u64) {
        let at = fact.at.min(now);
        let Some(pane) = self.pane(at, now) else {
            // What came in time and is taken back, or comes to count again, after its window was never late.
            if LONGEST.passed(fact.at, fact.came) {
                self.add_late(&fact.names.project, diff);
            }
            return;
        };
        let group = self.groups.of(&fact.origin);
        self.slot(fact.names.suite_id, &fact.names.suite, group, pane).gathered.add(fact, diff);
    }

    fn add_slow(&mut self, fact: &AttemptFact, diff: i64, now: u64) {
        let Some(pane) = self.pane(fact.at.min(now), now) else { return };
        let group = self.groups.of(&fact.origin);
        let gathered = &mut self.slot(fact.names.suite_id, &fact.names.suite, group, pane).gathered;
        gathered.sums.slow += diff;
        gathered.withdrawn |= diff < 0;
        gathered.attempted = true;
    }

    fn add_measured(&mut self, measurement: &Measurement, diff: i64, now: u64) {
        let Some(bytes) = measurement.performance.memory else { return };
        let Some(pane) = self.pane(measurement.at.min(now), now) else { return };
        let (group, names) = (self.groups.of(&measurement.origin), &measurement.names);
        let gathered = &mut self.slot(names.suite_id, &names.suite, group, pane).gathered;
        gathered.sums.memory.add_value(bytes.max(0), diff);
        gathered.withdrawn |= diff < 0;
    }

    /// The pane of an attempt that ended at `at`; `None`: it has left every window.
    fn pane(&self, at: u64, now: u64) -> Option<u64> {
        let pane = WINDOWS[0].pane(at);
        // Most are young: no more is asked of them.
        if self.due_pane < pane + WINDOWS[0].seconds() {
            return Some(pane);
        }
        let window = WINDOWS.iter().find(|window| !window.passed(at, now))?;
        Some(WINDOWS[0].pane(window.begin(window.pane(at))))
    }

    /// What came of a suite and group in a pane.
    fn slot(&mut self, suite: Id, suite_name: &Text, group: u32, pane: u64) -> &mut Slot {
        let place = group << 8 | self.place(pane);
        let slots = &mut self.slots;
        let slot = *self.index.get_or_insert_with((suite, place), || {
            slots.push(Slot { suite, suite_name: Arc::clone(suite_name), group, gathered: Gathered::new(pane) });
            slots.len() - 1
        });
        &mut self.slots[slot]
    }

    /// A small number for a pane, another for each.
    ///
    /// At the next cadence point a window has 62 panes; what is older is the first in a pane of the next window, and so has a
    /// place of its own there.
    fn place(&self, pane: u64) -> u32 {
        let young = self.due_pane - pane;
        if young < PLACES {
            return u32::try_from(young).expect("small");
        }
        let age = |window: &Window| window.pane(self.due) - window.pane(WINDOWS[0].begin(pane));
        let places = (PLACES..).step_by(64).zip(WINDOWS[1..].iter().map(age));
        let place = places.into_iter().find(|(_, age)| *age < PLACES).map(|(first, age)| first | age);
        u32::try_from(place.expect("what has left every window was not taken")).expect("small")
    }

    fn begin(&mut self, due: u64) {
        self.due = due;
        self.due_pane = WINDOWS[0].pane(due);
    }

    fn add_late(&mut self, project: &Text, diff: i64) {
        let counts = &mut self.late_counts;
        let slot = *self.late.get_or_insert_with(project_scope(project), || {
            counts.push((Arc::clone(project), 0));
            counts.len() - 1
        });
        self.late_counts[slot].1 += diff;
    }

    fn tell_late(&mut self, step: &mut Step<'_, Result<Delta, Late>>) {
        for (project, count) in self.late_counts.drain(..) {
            if count != 0 {
                step.emit(Err(Late { project }), count);
            }
        }
        self.late.clear();
    }

    fn flush(&mut self, step: &mut Step<'_, Result<Delta, Late>>) {
        self.rolled.resize_with(self.groups.names.len(), Vec::new);
        let mut tell = |scope: Id, name: ScopeName, gathered: Gathered| {
            let change = Change::Pane(gathered.delta(&mut self.scratch));
            step.emit(Ok(Delta { scope, name, change }), 1);
        };
        for Slot { suite, suite_name, group, gathered } in self.slots.drain(..) {
            let group = &self.groups.groups[group as usize];
            for scope in &group.scopes {
                let panes = &mut self.rolled[*scope];
                // There are few, and the newest is asked for most.
                let known = panes.iter().rposition(|known| known.pane == gathered.pane);
                let known = known.unwrap_or_else(|| {
                    panes.push(Gathered::new(gathered.pane));
                    panes.len() - 1
                });
                panes[known].add_all(&gathered);
            }
            if suite != Id::default() {
                let project = Arc::clone(&group.names.project);
                tell(suite, ScopeName { project, kind: ScopeKind::Suite, name: suite_name }, gathered);
            }
        }
        for (panes, (scope, name)) in self.rolled.iter_mut().zip(&self.groups.names) {
            panes.drain(..).for_each(|gathered| tell(*scope, name.clone(), gathered));
        }
        self.index.clear();
        self.groups.forget();
    }
}

/// What came of a suite and group in a pane, in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The suite; zero where there is none.
    pub suite: Id,
    group: GroupNames,
    gathered: Gathered,
    suite_name: Text,
    due: u64,
}

impl Machine for LocalPanes {
    type Input = Attempt;
    type Output = Result<Delta, Late>;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(LocalPanes::default())
    }

    fn step(&mut self, data: &mut Vec<(Attempt, i64)>, step: &mut Step<'_, Self::Output>) {
        let point = step.now().next_multiple_of(LIVE_METRICS.cadence_ms);
        self.begin(point);
        for (fact, diff) in data.drain(..) {
            match fact {
                Attempt::Ended(fact) => self.add(&fact, diff, step.now()),
                Attempt::Slow(fact) => self.add_slow(&fact, diff, step.now()),
                Attempt::Measured(measurement) => self.add_measured(&measurement, diff, step.now()),
            }
        }
        self.tell_late(step);
        if point == step.now() {
            self.flush(step);
        } else if !self.slots.is_empty() {
            step.wake_at(point);
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let entry = |Slot { suite, suite_name, group, gathered }: &Slot| Entry {
            suite: *suite,
            group: self.groups.groups[*group as usize].names.clone(),
            gathered: gathered.clone(),
            suite_name: Arc::clone(suite_name),
            due: self.due,
        };
        let mut entries: Vec<Entry> = self.slots.iter().map(entry).collect();
        entries.sort_by(|a, b| (a.suite, &a.group, a.gathered.pane).cmp(&(b.suite, &b.group, b.gathered.pane)));
        entries
    }

    fn home(_: &Self::Entry) -> Home {
        Home::Anywhere
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        for Entry { suite, group, gathered, suite_name, due } in entries {
            self.begin(due);
            let group = self.groups.find(group);
            self.slot(suite, &suite_name, group, gathered.pane).gathered.add_all(&gathered);
        }
        if self.slots.is_empty() { Vec::new() } else { vec![self.due] }
    }
}
