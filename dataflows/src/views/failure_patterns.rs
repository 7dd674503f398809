//! The view `failure_patterns`: what fails in a project, brought together by fingerprint.
//!
//! Contract: a pattern is in the view while an attempt failed with it within the last 24 h; the first
//! `failure_patterns` a project by (count in 10 min, last seen, fingerprint) are shown. `first_seen_at` outlives the 24 h: it
//! is remembered until nothing came for `pattern_memory_ms`. Rows move at multiples of the view's cadence and are exact
//! there. A withdrawal reaches every column for 24 h; one that comes later changes nothing.
//!
//! A project has at most `patterns_held` patterns in state, a 256th of it in each of 256 buckets by fingerprint (`crate::room`). What
//! comes above is counted in the project's row `other`, which is shown besides the first ones and otherwise is a pattern like
//! any other. Which patterns stand by themselves depends on the ticks alone: in the order of (tick, attempt), the ones that
//! come first; one of which only the memory is left makes room. With fingerprints spread evenly the first bucket is full at
//! about two thirds of the limit.
//!
//! Three layers: [`patterns`] keeps each pattern's state ([`pattern`]), then the first K of each of 256 buckets of a project, then of the
//! project (`top_k`). Bucket and pattern live on the same worker. What finds no room goes to a worker by project.
//!
//! # Invariants
//! Ties are broken by the fingerprint. What is shown as a sample is the first kept occurrence, so it stands still.
//!
//! # Cost
//! A pattern holds at most `pattern_occurrences` occurrences of 72 bytes, 64 messages, 62 panes of 10 s, of 1 min and of 24 min,
//! and what its occurrences differ in.

pub mod pattern;
pub mod patterns;
mod shared;

use crate::config::Config;
use crate::context::Context;
use crate::facts::{AttemptFact, Failure, RowChange, Rows};
use crate::keyed::{Collection, Inlets, keyed};
use crate::top_k::{Ranked, TopK};
use crate::views::live_metrics::local::project_scope;
use pattern::{Candidate, Occurrence};
use patterns::{PatternOutput, Patterns};
use std::sync::Arc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::vec::Map as _;
use timely::dataflow::operators::{Concat as _, OkErr as _};
use weir_schemas::id::Id;

/// Buckets of a project.
const BUCKETS: u128 = 256;

/// Stands for all patterns of a project that found no room.
pub const OTHER: Id = Id(u128::MAX);

/// The view's rows.
#[must_use]
pub fn render<'s>(cx: &Context<'s>, facts: Collection<'s, AttemptFact>) -> Rows<'s> {
    let (states, shown) = (&cx.states, cx.config.failure_patterns);
    let by_bucket = Exchange::new(|(fact, _, _): &(AttemptFact, u64, i64)| owner(fact));
    let (patterns, overflow) = Inlets::new("FailurePatterns", cx.scope)
        .add(facts, by_bucket, occurrence)
        .keyed(states, Patterns::new(Arc::clone(&cx.config), share(&cx.config)))
        .ok_err(|(output, time, diff)| match output {
            PatternOutput::Ranked(ranked) => Ok((ranked, time, diff)),
            PatternOutput::Overflow(occurrence) => Err((other(occurrence), time, diff)),
        });
    let first = keyed("FailurePatternsBuckets", patterns, Pipeline, states, TopK::<Candidate>::new(shown));
    let by_project = Exchange::new(|(ranked, _, _): &(Ranked<Candidate>, u64, i64)| route((ranked.group.0, 0)));
    let first = Inlets::new("FailurePatternsTop", cx.scope)
        .add(first, by_project, |ranked| Some(Ranked { group: (ranked.group.0, 0), ..ranked }))
        .keyed(states, TopK::new(shown));
    // There is one a project, and so one bucket.
    let by_project = Exchange::new(|(occurrence, _, _): &(Occurrence, u64, i64)| route(occurrence.group()));
    let others = Patterns::new(Arc::clone(&cx.config), 1);
    let others =
        keyed("FailurePatternsOther", overflow, by_project, states, others).flat_map(|(output, time, diff)| {
            match output {
                PatternOutput::Ranked(ranked) => Some((ranked, time, diff)),
                // There is one a project, so there is room for it.
                PatternOutput::Overflow(_) => None,
            }
        });
    first
        .concat(others)
        .map(|(ranked, time, diff)| (RowChange { row: ranked.value.row, cause: ranked.cause }, time, diff))
}

/// How many patterns a bucket holds.
fn share(config: &Config) -> usize {
    config.patterns_held / BUCKETS as usize
}

/// An occurrence as one of the row `other`.
fn other(occurrence: Occurrence) -> Occurrence {
    let failure =
        Failure { fingerprint: OTHER, pattern: "other".into(), kind: "".into(), ..Failure::clone(&occurrence.failure) };
    Occurrence { failure: Arc::new(failure), ..occurrence }
}

fn route((project, bucket): (Id, u32)) -> u64 {
    project.route().wrapping_add(u64::from(bucket))
}

/// The worker of the pattern that a fact belongs to.
fn owner(fact: &AttemptFact) -> u64 {
    let group = |failure: &Arc<Failure>| (project_scope(&fact.names.project), pattern::bucket(failure.fingerprint));
    fact.failure.as_ref().map_or(0, |failure| route(group(failure)))
}

/// The failure that a fact tells of.
fn occurrence(fact: AttemptFact) -> Option<Occurrence> {
    let failure = fact.failure?;
    Some(Occurrence {
        project: project_scope(&fact.names.project),
        key: pattern::Key {
            at: fact.at,
            run: fact.names.run_id,
            // A failure of the run itself is told from others by its event.
            test: fact.names.test_id.unwrap_or_else(|| Id::of(&[&failure.stream, &failure.event])),
            attempt: fact.attempt,
            came: fact.came,
        },
        names: fact.names,
        origin: fact.origin,
        failure,
    })
}
