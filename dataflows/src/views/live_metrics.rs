//! The view `live_metrics`: what happened in the last 60 s, by project and by suite.
//!
//! Contract: a test attempt is in the window from the tick at which it came until its 1 s pane has left (`window`). An
//! attempt that comes when its pane has left is late: it is not in the window and goes to `rejects` as a count. A suite's
//! row is over all its runs. Rows move at multiples of the view's cadence and are exact there. `success_rate` is 100 and
//! `error_rate` 0 while nothing finished; skipped tests are in `tests_per_second` and in no rate. A row is there while its
//! window holds an attempt, a test is running or, for a project, something is awaited.
//!
//! Two layers: each worker first sums its own updates of a tick by scope and pane ([`local`]), so a hot project or suite
//! costs its owner ([`scopes`]) one update a worker, tick and pane, not one an event.
//!
//! # Invariants
//! State is integers; ratios are formed when a row is written. A withdrawal reaches an attempt while it is in the window.
//!
//! # Cost
//! State O(scopes × panes with events + distinct patterns in the window); work O(1) an event. Measured by
//! `benches/window.rs`.

pub mod local;
pub mod scopes;

use crate::context::Context;
use crate::facts::{AttemptFact, Awaited, Late, Rows, Running};
use crate::keyed::{Collection, keyed};
use crate::window::Window;
use local::{Delta, Gauge, LocalGauges, LocalPanes};
use scopes::Scopes;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::vec::Map as _;
use timely::dataflow::operators::{Concat, OkErr};

/// The view's window.
pub const WINDOW: Window = Window::of(60_000);

/// The view's rows, and what came too late for them.
#[must_use]
pub fn render<'s>(
    cx: &Context<'s>,
    facts: Collection<'s, AttemptFact>,
    running: Collection<'s, Running>,
    awaited: Collection<'s, Awaited>,
) -> (Rows<'s>, Collection<'s, Late>) {
    let until = cx.config.until;
    let (panes, late) = keyed("LiveMetricsPanes", facts, Pipeline, until, LocalPanes::default()).ok_err(split);
    let running = running.map(|(running, time, diff)| (Gauge::Running(running), time, diff));
    let awaited = awaited.map(|(awaited, time, diff)| (Gauge::Awaited(awaited), time, diff));
    let gauges = keyed("LiveMetricsGauges", running.concat(awaited), Pipeline, until, LocalGauges::default());
    let owner = Exchange::new(|(delta, _, _): &(Delta, u64, i64)| delta.scope.route());
    (keyed("LiveMetrics", panes.concat(gauges), owner, until, Scopes::default()), late)
}

type Update<D> = (D, u64, i64);

fn split((datum, time, diff): Update<Result<Delta, Late>>) -> Result<Update<Delta>, Update<Late>> {
    match datum {
        Ok(delta) => Ok((delta, time, diff)),
        Err(late) => Err((late, time, diff)),
    }
}
