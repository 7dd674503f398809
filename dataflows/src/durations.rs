//! How long tests take, over a memory of seven days: which are the slowest, and which attempts were slow for their test.
//!
//! Contract: takes all attempts, those of a test on one worker ([`crate::by_test`]); those skipped, or without a
//! duration, say nothing. An attempt is judged once, at the tick at which it comes to count, by the median of its test in the
//! memory before that tick: slow is what took more than twice as long. The verdict is taken back with the attempt, while any
//! window of `live_metrics` can still show it. Rows of `slow_tests` move at multiples of its cadence and are exact there. A
//! run's eviction takes nothing back; a withdrawal and an incident do while the run is in state.
//!
//! A project has at most `slow_tests_held` tests in state, a 256th of it a bucket of tests; attempts of others have no history, and
//! are counted in the row of the test without a name. A test leaves when nothing of it is in the memory.
//!
//! # Invariants
//! Within a tick, attempts are judged, then what is taken back leaves, then what came is counted: the order of arrival shows nowhere.
//! Medians are of buckets (`percentiles`), so off by at most 0.8 %.
//!
//! # Cost
//! See [`history`]: two look-ups an attempt and three walks over some 20 bytes. The slowest of a worker are told at cadence points,
//! and the first of these by project ([`crate::top_k`]); at the end of a day all tests that ran on the day that leaves are looked at.

mod history;
mod machine;
mod others;

use crate::context::Context;
use crate::facts::{AttemptFact, RowChange, Rows};
use crate::fork::Forks;
use crate::keyed::{Collection, keyed};
use crate::top_k::{Ranked, TopK};
use crate::views::live_metrics::local::project_scope;
use machine::{Durations, memory};
use others::Others;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::sync::Arc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Concat as _;
use timely::dataflow::operators::vec::Map as _;
use weir_schemas::id::Id;
use weir_schemas::row::Row;

/// A test as it competes for a place among the slowest of its project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slowest {
    /// The bucket of its median.
    median: Reverse<u16>,
    /// Its identity.
    test: Id,
    /// Its row.
    row: Row,
}

/// What is told of durations.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Told {
    /// An attempt that took more than twice as long as its test does.
    Slow(AttemptFact),
    /// A test that is among the slowest of a worker.
    Ranked(Ranked<Slowest>),
    /// An attempt of a test that found no room.
    Overflow(AttemptFact),
}

/// What follows from durations.
pub struct DurationStreams<'s> {
    /// Attempts that were slow for their test.
    pub slow: Collection<'s, AttemptFact>,
    /// Rows of `slow_tests`.
    pub rows: Rows<'s>,
}

/// Keeps the durations. `facts`: those of a test on one worker.
#[must_use]
pub fn durations<'s>(cx: &Context<'s>, facts: Collection<'s, AttemptFact>) -> DurationStreams<'s> {
    let (states, first) = (&cx.states, cx.config.slow_tests);
    let told = keyed("Durations", facts, Pipeline, states, Durations::new(Arc::clone(&cx.config)));
    let mut kinds = Forks::new("DurationKinds", told);
    let slow = kinds.tap(|told| match told {
        Told::Slow(fact) => Some(fact.clone()),
        _ => None,
    });
    let overflow = kinds.tap(|told| match told {
        Told::Overflow(fact) => Some(fact.clone()),
        _ => None,
    });
    let ranked = kinds.rest(|told| match told {
        Told::Ranked(ranked) => Some(ranked),
        _ => None,
    });
    let by_project = Exchange::new(|(ranked, _, _): &(Ranked<Slowest>, u64, i64)| ranked.group.0.route());
    let slowest = keyed("SlowTests", ranked, by_project, states, TopK::new(first));
    let slowest =
        slowest.map(|(ranked, time, diff)| (RowChange { row: ranked.value.row, cause: ranked.cause }, time, diff));
    let by_project = Exchange::new(|(fact, _, _): &(AttemptFact, u64, i64)| project_scope(&fact.names.project).route());
    let others = keyed("SlowTestsOthers", overflow, by_project, states, Others::new(memory(&cx.config)));
    DurationStreams { slow, rows: slowest.concat(others) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::input::{Names, Origin};
    use crate::keyed::{Home, Machine, Step};
    use std::collections::BTreeSet;
    use weir_schemas::outcome::Outcome;
    use weir_schemas::row::Value;

    const HOUR: u64 = 3_600_000;

    fn fact(test: u128, run: u128, at: u64) -> AttemptFact {
        let names = Names { test_id: Some(Id(test)), run_id: Id(run), project: "web".into(), ..Names::default() };
        let origin = Origin { stream: Id(1), stream_name: "s".into(), project: "web".into(), ..Origin::default() };
        let (names, origin) = (Arc::new(names), Arc::new(origin));
        AttemptFact {
            attempt: 1,
            at,
            came: at,
            outcome: Outcome::Passed,
            duration_us: Some(70_000),
            names,
            origin,
            failure: None,
        }
    }

    fn step<M: Machine>(machine: &mut M, now: u64, data: &[(M::Input, i64)]) -> Vec<(M::Output, i64)> {
        let (mut out, mut wake) = (Vec::new(), BTreeSet::new());
        machine.step(&mut data.to_vec(), &mut Step::new(now, &mut out, &mut wake));
        out.into_iter().map(|(output, _, diff)| (output, diff)).collect()
    }

    fn overflow(out: &[(Told, i64)]) -> Vec<(Id, i64)> {
        let of = |(told, diff): &(Told, i64)| match told {
            Told::Overflow(fact) => Some((fact.names.test_or_zero(), *diff)),
            _ => None,
        };
        out.iter().filter_map(of).collect()
    }

    #[test]
    fn what_finds_no_room_is_counted_together_and_gets_in_when_there_is_some() {
        let config = Arc::new(Config { slow_tests_held: 256, ..Config::default() });
        let mut durations = Durations::new(Arc::clone(&config));
        // Both in one bucket, of which there is room for one: the smaller identity of a tick.
        let out =
            step(&mut durations, HOUR, &[(fact(512, 1, HOUR), 1), (fact(256, 1, HOUR), 1), (fact(257, 1, HOUR), 1)]);
        assert_eq!(overflow(&out), [(Id(512), 1)]);
        assert_eq!(overflow(&step(&mut durations, 2 * HOUR, &[(fact(512, 1, HOUR), -1)])), [(Id(512), -1)]);
        let later = 9 * 24 * HOUR;
        assert_eq!(overflow(&step(&mut durations, later, &[])), []);
        assert_eq!(overflow(&step(&mut durations, later + HOUR, &[(fact(512, 2, later), 1)])), []);
    }

    #[test]
    fn whoever_is_the_slowest_of_fewer_tests_is_told_when_all_are_told_next() {
        let config = Arc::new(Config { slow_tests: 1, ..Config::default() });
        let (mut all, mut alone) = (Durations::new(Arc::clone(&config)), Durations::new(config));
        let ranked = |out: Vec<(Told, i64)>| {
            let of = |(told, diff)| match told {
                Told::Ranked(ranked) => Some((ranked.value.test, diff)),
                _ => None,
            };
            out.into_iter().filter_map(of).collect::<Vec<_>>()
        };
        let slower = AttemptFact { duration_us: Some(900_000), ..fact(1, 1, HOUR) };
        assert_eq!(ranked(step(&mut all, HOUR, &[(slower, 1), (fact(2, 1, HOUR), 1)])), [(Id(1), 1)]);
        // Another worker has the slower one from here on.
        alone.restore(all.entries().into_iter().filter(|entry| Durations::home(entry) != Home::Routed(1)).collect());
        let (mut out, mut wake) = (Vec::new(), BTreeSet::new());
        alone.resume(&mut Step::new(HOUR, &mut out, &mut wake));
        let next = wake.first().copied().expect("it asks to be woken");
        assert_eq!((out.len(), ranked(step(&mut alone, next, &[]))), (0, vec![(Id(2), 1)]));
    }

    #[test]
    fn others_are_a_row_while_there_are_any_in_the_memory() {
        let mut others = Others::new(memory(&Config::default()));
        let shown = |out: Vec<(RowChange, i64)>| {
            let runs = |change: &RowChange| match change.row.column(6) {
                Value::Int(runs) => runs,
                other => panic!("runs are a number: {other:?}"),
            };
            out.iter().map(|(change, diff)| (runs(change), *diff)).collect::<Vec<_>>()
        };
        assert_eq!(shown(step(&mut others, HOUR - 10, &[(fact(1, 1, HOUR - 20), 1), (fact(2, 1, HOUR - 20), 1)])), []);
        assert_eq!(shown(step(&mut others, HOUR, &[])), [(2, 1)]);
        assert_eq!(shown(step(&mut others, 2 * HOUR, &[(fact(1, 1, HOUR - 20), -1)])), [(2, -1), (1, 1)]);
        assert_eq!(shown(step(&mut others, 8 * 24 * HOUR - 10, &[])), []);
        assert_eq!(shown(step(&mut others, 8 * 24 * HOUR, &[])), [(1, -1)]);
        assert!(others.entries().is_empty());
    }
}
