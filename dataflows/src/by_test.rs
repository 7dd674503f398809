//! Attempts by test: what is kept of a test over its runs is kept on one worker.
//!
//! Contract: tests are in [`BUCKETS`] buckets by identity; those of a bucket are on one worker, whatever the number of workers, so a
//! bucket of a project can have a share of its room (`crate::room`). Facts are exchanged once for all views by test.

use crate::facts::AttemptFact;
use crate::keyed::Collection;
use timely::dataflow::operators::Exchange as _;
use weir_schemas::id::Id;

/// Buckets of tests.
pub(crate) const BUCKETS: usize = 256;

/// The bucket of a test.
#[expect(clippy::cast_possible_truncation, reason = "below 256")]
pub(crate) fn bucket(test: Id) -> u32 {
    (test.route() % BUCKETS as u64) as u32
}

/// All attempts of a test on one worker.
#[must_use]
pub fn by_test<'s>(facts: Collection<'s, AttemptFact>) -> Collection<'s, AttemptFact> {
    facts.exchange(|(fact, _, _): &(AttemptFact, u64, i64)| bucket(fact.names.test_or_zero()).into())
}
