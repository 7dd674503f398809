//! `slow_tests`: attempts until their eighth day begins, one `reduce` a test, one a project.

use super::common::oracle::live_metrics::shown;
use super::of::Of;
use super::shared::{some, within};
use super::stages::{Rows, Stages};
use super::told::Fact;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::input::{Names, Text};
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::SLOW_TESTS;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Part {
    /// When an attempt was told, and what it called its test: the last name stays.
    Called((u64, u64, Id, u32), Arc<Names>),
    Took(Fact, u64),
}

pub(crate) fn rows<'s>(stages: &Stages<'s>, config: &Config) -> Rows<'s> {
    let day = (config.duration_memory_ms / 7).next_multiple_of(10_000);
    let forgotten = move |fact: &Fact| (fact.at / day + 8) * day;
    let timed = stages.facts.clone().filter(|fact| fact.duration_us.is_some() && fact.outcome != Outcome::Skipped);
    let called = timed.clone().change(move |fact, tick, diff| {
        let when = (tick, fact.at, fact.names.run_id, fact.attempt);
        let told = diff > 0 && forgotten(&fact) > tick;
        told.then(|| ((fact.names.test_or_zero(), Part::Called(when, Arc::clone(&fact.names))), tick, 1))
    });
    let took = within(timed, 1, forgotten, |fact| {
        let us = fact.duration_us.expect("filtered");
        (fact.names.test_or_zero(), Part::Took(fact, us))
    });
    let tests: Of<'s, (Id, (u64, Text, Row))> =
        called.concat(took).reduce(move |_, parts| row(parts, day).into_iter().collect());
    let shown = config.slow_tests;
    let ranked = tests.map(|(id, (median, project, row))| (project, (Reverse(median), id, row)));
    let slowest =
        ranked.reduce(move |_, ranked| ranked.iter().take(shown).map(|((_, _, row), _)| row.clone()).collect());
    slowest.map(|(_, row)| row)
}

/// Median, project and row.
fn row(parts: &[(Part, isize)], day: u64) -> Option<(u64, Text, Row)> {
    let called = parts.iter().filter_map(|(part, _)| match part {
        Part::Called(when, names) => Some((when, names)),
        Part::Took(..) => None,
    });
    let names = called.max()?.1;
    let took: Vec<(u64, u64)> = parts
        .iter()
        .filter_map(|(part, _)| match part {
            Part::Took(fact, us) => Some((fact.at / day, *us)),
            Part::Called(..) => None,
        })
        .collect();
    let newest = took.iter().map(|(day, _)| *day).max()?;
    let at = |percent: usize, of: &dyn Fn(u64) -> bool| {
        let mut took: Vec<u64> = took.iter().filter(|(day, _)| of(*day)).map(|(_, us)| shown(*us)).collect();
        took.sort_unstable();
        Some(took[(took.len() * percent).div_ceil(100).checked_sub(1)?])
    };
    let [today, before] = [at(50, &|day| day == newest), at(50, &|day| day < newest)];
    let change = today.zip(before).filter(|(_, before)| *before > 0).and_then(|(today, before)| {
        let (today, before) = (i128::from(today), i128::from(before));
        i64::try_from((2 * (today - before) * 100_000_000 + before).div_euclid(2 * before)).ok()
    });
    let median = at(50, &|_| true)?;
    let mut row = RowWriter::default();
    row.str(&names.project).str(&names.test).opt_str(some(&names.test_name)).opt_str(some(&names.suite));
    row.uint(median).opt_uint(at(95, &|_| true)).uint(took.len() as u64).opt_int(change);
    Some((median, Arc::clone(&names.project), row.finish(&SLOW_TESTS)))
}
