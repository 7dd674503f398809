//! `suite_progress`: one `reduce` a suite over its tests and events, joined with the run's course.

use super::shared::{suites, write_counts};
use super::stages::{Rows, Stages};
use super::tests::Test;
use super::told::{Course, Told};
use serde::{Deserialize, Serialize};
use weir_dataflows::Config;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::SUITE_PROGRESS;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Part {
    Told(Told),
    Test(Id, Test),
    Course(Course),
}

pub(crate) fn rows<'s>(stages: &Stages<'s>, _: &Config) -> Rows<'s> {
    let told = stages.events.clone().map(|(life, told)| ((life, told.event.suite()), Part::Told(told)));
    let tests = stages.tests.clone().map(|((life, id), test)| ((life, test.names.suite_id), Part::Test(id, test)));
    let named = told.clone().map(|((life, suite), _)| (life, suite)).distinct();
    let courses =
        named.join(stages.courses.clone()).map(|(life, (suite, course))| ((life, suite), Part::Course(course)));
    let reduced = told.concat(tests).concat(courses).reduce(|_, parts| {
        let (mut told, mut tests, mut course) = (Vec::new(), Vec::new(), None);
        for (part, _) in parts {
            match part {
                Part::Told(event) => told.push(event),
                Part::Test(id, test) => tests.push((*id, test)),
                Part::Course(of_run) => course = Some(of_run),
            }
        }
        course.and_then(|course| row(&told, &tests, course)).into_iter().collect()
    });
    reduced.map(|(_, row)| row)
}

fn row(told: &[&Told], tests: &[(Id, &Test)], course: &Course) -> Option<Row> {
    let (names, streams) = (&told.first()?.event.names, suites(told.iter().filter(|told| !told.without.suite)));
    if tests.is_empty() && streams.is_empty() {
        return None;
    }
    let planned: Vec<u64> = streams.values().filter_map(|suite| suite.planned).collect();
    let complete = !streams.is_empty() && streams.values().all(super::shared::Suite::complete);
    let verdict = if tests.iter().any(|(_, test)| test.fails()) { "failed" } else { "passed" };
    let state = if complete || course.phase == "finished" { verdict } else { &course.phase };
    let ended = || tests.iter().filter_map(|(id, test)| Some((id, test.last()?)));
    let latest = ended().max_by_key(|(id, last)| (last.at, **id)).map(|(_, last)| last.outcome);
    let mut row = RowWriter::default();
    row.str(&names.project).str(&names.run).str(&names.suite).str(&names.suite_name);
    row.opt_uint((!planned.is_empty()).then(|| planned.iter().sum()));
    write_counts(&mut row, tests.iter().map(|(_, test)| *test));
    row.uint(ended().filter_map(|(_, last)| last.duration_us).sum());
    row.str(state).opt_str(latest.map(Outcome::as_str));
    Some(row.finish(&SUITE_PROGRESS))
}
