//! `coverage` and `coverage_summary`: what sessions said and nothing replaced, one `reduce` a file, one a flag.

use super::of::Of;
use super::shared::announced;
use super::stages::{Rows, Stages};
use super::tests::Marked;
use super::told::{Course, Life, Told};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::input::{CoveredFile, Event, Text};
use weir_schemas::id::Id;
use weir_schemas::lines::Lines;
use weir_schemas::row::{RowWriter, ratio};
use weir_schemas::view::{COVERAGE, COVERAGE_SUMMARY};

/// Stream and attempt.
type Session = (Id, u32);

/// Shards expected, and the branch.
type Announced = (Option<u64>, Option<Text>);

/// What counts of a flag, by session.
fn kept<'s>(stages: &Stages<'s>) -> Of<'s, ((Life, Text), (Session, Told))> {
    // What takes back says nothing of lines.
    let said = stages.marked.clone().filter(|(_, marked)| marked.told.event.withdrawal().is_none());
    let told = said.flat_map(|(life, marked)| {
        let flag = Arc::clone(&marked.told.event.coverage()?.flag);
        let session = (marked.told.event.stream(), marked.told.event.attempt.unwrap_or(1));
        Some(((life, flag, session), marked))
    });
    let kept = told.reduce(|_, said: &[(Marked, isize)]| {
        // One that was taken back by its own tick replaces nothing; one that is taken back later has done so.
        let replaces = |marked: &Marked| {
            let sound = marked.void.is_none_or(|back| back > marked.told.tick);
            sound && marked.told.event.coverage().is_some_and(|coverage| coverage.replace)
        };
        let first = said.iter().rposition(|(marked, _)| replaces(marked)).unwrap_or(0);
        let counts = said[first..].iter().filter(|(marked, _)| marked.counts());
        counts.map(|(marked, _)| marked.told.clone()).collect()
    });
    kept.map(|((life, flag, session), told)| ((life, flag), (session, told)))
}

pub(crate) fn rows<'s>(stages: &Stages<'s>, _: &Config) -> Rows<'s> {
    let of_files = kept(stages).flat_map(|((life, flag), (session, told))| {
        let coverage = Arc::clone(told.event.coverage().expect("of coverage"));
        (0..coverage.files.len())
            .filter(|n| !told.without.files.contains(n))
            .map(|n| {
                let path = Arc::clone(&coverage.files[n].path);
                ((life, Arc::clone(&flag), path), (session, told.clone(), n))
            })
            .collect::<Vec<_>>()
    });
    let reduced = of_files.reduce(|(_, flag, path), said| {
        let (mut covered, mut total) = (Lines::default(), Lines::default());
        for ((_, told, n), _) in said {
            let file = &told.event.coverage().expect("of coverage").files[*n];
            (covered, total) = add((covered, total), file);
        }
        let sessions: BTreeSet<Session> = said.iter().map(|((session, ..), _)| *session).collect();
        let (names, [covered, total]) = (&said[0].0.1.event.names, [&covered, &total].map(count));
        let mut row = RowWriter::default();
        row.str(&names.project).str(&names.run).str(flag).str(path).int(covered).int(total);
        row.opt_int(ratio(covered, 100, total)).uint(sessions.len() as u64);
        vec![row.finish(&COVERAGE)]
    });
    reduced.map(|(_, row)| row)
}

fn count(lines: &Lines) -> i64 {
    lines.ranges().map(|(from, to)| i64::from(to) - i64::from(from) + 1).sum()
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Part {
    Said(Text, Session, Told),
    /// Shards expected, the branch and the phase.
    Run(Option<u64>, Option<Text>, String),
}

/// `coverage_summary` without its comparison: with whom a run is compared is decided once, when its summary comes.
pub(crate) fn summary<'s>(stages: &Stages<'s>, _: &Config) -> Rows<'s> {
    let said = kept(stages).flat_map(|((life, flag), (session, told))| {
        let of = |shown: Text| ((life, shown), Part::Said(Arc::clone(&flag), session, told.clone()));
        [of(Arc::clone(&flag)), of("*".into())]
    });
    let runs: Of<'s, (Life, Announced)> = stages.events.clone().reduce(|_, told: &[(Told, isize)]| {
        let told: Vec<&Told> = told.iter().map(|(told, _)| told).collect();
        let branch = told.iter().find_map(|told| told.event.origin.branch.clone());
        vec![(announced(&told, Event::planned_shards), branch)]
    });
    let runs = runs.join(stages.courses.clone());
    let shown = said.clone().map(|(key, _)| key).distinct().join(runs);
    let runs = shown.map(|(life, (flag, ((shards, branch), Course { phase, .. })))| {
        ((life, flag), Part::Run(shards, branch, phase))
    });
    let reduced = said.concat(runs).reduce(|(_, flag), parts| {
        let (mut said, mut of_run) = (Vec::new(), (None, None, ""));
        for (part, _) in parts {
            match part {
                Part::Said(flag, session, told) => said.push((flag, *session, told)),
                Part::Run(shards, branch, phase) => of_run = (*shards, branch.as_deref(), phase.as_str()),
            }
        }
        let Some((_, _, first)) = said.first() else { return Vec::new() };
        let (names, numbers, bare) = (&first.event.names, lines(&said), percentages(&said));
        let sessions: BTreeSet<Session> = said.iter().map(|(_, session, _)| *session).collect();
        let (sum, count) = (bare.iter().sum::<i64>(), bare.len() as i64);
        let mean = (count > 0).then(|| (2 * sum + count).div_euclid(2 * count.max(1)));
        let mut row = RowWriter::default();
        row.str(&names.project).str(&names.run).str(flag).int(numbers[0]).int(numbers[1]);
        row.opt_int(if numbers[2] > 0 { ratio(numbers[0], 100, numbers[1]) } else { mean }).int(numbers[2]);
        row.uint(sessions.len() as u64).opt_uint(of_run.0).bool(!bare.is_empty()).null().null();
        let (expected, branch, phase) = of_run;
        let complete = phase == "finished" && sessions.len() as u64 >= expected.unwrap_or(0);
        row.opt_str(branch).str(phase).bool(complete);
        vec![row.finish(&COVERAGE_SUMMARY)]
    });
    reduced.map(|(_, row)| row)
}

/// Lines covered, lines that count, and files.
fn lines(said: &[(&Text, Session, &Told)]) -> [i64; 3] {
    let mut files = BTreeMap::<Id, (Lines, Lines)>::new();
    for (.., told) in said {
        let of_event = told.event.coverage().expect("of coverage").files.iter().enumerate();
        for (_, file) in of_event.filter(|(number, _)| !told.without.files.contains(number)) {
            let lines = files.entry(file.id).or_default();
            *lines = add(std::mem::take(lines), file);
        }
    }
    let sum = |of: fn(&(Lines, Lines)) -> &Lines| files.values().map(|both| count(of(both))).sum();
    [sum(|(covered, _)| covered), sum(|(_, total)| total), files.len() as i64]
}

fn add((covered, total): (Lines, Lines), file: &CoveredFile) -> (Lines, Lines) {
    (covered.union(&file.covered), total.union(&file.instrumented).union(&file.covered))
}

/// The last percentage without lines of each session and flag.
fn percentages(said: &[(&Text, Session, &Told)]) -> Vec<i64> {
    let mut last = BTreeMap::<(&Text, Session), (&Told, i64)>::new();
    for (flag, session, told) in said {
        let Some(percentage) = told.event.coverage().expect("of coverage").percentage else { continue };
        let held = last.entry((flag, *session)).or_insert((told, percentage));
        if held.0 < *told {
            *held = (told, percentage);
        }
    }
    last.into_values().map(|(_, percentage)| percentage).collect()
}
