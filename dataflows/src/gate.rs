//! The gate: events of runs that have left are late; all others go on to the views.
//!
//! Contract: takes what admission let through and the phases of runs; an event whose run was evicted at or before its tick,
//! and is still remembered, leaves as a refusal of kind `late`, everything else as it came. No exchange: events stay
//! where they are.

use crate::admission::late;
use crate::config::Config;
use crate::departed::Departed;
use crate::facts::{Phase, PhaseChange};
use crate::input::{Input, Text};
use crate::keyed::{Collection, Machine, Step, keyed};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::Exchange as _;
use timely::dataflow::operators::vec::Map as _;
use weir_schemas::id::Id;

/// Refuses events of runs that have left.
pub fn gate<'s>(
    config: &Config,
    admitted: Collection<'s, Input>,
    phases: Collection<'s, PhaseChange>,
) -> Collection<'s, Input> {
    let admitted = admitted.map(|(input, time, diff)| (GateInput::Event(input), time, diff));
    let phases = phases
        .exchange(|(change, _, _): &(PhaseChange, u64, i64)| change.peer)
        .map(|(change, time, diff)| (GateInput::Phase(Box::new(change)), time, diff));
    let gate = Gate { departed: Departed::default(), late_memory_ms: config.late_memory_ms, nothing: Text::from("") };
    keyed("Gate", admitted.concat(phases), Pipeline, config.until, gate)
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum GateInput {
    Event(Input),
    /// Boxed: rare, and larger than an event.
    Phase(Box<PhaseChange>),
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
            if let GateInput::Phase(change) = input
                && change.phase == Phase::Evicted
            {
                let until = self.departed.insert(change.run, step.now(), self.late_memory_ms);
                step.wake_at(until);
            }
        }
        for (input, _) in data.drain(..) {
            match input {
                GateInput::Event(Input::Event(event)) if self.departed.contains(event.run()) => {
                    step.emit(Input::Refused(Arc::new(late(&event, &self.nothing))), 1);
                }
                GateInput::Event(input) => step.emit(input, 1),
                GateInput::Phase(_) => {}
            }
        }
    }

    fn entries(&self) -> Vec<Self::Entry> {
        self.departed.entries()
    }

    fn restore(&mut self, entries: Vec<Self::Entry>) -> Vec<u64> {
        entries.into_iter().map(|(run, until)| self.departed.insert_until(run, until)).collect()
    }
}
