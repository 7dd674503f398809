//! What a worker has not told the budget yet: told at whole seconds.

use super::{Held, Kind, ROUND_MS};
use crate::input::Names;
use crate::keyed::Step;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_schemas::id::Id;

/// The whole second at or after a time.
pub(super) fn whole_second(time: u64) -> u64 {
    time.next_multiple_of(ROUND_MS)
}

/// What came of a run since the last whole second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Untold {
    names: Arc<Names>,
    /// The whole second at which it is told.
    pub due: u64,
    /// How many more are held.
    pub came: u64,
    /// How many events were left out.
    pub left_out: u64,
}

impl Untold {
    /// Nothing yet, at `now`, of the run of these names.
    fn new(names: &Arc<Names>, now: u64) -> Untold {
        Untold { names: Arc::clone(names), due: whole_second(now), came: 0, left_out: 0 }
    }

    /// Adds it to what is untold of the same run and second.
    pub fn join(self: Box<Untold>, untold: &mut Option<Box<Untold>>) {
        match untold {
            Some(known) => {
                known.came += self.came;
                known.left_out += self.left_out;
            }
            None => *untold = Some(self),
        }
    }

    /// What the budget is told.
    #[must_use]
    pub fn held(self, kind: Kind) -> Held {
        let Untold { names, came, left_out, .. } = self;
        Held { names, kind, came, left_out }
    }
}

/// The runs of which something is untold; what it is, whoever keeps them keeps with them.
#[derive(Debug, Default)]
pub struct Grown(Vec<Id>);

impl Grown {
    /// What is untold of a run, to be added to at `now`.
    pub fn of<'a>(&mut self, untold: &'a mut Option<Box<Untold>>, names: &Arc<Names>, now: u64) -> &'a mut Untold {
        untold.get_or_insert_with(|| {
            self.0.push(names.run_id);
            Box::new(Untold::new(names, now))
        })
    }

    /// A run of a restored state.
    pub fn restore(&mut self, run: Id) {
        self.0.push(run);
    }

    /// The runs to tell of now; when there are some and it is not time, asks to be woken.
    pub fn due<O>(&mut self, step: &mut Step<'_, O>) -> Vec<Id> {
        let second = whole_second(step.now());
        if second == step.now() {
            return std::mem::take(&mut self.0);
        }
        if !self.0.is_empty() {
            step.wake_at(second);
        }
        Vec::new()
    }
}
