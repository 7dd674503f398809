//! Failures of a run itself: a setup, an error or a timeout that names no test.
//!
//! Contract: takes such events that passed the gate, withdrawals by event id that count, phases, incidents and masks. Each failure is a fact
//! without a test and of attempt 0, which goes where errors are shown, and is counted for its run while it counts: a withdrawal
//! or an incident takes both back, and the end of the incident brings them back. Of two events of one name in a stream the first
//! holds.
//!
//! # Invariants
//! A run's eviction takes no fact back, as with attempts. A run holds at most [`FAILURES_MAX`]; more are refused.
//!
//! # Cost
//! One look-up a failure; about 300 bytes each while its run is in state. A run's failures are on one worker.

use crate::context::Context;
use crate::control::{Incidents, Rule};
use crate::facts::{AttemptFact, Failure, Phase, PhaseChange};
use crate::fingerprint;
use crate::fingerprint::rules::{MaskEntries, Masks};
use crate::fork::Forks;
use crate::input::{ErrorText, Event, Input, Refusal, Text, Withdraws};
use crate::keyed::{Collection, Home, Inlets, Machine, Step};
use crate::map::Map;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use weir_schemas::control::ControlChange;
use weir_schemas::event::EventType;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;

/// Failures of its own that a run may have.
pub const FAILURES_MAX: usize = 1_000;

/// What counts for a run, by the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OfRun {
    /// The run.
    pub run: Id,
    /// Whether a withdrawal or an incident is the reason.
    pub withdrawn: bool,
}

/// What comes out.
pub struct RunFailureStreams<'s> {
    /// Failures, as attempts without a test.
    pub facts: Collection<'s, AttemptFact>,
    /// What counts for runs.
    pub of_runs: Collection<'s, OfRun>,
    /// What was one too many.
    pub refusals: Collection<'s, Arc<Refusal>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum RunFailure {
    /// A failure, as an attempt without a test.
    Fact(AttemptFact),
    /// One more or one less failure of a run.
    OfRun(OfRun),
    /// One too many.
    Refused(Arc<Refusal>),
}

#[derive(Clone, Debug)]
enum RunFailureInput {
    Event(Arc<Event>),
    Evicted(Id),
    Rule(Rule),
}

/// The event, if it is one of a run's own failures.
#[must_use]
pub fn event_of_run(input: &Input) -> Option<Arc<Event>> {
    let Input::Event(event) = input else { return None };
    match event.kind {
        EventType::SetupFailed | EventType::TestError | EventType::TimeoutOccurred if event.test().is_none() => {}
        _ => return None,
    }
    Some(Arc::clone(event))
}

/// Keeps the failures, distributed by run. `events`: those of [`event_of_run`]; `withdrawals`: those by event id that count;
/// `phases` and `rules`: on the worker that is told.
pub fn run_failures<'s>(
    cx: &Context<'s>,
    (events, withdrawals): (Collection<'s, Arc<Event>>, Collection<'s, Arc<Event>>),
    phases: Collection<'s, PhaseChange>,
    rules: Collection<'s, Rule>,
) -> RunFailureStreams<'s> {
    let by_run = || Exchange::new(|(event, _, _): &(Arc<Event>, u64, i64)| event.run().route());
    let told = Inlets::new("RunFailures", events.scope())
        .add(events, by_run(), |event| Some(RunFailureInput::Event(event)))
        .add(withdrawals, by_run(), |event| Some(RunFailureInput::Event(event)))
        .add(phases, Pipeline, |change| {
            (change.phase == Phase::Evicted).then_some(RunFailureInput::Evicted(change.run))
        })
        .add(rules, Pipeline, |rule| {
            let ours = matches!(rule.record.change, ControlChange::Incident(_) | ControlChange::Mask(_));
            ours.then_some(RunFailureInput::Rule(rule))
        })
        .keyed(&cx.states, RunFailures::default());
    let mut kinds = Forks::new("RunFailureKinds", told);
    let of_runs = kinds.tap(|output| match output {
        RunFailure::OfRun(of_run) => Some(*of_run),
        _ => None,
    });
    let refusals = kinds.tap(|output| match output {
        RunFailure::Refused(refusal) => Some(Arc::clone(refusal)),
        _ => None,
    });
    let facts = kinds.rest(|output| match output {
        RunFailure::Fact(fact) => Some(fact),
        _ => None,
    });
    RunFailureStreams { facts, of_runs, refusals }
}

/// A stream's event.
type Name = (Id, Id);

#[derive(Clone, Debug, Default)]
struct Run {
    failures: BTreeMap<Name, Held>,
    /// Event ids that were withdrawn, before they came or after; so many as count.
    withdrawn: BTreeSet<Id>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Held {
    fact: AttemptFact,
    covered: bool,
}

#[derive(Default)]
struct RunFailures {
    runs: Map<Id, Run>,
    incidents: Incidents,
    masks: Masks,
}

fn tell(fact: &AttemptFact, diff: i64, withdrawn: bool, step: &mut Step<'_, RunFailure>) {
    step.emit(RunFailure::Fact(fact.clone()), diff);
    step.emit(RunFailure::OfRun(OfRun { run: fact.names.run_id, withdrawn }), diff);
}

impl RunFailures {
    /// Looks anew at the failures of projects whose incidents changed.
    fn cover(&mut self, projects: &BTreeSet<Text>, step: &mut Step<'_, RunFailure>) {
        for run in self.runs.sorted_keys() {
            let Some(Run { failures, withdrawn }) = self.runs.get_mut(&run) else { continue };
            for ((_, event), held) in failures {
                let project = &held.fact.names.project;
                if !projects.contains(project) || withdrawn.contains(event) {
                    continue;
                }
                let covered = self.incidents.cover(project, held.fact.origin.worker.as_deref(), held.fact.at);
                if std::mem::replace(&mut held.covered, covered) != covered {
                    tell(&held.fact, if covered { -1 } else { 1 }, true, step);
                }
            }
        }
    }

    fn withdraw(&mut self, run: Id, event: Id, step: &mut Step<'_, RunFailure>) {
        let Run { failures, withdrawn } = self.runs.get_or_insert_with(run, Run::default);
        if !withdrawn.insert(event) {
            return;
        }
        let taken: Vec<Name> = failures.keys().filter(|(_, id)| *id == event).copied().collect();
        for held in taken.iter().filter_map(|name| failures.remove(name)).filter(|held| !held.covered) {
            tell(&held.fact, -1, true, step);
        }
    }

    fn add(&mut self, event: &Arc<Event>, step: &mut Step<'_, RunFailure>) {
        let name = (event.stream(), event.id);
        let run = self.runs.get_or_insert_with(event.run(), Run::default);
        if run.withdrawn.contains(&event.id) || run.failures.contains_key(&name) {
            return;
        }
        if run.failures.len() >= FAILURES_MAX {
            let message = format!("the run has {FAILURES_MAX} failures of its own; more are not taken");
            return step.emit(RunFailure::Refused(Arc::new(event.one_too_many(message))), 1);
        }
        let (at, origin) = (event.at.min(step.now()), &event.origin);
        let covered = self.incidents.cover(&origin.project, origin.worker.as_deref(), at);
        let fact = fact(event, at, step.now(), &self.masks);
        if !covered {
            tell(&fact, 1, false, step);
        }
        run.failures.insert(name, Held { fact, covered });
    }
}

fn fact(event: &Event, at: u64, came: u64, masks: &Masks) -> AttemptFact {
    let nothing = ErrorText::default();
    let outcome = if event.kind == EventType::TimeoutOccurred { Outcome::Timeout } else { Outcome::Error };
    let error = event.error().map_or(&nothing, |error| error);
    let failure = fingerprint::failure(error, outcome, &masks.of(&event.origin.project));
    let (event_name, stream) =
        (event.name().map(Arc::clone).unwrap_or_default(), Arc::clone(&event.origin.stream_name));
    AttemptFact {
        attempt: 0,
        at,
        came,
        outcome,
        duration_us: event.duration_us,
        names: Arc::clone(&event.names),
        origin: Arc::clone(&event.origin),
        failure: Some(Arc::new(Failure { event: event_name, stream, ..failure })),
    }
}

impl Machine for RunFailures {
    type Input = RunFailureInput;
    type Output = RunFailure;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(RunFailures::default())
    }

    fn step(&mut self, data: &mut Vec<(RunFailureInput, i64)>, step: &mut Step<'_, RunFailure>) {
        let (mut events, mut evicted, mut rules) = (Vec::new(), Vec::new(), Vec::new());
        for (input, diff) in data.drain(..) {
            match input {
                RunFailureInput::Event(event) => events.push(event),
                RunFailureInput::Evicted(run) => evicted.push(run),
                RunFailureInput::Rule(rule) => rules.push((rule, diff)),
            }
        }
        let projects: BTreeSet<Text> =
            rules.iter().filter_map(|(rule, diff)| self.incidents.apply(rule, *diff)).collect();
        self.masks.apply(&mut rules);
        events.sort_unstable_by_key(|event| event.position);
        // In this order no failure is told twice in a tick.
        for event in &events {
            if let Some(Withdraws::Event(id)) = event.withdrawal() {
                self.withdraw(event.run(), id, step);
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
        let mut entries = vec![Entry::Incidents(self.incidents.clone()), Entry::Masks(self.masks.entries())];
        entries.extend(self.runs.sorted().into_iter().map(|(run, state)| Entry::Run {
            run: *run,
            failures: state.failures.iter().map(|(name, held)| (*name, held.clone())).collect(),
            withdrawn: state.withdrawn.clone(),
        }));
        entries
    }

    fn home(entry: &Self::Entry) -> Home {
        match entry {
            Entry::Incidents(_) | Entry::Masks(_) => Home::Everywhere,
            Entry::Run { run, .. } => Home::Routed(run.route()),
        }
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        for entry in entries {
            match entry {
                Entry::Incidents(incidents) => self.incidents = incidents,
                Entry::Masks(masks) => self.masks = Masks::restored(masks),
                Entry::Run { run, failures, withdrawn } => {
                    self.runs.insert(run, Run { failures: failures.into_iter().collect(), withdrawn });
                }
            }
        }
        Vec::new()
    }
}

/// The state in a snapshot. Incidents and masks are on every worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Entry {
    Incidents(Incidents),
    Masks(MaskEntries),
    Run { run: Id, failures: Vec<(Name, Held)>, withdrawn: BTreeSet<Id> },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Interner, Position};
    use weir_schemas::event::TestEvent;
    use weir_schemas::limits::Limits;

    #[test]
    fn a_run_has_a_limit_and_what_comes_above_is_refused() {
        let mut failures = RunFailures::default();
        let input = |n: usize| {
            let json =
                format!(r#"{{"eventId":"e{n}","eventType":"setup_failed","streamId":"s","version":1,"timestamp":5}}"#);
            let event: TestEvent<'_> = serde_json::from_str(&json).expect("decodes");
            let position = Position { offset: n as u64, ..Position::default() };
            (
                RunFailureInput::Event(Arc::new(Event::new(
                    &event,
                    position,
                    &Limits::default(),
                    &mut Interner::default(),
                ))),
                1,
            )
        };
        let (mut out, mut wake) = (Vec::new(), BTreeSet::new());
        let mut data: Vec<_> = (0..FAILURES_MAX + 2).chain([7]).map(input).collect();
        failures.step(&mut data, &mut Step::new(10, &mut out, &mut wake));
        let counted: i64 =
            out.iter().map(|(output, _, diff)| if matches!(output, RunFailure::OfRun(_)) { *diff } else { 0 }).sum();
        let refused = out.iter().filter(|(output, ..)| matches!(output, RunFailure::Refused(_))).count();
        assert_eq!((counted, refused), (1_000, 2), "one that is there already is no news");
    }
}
