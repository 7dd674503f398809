//! `run_progress`: one `reduce` a run over its tests, events and course.

use super::shared::{announced, planned, shards, write_counts};
use super::stages::{Rows, Stages};
use super::tests::Test;
use super::told::{Course, Told};
use serde::{Deserialize, Serialize};
use weir_dataflows::Config;
use weir_dataflows::input::{Event, Text};
use weir_schemas::event::EventType;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::RUN_PROGRESS;

/// The end of the year 9999.
const ETA_MAX: u128 = 253_402_300_799_999;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Part {
    Told(Told),
    Test(Id, Test),
    Course(String),
    /// The run itself failed.
    Broken,
}

pub(crate) fn rows<'s>(stages: &Stages<'s>, _: &Config) -> Rows<'s> {
    let told = stages.events.clone().map(|(life, told)| (life, Part::Told(told)));
    let tests = stages.tests.clone().map(|((life, id), test)| (life, Part::Test(id, test)));
    let courses = stages.courses.clone().map(|(life, Course { phase, .. })| (life, Part::Course(phase)));
    let kinds = [EventType::SetupFailed, EventType::TestError, EventType::TimeoutOccurred];
    let breaks = move |event: &Event| kinds.contains(&event.kind) && event.test().is_none();
    let broken = stages.marked.clone().filter(move |(_, marked)| marked.counts() && breaks(&marked.told.event));
    let broken = broken.map(|(life, _)| (life, Part::Broken));
    let parts = told.concat(tests).concat(courses).concat(broken);
    let reduced = parts.reduce(|_, parts| {
        let (mut told, mut tests, mut phase, mut broken) = (Vec::new(), Vec::new(), "", false);
        for (part, _) in parts {
            match part {
                Part::Told(event) => told.push(event),
                Part::Test(_, test) => tests.push(test),
                Part::Course(of_run) => phase = of_run,
                Part::Broken => broken = true,
            }
        }
        vec![row(&told, &tests, phase, broken)]
    });
    reduced.map(|(_, row)| row)
}

fn row(told: &[&Told], tests: &[&Test], phase: &str, broken: bool) -> Row {
    let state = match phase {
        "finished" if broken || tests.iter().any(|test| test.fails()) => "failed",
        "finished" => "passed",
        phase => phase,
    };
    let first = |of: fn(&Event) -> &Option<Text>| told.iter().find_map(|told| of(&told.event).as_deref());
    let times = || told.iter().map(|told| told.at());
    let (names, (seen, open)) = (&told[0].event.names, shards(told));
    let mut row = RowWriter::default();
    row.str(&names.project).str(&names.run).str(state);
    row.opt_str(first(|event| &event.origin.branch)).opt_str(first(|event| &event.origin.commit));
    row.opt_str(first(|event| &event.origin.user)).opt_str(first(|event| &event.origin.framework));
    row.opt_uint(planned(told));
    write_counts(&mut row, tests.iter().copied());
    row.opt_uint(times().min()).opt_uint(times().max()).uint(seen).uint(open);
    row.opt_uint(announced(told, Event::planned_shards)).opt_uint(eta(told, tests, phase));
    let suites = told.iter().filter(|told| told.event.kind == EventType::TestSuiteStarted);
    let largest = suites.filter_map(|told| told.event.max_attempts()).max().map(u64::from);
    let lost = |max: u64| {
        let used = |test: &Test| test.attempts.len() as u64 - u64::from(test.running());
        broken || tests.iter().any(|test| test.fails() && used(test) >= max)
    };
    row.opt_bool(announced(told, Event::max_attempts).or(largest).map(|max| !lost(max)));
    row.finish(&RUN_PROGRESS)
}

fn eta(told: &[&Told], tests: &[&Test], phase: &str) -> Option<u64> {
    let finished = tests.iter().filter(|test| test.last().is_some()).count() as u128;
    let to_come = u128::from(planned(told)?).checked_sub(finished).filter(|to_come| *to_come > 0 && finished > 0)?;
    let times = || told.iter().map(|told| u128::from(told.at()));
    let (first, last) = (times().min()?, times().max()?);
    let eta = (last + (last - first) * to_come / finished).min(ETA_MAX);
    (phase == "running").then(|| u64::try_from(eta).expect("before the year 10000"))
}
