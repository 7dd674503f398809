//! Sums of results by suite and by run, added up on each worker before they travel.
//!
//! Contract: for each suite and run that a tick's changes touch, one [`Part`] leaves this worker: what its tests add up to
//! now. The suite's or run's own worker adds the parts of all workers. So a suite with half a million tests costs its
//! worker one message a tick from each other.
//!
//! # Invariants
//! Sums are of changes, so a withdrawal or a retry is an update in place. A run's parts are dropped, without a message,
//! at the tick at which the run is evicted: suites and runs then leave by themselves.
//!
//! # Cost
//! A look-up for each run and suite that a tick touches, and an ordered set of 40 bytes a finished test, for the latest result.

use crate::context::Context;
use crate::facts::{Phase, PhaseChange};
use crate::input::Names;
use crate::keyed::{Collection, Home, Inlets, Machine, Step};
use crate::map::Map;
use crate::results::Change;
use crate::results::attempts::Standing;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use timely::dataflow::channels::pact::Pipeline;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;

/// Numbers of tests, not attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Seen at all.
    pub started: i64,
    /// With an outcome.
    pub finished: i64,
    /// Passed.
    pub passed: i64,
    /// Failed.
    pub failed: i64,
    /// Skipped.
    pub skipped: i64,
    /// Error or timeout.
    pub errored: i64,
    /// Failed and passed later.
    pub flaky: i64,
    /// Sum of the durations of their last attempts; wide, since a few absurd reports must not overflow it.
    pub duration_us: i128,
}

impl Counts {
    /// Adds one test `sign` times.
    pub fn add(&mut self, standing: &Standing, sign: i64) {
        self.started += sign;
        self.flaky += sign * i64::from(standing.flaky);
        self.duration_us += i128::from(sign) * i128::from(standing.duration_us);
        let Some(outcome) = standing.outcome else { return };
        self.finished += sign;
        match outcome {
            Outcome::Passed => self.passed += sign,
            Outcome::Failed => self.failed += sign,
            Outcome::Skipped => self.skipped += sign,
            Outcome::Error | Outcome::Timeout => self.errored += sign,
        }
    }

    /// Adds what another worker counted.
    pub fn merge(&mut self, other: &Counts) {
        self.started += other.started;
        self.finished += other.finished;
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.errored += other.errored;
        self.flaky += other.flaky;
        self.duration_us += other.duration_us;
    }

    /// Whether any test failed.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.failed + self.errored > 0
    }
}

/// What each worker says of the same thing: a few, in order of the workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByWorker<T>(Vec<(u32, T)>);

impl<T> Default for ByWorker<T> {
    fn default() -> Self {
        ByWorker(Vec::new())
    }
}

impl<T> ByWorker<T> {
    /// Replaces what a worker says.
    pub fn set(&mut self, worker: u32, said: T) {
        match self.0.binary_search_by_key(&worker, |(worker, _)| *worker) {
            Ok(index) => self.0[index].1 = said,
            Err(index) => {
                self.0.reserve_exact(1);
                self.0.insert(index, (worker, said));
            }
        }
    }

    /// What all of them say.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, said)| said)
    }
}

/// The test that finished last: by time, then by identity.
pub type Latest = (u64, Id, Outcome);

/// What one worker's tests of a suite, or of a run, add up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Those of one of the tests: project, run and suite are those of all.
    pub names: Arc<Names>,
    /// Whether it is of the suite, or of the whole run.
    pub of_suite: bool,
    /// Which worker's.
    pub worker: u32,
    /// The sums.
    pub counts: Counts,
    /// The test that finished last; of suites only.
    pub latest: Option<Latest>,
    /// The most attempts that a failing test has used up; of runs only.
    pub failing_attempts: Option<u32>,
    /// Whether a withdrawal was part of the change.
    pub withdrawn: bool,
}

/// Adds changes up on each worker. `phases`: on the worker that is told.
pub fn sum<'s>(
    cx: &Context<'s>,
    changes: Collection<'s, Change>,
    phases: Collection<'s, PhaseChange>,
) -> Collection<'s, Part> {
    let worker = u32::try_from(changes.scope().index()).expect("there are fewer than 2³² workers");
    Inlets::new("Sums", changes.scope())
        .add(changes, Pipeline, |change| Some(SumInput::Change(change)))
        .add(phases, Pipeline, |change| (change.phase == Phase::Evicted).then_some(SumInput::Evicted(change.run)))
        .keyed(&cx.states, Sums { worker, runs: Map::default() })
}

#[derive(Clone, Debug)]
enum SumInput {
    Change(Change),
    Evicted(Id),
}

#[derive(Default)]
struct RunSums {
    counts: Counts,
    /// How many failing tests have used up so many attempts.
    failing: BTreeMap<u32, u32>,
    suites: Map<Id, SuiteSums>,
}

/// Counts a test among the failing ones by the attempts that it has used up, `sign` times: one that is being tried again
/// has not used up that attempt yet.
fn count_failing(failing: &mut BTreeMap<u32, u32>, standing: &Standing, sign: i64) {
    if !standing.outcome.is_some_and(Outcome::fails) {
        return;
    }
    let used = standing.attempts - u32::from(standing.running);
    let count = failing.entry(used).or_default();
    if sign > 0 {
        *count += 1;
    } else {
        *count -= 1;
        if *count == 0 {
            failing.remove(&used);
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct SuiteSums {
    counts: Counts,
    finished: BTreeMap<(u64, Id), Outcome>,
}

impl SuiteSums {
    fn apply(&mut self, test: Id, standing: &Standing, sign: i64) {
        self.counts.add(standing, sign);
        if let Some(outcome) = standing.outcome {
            if sign > 0 {
                self.finished.insert((standing.finished_at, test), outcome);
            } else {
                self.finished.remove(&(standing.finished_at, test));
            }
        }
    }
}

struct Sums {
    worker: u32,
    runs: Map<Id, RunSums>,
}

impl Sums {
    /// Adds up one run's changes of a tick, which stand by suite, and emits what they touched. Run and suite stand before each
    /// change, so that putting them in order follows no pointer.
    fn run(&mut self, changes: &[(Id, Id, Change)], step: &mut Step<'_, Part>) {
        let RunSums { counts, failing, suites } = self.runs.get_or_insert_with(changes[0].0, RunSums::default);
        let part = |changes: &[(Id, Id, Change)], of_suite, counts, latest, failing_attempts| Part {
            names: Arc::clone(&changes[0].2.names),
            of_suite,
            worker: self.worker,
            counts,
            latest,
            failing_attempts,
            withdrawn: changes.iter().any(|(.., change)| change.withdrawn),
        };
        for changes in changes.chunk_by(|a, b| a.1 == b.1) {
            let suite = suites.get_or_insert_with(changes[0].1, SuiteSums::default);
            for (.., change) in changes {
                for (standing, sign) in [(&change.before, -1), (&change.after, 1)] {
                    if let Some(standing) = standing {
                        counts.add(standing, sign);
                        count_failing(failing, standing, sign);
                        suite.apply(change.names.test_or_zero(), standing, sign);
                    }
                }
            }
            let latest = suite.finished.last_key_value().map(|((at, test), outcome)| (*at, *test, *outcome));
            step.emit(part(changes, true, suite.counts, latest, None), 1);
        }
        let used_up = failing.last_key_value().map(|(used, _)| *used);
        step.emit(part(changes, false, *counts, None, used_up), 1);
    }
}

impl Machine for Sums {
    type Input = SumInput;
    type Output = Part;
    type Entry = ();

    fn step(&mut self, data: &mut Vec<(SumInput, i64)>, step: &mut Step<'_, Part>) {
        let (mut changes, mut evicted) = (Vec::with_capacity(data.len()), Vec::new());
        for (input, _) in data.drain(..) {
            match input {
                SumInput::Change(change) => changes.push((change.names.run_id, change.names.suite_id, change)),
                SumInput::Evicted(run) => evicted.push(run),
            }
        }
        changes.sort_unstable_by_key(|(run, suite, _)| (*run, *suite));
        changes.chunk_by(|a, b| a.0 == b.0).for_each(|changes| self.run(changes, step));
        for run in evicted {
            self.runs.remove(&run);
        }
    }

    /// Derived from the results: a restore rebuilds it from their changes.
    fn entries(&self) -> Vec<Self::Entry> {
        Vec::new()
    }

    fn home(_: &Self::Entry) -> Home {
        Home::Anywhere
    }

    fn restore(&mut self, _entries: Vec<Self::Entry>) -> Vec<u64> {
        Vec::new()
    }
}
