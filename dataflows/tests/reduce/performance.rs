//! `performance`: attempts and measurements in two windows, one `reduce` a scope and window.

use super::common::oracle::live_metrics::{left, shown};
use super::of::Of;
use super::shared::within;
use super::stages::{Rows, Stages};
use super::told::{Fact, Told};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::input::{Names, Performance, Text};
use weir_schemas::row::{RowWriter, write_decimal};
use weir_schemas::view::PERFORMANCE;

/// Name, seconds and pane, and the multiples at which rows move.
const WINDOWS: [(&str, u64, u64, u64); 2] = [("10s", 10, 1_000, 1_000), ("10m", 600, 10_000, 10_000)];

/// Project, `suite` or `test`, and its name.
type Scope = (Text, String, Text);

/// Something that counts, with what names it: an attempt, or a measurement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Part {
    Ended(Fact),
    Measured(Told),
}

fn scopes(names: &Names) -> impl Iterator<Item = Scope> {
    let scope = |kind: &str, name: &Text| (Arc::clone(&names.project), kind.to_owned(), Arc::clone(name));
    let suite = (!names.suite.is_empty()).then(|| scope("suite", &names.suite));
    [suite, names.test_id.map(|_| scope("test", &names.test))].into_iter().flatten()
}

pub(crate) fn rows<'s>(stages: &Stages<'s>, _: &Config) -> Rows<'s> {
    let ended = stages.facts.clone().map(|fact| (fact.at, Arc::clone(&fact.names), Part::Ended(fact)));
    let measured = stages.measured.clone().map(|told| (told.at(), Arc::clone(&told.event.names), Part::Measured(told)));
    let all = ended.concat(measured).flat_map(|(at, names, part)| {
        let of_test = |part: &Part| matches!(part, Part::Measured(_));
        let scopes = scopes(&names).filter(|scope| scope.1 == "suite" || of_test(&part)).collect::<Vec<_>>();
        scopes.into_iter().map(move |scope| (at, scope, part.clone()))
    });
    let windows = WINDOWS.into_iter().enumerate().map(|(number, (name, seconds, pane, cadence))| {
        within(
            all.clone(),
            cadence,
            move |(at, ..)| left(*at, (name, seconds, pane)),
            move |(_, scope, part)| ((scope, number), part),
        )
    });
    let windows = windows.reduce(Of::concat).expect("there are windows");
    let reduced = windows.reduce(|(scope, window), parts| {
        let (mut row, sums) = (RowWriter::default(), Sums::of(parts, scope.1 == "test"));
        row.str(&scope.0).str(&scope.1).str(&scope.2).str(WINDOWS[*window].0);
        row.opt_uint((scope.1 == "suite").then_some(sums.ended)).uint(sums.measured);
        row.opt_int(average(&sums.durations)).opt_int(largest(&sums.durations)).opt_uint(p95(&sums.durations));
        row.opt_int(average(&sums.memories)).opt_int(largest(&sums.memories)).opt_int(average(&sums.cpus));
        let metrics = sums.metrics.iter().filter_map(|(name, values)| {
            let mut text = format!("{name}=");
            write_decimal(average(values)?, 6, &mut text);
            Some(text)
        });
        row.list(metrics.collect::<Vec<_>>().iter().map(String::as_str));
        vec![row.finish(&PERFORMANCE)]
    });
    reduced.map(|(_, row)| row)
}

#[derive(Default)]
struct Sums<'a> {
    ended: u64,
    measured: u64,
    durations: Vec<i64>,
    memories: Vec<i64>,
    cpus: Vec<i64>,
    metrics: BTreeMap<&'a Text, Vec<i64>>,
}

impl<'a> Sums<'a> {
    /// Durations of a test are those of its measurements, those of a suite those of its attempts.
    fn of(parts: &'a [(Part, isize)], of_test: bool) -> Sums<'a> {
        let mut sums = Sums::default();
        for (part, _) in parts {
            match part {
                Part::Ended(fact) => {
                    sums.ended += 1;
                    sums.durations.extend(fact.duration_us.map(u64::cast_signed));
                }
                Part::Measured(told) => {
                    let said: &Performance = told.event.performance().expect("it measures");
                    sums.measured += 1;
                    sums.durations.extend(told.event.duration_us.filter(|_| of_test).map(u64::cast_signed));
                    sums.memories.extend(said.memory.map(|bytes| bytes.max(0)));
                    sums.cpus.extend(said.cpu);
                    said.metrics.iter().for_each(|(name, value)| sums.metrics.entry(name).or_default().push(*value));
                }
            }
        }
        sums
    }
}

/// Half up.
fn average(values: &[i64]) -> Option<i64> {
    let (sum, count) = (values.iter().map(|value| i128::from(*value)).sum::<i128>(), values.len() as i128);
    (count > 0).then(|| i64::try_from((2 * sum + count).div_euclid(2 * count)).expect("an average"))
}

/// As it is shown, and never less than the average, which is exact.
fn largest(values: &[i64]) -> Option<i64> {
    let largest = shown(values.iter().max()?.unsigned_abs()).cast_signed();
    average(values).map(|average| average.max(largest))
}

fn p95(values: &[i64]) -> Option<u64> {
    let mut values: Vec<u64> = values.iter().map(|value| shown(value.unsigned_abs())).collect();
    values.sort_unstable();
    Some(values[(values.len() * 95).div_ceil(100).checked_sub(1)?])
}
