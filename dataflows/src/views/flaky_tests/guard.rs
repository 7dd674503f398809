//! The infrastructure guard: runs and machines on which nearly everything fails say nothing about single tests.
//!
//! Contract: takes tests as they finish in a run and on a machine ([`Tested`]); a test fails there when all its attempts there
//! failed, skipped ones aside. A run in which more than 80 % of its finished tests fail, and a machine on which all of a run's
//! tests fail, give no evidence; from `guard_tests` finished tests on, else a test alone on its machine would never be one.
//! Each change of that is told to every worker, at whole seconds.
//!
//! # Invariants
//! Each worker sums its own tests first, so a giant run is no one's own job. What is known of a run leaves with it.
//!
//! # Cost
//! A look-up a finished test; O(machines) a run of which tests finished in a second. State: some 100 bytes a run in state and
//! machine.

use crate::context::Context;
use crate::facts::{Phase, PhaseChange, Tested};
use crate::input::Text;
use crate::keyed::{Collection, Home, Inlets, Machine, Step, keyed};
use crate::map::Map;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use weir_schemas::id::Id;
use weir_schemas::view::FLAKY_TESTS;

/// What of a run says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Guard {
    /// All of it.
    pub all: bool,
    /// What ran on these machines.
    pub workers: BTreeSet<Text>,
}

impl Guard {
    /// Whether nothing is guarded.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        !self.all && self.workers.is_empty()
    }

    /// Whether what ran on a machine says nothing.
    #[must_use]
    pub(super) fn holds(&self, worker: Option<&Text>) -> bool {
        self.all || worker.is_some_and(|worker| self.workers.contains(worker))
    }
}

/// The guard of a run changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GuardChange {
    /// The run.
    pub run: Id,
    /// What is guarded from now on.
    pub guard: Guard,
    /// The worker that is told: how a broadcast is routed.
    pub peer: u64,
}

/// The guards of all runs, to every worker. `phases`: on the worker that is told.
pub(super) fn guards<'s>(
    cx: &Context<'s>,
    tested: Collection<'s, Tested>,
    phases: Collection<'s, PhaseChange>,
) -> Collection<'s, GuardChange> {
    let peers = tested.scope().peers() as u64;
    let deltas = keyed("LocalGuards", tested, Pipeline, &cx.states, LocalGuards::default());
    let by_run = Exchange::new(|(delta, _, _): &(Delta, u64, i64)| delta.run.route());
    Inlets::new("Guards", deltas.scope())
        .add(deltas, by_run, |delta| Some(Input::Delta(delta)))
        .add(phases, Pipeline, |change| (change.phase == Phase::Evicted).then_some(Input::Evicted(change.run)))
        .keyed(&cx.states, Guards { peers, at_least: cx.config.guard_tests as i64, runs: Map::default() })
}

/// How many tests finished, and how many of these fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    finished: i64,
    failing: i64,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.finished += other.finished;
        self.failing += other.failing;
    }
}

/// Counts of a run, or their changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct RunCounts {
    all: Count,
    workers: BTreeMap<Text, Count>,
}

impl RunCounts {
    fn worker(&mut self, worker: &Text) -> &mut Count {
        if !self.workers.contains_key(worker) {
            self.workers.insert(Text::clone(worker), Count::default());
        }
        self.workers.get_mut(worker).expect("it is there now")
    }

    fn add(&mut self, other: &RunCounts) {
        self.all.add(other.all);
        other.workers.iter().for_each(|(worker, count)| self.worker(worker).add(*count));
    }

    fn guard(&self, at_least: i64) -> Guard {
        let enough = |count: &Count| count.finished >= at_least;
        let broken = |(_, count): &(&Text, &Count)| enough(count) && count.failing == count.finished;
        Guard {
            all: enough(&self.all) && self.all.failing * 5 > self.all.finished * 4,
            workers: self.workers.iter().filter(broken).map(|(worker, _)| Text::clone(worker)).collect(),
        }
    }
}

/// What one worker's tests of a run add.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Delta {
    run: Id,
    counts: RunCounts,
}

#[derive(Clone, Debug)]
enum Input {
    Delta(Delta),
    Evicted(Id),
}

/// Sums the tests of a worker, and tells at whole seconds what changed.
#[derive(Default)]
struct LocalGuards {
    runs: Map<Id, RunCounts>,
    /// The second at which it is told; 0: there is nothing to tell.
    due: u64,
}

impl Machine for LocalGuards {
    type Input = Tested;
    type Output = Delta;
    type Entry = (Id, RunCounts, u64);

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(LocalGuards::default())
    }

    fn step(&mut self, data: &mut Vec<(Tested, i64)>, step: &mut Step<'_, Delta>) {
        let now = step.now();
        for (tested, diff) in data.drain(..) {
            let counts = self.runs.get_or_insert_with(tested.run, RunCounts::default);
            let count = Count { finished: diff, failing: if tested.failing { diff } else { 0 } };
            if tested.of_run {
                counts.all.add(count);
            }
            if let Some(worker) = &tested.worker {
                counts.worker(worker).add(count);
            }
        }
        if self.due == 0 && !self.runs.is_empty() {
            self.due = now.next_multiple_of(FLAKY_TESTS.cadence_ms);
            if self.due > now {
                step.wake_at(self.due);
            }
        }
        if self.due == now {
            for (run, counts) in self.runs.sorted() {
                let mut counts = counts.clone();
                counts.workers.retain(|_, count| *count != Count::default());
                if counts != RunCounts::default() {
                    step.emit(Delta { run: *run, counts }, 1);
                }
            }
            self.runs.clear();
            self.due = 0;
        }
    }

    fn entries(&self) -> Vec<Self::Entry> {
        self.runs.sorted().into_iter().map(|(run, counts)| (*run, counts.clone(), self.due)).collect()
    }

    fn home(_: &Self::Entry) -> Home {
        Home::Anywhere
    }

    fn restore(&mut self, entries: Vec<Self::Entry>) -> Vec<u64> {
        for (run, counts, due) in entries {
            self.runs.get_or_insert_with(run, RunCounts::default).add(&counts);
            self.due = due;
        }
        if self.due > 0 { vec![self.due] } else { Vec::new() }
    }
}

/// The counts of the runs of a worker.
struct Guards {
    peers: u64,
    at_least: i64,
    runs: Map<Id, (RunCounts, Guard)>,
}

impl Machine for Guards {
    type Input = Input;
    type Output = GuardChange;
    type Entry = (Id, RunCounts, Guard);

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Guards { runs: Map::default(), ..*self })
    }

    fn step(&mut self, data: &mut Vec<(Input, i64)>, step: &mut Step<'_, GuardChange>) {
        let (mut touched, mut evicted) = (BTreeSet::new(), Vec::new());
        for (input, _) in data.drain(..) {
            match input {
                Input::Delta(delta) => {
                    let (counts, _) = self.runs.get_or_insert_with(delta.run, Default::default);
                    counts.add(&delta.counts);
                    counts.workers.retain(|_, count| *count != Count::default());
                    touched.insert(delta.run);
                }
                Input::Evicted(run) => evicted.push(run),
            }
        }
        for run in touched {
            let Some((counts, told)) = self.runs.get_mut(&run) else { continue };
            let guard = counts.guard(self.at_least);
            if guard != *told {
                for peer in 0..self.peers {
                    step.emit(GuardChange { run, guard: guard.clone(), peer }, 1);
                }
                *told = guard;
            }
        }
        for run in evicted {
            self.runs.remove(&run);
        }
    }

    fn entries(&self) -> Vec<Self::Entry> {
        let entry = |(run, (counts, guard)): (&Id, &(RunCounts, Guard))| (*run, counts.clone(), guard.clone());
        self.runs.sorted().into_iter().map(entry).collect()
    }

    fn home((run, ..): &Self::Entry) -> Home {
        Home::Routed(run.route())
    }

    fn restore(&mut self, entries: Vec<Self::Entry>) -> Vec<u64> {
        for (run, counts, guard) in entries {
            self.runs.insert(run, (counts, guard));
        }
        Vec::new()
    }
}
