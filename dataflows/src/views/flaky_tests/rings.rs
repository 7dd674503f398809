//! The state machine of all rings of a worker.

use super::came::{Came, key};
use super::guard::Guard;
use super::ring::{Entry, Ring};
use super::row::row;
use super::rules::{FlakyRules, Judging};
use super::unjudged::TurnedAway;
use super::verdict::{Verdict, judge};
use super::{Input, Output};
use crate::by_test::{BUCKETS, bucket};
use crate::config::Config;
use crate::control::{Incidents, Rule};
use crate::facts::{AttemptFact, RowChange};
use crate::input::Text;
use crate::keyed::{Home, Machine, Step};
use crate::map::Map;
use crate::views::live_metrics::local::project_scope;
use crate::window::Agenda;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::Cause;
use weir_schemas::view::FLAKY_TESTS;

/// A test and a branch; the empty one where none was named.
pub(super) type Key = (Id, Text);

/// The rings of a project's bucket.
type Bucket = (Id, u32);

/// See the module above.
pub(super) struct Rings {
    config: Arc<Config>,
    /// By test and branch.
    rings: Map<Id, BTreeMap<Text, Ring>>,
    buckets: BTreeMap<Bucket, BTreeSet<Key>>,
    /// The rings that a run in state may have entries in; one that it left and came back to stands twice.
    by_run: Map<Id, Vec<Key>>,
    guards: Map<Id, Guard>,
    incidents: Incidents,
    pub(super) rules: FlakyRules,
    /// What is shown.
    pub(super) shown: BTreeMap<Key, Row>,
    /// What is looked at at the next whole second: rings that are due ([`Ring::due`]), and those that have left, maybe twice.
    due: Vec<Key>,
    /// That of which something was taken back since the last one.
    taken: BTreeSet<Key>,
    due_at: u64,
    /// What was touched in the running tick.
    touched: Vec<Key>,
    agenda: Agenda<Key>,
    writer: RowWriter,
}

/// The order of what came in a tick.
fn order(fact: &AttemptFact) -> (u64, Id, u32, u64) {
    (fact.at, fact.names.run_id, fact.attempt, fact.came)
}

/// What explains that an attempt failed.
struct Explained<'a> {
    guards: &'a Map<Id, Guard>,
    incidents: &'a Incidents,
}

impl Explained<'_> {
    fn entry(&self, fact: &AttemptFact) -> Option<Entry> {
        let entry = Entry::new(fact)?;
        let worker = entry.worker.as_ref();
        Some(Entry {
            guarded: self.guards.get(&entry.run_id).is_some_and(|guard| guard.holds(worker)),
            covered: self.incidents.cover(&fact.names.project, worker.map(|worker| &**worker), entry.at),
            ..entry
        })
    }

    /// Adds what came of a ring in a tick.
    fn add(&self, ring: &mut Ring, key: &Key, facts: &mut [AttemptFact], by_run: &mut Map<Id, Vec<Key>>) {
        facts.sort_by_key(order);
        for fact in facts.iter() {
            let Some(entry) = self.entry(fact) else { continue };
            if !ring.entries.iter().any(|other| other.live && other.run_id == entry.run_id) {
                by_run.get_or_insert_with(entry.run_id, Vec::new).push(key.clone());
            }
            ring.names = Arc::clone(&fact.names);
            ring.add(entry);
        }
        ring.truncate();
    }
}

impl Rings {
    pub(super) fn new(config: Arc<Config>) -> Rings {
        let (rings, buckets, by_run, guards, incidents, rules) = Default::default();
        let (shown, due, taken, due_at, touched, agenda, writer) = Default::default();
        Rings {
            config,
            rings,
            buckets,
            by_run,
            guards,
            incidents,
            rules,
            shown,
            due,
            taken,
            due_at,
            touched,
            agenda,
            writer,
        }
    }

    pub(super) fn ring(&self, key: &Key) -> Option<&Ring> {
        self.rings.get(&key.0)?.get(&key.1)
    }

    fn ring_mut(&mut self, key: &Key) -> Option<&mut Ring> {
        self.rings.get_mut(&key.0)?.get_mut(&key.1)
    }

    /// All rings of a project; of all projects if it is the one without a name.
    pub(super) fn of_project(&self, project: &str) -> Vec<Key> {
        let rings = self.rings.sorted().into_iter().flat_map(|(test, rings)| rings.iter().map(|ring| (*test, ring)));
        let of = |(_, (_, ring)): &(Id, (&Text, &Ring))| project.is_empty() || &*ring.names.project == project;
        rings.filter(of).map(|(test, (branch, _))| (test, Text::clone(branch))).collect()
    }

    fn touch(&mut self, key: Key, withdrawn: bool) {
        self.touched.push(key.clone());
        if withdrawn {
            self.taken.insert(key.clone());
        }
        if !self.ring_mut(&key).is_some_and(|ring| std::mem::replace(&mut ring.due, true)) {
            self.due.push(key);
        }
    }

    /// Applies rules in the order in which they leave and come.
    fn apply_rules(&mut self, mut rules: Vec<(Rule, i64)>, now: u64) {
        rules.sort_by_key(|(_, diff)| *diff);
        let (mut judged, mut covered) = (BTreeSet::new(), BTreeSet::new());
        for (rule, diff) in rules {
            judged.extend(self.rules.apply(&rule, diff, now));
            covered.extend(self.incidents.apply(&rule, diff));
        }
        for key in judged.iter().flat_map(|project| self.of_project(project)).collect::<Vec<_>>() {
            self.touch(key, false);
        }
        for key in covered.iter().flat_map(|project| self.of_project(project)).collect::<Vec<_>>() {
            let Some(ring) = self.rings.get_mut(&key.0).and_then(|rings| rings.get_mut(&key.1)) else { continue };
            let (project, mut changed) = (Text::clone(&ring.names.project), false);
            for entry in &mut ring.entries {
                let covered = self.incidents.cover(&project, entry.worker.as_deref(), entry.at);
                changed |= std::mem::replace(&mut entry.covered, covered) != covered;
            }
            if changed {
                self.touch(key, true);
            }
        }
    }

    fn apply_guard(&mut self, run: Id, guard: Guard) {
        for key in self.by_run.get(&run).into_iter().flatten().cloned().collect::<Vec<_>>() {
            let Some(ring) = self.ring_mut(&key) else { continue };
            let mut changed = false;
            for entry in ring.entries.iter_mut().filter(|entry| entry.live && entry.run_id == run) {
                let guarded = guard.holds(entry.worker.as_ref());
                changed |= std::mem::replace(&mut entry.guarded, guarded) != guarded;
            }
            if changed {
                self.touch(key, false);
            }
        }
        match guard.is_empty() {
            true => drop(self.guards.remove(&run)),
            false => drop(self.guards.insert(run, guard)),
        }
    }

    /// A run leaves: what is guarded of it stays so.
    fn evict(&mut self, run: Id) {
        self.guards.remove(&run);
        for key in self.by_run.remove(&run).unwrap_or_default() {
            if let Some(ring) = self.ring_mut(&key) {
                ring.entries.iter_mut().filter(|entry| entry.run_id == run).for_each(|entry| entry.live = false);
            }
        }
    }

    fn take_back(&mut self, fact: &AttemptFact) {
        let Some(entry) = Entry::new(fact) else { return };
        let key = key(fact);
        if self.ring_mut(&key).is_some_and(|ring| ring.remove(&entry)) {
            self.touch(key, true);
        }
    }

    fn add_to_rings(&mut self, came: &mut BTreeMap<Key, Vec<AttemptFact>>) {
        let (explained, mut new) = (Explained { guards: &self.guards, incidents: &self.incidents }, BTreeMap::new());
        for (key, mut facts) in std::mem::take(came) {
            match self.rings.get_mut(&key.0).and_then(|rings| rings.get_mut(&key.1)) {
                Some(ring) => {
                    explained.add(ring, &key, &mut facts, &mut self.by_run);
                    if !std::mem::replace(&mut ring.due, true) {
                        self.due.push(key.clone());
                    }
                    self.touched.push(key);
                }
                None => drop(new.insert(key, facts)),
            }
        }
        *came = new;
    }

    /// Rings begin, where there is room.
    fn begin(&mut self, came: BTreeMap<Key, Vec<AttemptFact>>, step: &mut Step<'_, Output>) {
        let now = step.now();
        let mut resting: BTreeMap<Bucket, BTreeSet<(u64, Key)>> = BTreeMap::new();
        let mut begun = BTreeSet::new();
        let share = (self.config.flaky_tests / BUCKETS).max(1);
        for (key, mut facts) in came {
            let Some(first) = facts.first() else { continue };
            let bucket = (project_scope(&first.names.project), bucket(key.0));
            let mut ring = Ring::new(&first.names);
            let explained = Explained { guards: &self.guards, incidents: &self.incidents };
            explained.add(&mut ring, &key, &mut facts, &mut self.by_run);
            if ring.forget_at(self.config.flaky_memory_ms) <= now {
                continue;
            }
            if self.buckets.get(&bucket).is_some_and(|keys| keys.len() >= share) {
                let resting = resting.entry(bucket).or_insert_with(|| self.resting(&bucket, &begun, now));
                let Some((_, left)) = resting.pop_first() else {
                    let failures = facts.iter().filter(|fact| fact.outcome.fails()).count() as u64;
                    let project = Text::clone(&ring.names.project);
                    step.emit(Output::TurnedAway(TurnedAway { project }), failures.cast_signed());
                    continue;
                };
                self.leave(&left);
            }
            self.insert(key.clone(), ring);
            begun.insert(key.clone());
            self.touch(key, false);
        }
    }

    /// The rings of a bucket that may be given up, those that failed longest ago first; not those that have just begun.
    fn resting(&self, bucket: &Bucket, begun: &BTreeSet<Key>, now: u64) -> BTreeSet<(u64, Key)> {
        let place = |key: &Key| {
            let ring = self.ring(key).filter(|_| !begun.contains(key))?;
            (!self.judge(key, ring, now).0.state.ill()).then(|| (ring.failed_at().unwrap_or(0), key.clone()))
        };
        self.buckets.get(bucket).into_iter().flatten().filter_map(place).collect()
    }

    fn judge<'a>(&'a self, key: &Key, ring: &'a Ring, now: u64) -> (Verdict<'a>, Judging<'a>) {
        let judging = self.rules.of(&ring.names.project);
        (judge(&ring.entries, judging.rule, &key.1, now), judging)
    }

    fn insert(&mut self, key: Key, ring: Ring) {
        let bucket = (project_scope(&ring.names.project), bucket(key.0));
        self.buckets.entry(bucket).or_default().insert(key.clone());
        self.rings.get_or_insert_with(key.0, BTreeMap::new).insert(key.1, ring);
    }

    /// A ring is forgotten; its row leaves at the next whole second.
    fn leave(&mut self, key: &Key) {
        let Some(rings) = self.rings.get_mut(&key.0) else { return };
        let Some(ring) = rings.remove(&key.1) else { return };
        if rings.is_empty() {
            self.rings.remove(&key.0);
        }
        if ring.look_at > 0 {
            self.agenda.remove(ring.look_at, key);
        }
        let bucket = (project_scope(&ring.names.project), bucket(key.0));
        if let Some(keys) = self.buckets.get_mut(&bucket) {
            keys.remove(key);
            if keys.is_empty() {
                self.buckets.remove(&bucket);
            }
        }
        self.touch(key.clone(), false);
    }

    /// Forgets those of some rings that have no failure left, or only old ones.
    fn tidy(&mut self, keys: Vec<Key>, now: u64) {
        for key in keys {
            if self.ring(&key).is_some_and(|ring| ring.forget_at(self.config.flaky_memory_ms) <= now) {
                self.leave(&key);
            }
        }
    }

    /// What is looked at at the next whole second, each once.
    fn due_in_order(&self) -> Vec<Key> {
        let mut due = self.due.clone();
        due.sort_unstable();
        due.dedup();
        due
    }

    /// Shows what is due, and plans when to look at it again.
    fn show(&mut self, key: Key, withdrawn: bool, step: &mut Step<'_, Output>) {
        let (now, mut writer) = (step.now(), std::mem::take(&mut self.writer));
        if let Some(ring) = self.ring_mut(&key) {
            ring.due = false;
        }
        let row = self.ring(&key).map(|ring| {
            let (verdict, judging) = self.judge(&key, ring, now);
            let forget_at = ring.forget_at(self.config.flaky_memory_ms);
            let clears_at = verdict.clears_at.map(|at| at.next_multiple_of(FLAKY_TESTS.cadence_ms));
            let look_at = clears_at.map_or(forget_at, |clears_at| forget_at.min(clears_at));
            (row(&mut writer, &key, ring, &verdict, judging), look_at)
        });
        self.writer = writer;
        if let Some((_, look_at)) = row {
            self.look(&key, look_at, step);
        }
        let row = row.map(|(row, _)| row);
        if self.shown.get(&key) == row.as_ref() {
            return;
        }
        let before = match &row {
            Some(row) => self.shown.insert(key, row.clone()),
            None => self.shown.remove(&key),
        };
        let cause = match (withdrawn, &row) {
            (true, _) => Cause::Withdrawn,
            (false, Some(_)) => Cause::Changed,
            (false, None) => Cause::Evicted,
        };
        before.into_iter().for_each(|row| step.emit(Output::Row(RowChange { row, cause }), -1));
        row.into_iter().for_each(|row| step.emit(Output::Row(RowChange { row, cause: Cause::Changed }), 1));
    }

    fn look(&mut self, key: &Key, look_at: u64, step: &mut Step<'_, Output>) {
        let Some(ring) = self.ring_mut(key) else { return };
        let before = std::mem::replace(&mut ring.look_at, look_at);
        if before == look_at {
            return;
        }
        self.agenda.remove(before, key);
        if self.agenda.add(look_at, key.clone()) {
            step.wake_at(look_at);
        }
    }
}

impl Machine for Rings {
    type Input = Input;
    type Output = Output;
    type Entry = Part;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Rings::new(Arc::clone(&self.config)))
    }

    fn step(&mut self, data: &mut Vec<(Input, i64)>, step: &mut Step<'_, Output>) {
        let now = step.now();
        for key in self.agenda.due(now) {
            if let Some(ring) = self.ring_mut(&key) {
                ring.look_at = 0;
                self.touch(key, false);
            }
        }
        if now.is_multiple_of(FLAKY_TESTS.cadence_ms) {
            self.tidy(self.due.clone(), now);
        }
        let mut came = Came::of(data, |test| self.rings.contains(&test));
        self.apply_rules(came.rules, now);
        came.guards.into_iter().for_each(|(run, guard)| self.apply_guard(run, guard));
        came.taken_back.iter().for_each(|fact| self.take_back(fact));
        self.add_to_rings(&mut came.added);
        let touched = std::mem::take(&mut self.touched);
        self.tidy(touched, now);
        self.begin(came.added, step);
        self.touched.clear();
        came.evicted.into_iter().for_each(|run| self.evict(run));
        if now.is_multiple_of(FLAKY_TESTS.cadence_ms) {
            self.due_at = 0;
            let (due, taken) = (self.due_in_order(), std::mem::take(&mut self.taken));
            self.due.clear();
            for key in due {
                let withdrawn = taken.contains(&key);
                self.show(key, withdrawn, step);
            }
        } else if !self.due.is_empty() && self.due_at == 0 {
            self.due_at = now.next_multiple_of(FLAKY_TESTS.cadence_ms);
            step.wake_at(self.due_at);
        }
    }

    fn entries(&self) -> Vec<Part> {
        let mut entries = vec![Part::Rules(self.rules.clone()), Part::Incidents(self.incidents.clone())];
        entries.extend(self.guards.sorted().into_iter().map(|(run, guard)| Part::Guard(*run, guard.clone())));
        let rings = self.rings.sorted().into_iter().flat_map(|(test, rings)| rings.iter().map(|ring| (*test, ring)));
        let ring =
            |(test, (branch, ring)): (Id, (&Text, &Ring))| Part::Ring((test, Text::clone(branch)), ring.clone().into());
        entries.extend(rings.map(ring));
        entries.extend(self.shown.iter().map(|(key, row)| Part::Shown(key.clone(), row.clone())));
        let due = self.due_in_order().into_iter().map(|key| {
            let withdrawn = self.taken.contains(&key);
            Part::Due(key, withdrawn, self.due_at)
        });
        entries.extend(due);
        entries
    }

    fn home(entry: &Self::Entry) -> Home {
        match entry {
            Part::Rules(_) | Part::Incidents(_) | Part::Guard(..) => Home::Everywhere,
            Part::Ring((test, _), _) | Part::Shown((test, _), _) | Part::Due((test, _), ..) => {
                Home::Routed(bucket(*test).into())
            }
        }
    }

    fn restore(&mut self, entries: Vec<Part>) -> Vec<u64> {
        for entry in entries {
            match entry {
                Part::Rules(rules) => self.rules = rules,
                Part::Incidents(incidents) => self.incidents = incidents,
                Part::Guard(run, guard) => drop(self.guards.insert(run, guard)),
                Part::Shown(key, row) => drop(self.shown.insert(key, row)),
                Part::Due(key, withdrawn, at) => {
                    self.taken.extend(withdrawn.then(|| key.clone()));
                    self.due.push(key);
                    self.due_at = at;
                }
                Part::Ring(key, ring) => {
                    let live: BTreeSet<Id> =
                        ring.entries.iter().filter(|entry| entry.live).map(|entry| entry.run_id).collect();
                    for run in live {
                        self.by_run.get_or_insert_with(run, Vec::new).push(key.clone());
                    }
                    if ring.look_at > 0 {
                        self.agenda.add(ring.look_at, key.clone());
                    }
                    self.insert(key, *ring);
                }
            }
        }
        self.agenda.times().chain((self.due_at > 0).then_some(self.due_at)).collect()
    }
}

/// The state in a snapshot. Rules, incidents and guards are on every worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Part {
    Rules(FlakyRules),
    Incidents(Incidents),
    Guard(Id, Guard),
    Ring(Key, Box<Ring>),
    Shown(Key, Row),
    Due(Key, bool, u64),
}
