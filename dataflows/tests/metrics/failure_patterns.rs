//! `failure_patterns` against an oracle.

use crate::harness::{Attempt, BASE, ByHand, Follower, attempts, cases, check, facts, run};
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::facts::{AttemptFact, Failure};
use weir_dataflows::input::Text;
use weir_dataflows::keyed::Updates;
use weir_dataflows::views::failure_patterns::pattern::{Key, Occurrence, PatternOutput, Patterns};
use weir_dataflows::views::failure_patterns::{OTHER, render};
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter, Value};
use weir_schemas::view::FAILURE_PATTERNS;

const HOUR: u64 = 3_600_000;

/// When an occurrence is no longer within 10 min or 24 h.
fn left(at: u64, window: u64) -> u64 {
    let pane = window / 60;
    (at / pane + 1) * pane + window
}

/// One failing attempt: its fact, when it came, when it was taken back.
type Lived<'a> = (&'a AttemptFact, u64, Option<u64>);

/// A pattern's lives since it last got in; those of a project that found no room are together under [`OTHER`].
type Held<'a> = BTreeMap<(Text, Id, usize), Vec<Lived<'a>>>;

fn lives<'a>(updates: &'a [(AttemptFact, u64, i64)], config: &Config) -> Held<'a> {
    let mut by_attempt: BTreeMap<u32, Lived<'_>> = BTreeMap::new();
    for (fact, time, diff) in updates.iter().filter(|(fact, ..)| fact.failure.is_some()) {
        match diff {
            1 => drop(by_attempt.insert(fact.attempt, (fact, *time, None))),
            _ => by_attempt.get_mut(&fact.attempt).expect("it came before it left").2 = Some(*time),
        }
    }
    // What came too late is not seen, nor what was taken back at its own tick.
    let seen = |(fact, came, withdrawn): &Lived<'_>| left(fact.at, 24 * HOUR) > *came && *withdrawn != Some(*came);
    let mut all: Vec<Lived<'_>> = by_attempt.into_values().filter(seen).collect();
    all.sort_by_key(|(fact, came, _)| (*came, &fact.names.project, fact.at, fact.run, fact.test, fact.attempt));
    let mut patterns: Held<'_> = BTreeMap::new();
    let mut gone = BTreeSet::new();
    for (number, life) in all.into_iter().enumerate() {
        let (project, fingerprint) =
            (Arc::clone(&life.0.names.project), life.0.failure.as_ref().expect("filtered").fingerprint);
        // As of the cadence point before its tick: (in the 24 h, by last news).
        let point = life.1.div_ceil(1_000) * 1_000 - 1_000;
        let mut bucket: Vec<(bool, u64, Id, usize)> = Vec::new();
        for (key, lives) in patterns.iter().filter(|(key, _)| !gone.contains(*key)) {
            if key.0 != project || key.1 == OTHER || key.1.0 % 256 != fingerprint.0 % 256 {
                continue;
            }
            let news = lives.iter().map(|life| life.1).max().expect("made with one");
            let present = |life: &Lived<'_>| {
                life.1 > point || life.2.is_none_or(|taken| taken > point) && left(life.0.at, 24 * HOUR) > point
            };
            let present = lives.iter().any(present);
            if present || remembered(lives, point, config.pattern_memory_ms).is_some() {
                bucket.push((present, news, key.1, key.2));
            }
        }
        bucket.sort();
        let mine = bucket.iter().find(|(.., id, _)| *id == fingerprint).map(|held| (held.2, held.3));
        let oldest = bucket.first().filter(|held| !held.0).map(|held| (held.2, held.3));
        let (id, place) = match (mine, oldest) {
            (Some(mine), _) => mine,
            (None, _) if bucket.len() < config.patterns_held / 256 => (fingerprint, number),
            (None, Some(left)) => {
                gone.insert((Arc::clone(&project), left.0, left.1));
                (fingerprint, number)
            }
            (None, None) => (OTHER, 0),
        };
        patterns.entry((project, id, place)).or_default().push(life);
    }
    patterns
}

/// The first time at which what expired is still remembered: it is forgotten when nothing came for the memory's length.
fn remembered(lives: &[Lived<'_>], now: u64, memory: u64) -> Option<u64> {
    let mut expired: Vec<(u64, u64)> = Vec::new(); // (when it left, its time)
    let mut came: Vec<u64> = lives.iter().map(|life| life.1).collect();
    came.sort_unstable();
    for (fact, _, withdrawn) in lives {
        let leaves = left(fact.at, 24 * HOUR);
        if leaves <= now && withdrawn.is_none_or(|withdrawn| withdrawn >= leaves) {
            expired.push((leaves, fact.at));
        }
    }
    // Forgotten at the first time, not before the memory's end after the last news, at which nothing is in the 24 h.
    let forgotten = came.iter().enumerate().filter_map(|(index, news)| {
        let present = lives
            .iter()
            .filter(|life| life.1 <= *news)
            .map(|(fact, _, withdrawn)| withdrawn.unwrap_or(u64::MAX).min(left(fact.at, 24 * HOUR)));
        let empty = present.max().unwrap_or(0).max(*news + memory).next_multiple_of(1_000);
        (empty <= now && came.get(index + 1).is_none_or(|next| *next > empty)).then_some(empty)
    });
    let since = forgotten.max().unwrap_or(0);
    expired.into_iter().filter(|(leaves, _)| *leaves > since).map(|(_, at)| at).min()
}

fn oracle(updates: &[(AttemptFact, u64, i64)], now: u64, config: &Config) -> BTreeSet<Row> {
    let (mut projects, mut others): (BTreeMap<Text, Vec<_>>, Vec<Row>) = Default::default();
    for ((project, fingerprint, _), lives) in lives(updates, config) {
        let mut there: Vec<&AttemptFact> = lives
            .iter()
            .filter(|(fact, _, withdrawn)| {
                withdrawn.is_none_or(|withdrawn| withdrawn > now) && left(fact.at, 24 * HOUR) > now
            })
            .map(|life| life.0)
            .collect();
        there.sort_by_key(|fact| (fact.at, fact.run, fact.test, fact.attempt));
        let [Some(first), Some(last)] = [there.first(), there.last()] else { continue };
        let count = there.iter().filter(|fact| left(fact.at, 600_000) > now).count();
        let tests: BTreeSet<Id> = there.iter().map(|fact| fact.test).collect();
        let seen_at =
            remembered(&lives, now, config.pattern_memory_ms).map_or(first.at, |expired| expired.min(first.at));
        let failure = first.failure.as_ref().expect("filtered");
        let mut row = RowWriter::default();
        match fingerprint {
            OTHER => row.str(&project).str("other").str("other").str(""),
            _ => row.str(&project).str(&fingerprint.to_string()).str(&failure.pattern).str("E"),
        };
        row.uint(count as u64).uint(tests.len() as u64).bool(false).uint(seen_at).uint(last.at);
        row.str(&first.names.test_name).str(&failure.message);
        if fingerprint == OTHER {
            others.push(row.finish(&FAILURE_PATTERNS));
            continue;
        }
        let place = (Reverse(count), Reverse(last.at), fingerprint);
        projects.entry(project).or_default().push((place, row.finish(&FAILURE_PATTERNS)));
    }
    for rows in projects.values_mut() {
        rows.sort();
        rows.truncate(config.failure_patterns);
    }
    projects.into_values().flatten().map(|(_, row)| row).chain(others).collect()
}

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
                prop_assert!(column(row, "tests_capped") == 1 || row == &exact);
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
                broken.restore((0..workers).map(|_| new()).collect(), |((_, fingerprint), _)| u64::try_from(fingerprint.0 % 256).expect("small"));
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
    let key = Key { at: fact.at, run: fact.run, test: fact.test, attempt: fact.attempt };
    Some(Occurrence {
        project: Id::of(&[&fact.names.project]),
        key,
        came: fact.came,
        failure,
        names: Arc::clone(&fact.names),
    })
}
