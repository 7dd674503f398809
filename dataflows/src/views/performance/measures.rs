//! What was measured: each event that tells of resource use, as long as it counts.
//!
//! Contract: takes events with a measurement that passed the gate, withdrawals that count (`withdrawals`), phases and incidents, by run.
//! Emits each [`Measurement`] as +1 while it counts: a withdrawal or an incident takes it back, and the end of the incident brings
//! it back. A withdrawal is of an event, of a test, or of one attempt of it, as the event that measured states it (the first where
//! it states none), and holds for what came before it and comes after it alike.
//! A run's first `performance_said` are kept for that; what comes above counts from its tick on, if nothing takes it back there, and
//! cannot be taken back later.
//!
//! # Invariants
//! Within a tick, withdrawals and incidents are applied first, then events in the order of their positions, then runs leave. A run's eviction takes
//! nothing back: windows outlive runs.
//!
//! # Cost
//! One look-up a measurement; 40 bytes each while its run is in state, and what it said, about 200. A run's measurements are on one
//! worker.

use crate::config::Config;
use crate::context::Context;
use crate::control::{Incidents, Rule};
use crate::facts::{Phase, PhaseChange};
use crate::input::{Event, Input, Names, Origin, Performance, Text, Withdraws};
use crate::keyed::{Collection, Home, Inlets, Machine, Step};
use crate::map::Map;
use crate::results::attempts::ATTEMPTS_MAX;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use weir_schemas::control::ControlChange;
use weir_schemas::id::Id;

/// What an event measured, counted by the difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurement {
    /// When, in epoch ms, clamped to the tick at which it came.
    pub at: u64,
    /// How long it took, where the event says so.
    pub duration_us: Option<u64>,
    /// The suite and the test.
    pub names: Arc<Names>,
    /// Where it ran.
    pub origin: Arc<Origin>,
    /// What it used.
    pub performance: Arc<Performance>,
}

#[derive(Clone, Debug)]
enum MeasuresInput {
    Event(Arc<Event>),
    Evicted(Id),
    Rule(Rule),
}

/// The event, if it says what a suite or test uses. What takes back measures nothing.
#[must_use]
pub fn event_of_performance(input: &Input) -> Option<Arc<Event>> {
    let Input::Event(event) = input else { return None };
    let of_something = event.suite() != Id::default() || event.test().is_some_and(|id| id != Id::default());
    (event.withdrawal().is_none() && of_something && event.performance().is_some()).then(|| Arc::clone(event))
}

/// Keeps the measurements, distributed by run. `events`: those of [`event_of_performance`]; `withdrawals`: those that count;
/// `phases` and `rules`: on the worker that is told.
pub fn measures<'s>(
    cx: &Context<'s>,
    (events, withdrawals): (Collection<'s, Arc<Event>>, Collection<'s, Arc<Event>>),
    phases: Collection<'s, PhaseChange>,
    rules: Collection<'s, Rule>,
) -> Collection<'s, Measurement> {
    let by_run = || Exchange::new(|(event, _, _): &(Arc<Event>, u64, i64)| event.run().route());
    Inlets::new("PerformanceMeasures", cx.scope)
        .add(events, by_run(), |event| Some(MeasuresInput::Event(event)))
        .add(withdrawals, by_run(), |event| Some(MeasuresInput::Event(event)))
        .add(phases, Pipeline, |change| (change.phase == Phase::Evicted).then_some(MeasuresInput::Evicted(change.run)))
        .add(rules, Pipeline, |rule| {
            matches!(rule.record.change, ControlChange::Incident(_)).then_some(MeasuresInput::Rule(rule))
        })
        .keyed(&cx.states, Measures::new(Arc::clone(&cx.config)))
}

/// What a run's events have measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Run {
    said: Vec<Said>,
    /// How many were kept, those among them that were withdrawn since.
    kept: usize,
    /// What was withdrawn, before it came or after; so much as counts.
    withdrawn: BTreeSet<Withdrawn>,
}

/// What a withdrawal takes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Withdrawn {
    Event(Id),
    /// A test, or one attempt of it.
    Test(Id, Option<u32>),
}

impl Withdrawn {
    fn by(event: &Event) -> Option<Withdrawn> {
        match event.withdrawal()? {
            Withdraws::Event(id) => Some(Withdrawn::Event(id)),
            Withdraws::Test { attempt } => {
                Some(Withdrawn::Test(event.test()?, attempt.map(|attempt| attempt.min(ATTEMPTS_MAX))))
            }
        }
    }
}

/// What an event that measures can be taken back as.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Source {
    event: Id,
    test: Option<Id>,
    attempt: u32,
}

impl Source {
    fn of(event: &Event) -> Source {
        Source { event: event.id, test: event.test(), attempt: event.attempt.unwrap_or(1).min(ATTEMPTS_MAX) }
    }

    fn names(&self) -> impl Iterator<Item = Withdrawn> {
        let of_test = move |test| [Withdrawn::Test(test, None), Withdrawn::Test(test, Some(self.attempt))];
        std::iter::once(Withdrawn::Event(self.event)).chain(self.test.into_iter().flat_map(of_test))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Said {
    source: Source,
    covered: bool,
    measurement: Measurement,
}

struct Measures {
    config: Arc<Config>,
    runs: Map<Id, Run>,
    incidents: Incidents,
}

impl Measures {
    fn new(config: Arc<Config>) -> Measures {
        Measures { config, runs: Map::default(), incidents: Incidents::default() }
    }

    /// Looks anew at the measurements of projects whose incidents changed.
    fn cover(&mut self, projects: &BTreeSet<Text>, step: &mut Step<'_, Measurement>) {
        for run in self.runs.sorted_keys() {
            let Some(Run { said, .. }) = self.runs.get_mut(&run) else { continue };
            for Said { covered, measurement, .. } in said {
                let project = &measurement.names.project;
                if projects.contains(project) {
                    let worker = measurement.origin.worker.as_deref();
                    let is = self.incidents.cover(project, worker, measurement.at);
                    if std::mem::replace(covered, is) != is {
                        step.emit(measurement.clone(), if is { -1 } else { 1 });
                    }
                }
            }
        }
    }

    fn withdraw(&mut self, run: Id, what: Withdrawn, step: &mut Step<'_, Measurement>) {
        let Run { said, withdrawn, .. } = self.runs.get_or_insert_with(run, Run::default);
        if withdrawn.insert(what) {
            let taken_back = |said: &mut Said| said.source.names().any(|name| name == what);
            for taken in said.extract_if(.., taken_back).filter(|said| !said.covered) {
                step.emit(taken.measurement, -1);
            }
        }
    }

    fn add(&mut self, event: &Event, step: &mut Step<'_, Measurement>) {
        let Some(performance) = event.performance() else { return };
        let run = self.runs.get_or_insert_with(event.run(), Run::default);
        let source = Source::of(event);
        if source.names().any(|name| run.withdrawn.contains(&name)) {
            return;
        }
        let at = event.at.min(step.now());
        let covered = self.incidents.cover(&event.origin.project, event.origin.worker.as_deref(), at);
        let measurement = Measurement {
            at,
            duration_us: event.duration_us,
            names: Arc::clone(&event.names),
            origin: Arc::clone(&event.origin),
            performance: Arc::clone(performance),
        };
        if !covered {
            step.emit(measurement.clone(), 1);
        }
        if run.kept < self.config.performance_said {
            run.kept += 1;
            run.said.push(Said { source, covered, measurement });
        }
    }
}

/// The state in a snapshot. Incidents are on every worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Entry {
    Incidents(Incidents),
    Run(Id, Run),
}

impl Machine for Measures {
    type Input = MeasuresInput;
    type Output = Measurement;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Measures::new(Arc::clone(&self.config)))
    }

    fn step(&mut self, data: &mut Vec<(MeasuresInput, i64)>, step: &mut Step<'_, Measurement>) {
        let (mut events, mut evicted, mut rules) = (Vec::new(), Vec::new(), Vec::new());
        for (input, diff) in data.drain(..) {
            match input {
                MeasuresInput::Event(event) => events.push(event),
                MeasuresInput::Evicted(run) => evicted.push(run),
                MeasuresInput::Rule(rule) => rules.push((rule, diff)),
            }
        }
        let projects: BTreeSet<Text> =
            rules.iter().filter_map(|(rule, diff)| self.incidents.apply(rule, *diff)).collect();
        events.sort_unstable_by_key(|event| event.position);
        for event in &events {
            if let Some(what) = Withdrawn::by(event) {
                self.withdraw(event.run(), what, step);
            }
        }
        if !projects.is_empty() {
            self.cover(&projects, step);
        }
        events.iter().filter(|event| event.withdrawal().is_none()).for_each(|event| self.add(event, step));
        for run in evicted {
            self.runs.remove(&run);
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let runs = self.runs.sorted().into_iter().map(|(id, run)| Entry::Run(*id, run.clone()));
        std::iter::once(Entry::Incidents(self.incidents.clone())).chain(runs).collect()
    }

    fn home(entry: &Self::Entry) -> Home {
        match entry {
            Entry::Incidents(_) => Home::Everywhere,
            Entry::Run(run, _) => Home::Routed(run.route()),
        }
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        for entry in entries {
            match entry {
                Entry::Incidents(incidents) => self.incidents = incidents,
                Entry::Run(id, run) => {
                    self.runs.insert(id, run);
                }
            }
        }
        Vec::new()
    }
}
