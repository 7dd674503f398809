//! The gate: events of runs that have left are late; all others go on to the views.
//!
//! Contract: takes what admission let through and the phases of runs, on the worker that is told; an event whose run was
//! evicted at or before its tick, and is still remembered, leaves as a refusal of kind `late`, everything else as it came.
//! No exchange: events stay where they are.

use crate::admission::late;
use crate::context::Context;
use crate::departed::Departed;
use crate::facts::{Phase, PhaseChange};
use crate::input::{Input, Text};
use crate::keyed::{Collection, Home, Inlets, Machine, Step};
use std::sync::Arc;
use timely::dataflow::channels::pact::Pipeline;
use weir_schemas::id::Id;

/// Refuses events of runs that have left.
pub fn gate<'s>(
    cx: &Context<'s>,
    admitted: Collection<'s, Input>,
    phases: Collection<'s, PhaseChange>,
) -> Collection<'s, Input> {
    let gate =
        Gate { departed: Departed::default(), late_memory_ms: cx.config.late_memory_ms, nothing: Text::from("") };
    Inlets::new("Gate", admitted.scope())
        .add(admitted, Pipeline, |input| Some(GateInput::Event(input)))
        .add(phases, Pipeline, |change| {
            (change.phase == Phase::Evicted).then(|| GateInput::Evicted(Box::new(change.run)))
        })
        .keyed(&cx.states, gate)
}

#[derive(Clone, Debug)]
enum GateInput {
    Event(Input),
    /// Boxed: rare, and larger than an event.
    Evicted(Box<Id>),
}

struct Gate {
    departed: Departed,
    late_memory_ms: u64,
    nothing: Text,
}

impl Machine for Gate {
    type Input = GateInput;
    type Output = Input;
    type Entry = (Id, u64);

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        let (late_memory_ms, nothing) = (self.late_memory_ms, Arc::clone(&self.nothing));
        Some(Gate { departed: Departed::default(), late_memory_ms, nothing })
    }

    fn step(&mut self, data: &mut Vec<(GateInput, i64)>, step: &mut Step<'_, Input>) {
        self.departed.forget(step.now());
        for (input, _) in data.iter() {
            if let GateInput::Evicted(run) = input {
                let until = self.departed.insert(**run, step.now(), self.late_memory_ms);
                step.wake_at(until);
            }
        }
        for (input, _) in data.drain(..) {
            match input {
                GateInput::Event(Input::Event(event)) if self.departed.contains(event.run()) => {
                    step.emit(Input::Refused(Arc::new(late(&event, &self.nothing))), 1);
                }
                GateInput::Event(input) => step.emit(input, 1),
                GateInput::Evicted(_) => {}
            }
        }
    }

    fn entries(&self) -> Vec<Self::Entry> {
        self.departed.entries()
    }

    fn home(_: &Self::Entry) -> Home {
        Home::Everywhere
    }

    fn restore(&mut self, entries: Vec<Self::Entry>) -> Vec<u64> {
        entries.into_iter().map(|(run, until)| self.departed.insert_until(run, until)).collect()
    }
}
