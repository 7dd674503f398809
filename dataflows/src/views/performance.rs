//! The view `performance`: how long tests take and what they use, in the last 10 s and 10 min, by suite and by test.
//!
//! Contract: a suite's row is over its attempts that ended and over all that was measured in it; a test's over what was measured of
//! it, so only tests of which something was measured have one. What was measured comes with any event ([`measures`]); what names neither a suite nor a
//! test is in no row. An attempt or measurement is in a window until its pane has left (`window`). Rows of `10s` move at whole seconds, those
//! of `10m` at whole 10 s, and are exact there. A withdrawal, of an event or of a
//! test or attempt, or an incident reaches what is in a window.
//!
//! A project has at most `performance_scopes` suites in state and as many tests, a 256th of them in each of 256 buckets by identity
//! (`crate::room`). What comes above is in the row without a name. Which ones stand by themselves depends on the ticks alone: at each
//! whole second, those with nothing left in 10 min make room, then new ones come in the order of their identities.
//!
//! Three layers: suites' attempts come from the first layer of `live_metrics`, already summed by worker and pane, so no attempt is
//! looked at again; [`local`] does the same for measurements; the owner of a bucket keeps its scopes ([`feed`], [`scope`]). What found no room
//! goes to a worker by project.
//!
//! # Cost
//! Nothing an attempt beyond `live_metrics`; a look-up a measurement. State: see [`scope`].

pub mod content;
pub mod feed;
pub mod local;
pub mod measures;
pub mod scope;

use crate::config::Config;
use crate::context::Context;
use crate::facts::Rows;
use crate::fork::Forks;
use crate::keyed::{Collection, Inlets, keyed};
use crate::window::Window;
use content::Delta;
use feed::{Feed, FeedOutput};
use local::LocalMeasures;
use measures::Measurement;
use std::sync::Arc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Concat as _;
use timely::dataflow::operators::vec::Map as _;

/// The view's windows, the first inside the second.
pub const WINDOWS: [Window; 2] = [Window::of(10_000), Window::of(600_000)];

/// Their names in rows.
pub const WINDOW_NAMES: [&str; 2] = ["10s", "10m"];

/// The longer window's rows move at multiples of it.
pub const LONG_CADENCE_MS: u64 = 10_000;

/// Buckets of a project's suites, and of its tests.
const BUCKETS: u128 = 256;

/// The view's rows, from what `live_metrics` sums of suites and from what was measured.
#[must_use]
pub fn render<'s>(cx: &Context<'s>, suites: Collection<'s, Delta>, measured: Collection<'s, Measurement>) -> Rows<'s> {
    let states = &cx.states;
    let measured = keyed("PerformanceLocal", measured, Pipeline, states, LocalMeasures::default());
    let by_bucket = || Exchange::new(|(delta, _, _): &(Delta, u64, i64)| delta.route());
    let told = Inlets::new("Performance", cx.scope)
        .add(suites, by_bucket(), Some)
        .add(measured, by_bucket(), Some)
        .keyed(states, Feed::new(Arc::clone(&cx.config), share(&cx.config)));
    let mut kinds = Forks::new("PerformanceKinds", told);
    let overflow = kinds.tap(|output| match output {
        FeedOutput::Overflow(delta) => Some(delta.clone().without_name()),
        FeedOutput::Row(_) => None,
    });
    let rows = kinds.rest(|output| match output {
        FeedOutput::Row(row) => Some(row),
        FeedOutput::Overflow(_) => None,
    });
    let by_project = Exchange::new(|(delta, _, _): &(Delta, u64, i64)| delta.route());
    let others = Feed::new(Arc::clone(&cx.config), 1);
    let others = keyed("PerformanceOther", overflow, by_project, states, others).flat_map(|(output, time, diff)| {
        match output {
            FeedOutput::Row(row) => Some((row, time, diff)),
            // There is one a project and kind, so there is room for it.
            FeedOutput::Overflow(_) => None,
        }
    });
    rows.concat(others)
}

/// How many scopes a bucket holds.
fn share(config: &Config) -> usize {
    config.performance_scopes / BUCKETS as usize
}
