//! The dataflow as a whole: what feeds it, what is wired to what, and what comes out.
//!
//! Contract: [`build`] is called once on every worker of the cluster, with the same configuration. Feed each record once,
//! on any worker, at its tick; say the bound ticks of this process on `commits`; advance all three inputs together past a
//! tick when it is closed and bound. Frames arrive at the sink of worker 0.

use crate::config::Config;
use crate::input::Input;
use crate::keyed::{Collection, Updates};
use crate::output::Sink;
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::{InputHandle, Scope};
use timely::worker::Worker;

/// What feeds the dataflow, on one worker.
pub struct Inputs {
    /// Events and unreadable records, each at its tick, with difference +1.
    pub events: InputHandle<u64, CapacityContainerBuilder<Updates<Input>>>,
    /// Whether silence timers stand still from this tick on (`time.md`, recovery 5): sent on one worker, at each change.
    pub silence: InputHandle<u64, CapacityContainerBuilder<Updates<bool>>>,
    /// The bound ticks, each sent at its own time, once its binding is durable; then advanced past it.
    pub commits: InputHandle<u64, CapacityContainerBuilder<Vec<u64>>>,
}

/// What every view is rendered with.
#[derive(Clone)]
pub struct Context<'s> {
    /// The dataflow's scope.
    pub scope: Scope<'s, u64>,
    /// The configuration.
    pub config: Arc<Config>,
}
