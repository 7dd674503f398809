//! Where a test's attempts passed and failed: what the infrastructure guard sums (`views::flaky_tests`).
//!
//! Contract: a test counts once for its run and once for each machine on which an attempt passed or failed; it is failing there
//! when none passed. One datum where that is the same, as of nearly every test.

use super::attempts::Test;
use crate::facts::{AttemptFact, Tested};
use crate::input::Text;
use std::collections::BTreeMap;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;

/// Emits what changed of a test, from its facts before and its attempts now.
pub(super) fn tell(run: Id, before: &[AttemptFact], test: &Test, mut emit: impl FnMut(Tested, i64)) {
    let mut ended = test.ended();
    // Nearly always a test comes once and passes.
    if before.is_empty()
        && let (Some((worker, outcome)), None) = (ended.next(), ended.next())
    {
        if outcome != Outcome::Skipped {
            emit(Tested { run, worker: worker.map(Text::clone), of_run: true, failing: outcome.fails() }, 1);
        }
        return;
    }
    let before = counted(run, before.iter().map(|fact| (fact.origin.worker.as_ref(), fact.outcome)));
    let after = counted(run, test.ended());
    if before != after {
        before.into_iter().for_each(|tested| emit(tested, -1));
        after.into_iter().for_each(|tested| emit(tested, 1));
    }
}

fn counted<'a>(run: Id, attempts: impl Iterator<Item = (Option<&'a Text>, Outcome)>) -> Vec<Tested> {
    let mut by_worker: BTreeMap<Option<&Text>, bool> = BTreeMap::new();
    for (worker, outcome) in attempts.filter(|(_, outcome)| *outcome != Outcome::Skipped) {
        *by_worker.entry(worker).or_insert(true) &= outcome.fails();
    }
    let Some(failing) = by_worker.values().copied().reduce(|one, other| one && other) else { return Vec::new() };
    let one = by_worker.len() == 1;
    let of = |(worker, failing): (&Option<&Text>, &bool)| {
        let worker = worker.map(Text::clone)?;
        Some(Tested { run, worker: Some(worker), of_run: one, failing: *failing })
    };
    let mut all: Vec<Tested> = by_worker.iter().filter_map(of).collect();
    if !all.first().is_some_and(|tested| tested.of_run) {
        all.push(Tested { run, worker: None, of_run: true, failing });
    }
    all
}
