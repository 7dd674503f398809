//! `failure_patterns` against an oracle.

use crate::common::oracle::failure_patterns::rows as oracle;
use crate::harness::{Attempt, BASE, ByHand, Follower, attempts, cases, check, facts, run};
use proptest::prelude::*;
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::facts::{AttemptFact, Failure};
use weir_dataflows::keyed::Updates;
use weir_dataflows::views::failure_patterns::pattern::{Key, Occurrence};
use weir_dataflows::views::failure_patterns::patterns::{PatternOutput, Patterns};
use weir_dataflows::views::failure_patterns::render;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, Value};
use weir_schemas::view::FAILURE_PATTERNS;

const HOUR: u64 = 3_600_000;

/// Most of it within minutes, some of it a day old.
fn minutes() -> impl Strategy<Value = Vec<Attempt>> {
    attempts(400_000, vec![(4, 3_000), (2, 650_000), (1, 26 * HOUR)], 700_000)
}

/// Over four days.
fn days() -> impl Strategy<Value = Vec<Attempt>> {
    attempts(96 * HOUR, vec![(4, 3_000), (1, 26 * HOUR)], 30 * HOUR)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn rows_are_those_of_the_oracle_over_minutes(history in minutes(), seed: u64, shown in 1usize..4, share in 1usize..4) {
        let config = Config { failure_patterns: shown, patterns_held: share * 256, ..Config::default() };
        let points: Vec<u64> = (0..1_800).map(|second| BASE + second * 1_000).collect();
        let cut = config.clone();
        check(seed, &config, facts(&history), &points, 1_000, render, move |updates, now| oracle(updates, now, &cut))?;
    }

    #[test]
    fn rows_are_those_of_the_oracle_over_days(history in days(), seed: u64, memory in 20u64..60, share in 1usize..4, more in prop::collection::vec(0..160 * HOUR / 1_000, 20)) {
        let config = Config { pattern_memory_ms: memory * HOUR, failure_patterns: 2, patterns_held: share * 256, ..Config::default() };
        // Every end of a pane of 24 min, and some points between.
        let mut points: Vec<u64> = (0..400).map(|pane| pane * 1_440_000).chain(more.into_iter().map(|second| second * 1_000)).collect();
        points.sort_unstable();
        let points: Vec<u64> = points.into_iter().map(|point| BASE + point).collect();
        let cut = config.clone();
        check(seed, &config, facts(&history), &points, 1_000, render, move |updates, now| oracle(updates, now, &cut))?;
    }

    #[test]
    fn above_the_limit_counts_stay_exact_and_tests_say_that_they_are_not(history in minutes(), seed: u64, limit in 1usize..5) {
        let exact = Config::default();
        let config = Config { pattern_occurrences: limit, ..exact.clone() };
        let mut updates = facts(&history);
        updates.sort_by_key(|(_, time, _)| *time);
        let end = BASE + 1_800_000;
        let [one, four] = [1, 4].map(|workers| run(workers, seed, end, &config, &updates, render));
        let (mut one_rows, mut four_rows) = (Follower::default(), Follower::default());
        for point in (BASE..end).step_by(5_000) {
            let rows = one_rows.at(&one, point);
            prop_assert_eq!(&rows, &four_rows.at(&four, point));
            let known = &updates[..updates.partition_point(|(_, time, _)| *time <= point)];
            for (row, exact) in rows.iter().zip(oracle(known, point, &exact)) {
                let column = |row: &Row, name: &str| match row.column(FAILURE_PATTERNS.column(name).expect("a column")) {
                    Value::Int(value) => value,
                    Value::Bool(value) => i64::from(value),
                    _ => 0,
                };
                prop_assert_eq!(row.prefix(2), exact.prefix(2));
                prop_assert_eq!(column(row, "count_10m"), column(&exact, "count_10m"));
                prop_assert!(column(row, "tests") <= column(&exact, "tests"));
                prop_assert!(column(row, "capped") == 1 || row == &exact);
            }
        }
    }

    #[test]
    fn state_written_down_at_any_tick_goes_on_the_same(history in days(), stop in 0..96 * HOUR / 10, workers in 1usize..5, share in 1usize..4) {
        let config = Arc::new(Config { pattern_memory_ms: 30 * HOUR, pattern_occurrences: 3, ..Config::default() });
        let mut updates = facts(&history);
        updates.sort_by_key(|(_, time, _)| *time);
        let new = || Patterns::new(Arc::clone(&config), share);
        let (mut whole, mut broken) = (ByHand::new(new()), ByHand::new(new()));
        let stop = BASE + stop * 10;
        let mut pending = Some(workers);
        let owner = |occurrence: &Occurrence| occurrence.group().1.into();
        let mut restore = |broken: &mut ByHand<Patterns>, time: u64| {
            if time > stop && let Some(workers) = pending.take() {
                broken.step(stop, Vec::new(), owner);
                broken.restore((0..workers).map(|_| new()).collect(), |((_, fingerprint), ..)| u64::try_from(fingerprint.0 % 256).expect("small"));
            }
        };
        for tick in updates.chunk_by(|a, b| a.1 == b.1) {
            let data: Vec<_> = tick.iter().filter_map(|(fact, _, diff)| Some((occurrence(fact)?, *diff))).collect();
            restore(&mut broken, tick[0].1);
            whole.step(tick[0].1, data.clone(), owner);
            broken.step(tick[0].1, data, owner);
        }
        let end = BASE + 400 * HOUR;
        restore(&mut broken, end);
        whole.step(end, Vec::new(), owner);
        broken.step(end, Vec::new(), owner);
        let sorted = |machine: &mut ByHand<Patterns>| {
            let mut out: Updates<_> = machine.out.drain(..).map(|(output, time, diff)| match output {
                PatternOutput::Ranked(ranked) => ((Some((ranked.group, ranked.value, ranked.cause)), None), time, diff),
                PatternOutput::Overflow(occurrence) => ((None, Some(occurrence)), time, diff),
            }).collect();
            out.sort();
            out
        };
        prop_assert_eq!(sorted(&mut whole), sorted(&mut broken));
    }
}

fn occurrence(fact: &AttemptFact) -> Option<Occurrence> {
    let failure: Arc<Failure> = fact.failure.clone()?;
    let key = Key {
        at: fact.at,
        run: fact.names.run_id,
        test: fact.names.test_or_zero(),
        attempt: fact.attempt,
        came: fact.came,
    };
    Some(Occurrence {
        project: Id::of(&[&fact.names.project]),
        key,
        failure,
        names: Arc::clone(&fact.names),
        origin: Arc::clone(&fact.origin),
    })
}
