//! The row budget: how much detail of runs is in state, which runs leave when it is too much, and when there is no room.
//!
//! Contract: whoever keeps detail by run tells at whole seconds what came of each run since ([`Untold`]); one machine on one worker
//! adds it up ([`machine`]). At a whole second at which a project holds more than its limit of a kind, its ended runs leave that hold
//! any of it, in the order of (end, run), until it does not; then, while all projects together hold more tests than the
//! budget, ended runs of all in the same order. A project (or everybody) that is at the limit with no ended run left to go
//! is *full*: new keys of the kind are not kept, but counted in the run's row `overflow` of `missing`, until it is not.
//!
//! What is decided of the state after second `S` comes back through a loop whose path takes [`ROUND_MS`], and takes effect at
//! `S + ROUND_MS`: a run leaves there if it has not been reopened since it was chosen, by its ordinary phase; fullness holds from
//! the events of that tick on. So what is held above a limit is what comes in two seconds, and the choice does not depend on
//! workers or batching: sums at whole seconds do not.
//!
//! # Invariants
//! The loop delays nobody: what happens at a tick waits for what was counted a whole second before. It says nothing by itself, and a
//! loop around which nothing is under way ends with its inputs.
//!
//! # Cost
//! One message a second, worker and run that grew; one look-up of a flag an event. About 200 bytes a live run with tests.

mod full;
mod machine;
mod untold;

use crate::config::Config;
use crate::context::Context;
use crate::facts::{PhaseChange, RowChange};
use crate::fork::fork;
use crate::input::{Names, Text};
use crate::keyed::{Collection, Inlets, Updates};
pub use full::Full;
use machine::{Budget, BudgetInput, BudgetOutput};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use timely::dataflow::Scope;
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::feedback::Handle;
use timely::dataflow::operators::vec::Map as _;
use timely::dataflow::operators::{ConnectLoop, Feedback};
use untold::whole_second;
pub use untold::{Grown, Untold};
use weir_schemas::id::Id;

/// What is decided of the state after a whole second takes effect so long after it.
pub const ROUND_MS: u64 = 1_000;

/// What of a run is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Its tests.
    Test,
    /// Its suites.
    Suite,
    /// Its files with coverage, each once a flag.
    File,
}

/// How many kinds there are.
const KINDS: usize = Kind::ALL.len();

impl Kind {
    /// All of them, each at its own number.
    pub const ALL: [Kind; 3] = [Kind::Test, Kind::Suite, Kind::File];

    /// The word in rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Test => "tests",
            Kind::Suite => "suites",
            Kind::File => "files",
        }
    }

    /// How many of it one project may hold.
    fn limit(self, config: &Config) -> u64 {
        let limit = match self {
            Kind::Test => config.project_tests,
            Kind::Suite => config.project_suites,
            Kind::File => config.project_files,
        };
        limit.max(1) as u64
    }
}

/// What came of a run on a worker since the last whole second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Names of one of them: project and run are those of all.
    pub names: Arc<Names>,
    /// What.
    pub kind: Kind,
    /// How many more are held.
    pub came: u64,
    /// How many events were left out, because of what is not held.
    pub left_out: u64,
}

/// What is decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// A run leaves.
    Leave(Leave),
    /// Somebody becomes full, or is no longer.
    Room(Room),
}

impl Order {
    /// The worker that it is for: the run's, or the one that is told.
    #[must_use]
    pub fn route(&self) -> u64 {
        match self {
            Order::Leave(leave) => leave.run.route(),
            Order::Room(room) => room.peer,
        }
    }

    /// What it says about room for a kind.
    #[must_use]
    pub fn room(self, kind: Kind) -> Option<Room> {
        match self {
            Order::Room(room) if room.kind == kind => Some(room),
            Order::Room(_) | Order::Leave(_) => None,
        }
    }
}

/// Distributes orders to the workers that they are for.
#[must_use]
pub fn by_worker() -> impl ParallelizationContract<u64, Updates<Order>> {
    Exchange::new(|(order, _, _): &(Order, u64, i64)| order.route())
}

/// A run leaves, if it has been over since `ended_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// The run.
    pub run: Id,
    /// The tick at which it ended, as of the decision.
    pub ended_at: u64,
}

/// Whether there is room for new keys, for one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Of this kind.
    pub kind: Kind,
    /// The project; `None`: all of them.
    pub project: Option<Text>,
    /// Whether there is none.
    pub full: bool,
    /// The worker that is told.
    pub peer: u64,
}

/// The end of the loop that [`budget`] closes.
pub type OrdersHandle<'s> = Handle<'s, u64, Updates<Order>>;

/// The orders, before there is anything to decide upon.
#[must_use]
pub fn orders<'s>(scope: &Scope<'s, u64>) -> (OrdersHandle<'s>, Collection<'s, Order>) {
    scope.feedback(ROUND_MS)
}

/// Adds up what is held, closes the loop of orders, and gives the rows of `missing`: what was left out.
#[must_use]
pub fn budget<'s>(
    cx: &Context<'s>,
    held: [Collection<'s, Held>; KINDS],
    phases: Collection<'s, PhaseChange>,
    handle: OrdersHandle<'s>,
) -> Collection<'s, RowChange> {
    let scope = phases.scope();
    let mut inlets = Inlets::new("Budget", scope);
    for held in held {
        let one = Exchange::new(|_: &(Held, u64, i64)| 0);
        inlets = inlets.add(held, one, |held| Some(BudgetInput::Held(held)));
    }
    // All workers are told the same; this is on the first one.
    let told = inlets
        .add(phases, Pipeline, |change| (change.peer == 0).then_some(BudgetInput::Phase(change.run, change.phase)))
        .keyed(&cx.states, Budget::new(&cx.config, scope.peers() as u64));
    let (told, missing) = fork("MissingOfBudget", told, |output| match output {
        BudgetOutput::Missing(row) => Some(row.clone()),
        BudgetOutput::Order(_) => None,
    });
    // The loop moves capabilities, not what they carry.
    let orders = told.flat_map(|(output, time, diff)| match output {
        BudgetOutput::Order(order) => Some((order, time + ROUND_MS, diff)),
        BudgetOutput::Missing(_) => None,
    });
    orders.connect_loop(handle);
    missing
}
