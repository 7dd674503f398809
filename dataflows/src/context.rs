//! What every view is rendered with.

use crate::config::Config;
use crate::keyed::States;
use std::sync::Arc;
use timely::dataflow::Scope;

/// The dataflow that a view becomes a part of.
#[derive(Clone)]
pub struct Context<'s> {
    /// The dataflow's scope.
    pub scope: Scope<'s, u64>,
    /// The configuration.
    pub config: Arc<Config>,
    /// What keeps the states of all operators.
    pub states: States,
}
