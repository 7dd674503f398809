//! The second layer of `live_metrics`: all scopes of a worker.
//!
//! Contract: takes [`Delta`]s of any workers, which come at cadence points; moves each scope's rows at the points at which
//! something came or a pane left a window, those of the longer windows at whole seconds.
//!
//! # Invariants
//! A scope without a row, panes, running or awaited tests is forgotten.

use super::delta::Delta;
use super::scope::{Kept, Scope, Tools};
use crate::facts::RowChange;
use crate::keyed::{Machine, Step};
use crate::map::Map;
use crate::window::Agenda;
use weir_schemas::id::Id;

/// All scopes of one worker.
#[derive(Default)]
pub struct Scopes {
    scopes: Map<Id, Box<Scope>>,
    agenda: Agenda<Id>,
    /// To which something came at the running time, some twice.
    touched: Vec<Id>,
    tools: Tools,
}

impl Scopes {
    fn show(&mut self, id: Id, step: &mut Step<'_, RowChange>) {
        let Some(scope) = self.scopes.get_mut(&id) else { return };
        if let Some(due) = scope.show(&mut self.tools, step)
            && self.agenda.add(due, id)
        {
            step.wake_at(due);
        }
        if scope.idle() {
            self.scopes.remove(&id);
        }
    }
}

impl Machine for Scopes {
    type Input = Delta;
    type Output = RowChange;
    type Entry = (Id, Kept);

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Scopes::default())
    }

    fn step(&mut self, data: &mut Vec<(Delta, i64)>, step: &mut Step<'_, RowChange>) {
        for (Delta { scope: id, name, change }, _) in data.drain(..) {
            let scope = self.scopes.get_or_insert_with(id, || Box::new(Scope::new(name)));
            scope.move_on(step.now(), &mut self.tools);
            scope.take(change, step.now(), &mut self.tools);
            self.touched.push(id);
        }
        // Whoever comes again, or is due as well, has nothing more to show.
        let mut touched = std::mem::take(&mut self.touched);
        touched.drain(..).for_each(|id| self.show(id, step));
        self.touched = touched;
        for id in self.agenda.due(step.now()) {
            self.show(id, step);
        }
    }

    fn entries(&self) -> Vec<(Id, Kept)> {
        self.scopes.sorted().into_iter().map(|(id, scope)| (*id, scope.kept().clone())).collect()
    }

    fn restore(&mut self, entries: Vec<(Id, Kept)>) -> Vec<u64> {
        for (id, kept) in entries {
            if kept.due() > 0 {
                self.agenda.add(kept.due(), id);
            }
            self.scopes.insert(id, Box::new(Scope::from(kept)));
        }
        self.agenda.times().collect()
    }
}
