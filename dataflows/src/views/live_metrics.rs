//! The view `live_metrics`: what happened in the last 60 s, 10 min and hour, by project, framework, branch and suite.
//!
//! Contract: a test attempt belongs to its project and, where it says so, to its suite, framework and branch. It is in a
//! window from the tick at which it came until its pane has left (`window`); one that comes when it has left every window is
//! late: it goes to `rejects` as a count. A scope's row is over all its runs. Rows move at multiples of the view's cadence,
//! those of the longer windows at whole seconds, and are exact there. `success_rate` is 100 and `error_rate` 0 while nothing
//! finished; skipped tests are in `tests_per_second` and in no rate. A row is there while its window holds an attempt
//! or a measurement of memory; that of 60 s also while a test is running, lines of a run in state are known or, for a project,
//! something is awaited.
//!
//! What is covered comes from the rows of `coverage_summary`, so an event costs nothing for it. It is summed by lines, over the runs
//! that are in state ([`gauges`]); where it comes from ten minutes ago [`trend`] knows.
//!
//! A project has room for `live_scopes` suites with attempts or measurements within an hour, and for as many branches and frameworks, a 256th of
//! it in each of 256 buckets by identity. What happened to those that find none is counted in a row of their kind without a name. What is
//! running or covered always stands under its own name: there is as much of it as the row budget lets in.
//!
//! `performance_score` is the share of attempts that were not slow for their test, of those that say how long they took and were not
//! skipped; the verdicts come from `crate::durations`.
//!
//! Three layers: each worker first sums its own updates by scope and pane until the next cadence point ([`local`], [`gauges`]),
//! so a hot scope costs its owner ([`scopes`]) a few updates a worker and point, not one an event. The owner keeps each
//! attempt once, in panes that grow with age ([`scope`]). What finds no room there goes to one more by project and kind, not summed again.
//!
//! # Invariants
//! State is integers; ratios are formed when a row is written. A withdrawal reaches an attempt while it is in a window.
//!
//! # Cost
//! State O(scopes × panes with events + distinct patterns): see [`scope`]; work O(1) an event. Measured by
//! `benches/window.rs`.

pub mod delta;
pub mod gauges;
pub mod local;
mod patterns;
pub mod scope;
pub mod scopes;
mod trend;

use crate::context::Context;
use crate::facts::{AttemptFact, Awaited, Late, Rows, Running};
use crate::fork::Forks;
use crate::keyed::{Collection, Inlets, keyed};
use crate::views::performance;
use crate::views::performance::measures::Measurement;
use crate::window::Window;
use delta::Delta;
use gauges::{Covered, Gauge, LocalGauges};
use local::{Attempt, LocalPanes};
use scopes::{ScopeOutput, Scopes};
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Concat as _;
use timely::dataflow::operators::vec::Map as _;

/// The view's windows, each inside the next.
pub const WINDOWS: [Window; 3] = [Window::of(60_000), Window::of(600_000), Window::of(3_600_000)];

/// Their names in rows.
pub const WINDOW_NAMES: [&str; 3] = ["60s", "10m", "1h"];

/// What is older has left all windows.
pub const LONGEST: Window = WINDOWS[WINDOWS.len() - 1];

/// The longer windows' rows move at multiples of it.
pub const LONG_CADENCE_MS: u64 = 1_000;

/// What the view is made of.
pub struct Sources<'s> {
    /// Attempts that ended.
    pub facts: Collection<'s, AttemptFact>,
    /// Those of them that were slow for their test.
    pub slow: Collection<'s, AttemptFact>,
    /// What was measured.
    pub measured: Collection<'s, Measurement>,
    /// Tests that run.
    pub running: Collection<'s, Running>,
    /// What was announced and has not come.
    pub awaited: Collection<'s, Awaited>,
    /// What runs cover.
    pub covered: Collection<'s, Covered>,
}

/// The view's rows, what came too late for them, and what workers have summed of suites.
#[must_use]
pub fn render<'s>(
    cx: &Context<'s>,
    sources: Sources<'s>,
) -> (Rows<'s>, Collection<'s, Late>, Collection<'s, performance::content::Delta>) {
    let states = &cx.states;
    let Sources { facts, slow, measured, running, awaited, covered } = sources;
    let told = Inlets::new("LiveMetricsPanes", cx.scope)
        .add(facts, Pipeline, |fact| Some(Attempt::Ended(fact)))
        .add(slow, Pipeline, |fact| Some(Attempt::Slow(fact)))
        .add(measured, Pipeline, |measured| Some(Attempt::Measured(measured)))
        .keyed(states, LocalPanes::default());
    let mut kinds = Forks::new("PanesOfSuites", told);
    let late = kinds.tap(|told| told.as_ref().err().cloned());
    let suites = kinds.tap(|told| told.as_ref().ok().and_then(performance::content::Delta::of_suite));
    let panes = kinds.rest(Result::ok);
    let gauges = Inlets::new("LiveMetricsGauges", cx.scope)
        .add(running, Pipeline, |running| Some(Gauge::Running(running)))
        .add(awaited, Pipeline, |awaited| Some(Gauge::Awaited(awaited)))
        .add(covered, Pipeline, |covered| Some(Gauge::Covered(covered)))
        .keyed(states, LocalGauges::default());
    let owner = || Exchange::new(|(delta, _, _): &(Delta, u64, i64)| delta.route());
    let told = Inlets::new("LiveMetrics", cx.scope)
        .add(panes, owner(), Some)
        .add(gauges, owner(), Some)
        .keyed(states, Scopes::new(delta::share(&cx.config)));
    let mut kinds = Forks::new("LiveMetricsKinds", told);
    let overflow = kinds.tap(|output| match output {
        ScopeOutput::Overflow(delta) => Some(Delta::clone(delta).without_name()),
        ScopeOutput::Row(_) => None,
    });
    let row = |output| match output {
        ScopeOutput::Row(row) => Some(row),
        ScopeOutput::Overflow(_) => None,
    };
    let rows = kinds.rest(row);
    let others = keyed("LiveMetricsOther", overflow, owner(), states, Scopes::new(1));
    let others = others.map(move |(output, time, diff)| {
        let row = row(output).expect("there is one a project and kind, so there is room for it");
        (row, time, diff)
    });
    (rows.concat(others), late, suites)
}
