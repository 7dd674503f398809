//! The second implementation of the window: sums held back under their expiry, counted by differential.
//!
//! Contract: [`hold_back`] passes each update on at once and its negation exactly when the frontier reaches the time at
//! which its pane leaves the window (`time.md`, windows). It holds a capability at its earliest pending expiry, or none.

use crate::common::oracle::live_metrics::{Expected, expected_row};
use differential_dataflow::VecCollection;
use differential_dataflow::operators::{CountTotal, ThresholdTotal};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map as _;
use timely::dataflow::operators::{Capability, Input as _};
use weir_dataflows::facts::AttemptFact;
use weir_dataflows::input::Text;
use weir_dataflows::keyed::Updates;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::Row;

type Scope = (Text, Text);
type Summary = (Scope, Outcome, Option<u64>, Option<Id>);
type Sums = ((i64, i64, i64), (i64, i128));

/// `((datum, pane's end + 60 s), time, diff)` to the datum's presence in the window.
fn hold_back<'s>(
    input: VecCollection<'s, u64, (Summary, u64), i64>,
    until: u64,
) -> VecCollection<'s, u64, Summary, i64> {
    let route =
        Exchange::new(|(((scope, ..), _), _, _): &((Summary, u64), u64, i64)| Id::of(&[&scope.0, &scope.1]).route());
    let windowed =
        input.consolidate().inner.unary_frontier::<CapacityContainerBuilder<Vec<(Summary, u64, i64)>>, _, _, _>(
            route,
            "HoldBack",
            move |_capability, _info| {
                let mut pending: BTreeMap<u64, Vec<(Summary, i64)>> = BTreeMap::new();
                let mut held: Option<Capability<u64>> = None;
                move |(input, frontier), output| {
                    input.for_each_stamp(|stamp, data| {
                        let Some(capability) = stamp.retain_least(0) else { return };
                        let mut session = output.session(&capability);
                        for ((summary, expiry), time, diff) in data.flat_map(std::mem::take) {
                            if expiry > time && expiry < until {
                                pending.entry(expiry).or_default().push((summary.clone(), -diff));
                            }
                            if expiry > time {
                                session.give((summary, time, diff));
                            }
                        }
                        drop(session);
                        if held.as_ref().is_none_or(|held| held.time() > capability.time()) {
                            held = Some(capability);
                        }
                    });
                    let upper = frontier.frontier().first().copied().unwrap_or(u64::MAX);
                    while let (Some(entry), Some(held)) =
                        (pending.first_entry().filter(|entry| *entry.key() <= upper), &mut held)
                    {
                        let (expiry, leaving) = entry.remove_entry();
                        held.downgrade(&expiry);
                        output
                            .session(&*held)
                            .give_iterator(leaving.into_iter().map(|(summary, diff)| (summary, expiry, diff)));
                    }
                    match (pending.keys().next(), &mut held) {
                        (Some(expiry), Some(held)) => held.downgrade(expiry),
                        _ => held = None,
                    }
                }
            },
        );
    VecCollection::new(windowed)
}

/// What the hold-back form says of each scope, by time.
#[derive(Default)]
pub(crate) struct HeldBack {
    sums: Updates<(Scope, Sums)>,
    patterns: Updates<(Scope, i64)>,
    next: (usize, usize),
    sums_now: BTreeMap<(Scope, Sums), i64>,
    patterns_now: BTreeMap<(Scope, i64), i64>,
}

impl HeldBack {
    pub(crate) fn rows_at(&mut self, time: u64) -> BTreeSet<Row> {
        self.next.0 = take(&self.sums, self.next.0, time, &mut self.sums_now);
        self.next.1 = take(&self.patterns, self.next.1, time, &mut self.patterns_now);
        let patterns: BTreeMap<&Scope, i64> = self.patterns_now.keys().map(|(scope, count)| (scope, *count)).collect();
        let rows = self.sums_now.keys().filter_map(|(scope, ((passed, failing, skipped), (timed, duration_us)))| {
            let [passed, failing, skipped, timed] = [*passed, *failing, *skipped, *timed].map(i128::from);
            let patterns = patterns.get(scope).copied().unwrap_or(0);
            let sums = Expected {
                passed,
                failing,
                skipped,
                timed,
                duration_us: *duration_us,
                patterns,
                ..Expected::default()
            };
            expected_row(scope, &sums)
        });
        rows.collect()
    }
}

fn take<D: Ord + Clone>(updates: &Updates<D>, mut next: usize, time: u64, now: &mut BTreeMap<D, i64>) -> usize {
    while let Some((datum, _, diff)) = updates.get(next).filter(|(_, at, _)| *at <= time) {
        *now.entry(datum.clone()).or_default() += diff;
        next += 1;
    }
    now.retain(|_, count| *count != 0);
    next
}

fn summaries(fact: &AttemptFact) -> BTreeSet<(Summary, u64)> {
    let expiry = (fact.at / 1_000 + 1) * 1_000 + 60_000;
    let fingerprint = fact.failure.as_ref().map(|failure| failure.fingerprint);
    let scopes = [Text::default(), Arc::clone(&fact.names.suite)];
    scopes
        .map(|suite| (((Arc::clone(&fact.names.project), suite), fact.outcome, fact.duration_us, fingerprint), expiry))
        .into_iter()
        .collect()
}

fn sums((scope, outcome, duration_us, _): Summary) -> Option<(Scope, Sums)> {
    let outcome = match outcome {
        Outcome::Passed => (1, 0, 0),
        Outcome::Skipped => (0, 0, 1),
        _ => (0, 1, 0),
    };
    Some((scope, (outcome, (i64::from(duration_us.is_some()), i128::from(duration_us.unwrap_or(0))))))
}

/// Runs the hold-back form over facts in order of time.
pub(crate) fn run(workers: usize, until: u64, updates: &[(AttemptFact, u64, i64)]) -> HeldBack {
    let results: Arc<Mutex<HeldBack>> = Arc::default();
    let (out, updates) = (Arc::clone(&results), updates.to_vec());
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let mut input = worker.dataflow(|scope| {
            let (input, stream) = scope.new_input_with_builder::<CapacityContainerBuilder<Updates<(Summary, u64)>>>();
            let window = hold_back(VecCollection::new(stream.map(|update| update)), until);
            let (sums_out, patterns_out) = (Arc::clone(&out), Arc::clone(&out));
            // An `explode` by hand: i128 is no multiple of i64 to differential.
            let in_difference = window.clone().inner.flat_map(|(summary, time, diff)| {
                let (scope, ((passed, failing, skipped), (timed, duration_us))) = sums(summary)?;
                let difference =
                    ((passed * diff, failing * diff, skipped * diff), (timed * diff, duration_us * i128::from(diff)));
                Some((scope, time, difference))
            });
            VecCollection::new(in_difference).count_total().inspect(move |(datum, time, diff)| {
                sums_out.lock().expect("unpoisoned").sums.push((datum.clone(), *time, *diff as i64));
            });
            let failing =
                window.flat_map(|(scope, _, _, fingerprint)| fingerprint.map(|fingerprint| (scope, fingerprint)));
            failing.distinct_total().map(|(scope, _)| scope).count_total().inspect(
                move |((scope, count), time, diff)| {
                    let datum = (scope.clone(), *count as i64);
                    patterns_out.lock().expect("unpoisoned").patterns.push((datum, *time, *diff as i64));
                },
            );
            input
        });
        for (number, (fact, time, diff)) in updates.iter().enumerate() {
            input.advance_to(*time);
            if number % peers == index {
                summaries(fact).into_iter().for_each(|summary| input.send((summary, *time, *diff)));
            }
            worker.step();
        }
    })
    .expect("timely starts");
    drop(guards);
    let mut results = std::mem::take(&mut *results.lock().expect("unpoisoned"));
    results.sums.sort_by_key(|(_, time, _)| *time);
    results.patterns.sort_by_key(|(_, time, _)| *time);
    results
}
