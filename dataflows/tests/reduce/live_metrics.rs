//! `live_metrics`: attempts and measurements in three windows, each leaving as a retraction of the future; gauges from what is
//! running; one `reduce` a scope and window, written by the oracle's function of sums.

use super::common::oracle::live_metrics::{Expected, WINDOWS, expected_row, left, scopes};
use super::coverage::summary;
use super::of::Of;
use super::shared::{announced, planned, shards, within};
use super::stages::{Rows, Stages};
use super::told::{Fact, Life, Told};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::input::{Event, Names, Origin, Text};
use weir_schemas::id::Id;
use weir_schemas::row::ratio;
use weir_schemas::view::COVERAGE_SUMMARY;

const KINDS: [&str; 4] = ["project", "framework", "branch", "suite"];

/// Project, place in [`KINDS`], and name.
type Scope = (Text, usize, Text);

/// With the number of the window.
type Key = (Scope, usize);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Part {
    Fact(Fact),
    Slow(Fact),
    Measured(Told),
    Running(Life, Id),
    /// Streams and tests that a run still waits for.
    Awaited(Life, u64, u64),
    /// What is covered, what was ten minutes ago, and that something was all the while.
    Covered(i64),
    WasCovered(i64),
    LongCovered,
}

impl Part {
    fn scopes(&self) -> Vec<Scope> {
        let of = |names: &Names, origin: &Origin| {
            let kind = |word: &str| KINDS.into_iter().position(|kind| kind == word).expect("a kind");
            scopes(names, origin).into_iter().map(|(project, word, name)| (project, kind(word), name)).collect()
        };
        match self {
            Part::Fact(fact) | Part::Slow(fact) => of(&fact.names, &fact.origin),
            Part::Measured(told) => of(&told.event.names, &told.event.origin),
            _ => Vec::new(),
        }
    }

    fn at(&self) -> u64 {
        match self {
            Part::Fact(fact) | Part::Slow(fact) => fact.at,
            Part::Measured(told) => told.at(),
            _ => 0,
        }
    }
}

/// By scope, as long as they are in each window; the longer ones move at whole seconds.
fn windows(parts: Of<'_, Part>) -> Of<'_, (Key, Part)> {
    let in_windows = WINDOWS.into_iter().enumerate().map(|(number, window)| {
        let cadence = if number == 0 { 1 } else { 1_000 };
        within(parts.clone(), cadence, move |part| left(part.at(), window), move |part| (number, part))
    });
    let all = in_windows.reduce(Of::concat).expect("there are windows");
    all.flat_map(|(number, part)| {
        let scopes = part.scopes().into_iter();
        scopes.map(move |scope| ((scope, number), part.clone())).collect::<Vec<_>>()
    })
}

/// Of what is running now.
fn gauges<'s>(stages: &Stages<'s>) -> Of<'s, (Key, Part)> {
    let open = stages.courses.clone().filter(|(_, course)| course.phase == "running").map(|(life, _)| life);
    let tests = stages.tests.clone().filter(|(_, test)| test.running());
    let running = tests.map(|((life, id), test)| (life, (id, test.names))).semijoin(open.clone());
    let running = running.flat_map(|(life, (id, names))| {
        let scope =
            |kind, name: &Text| (((Arc::clone(&names.project), kind, Arc::clone(name)), 0), Part::Running(life, id));
        let suite = (!names.suite.is_empty()).then(|| scope(3, &names.suite));
        [scope(0, &names.project)].into_iter().chain(suite).collect::<Vec<_>>()
    });
    let seen = stages.tests.clone().map(|((life, _), _)| life).count();
    let none = open.clone().map(|life| (life, 0)).antijoin(seen.clone().map(|(life, _)| life));
    let told: Of<'s, (Life, (Text, u64, u64))> =
        stages.events.clone().semijoin(open).reduce(|_, told: &[(Told, isize)]| {
            let told: Vec<&Told> = told.iter().map(|(told, _)| told).collect();
            let (seen, open) = shards(&told);
            let to_come = announced(&told, Event::planned_shards).map_or(0, |shards| shards.saturating_sub(seen));
            let project = Arc::clone(&told[0].event.names.project);
            vec![(project, open + to_come, planned(&told).unwrap_or(0))]
        });
    let awaited = told.join(seen.concat(none)).map(|(life, ((project, streams, planned), seen))| {
        let to_come = planned.saturating_sub(seen.unsigned_abs());
        (((Arc::clone(&project), 0, project), 0), Part::Awaited(life, streams, to_come))
    });
    running.concat(awaited)
}

/// Of the lines of all runs, as their summaries have them: these move at whole seconds.
fn covered<'s>(stages: &Stages<'s>, config: &Config) -> Of<'s, (Key, Part)> {
    let column = |name: &str| COVERAGE_SUMMARY.column(name).expect("a column");
    let [project, flag, branch] = ["project", "flag", "branch"].map(column);
    let [covered, lines] = ["lines_covered", "lines_total"].map(column);
    let of_runs = summary(stages, config).flat_map(move |row| {
        let text = |column| row.text(column).map(Text::from);
        let numbers = (row.number(covered).unwrap_or(0), row.number(lines).unwrap_or(0));
        let project = text(project).filter(|_| row.text(flag) == Some("*") && numbers.1 > 0);
        let of = |kind, name: &Text| project.clone().map(|project| ((project, kind, Arc::clone(name)), numbers));
        let of_branch = text(branch).and_then(|branch| of(2, &branch));
        project.iter().filter_map(|project| of(0, project)).chain(of_branch).collect::<Vec<_>>()
    });
    let of_runs = of_runs.change(|lines, at, diff| [(lines, at.next_multiple_of(1_000), diff)]);
    let percent: Of<'s, (Scope, i64)> = of_runs.reduce(|_, runs: &[((i64, i64), isize)]| {
        let sum = |of: fn(&(i64, i64)) -> i64| runs.iter().map(|(run, count)| of(run) * *count as i64).sum();
        ratio(sum(|run| run.0), 100, sum(|run| run.1)).into_iter().collect()
    });
    let later = |at: u64| at.next_multiple_of(10_000) + 600_000;
    let was = percent
        .clone()
        .change(move |(scope, percent), at, diff| [(((scope, 0), Part::WasCovered(percent)), later(at), diff)]);
    // Of each stretch of time without a gap the begin counts later, the end at once: one is left over where a stretch is long enough.
    let long = percent.clone().map(|(scope, _)| scope).distinct().change(move |scope, at, diff| {
        [(((scope, 0), Part::LongCovered), if diff > 0 { later(at) } else { at }, diff)]
    });
    percent.map(|(scope, percent)| ((scope, 0), Part::Covered(percent))).concat(was).concat(long)
}

pub(crate) fn rows<'s>(stages: &Stages<'s>, config: &Config) -> Rows<'s> {
    let measured = stages.measured.clone().filter(|told| told.event.performance().is_some_and(|p| p.memory.is_some()));
    let lasting = stages.facts.clone().map(Part::Fact).concat(stages.slow.clone().map(Part::Slow));
    let lasting = windows(lasting.concat(measured.map(Part::Measured)));
    let parts = lasting.concat(gauges(stages)).concat(covered(stages, config));
    let reduced = parts.reduce(|((project, kind, name), window), parts| {
        let scope = (Arc::clone(project), KINDS[*kind], Arc::clone(name));
        expected_row(&scope, *window, &sums(parts)).into_iter().collect()
    });
    reduced.map(|(_, row)| row)
}

fn sums(parts: &[(Part, isize)]) -> Expected {
    let (mut sums, mut was, mut long) = (Expected::default(), None, false);
    for (part, count) in parts {
        let count = *count as i128;
        match part {
            Part::Fact(fact) => {
                let pattern = fact.failure.as_ref().map(|failure| failure.fingerprint);
                sums.add(fact.outcome, fact.duration_us, pattern, count);
            }
            Part::Slow(_) => sums.slow += count,
            Part::Measured(told) => {
                let bytes = told.event.performance().and_then(|performance| performance.memory);
                sums.memory.extend(bytes.map(|bytes| (bytes.max(0), count)));
            }
            Part::Running(..) => sums.running += 1,
            Part::Awaited(_, streams, tests) => {
                sums.streams += streams.cast_signed();
                sums.tests += tests.cast_signed();
            }
            Part::Covered(percent) => sums.coverage = Some(*percent),
            Part::WasCovered(percent) => was = Some(*percent),
            Part::LongCovered => long = count > 0,
        }
    }
    sums.trend = sums.coverage.zip(was).filter(|_| long).map(|(is, was)| is - was);
    sums
}
