//! What every view is rendered with.

use crate::config::Config;
use std::sync::Arc;
use timely::dataflow::Scope;

/// The dataflow that a view becomes a part of.
#[derive(Clone)]
pub struct Context<'s> {
    /// The dataflow's scope.
    pub scope: Scope<'s, u64>,
    /// The configuration.
    pub config: Arc<Config>,
}
