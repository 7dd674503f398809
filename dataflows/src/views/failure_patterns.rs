//! The view `failure_patterns`: what fails in a project, brought together by fingerprint.
//!
//! Contract: a pattern is in the view while an attempt failed with it within the last 24 h; the first
//! `failure_patterns` a project by (count in 10 min, last seen, fingerprint) are shown. `first_seen_at` outlives the 24 h: it
//! is remembered until nothing came for `pattern_memory_ms`. Rows move at multiples of the view's cadence and are exact
//! there. A withdrawal reaches every column for 24 h; one that comes later changes nothing.
//!
//! Three layers: [`pattern`] keeps each pattern's state, then the first K of each of 256 buckets of a project, then of the
//! project (`top_k`). Bucket and pattern live on the same worker.
//!
//! # Invariants
//! Ties are broken by the fingerprint. What is shown as a sample is the first kept occurrence, so it stands still.
//!
//! # Cost
//! A pattern holds at most `pattern_occurrences` occurrences of 48 bytes, 64 messages, 62 panes of 10 s and 62 of 24 min.

pub mod pattern;

use crate::config::Config;
use crate::context::Context;
use crate::facts::{AttemptFact, RowChange, Rows};
use crate::keyed::{Collection, keyed};
use crate::top_k::{Ranked, TopK};
use crate::views::live_metrics::local::project_scope;
use pattern::{Candidate, Occurrence, Patterns};
use std::sync::Arc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::vec::Map as _;

/// Buckets of a project.
const BUCKETS: u128 = 256;

/// The view's rows.
#[must_use]
pub fn render<'s>(cx: &Context<'s>, facts: Collection<'s, AttemptFact>) -> Rows<'s> {
    let Config { until, failure_patterns: shown, .. } = *cx.config;
    let failures = facts.flat_map(|(fact, time, diff)| occurrence(fact).map(|occurrence| (occurrence, time, diff)));
    let by_bucket = Exchange::new(|(occurrence, _, _): &(Occurrence, u64, i64)| route(occurrence.group()));
    let patterns = keyed("FailurePatterns", failures, by_bucket, until, Patterns::new(Arc::clone(&cx.config)));
    let first = keyed("FailurePatternsBuckets", patterns, Pipeline, until, TopK::<Candidate>::new(shown))
        .map(|(ranked, time, diff)| (Ranked { group: (ranked.group.0, 0), ..ranked }, time, diff));
    let by_project = Exchange::new(|(ranked, _, _): &(Ranked<Candidate>, u64, i64)| route(ranked.group));
    keyed("FailurePatternsTop", first, by_project, until, TopK::new(shown))
        .map(|(ranked, time, diff)| (RowChange { row: ranked.value.row, cause: ranked.cause }, time, diff))
}

fn route((project, bucket): (weir_schemas::id::Id, u32)) -> u64 {
    project.route().wrapping_add(u64::from(bucket))
}

/// The failure that a fact tells of.
fn occurrence(fact: AttemptFact) -> Option<Occurrence> {
    let failure = fact.failure?;
    Some(Occurrence {
        project: project_scope(&fact.names.project),
        key: pattern::Key { at: fact.at, run: fact.run, test: fact.test, attempt: fact.attempt },
        names: fact.names,
        failure,
    })
}
