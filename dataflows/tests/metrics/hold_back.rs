//! The second implementation of the window: sums held back under their expiry, counted by differential.
//!
//! Contract: [`hold_back`] passes each update on at once and its negation exactly when the frontier reaches the time at
//! which its pane leaves the window, in each window apart (`time.md`, windows). It holds a capability at its earliest pending expiry, or none.

use crate::common::oracle::live_metrics::{Expected, Scope, WINDOWS, expected_row, left, scopes};
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

/// Project, kind, name, and the number of the window.
type Key = (Text, Text, Text, usize);
type Summary = (Key, Outcome, Option<u64>, Option<Id>);
/// Passed, failing, skipped, and not skipped with a duration.
type Sums = (i64, i64, i64, i64);

/// `((datum, the time at which it leaves the window), time, diff)` to the datum's presence in the window.
fn hold_back<'s>(
    input: VecCollection<'s, u64, (Summary, u64), i64>,
    until: u64,
) -> VecCollection<'s, u64, Summary, i64> {
    let route =
        Exchange::new(|(((key, ..), _), _, _): &((Summary, u64), u64, i64)| Id::of(&[&key.0, &key.1, &key.2]).route());
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
    sums: Updates<(Key, Sums)>,
    durations: Updates<((Key, u64), i64)>,
    patterns: Updates<(Key, Id)>,
    next: [usize; 3],
    sums_now: BTreeMap<(Key, Sums), i64>,
    durations_now: BTreeMap<((Key, u64), i64), i64>,
    patterns_now: BTreeMap<(Key, Id), i64>,
}

impl HeldBack {
    /// The rows at `time` of the first `windows` windows.
    pub(crate) fn rows_at(&mut self, time: u64, windows: usize) -> BTreeSet<Row> {
        self.next[0] = take(&self.sums, self.next[0], time, &mut self.sums_now);
        self.next[1] = take(&self.durations, self.next[1], time, &mut self.durations_now);
        self.next[2] = take(&self.patterns, self.next[2], time, &mut self.patterns_now);
        let mut rows: BTreeMap<&Key, Expected> = BTreeMap::new();
        for (key, (passed, failing, skipped, judged)) in self.sums_now.keys() {
            let [passed, failing, skipped, judged] = [*passed, *failing, *skipped, *judged].map(i128::from);
            rows.insert(key, Expected { passed, failing, skipped, judged, ..Expected::default() });
        }
        for ((key, us), count) in self.durations_now.keys() {
            rows.entry(key).or_default().durations.insert(*us, i128::from(*count));
        }
        for (key, pattern) in self.patterns_now.keys() {
            rows.entry(key).or_default().patterns.insert(*pattern, 1);
        }
        let rows = rows.iter().filter(|(key, _)| key.3 < windows);
        rows.filter_map(|((project, kind, name, window), expected)| {
            let kind = ["project", "framework", "branch", "suite"].into_iter().find(|word| **word == **kind);
            let scope: Scope = (Arc::clone(project), kind.expect("a kind"), Arc::clone(name));
            expected_row(&scope, *window, expected)
        })
        .collect()
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

fn summaries(fact: &AttemptFact) -> Vec<(Summary, u64)> {
    let fingerprint = fact.failure.as_ref().map(|failure| failure.fingerprint);
    let in_window = |number: usize, window| {
        scopes(&fact.names, &fact.origin).into_iter().map(move |(project, kind, name)| {
            let key = (project, Text::from(kind), name, number);
            ((key, fact.outcome, fact.duration_us, fingerprint), left(fact.at, window))
        })
    };
    WINDOWS.into_iter().enumerate().flat_map(|(number, window)| in_window(number, window)).collect()
}

fn sums(outcome: Outcome, timed: bool) -> Sums {
    match outcome {
        Outcome::Passed => (1, 0, 0, i64::from(timed)),
        Outcome::Skipped => (0, 0, 1, 0),
        _ => (0, 1, 0, i64::from(timed)),
    }
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
            let [sums_out, durations_out, patterns_out] = [(); 3].map(|()| Arc::clone(&out));
            let counts = window.clone().explode(|(key, outcome, us, _)| Some((key, sums(outcome, us.is_some()))));
            counts.count_total().inspect(move |(datum, time, diff)| {
                sums_out.lock().expect("unpoisoned").sums.push((datum.clone(), *time, *diff as i64));
            });
            let timed = window.clone().flat_map(|(key, _, duration_us, _)| duration_us.map(|us| (key, us)));
            timed.count_total().inspect(move |((datum, count), time, diff)| {
                let datum = (datum.clone(), *count);
                durations_out.lock().expect("unpoisoned").durations.push((datum, *time, *diff as i64));
            });
            let failing = window.flat_map(|(key, _, _, fingerprint)| fingerprint.map(|fingerprint| (key, fingerprint)));
            failing.distinct_total().inspect(move |(datum, time, diff)| {
                patterns_out.lock().expect("unpoisoned").patterns.push((datum.clone(), *time, *diff as i64));
            });
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
    results.durations.sort_by_key(|(_, time, _)| *time);
    results.patterns.sort_by_key(|(_, time, _)| *time);
    results
}
