//! What is taken back of each run: the one place that decides which withdrawals count.
//!
//! Contract: takes the withdrawals that passed the gate, and phases, by run; gives on what is taken back for the first time, an event
//! or a test or one attempt of it, at its tick. So whoever remembers it, because a withdrawal also holds for what comes after it,
//! holds no more of a run than counts. Of a run at most `withdrawn` different ones count; what comes above is refused.
//!
//! # Invariants
//! Within a tick withdrawals are judged in the order of their positions, then runs leave.
//!
//! # Cost
//! One look-up a withdrawal. State: some 60 bytes each while its run is in state, on the run's worker; besides, 16 bytes on every
//! worker and in each of what is taken back from (coverage, measurements, failures of runs).

use crate::context::Context;
use crate::facts::{Phase, PhaseChange};
use crate::fork::Forks;
use crate::input::{Event, Input, Refusal, Withdraws};
use crate::keyed::{Collection, Home, Inlets, Machine, Step};
use crate::map::Map;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use weir_schemas::id::Id;

/// What comes out.
pub struct WithdrawalStreams<'s> {
    /// Withdrawals that count.
    pub events: Collection<'s, Arc<Event>>,
    /// Those of them by event id.
    pub of_events: Collection<'s, Arc<Event>>,
    /// What was one too many.
    pub refusals: Collection<'s, Arc<Refusal>>,
}

#[derive(Clone, Debug)]
enum WithdrawalInput {
    Event(Arc<Event>),
    Evicted(Id),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum WithdrawalOutput {
    Event(Arc<Event>),
    Refused(Arc<Refusal>),
}

/// What a withdrawal takes back in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum What {
    Event(Id),
    /// A test, or one attempt of it.
    Test(Id, Option<u32>),
}

fn what(event: &Event) -> Option<What> {
    match event.withdrawal()? {
        Withdraws::Event(id) => Some(What::Event(id)),
        Withdraws::Test { attempt } => Some(What::Test(event.test()?, attempt)),
    }
}

/// The event, if it takes anything back.
#[must_use]
pub fn event_that_withdraws(input: &Input) -> Option<Arc<Event>> {
    let Input::Event(event) = input else { return None };
    what(event).is_some().then(|| Arc::clone(event))
}

/// Decides which count, distributed by run. `phases`: on the worker that is told.
pub fn withdrawals<'s>(
    cx: &Context<'s>,
    events: Collection<'s, Arc<Event>>,
    phases: Collection<'s, PhaseChange>,
) -> WithdrawalStreams<'s> {
    let by_run = Exchange::new(|(event, _, _): &(Arc<Event>, u64, i64)| event.run().route());
    let told = Inlets::new("Withdrawals", events.scope())
        .add(events, by_run, |event| Some(WithdrawalInput::Event(event)))
        .add(phases, Pipeline, |change| {
            (change.phase == Phase::Evicted).then_some(WithdrawalInput::Evicted(change.run))
        })
        .keyed(&cx.states, Withdrawals { withdrawn: cx.config.withdrawn, runs: Map::default() });
    let mut kinds = Forks::new("WithdrawalKinds", told);
    let refusals = kinds.tap(|output| match output {
        WithdrawalOutput::Refused(refusal) => Some(Arc::clone(refusal)),
        WithdrawalOutput::Event(_) => None,
    });
    let of_events = kinds.tap(|output| match output {
        WithdrawalOutput::Event(event) if matches!(event.withdrawal(), Some(Withdraws::Event(_))) => {
            Some(Arc::clone(event))
        }
        _ => None,
    });
    let events = kinds.rest(|output| match output {
        WithdrawalOutput::Event(event) => Some(event),
        WithdrawalOutput::Refused(_) => None,
    });
    WithdrawalStreams { events, of_events, refusals }
}

/// What was taken back of the runs of a worker.
struct Withdrawals {
    withdrawn: usize,
    runs: Map<Id, BTreeSet<What>>,
}

impl Machine for Withdrawals {
    type Input = WithdrawalInput;
    type Output = WithdrawalOutput;
    type Entry = (Id, BTreeSet<What>);

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Withdrawals { withdrawn: self.withdrawn, runs: Map::default() })
    }

    fn step(&mut self, data: &mut Vec<(WithdrawalInput, i64)>, step: &mut Step<'_, WithdrawalOutput>) {
        let (mut events, mut evicted) = (Vec::new(), Vec::new());
        for (input, _) in data.drain(..) {
            match input {
                WithdrawalInput::Event(event) => events.push(event),
                WithdrawalInput::Evicted(run) => evicted.push(run),
            }
        }
        events.sort_unstable_by_key(|event| event.position);
        for event in events {
            let Some(what) = what(&event) else { continue };
            let run = self.runs.get_or_insert_with(event.run(), BTreeSet::new);
            if run.contains(&what) {
                continue;
            }
            if run.len() >= self.withdrawn {
                let message = format!("{} withdrawals have been made in the run; more are not taken", self.withdrawn);
                step.emit(WithdrawalOutput::Refused(Arc::new(event.one_too_many(message))), 1);
                continue;
            }
            run.insert(what);
            step.emit(WithdrawalOutput::Event(event), 1);
        }
        for run in evicted {
            self.runs.remove(&run);
        }
    }

    fn entries(&self) -> Vec<Self::Entry> {
        self.runs.sorted().into_iter().map(|(run, withdrawn)| (*run, withdrawn.clone())).collect()
    }

    fn home((run, _): &Self::Entry) -> Home {
        Home::Routed(run.route())
    }

    fn restore(&mut self, entries: Vec<Self::Entry>) -> Vec<u64> {
        for (run, withdrawn) in entries {
            self.runs.insert(run, withdrawn);
        }
        Vec::new()
    }
}
