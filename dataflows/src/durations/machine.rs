//! The state machine of durations: all tests of a worker.

use super::Told;
use super::history::History;
use crate::by_test;
use crate::config::Config;
use crate::facts::AttemptFact;
use crate::input::Text;
use crate::keyed::{Home, Machine, Step};
use crate::map::Map;
use crate::percentiles::{Scratch, bucket};
use crate::room::{Entry as Place, Room};
use crate::top_k::{Group, Ranked};
use crate::views::live_metrics::LONGEST;
use crate::views::live_metrics::local::project_scope;
use crate::window::{Agenda, Window};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::RowWriter;
use weir_schemas::update::Cause;
use weir_schemas::view::SLOW_TESTS;

/// An attempt that was judged slow, by when that no longer matters: then its test, run, number and tick.
type SlowAttempt = (u64, Id, Id, u32, u64);

/// All tests of one worker.
pub(super) struct Durations {
    config: Arc<Config>,
    memory: Window,
    tests: Map<Id, Box<History>>,
    room: Room,
    /// Those judged slow that are in a window of `live_metrics`.
    slow: BTreeSet<SlowAttempt>,
    agenda: Agenda<Id>,
    projects: BTreeMap<Text, Project>,
    /// Tests of which something is to be told, each once, and the cadence point at which that is.
    touched: Vec<Id>,
    point: u64,
    /// Whether all projects are told then.
    again: bool,
    writer: RowWriter,
    scratch: Scratch,
}

/// How long durations are remembered: in days, which are a seventh of it.
pub(super) fn memory(config: &Config) -> Window {
    let day_ms = (config.duration_memory_ms / 7).next_multiple_of(SLOW_TESTS.cadence_ms);
    Window::in_panes(7 * day_ms, day_ms)
}

/// The tests of a project on this worker.
#[derive(Default)]
struct Project {
    /// By their medians, the slowest first.
    order: BTreeSet<(Reverse<u16>, Id)>,
    /// Those told.
    shown: BTreeSet<Id>,
}

impl Durations {
    pub(super) fn new(config: Arc<Config>) -> Durations {
        let share = config.slow_tests_held / by_test::BUCKETS;
        Durations {
            memory: memory(&config),
            config,
            tests: Map::default(),
            room: Room::new(share),
            slow: BTreeSet::new(),
            agenda: Agenda::default(),
            projects: BTreeMap::new(),
            touched: Vec::new(),
            point: 0,
            again: false,
            writer: RowWriter::default(),
            scratch: Scratch::default(),
        }
    }

    /// Judges an attempt by what its test took before this tick.
    fn judge(&mut self, fact: &AttemptFact, us: u64, step: &mut Step<'_, Told>) {
        let now = step.now();
        if LONGEST.passed(fact.at, now) {
            return;
        }
        let median = self.tests.get(&fact.names.test_or_zero()).and_then(|history| history.median());
        if median.is_some_and(|median| us > median.saturating_mul(2)) {
            self.slow.insert(slow_attempt(fact));
            step.emit(Told::Slow(fact.clone()), 1);
        }
    }

    fn touch(&mut self, test: Id, withdrawn: bool) {
        let Some(history) = self.tests.get_mut(&test) else { return };
        history.withdrawn |= withdrawn;
        if !std::mem::replace(&mut history.touched, true) {
            self.touched.push(test);
        }
    }

    fn take_back(&mut self, fact: &AttemptFact, us: u64, step: &mut Step<'_, Told>) {
        let id = fact.names.test_or_zero();
        if self.memory.passed(fact.at, step.now()) {
            return;
        }
        let day = self.memory.pane(fact.at);
        let removed = self.tests.get_mut(&id).is_some_and(|test| test.remove(day, us, &mut self.scratch));
        if removed {
            self.touch(id, true);
        } else {
            step.emit(Told::Overflow(fact.clone()), -1);
        }
    }

    fn add(&mut self, fact: &AttemptFact, us: u64, step: &mut Step<'_, Told>) {
        let (id, now) = (fact.names.test_or_zero(), step.now());
        if self.memory.passed(fact.at, now) {
            return;
        }
        if !self.tests.contains(&id) && matches!(self.room.enter(group(fact.names.project.as_ref(), id)), Place::Full) {
            return step.emit(Told::Overflow(fact.clone()), 1);
        }
        let history = self.tests.get_or_insert_with(id, || Box::new(History::new(&fact.names)));
        let day = self.memory.pane(fact.at);
        history.call(now, fact);
        if history.add(day, us, &mut self.scratch) && self.agenda.add(self.memory.expiry(day), id) {
            step.wake_at(self.memory.expiry(day));
        }
        self.touch(id, false);
    }

    /// Forgets the days that have left.
    fn expire(&mut self, now: u64) {
        for id in self.agenda.due(now) {
            if self.tests.get_mut(&id).is_some_and(|history| history.expire(self.memory, now)) {
                self.touch(id, false);
            }
        }
        while self.slow.first().is_some_and(|(until, ..)| *until <= now) {
            self.slow.pop_first();
        }
    }

    /// Puts the touched tests where they belong in the order of their project, and tells the slowest.
    fn tell(&mut self, step: &mut Step<'_, Told>) {
        let touched = std::mem::take(&mut self.touched);
        let mut projects: BTreeMap<Text, BTreeSet<Id>> = BTreeMap::new();
        for id in &touched {
            let Some(history) = self.tests.get_mut(id) else { continue };
            let name = Arc::clone(&history.names().project);
            let project = self.projects.entry(Arc::clone(&name)).or_default();
            let stands = history.median().map(bucket);
            if history.stands != stands {
                if let Some(median) = history.stands {
                    project.order.remove(&(Reverse(median), *id));
                }
                project.order.extend(stands.map(|median| (Reverse(median), *id)));
                history.stands = stands;
            }
            projects.entry(name).or_default().insert(*id);
        }
        if std::mem::take(&mut self.again) {
            for name in self.projects.keys() {
                projects.entry(Arc::clone(name)).or_default();
            }
        }
        for (name, changed) in projects {
            self.tell_project(&name, &changed, step);
        }
        for id in touched {
            let Some(history) = self.tests.get_mut(&id) else { continue };
            (history.touched, history.withdrawn) = (false, false);
            if history.is_empty() {
                let project = project_scope(&history.names().project);
                self.tests.remove(&id);
                self.room.leave((project, by_test::bucket(id)), 0, id);
            }
        }
    }

    fn tell_project(&mut self, name: &Text, changed: &BTreeSet<Id>, step: &mut Step<'_, Told>) {
        let Some(project) = self.projects.get_mut(name) else { return };
        let group: Group = (project_scope(name), 0);
        let first: BTreeSet<Id> = project.order.iter().take(self.config.slow_tests).map(|(_, id)| *id).collect();
        for id in project.shown.union(&first) {
            let (was, is) = (project.shown.contains(id), first.contains(id));
            if was && is && !changed.contains(id) {
                continue;
            }
            let Some(history) = self.tests.get_mut(id) else { continue };
            let stands = history.slowest(&mut self.writer);
            // As if nobody was pushed out here, but only in the order of all workers.
            let cause = match () {
                () if stands == history.shown => Cause::Evicted,
                () if history.withdrawn => Cause::Withdrawn,
                () if stands.is_some() => Cause::Changed,
                () => Cause::Evicted,
            };
            let told = stands.filter(|_| is);
            if told == history.shown {
                continue;
            }
            if let Some(value) = history.shown.take() {
                step.emit(Told::Ranked(Ranked { group, value, cause }), -1);
            }
            if let Some(value) = told.clone() {
                step.emit(Told::Ranked(Ranked { group, value, cause: Cause::Changed }), 1);
            }
            history.shown = told;
        }
        project.shown = first;
        if project.order.is_empty() {
            self.projects.remove(name);
        }
    }
}

fn group(project: &str, test: Id) -> Group {
    (project_scope(project), by_test::bucket(test))
}

fn slow_attempt(fact: &AttemptFact) -> SlowAttempt {
    let until = LONGEST.expiry(LONGEST.pane(fact.at));
    (until, fact.names.test_or_zero(), fact.names.run_id, fact.attempt, fact.came)
}

/// How long an attempt took, if that says something of its test.
fn duration(fact: &AttemptFact) -> Option<u64> {
    fact.duration_us.filter(|_| fact.outcome != Outcome::Skipped)
}

impl Machine for Durations {
    type Input = AttemptFact;
    type Output = Told;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Durations::new(Arc::clone(&self.config)))
    }

    fn step(&mut self, data: &mut Vec<(AttemptFact, i64)>, step: &mut Step<'_, Told>) {
        let now = step.now();
        self.expire(now);
        let timed = |sign: i64| {
            let of_sign = data.iter().filter(move |(_, diff)| diff.signum() == sign);
            of_sign.filter_map(|(fact, _)| Some((fact, duration(fact)?)))
        };
        // All are judged by what was known before any of them came or left; a name that leaves can come anew.
        let judged: Vec<_> = timed(1).collect();
        timed(-1).for_each(|(fact, _)| {
            if self.slow.remove(&slow_attempt(fact)) {
                step.emit(Told::Slow(fact.clone()), -1);
            }
        });
        judged.iter().for_each(|(fact, us)| self.judge(fact, *us, step));
        timed(-1).for_each(|(fact, us)| self.take_back(fact, us, step));
        let (known, mut new): (Vec<_>, Vec<_>) =
            judged.into_iter().partition(|(fact, _)| self.tests.contains(&fact.names.test_or_zero()));
        known.into_iter().for_each(|(fact, us)| self.add(fact, us, step));
        // Who finds room depends on no order of arrival.
        new.sort_by_key(|(fact, us)| (fact.names.test_or_zero(), fact.names.run_id, fact.attempt, *us));
        new.into_iter().for_each(|(fact, us)| self.add(fact, us, step));
        data.clear();
        self.point = now.next_multiple_of(SLOW_TESTS.cadence_ms);
        if self.point == now {
            self.tell(step);
        } else if !self.touched.is_empty() {
            step.wake_at(self.point);
        }
    }

    /// Which tests are the slowest of a worker depends on which of them it has: told when they all are told next.
    fn resume(&mut self, step: &mut Step<'_, Told>) {
        self.again = true;
        self.point = (step.now() + 1).next_multiple_of(SLOW_TESTS.cadence_ms);
        step.wake_at(self.point);
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = vec![Entry::Point(self.point)];
        entries.extend(self.again.then_some(Entry::Again));
        entries.extend(self.slow.iter().copied().map(Entry::Slow));
        entries.extend(self.tests.sorted().into_iter().map(|(id, history)| Entry::Test(*id, history.clone())));
        entries
    }

    fn home(entry: &Self::Entry) -> Home {
        let test = match entry {
            Entry::Point(_) | Entry::Again => return Home::Everywhere,
            Entry::Slow((_, test, ..)) | Entry::Test(test, _) => *test,
        };
        Home::Routed(by_test::bucket(test).into())
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        for entry in entries {
            match entry {
                Entry::Again => self.again = true,
                Entry::Point(point) => self.point = self.point.max(point),
                Entry::Slow(slow) => drop(self.slow.insert(slow)),
                Entry::Test(id, mut history) => {
                    history.sum_up();
                    self.room.restore(group(&history.names().project, id));
                    for day in history.days().collect::<Vec<_>>() {
                        self.agenda.add(self.memory.expiry(day), id);
                    }
                    let project = self.projects.entry(Arc::clone(&history.names().project)).or_default();
                    project.order.extend(history.stands.map(|median| (Reverse(median), id)));
                    project.shown.extend(history.shown.as_ref().map(|_| id));
                    self.touched.extend(history.touched.then_some(id));
                    self.tests.insert(id, history);
                }
            }
        }
        let point = (self.again || !self.touched.is_empty()).then_some(self.point);
        self.agenda.times().chain(point).collect()
    }
}

/// The state in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Entry {
    /// When something is told next.
    Point(u64),
    /// All projects are told then.
    Again,
    /// An attempt that was judged slow.
    Slow(SlowAttempt),
    /// A test.
    Test(Id, Box<History>),
}
