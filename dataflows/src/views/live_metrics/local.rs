//! The first layer of `live_metrics`: a worker's own updates of one tick, summed by scope and pane.
//!
//! Contract: [`LocalPanes`] turns the facts of a tick into one [`Delta`] for each suite and pane and one for each project and
//! pane, and the late ones into a count a project. [`LocalGauges`] does the same for what is running and awaited. Nothing is
//! remembered from one tick to the next, so there is nothing to snapshot.
//!
//! # Invariants
//! A delta is sent even when its sums cancel out if a withdrawal was part of it: the cause must not depend on which worker
//! summed what.
//!
//! # Cost
//! One look-up an update; project sums are made from the suites' sums.

use super::WINDOW;
use crate::facts::{AttemptFact, Awaited, AwaitedKind, Late, Running};
use crate::input::Text;
use crate::keyed::{Machine, Step};
use crate::map::Map;
use differential_dataflow::consolidation::consolidate;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;

/// Sums over attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Passed.
    pub passed: i64,
    /// Failed, error and timeout.
    pub failing: i64,
    /// Skipped.
    pub skipped: i64,
    /// Attempts that say how long they took.
    pub timed: i64,
    /// How long these took; wide, since one absurd report must not overflow it.
    pub duration_us: i128,
}

impl Sums {
    /// Takes `diff` attempts in.
    pub fn add_attempt(&mut self, outcome: Outcome, duration_us: Option<u64>, diff: i64) {
        match outcome {
            Outcome::Passed => self.passed += diff,
            Outcome::Skipped => self.skipped += diff,
            Outcome::Failed | Outcome::Error | Outcome::Timeout => self.failing += diff,
        }
        if let Some(duration_us) = duration_us {
            self.timed += diff;
            self.duration_us += i128::from(duration_us) * i128::from(diff);
        }
    }

    /// Adds `other` `times` times.
    pub fn add(&mut self, other: &Sums, times: i64) {
        self.passed += other.passed * times;
        self.failing += other.failing * times;
        self.skipped += other.skipped * times;
        self.timed += other.timed * times;
        self.duration_us += other.duration_us * i128::from(times);
    }

    /// How many attempts finished.
    #[must_use]
    pub fn finished(&self) -> i64 {
        self.passed + self.failing + self.skipped
    }
}

/// A change of one scope.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delta {
    /// The scope.
    pub scope: Id,
    /// Its project.
    pub project: Text,
    /// Its suite; empty for the project itself.
    pub suite: Text,
    /// What changes.
    pub change: Change,
}

/// What changes in a scope.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Change {
    /// What is in a pane.
    Pane(PaneDelta),
    /// What is running and awaited.
    Gauges(Gauges),
}

/// A change of one pane.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PaneDelta {
    /// The pane.
    pub pane: u64,
    /// Attempts that came, less those that were taken back.
    pub sums: Sums,
    /// The same by failure fingerprint; none twice, none zero.
    pub patterns: Vec<(Id, i64)>,
    /// Whether something was taken back.
    pub withdrawn: bool,
}

/// What is running and awaited in a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauges {
    /// Tests begun and not ended.
    pub running: i64,
    /// Streams not complete.
    pub streams: i64,
    /// Tests announced and not seen.
    pub tests: i64,
}

impl Gauges {
    /// Adds `other`.
    pub fn add(&mut self, other: &Gauges) {
        self.running += other.running;
        self.streams += other.streams;
        self.tests += other.tests;
    }
}

/// The identity of a project's scope.
#[must_use]
pub fn project_scope(project: &str) -> Id {
    Id::of(&["project", project])
}

/// The names of a scope while its sums are made.
struct Named<S> {
    scope: Id,
    project: Text,
    suite: Text,
    sums: S,
}

/// Sums facts by scope and pane.
#[derive(Default)]
pub struct LocalPanes {
    slots: Map<(Id, u32), usize>,
    deltas: Vec<Named<PaneDelta>>,
    late: Map<Id, usize>,
    late_counts: Vec<(Text, i64)>,
    project: Option<(Text, Id)>,
}

impl LocalPanes {
    /// The project's scope; the last one asked for is remembered.
    fn project(&mut self, project: &Text) -> Id {
        match &self.project {
            Some((known, id)) if Arc::ptr_eq(known, project) || known == project => *id,
            _ => {
                let id = project_scope(project);
                self.project = Some((Arc::clone(project), id));
                id
            }
        }
    }

    fn delta(&mut self, scope: Id, pane: u64, now: u64, project: &Text, suite: &Text) -> &mut PaneDelta {
        // Panes that are not late are few: their age in panes is a small number.
        let age = u32::try_from(WINDOW.pane(now).abs_diff(pane)).unwrap_or(u32::MAX);
        let deltas = &mut self.deltas;
        let slot = *self.slots.get_or_insert_with((scope, age), || {
            let sums = PaneDelta { pane, ..PaneDelta::default() };
            deltas.push(Named { scope, project: Arc::clone(project), suite: Arc::clone(suite), sums });
            deltas.len() - 1
        });
        &mut self.deltas[slot].sums
    }

    fn add_late(&mut self, project: &Text, diff: i64) {
        let scope = self.project(project);
        let counts = &mut self.late_counts;
        let slot = *self.late.get_or_insert_with(scope, || {
            counts.push((Arc::clone(project), 0));
            counts.len() - 1
        });
        self.late_counts[slot].1 += diff;
    }

    fn add(&mut self, fact: &AttemptFact, diff: i64, now: u64) {
        let names = &fact.names;
        let pane = WINDOW.pane(fact.at.min(now));
        if WINDOW.expiry(pane) <= now {
            // What came in time and is taken back, or comes to count again, after its window was never late.
            if WINDOW.passed(fact.at, fact.came) {
                self.add_late(&names.project, diff);
            }
            return;
        }
        let scope = if names.suite_id == Id::default() { self.project(&names.project) } else { names.suite_id };
        let delta = self.delta(scope, pane, now, &names.project, &names.suite);
        delta.sums.add_attempt(fact.outcome, fact.duration_us, diff);
        delta.withdrawn |= diff < 0;
        if let Some(failure) = &fact.failure {
            delta.patterns.push((failure.fingerprint, diff));
        }
    }

    /// Adds the suites' sums to their projects'.
    fn roll_up(&mut self, now: u64, none: &Text) {
        for index in 0..self.deltas.len() {
            let Named { project, suite, sums, .. } = &mut self.deltas[index];
            consolidate(&mut sums.patterns);
            if suite.is_empty() {
                continue;
            }
            let (project, sums) = (Arc::clone(project), sums.clone());
            let scope = self.project(&project);
            let delta = self.delta(scope, sums.pane, now, &project, none);
            delta.sums.add(&sums.sums, 1);
            delta.patterns.extend_from_slice(&sums.patterns);
            delta.withdrawn |= sums.withdrawn;
        }
        for named in self.deltas.iter_mut().filter(|named| named.suite.is_empty()) {
            consolidate(&mut named.sums.patterns);
        }
    }
}

impl Machine for LocalPanes {
    type Input = AttemptFact;
    type Output = Result<Delta, Late>;
    type Entry = ();

    fn step(&mut self, data: &mut Vec<(AttemptFact, i64)>, step: &mut Step<'_, Self::Output>) {
        let now = step.now();
        for (fact, diff) in data.drain(..) {
            self.add(&fact, diff, now);
        }
        self.roll_up(now, &Text::default());
        for Named { scope, project, suite, sums } in self.deltas.drain(..) {
            step.emit(Ok(Delta { scope, project, suite, change: Change::Pane(sums) }), 1);
        }
        for (project, count) in self.late_counts.drain(..) {
            if count != 0 {
                step.emit(Err(Late { project }), count);
            }
        }
        self.slots.clear();
        self.late.clear();
    }

    fn entries(&self) -> Vec<()> {
        Vec::new()
    }

    fn restore(&mut self, _entries: Vec<()>) -> Vec<u64> {
        Vec::new()
    }
}

/// What [`LocalGauges`] sums.
#[derive(Clone, Debug)]
pub enum Gauge {
    /// A test is running.
    Running(Running),
    /// Something is awaited.
    Awaited(Awaited),
}

/// Sums gauges by scope.
#[derive(Default)]
pub struct LocalGauges {
    slots: Map<Id, usize>,
    deltas: Vec<Named<Gauges>>,
}

impl LocalGauges {
    fn add(&mut self, scope: Id, project: &Text, suite: &Text, gauges: &Gauges) {
        let deltas = &mut self.deltas;
        let slot = *self.slots.get_or_insert_with(scope, || {
            let (project, suite) = (Arc::clone(project), Arc::clone(suite));
            deltas.push(Named { scope, project, suite, sums: Gauges::default() });
            deltas.len() - 1
        });
        self.deltas[slot].sums.add(gauges);
    }
}

impl Machine for LocalGauges {
    type Input = Gauge;
    type Output = Delta;
    type Entry = ();

    fn step(&mut self, data: &mut Vec<(Gauge, i64)>, step: &mut Step<'_, Delta>) {
        let none = Text::default();
        for (gauge, diff) in data.drain(..) {
            let (project, gauges) = match &gauge {
                Gauge::Running(Running { project, suite, suite_name }) => {
                    let gauges = Gauges { running: diff, ..Gauges::default() };
                    if *suite != Id::default() {
                        self.add(*suite, project, suite_name, &gauges);
                    }
                    (project, gauges)
                }
                Gauge::Awaited(Awaited { project, what: AwaitedKind::Stream }) => {
                    (project, Gauges { streams: diff, ..Gauges::default() })
                }
                Gauge::Awaited(Awaited { project, what: AwaitedKind::Test }) => {
                    (project, Gauges { tests: diff, ..Gauges::default() })
                }
            };
            self.add(project_scope(project), project, &none, &gauges);
        }
        for Named { scope, project, suite, sums } in self.deltas.drain(..) {
            if sums != Gauges::default() {
                step.emit(Delta { scope, project, suite, change: Change::Gauges(sums) }, 1);
            }
        }
        self.slots.clear();
    }

    fn entries(&self) -> Vec<()> {
        Vec::new()
    }

    fn restore(&mut self, _entries: Vec<()>) -> Vec<u64> {
        Vec::new()
    }
}
