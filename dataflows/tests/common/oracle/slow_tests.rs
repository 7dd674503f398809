//! The view `slow_tests`, and which attempts were slow for their test: by going through the ticks.

use super::live_metrics::shown;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::facts::AttemptFact;
use weir_dataflows::input::Names;
use weir_dataflows::keyed::Updates;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::SLOW_TESTS;

/// The length of a day of the memory, which has seven.
fn day(config: &Config) -> u64 {
    (config.duration_memory_ms / 7).next_multiple_of(10_000)
}

/// When an attempt is forgotten: with its day after seven more.
pub fn left(fact: &AttemptFact, config: &Config) -> u64 {
    (fact.at / day(config) + 8) * day(config)
}

/// Whether an attempt is remembered at `now`.
fn remembered(fact: &AttemptFact, now: u64, config: &Config) -> bool {
    left(fact, config) > now
}

fn says_something(fact: &AttemptFact) -> bool {
    fact.duration_us.is_some() && fact.outcome != Outcome::Skipped
}

/// Of lengths in order, the one at `⌈n × percent ÷ 100⌉`, as it is shown.
fn percentile(mut lengths: Vec<u64>, percent: usize) -> Option<u64> {
    lengths.sort_unstable();
    let rank = (lengths.len() * percent).div_ceil(100);
    lengths.get(rank.checked_sub(1)?).map(|us| shown(*us))
}

fn lengths<'a>(facts: impl IntoIterator<Item = &'a AttemptFact>) -> Vec<u64> {
    facts.into_iter().filter_map(|fact| fact.duration_us).collect()
}

/// Attempts that took more than twice the median of what their test took before their tick; taken back with them.
pub fn slow(updates: &Updates<AttemptFact>, config: &Config) -> Updates<AttemptFact> {
    let mut held: BTreeMap<Id, Vec<AttemptFact>> = BTreeMap::new();
    let (mut verdicts, mut told): (Vec<AttemptFact>, Updates<AttemptFact>) = Default::default();
    for tick in updates.chunk_by(|a, b| a.1 == b.1) {
        let now = tick[0].1;
        let of = |sign: i64| tick.iter().filter(move |(fact, _, diff)| *diff == sign && says_something(fact));
        for (fact, ..) in of(-1) {
            if let Some(index) = verdicts.iter().position(|verdict| verdict == fact) {
                told.push((verdicts.remove(index), now, -1));
            }
        }
        for (fact, ..) in of(1) {
            let known = held.get(&fact.names.test_or_zero()).into_iter().flatten();
            let median = percentile(lengths(known.filter(|fact| remembered(fact, now, config))), 50);
            if median.is_some_and(|median| fact.duration_us.expect("filtered") > 2 * median) {
                verdicts.push(fact.clone());
                told.push((fact.clone(), now, 1));
            }
        }
        for (fact, ..) in of(-1) {
            let of_test = held.entry(fact.names.test_or_zero()).or_default();
            let index = of_test.iter().position(|other| other == fact).expect("it came before it left");
            of_test.remove(index);
        }
        of(1).for_each(|(fact, ..)| held.entry(fact.names.test_or_zero()).or_default().push(fact.clone()));
    }
    told
}

/// The tick, time, run and attempt that gave a test its name.
type Called = (u64, u64, Id, u32);

/// The rows at `now`, from all updates up to then.
pub fn rows(updates: &Updates<AttemptFact>, now: u64, config: &Config) -> Vec<Row> {
    let mut held: BTreeMap<Id, Vec<&AttemptFact>> = BTreeMap::new();
    // A test is called what it was called last.
    let mut names: BTreeMap<Id, (Called, &Arc<Names>)> = BTreeMap::new();
    for (fact, time, diff) in updates.iter().filter(|(fact, time, _)| says_something(fact) && *time <= now) {
        let of_test = held.entry(fact.names.test_or_zero()).or_default();
        if *diff > 0 {
            of_test.push(fact);
            let last = ((*time, fact.at, fact.names.run_id, fact.attempt), &fact.names);
            let called = names.entry(fact.names.test_or_zero()).or_insert(last);
            if called.0 < last.0 && remembered(fact, *time, config) {
                *called = last;
            }
        } else {
            let index = of_test.iter().position(|other| *other == fact).expect("it came before it left");
            of_test.remove(index);
        }
    }
    let mut projects: BTreeMap<&str, BTreeSet<(i128, Id, Row)>> = BTreeMap::new();
    for (id, mut facts) in held {
        facts.retain(|fact| remembered(fact, now, config));
        let Some(median) = percentile(lengths(facts.iter().copied()), 50) else { continue };
        let names = names[&id].1;
        let row = row(names, &facts, config);
        projects.entry(&names.project).or_default().insert((-i128::from(median), id, row));
    }
    projects.into_values().flat_map(|rows| rows.into_iter().take(config.slow_tests).map(|(.., row)| row)).collect()
}

fn row(names: &Names, facts: &[&AttemptFact], config: &Config) -> Row {
    let all = || lengths(facts.iter().copied());
    let newest = facts.iter().map(|fact| fact.at / day(config)).max();
    let (today, before): (Vec<&AttemptFact>, Vec<&AttemptFact>) =
        facts.iter().partition(|fact| Some(fact.at / day(config)) == newest);
    let [today, before] = [today, before].map(|facts| percentile(lengths(facts), 50).map(i128::from));
    let change = before.filter(|before| *before > 0).zip(today).map(|(before, today)| {
        let millionths = (today - before) * 100_000_000;
        (2 * millionths + before).div_euclid(2 * before)
    });
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut row = RowWriter::default();
    row.str(&names.project).str(&names.test);
    row.opt_str(some(&names.test_name).as_deref()).opt_str(some(&names.suite).as_deref());
    row.opt_uint(percentile(all(), 50)).opt_uint(percentile(all(), 95)).uint(facts.len() as u64);
    row.opt_int(change.and_then(|change| i64::try_from(change).ok()));
    row.finish(&SLOW_TESTS)
}
