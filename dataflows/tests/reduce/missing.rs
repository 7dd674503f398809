//! `missing`: one `reduce` a run over its tests, events and course, its streams' gaps and silences.

use super::common::oracle::budget::KINDS;
use super::shared::{announced, complete, shards, suites};
use super::stages::{Rows, Stages};
use super::tests::Test;
use super::told::{Course, Told};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use weir_dataflows::Config;
use weir_dataflows::input::Event;
use weir_schemas::event::EventType;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::MISSING;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Part {
    Told(Told),
    Test(Id, Test),
    Course(Course),
    Gap(Id, u64),
    Silent(Id),
    /// An event that was left out: its number, when that is told, and of what there were too many.
    LeftOut(usize, u64, usize),
}

/// All of a life.
#[derive(Default)]
struct Whole<'a> {
    told: Vec<&'a Told>,
    tests: Vec<&'a Test>,
    course: Option<&'a Course>,
    gaps: Vec<(Id, u64)>,
    silent: Vec<Id>,
    left_out: Vec<(u64, usize)>,
}

pub(crate) fn rows<'s>(stages: &Stages<'s>, _: &Config) -> Rows<'s> {
    let told = stages.events.clone().map(|(life, told)| (life, Part::Told(told)));
    let tests = stages.tests.clone().map(|((life, id), test)| (life, Part::Test(id, test)));
    let courses = stages.courses.clone().map(|(life, course)| (life, Part::Course(course)));
    let gaps = stages.gaps.clone().map(|(life, (stream, count))| (life, Part::Gap(stream, count)));
    let silent = stages.silent.clone().map(|(life, stream)| (life, Part::Silent(stream)));
    // Told at whole seconds.
    let left_out = stages.left_out.clone().change(|(life, (number, at, kind)), time, diff| {
        let part = Part::LeftOut(number, at.next_multiple_of(1_000), kind);
        [((life, part), time.next_multiple_of(1_000), diff)]
    });
    let parts = told.concat(tests).concat(courses).concat(gaps).concat(silent).concat(left_out);
    let reduced = parts.reduce(|_, parts| {
        let mut whole = Whole::default();
        for (part, _) in parts {
            match part {
                Part::Told(event) => whole.told.push(event),
                Part::Test(_, test) => whole.tests.push(test),
                Part::Course(course) => whole.course = Some(course),
                Part::Gap(stream, count) => whole.gaps.push((*stream, *count)),
                Part::Silent(stream) => whole.silent.push(*stream),
                Part::LeftOut(_, at, kind) => whole.left_out.push((*at, *kind)),
            }
        }
        let mut rows = whole.of_streams();
        rows.extend(whole.of_run().into_iter().flatten());
        rows.extend(KINDS.iter().enumerate().filter_map(|(kind, word)| whole.overflow(kind, word)));
        rows
    });
    reduced.map(|(_, row)| row)
}

impl Whole<'_> {
    fn row(&self, [kind, id]: [&str; 2], count: u64, since: u64, worker: Option<&str>) -> Row {
        let (names, mut row) = (&self.told[0].event.names, RowWriter::default());
        row.str(&names.project).str(&names.run).str(kind).str(id).uint(count).uint(since).opt_str(worker);
        row.finish(&MISSING)
    }

    fn of_streams(&self) -> Vec<Row> {
        let ended_at = self.course.and_then(|course| course.ended_at);
        let row = |kind: &str, stream: Id, count: u64, since: u64| {
            let of_stream = || self.told.iter().filter(move |told| told.event.stream() == stream);
            let name = &of_stream().next().expect("it has said something").event.origin.stream_name;
            self.row([kind, name], count, since, of_stream().find_map(|told| told.event.origin.worker.as_deref()))
        };
        let gap = |(stream, count): &(Id, u64)| {
            Some(row("version_gap", *stream, *count, self.complete_since(*stream).or(ended_at)?))
        };
        let silent = |stream: &Id| {
            let speaks =
                |told: &&&Told| told.event.stream() == *stream && told.event.kind != EventType::ResultWithdrawn;
            row("silent_shard", *stream, 1, self.told.iter().rfind(speaks).expect("it spoke").tick)
        };
        self.gaps.iter().filter_map(gap).chain(self.silent.iter().map(silent)).collect()
    }

    /// Since which tick a stream is complete, if it is.
    fn complete_since(&self, stream: Id) -> Option<u64> {
        let ends =
            (1..=self.told.len()).filter(|n| self.told.get(*n).is_none_or(|next| next.tick > self.told[n - 1].tick));
        let whole = ends.rev().take_while(|n| complete(&suites(&self.told[..*n]), stream));
        whole.last().map(|n| self.told[n - 1].tick)
    }

    fn overflow(&self, kind: usize, word: &str) -> Option<Row> {
        let of_kind = || self.left_out.iter().filter(|(_, of)| *of == kind).map(|(at, _)| *at);
        Some(self.row(["overflow", word], of_kind().count() as u64, of_kind().min()?, None))
    }

    fn of_run(&self) -> Option<Vec<Row>> {
        let course = self.course?;
        let (since, told) = (course.ended_at?, &self.told);
        let row = |what: [&str; 2], count: u64| (count > 0).then(|| self.row(what, count, since, None));
        let mut rows: Vec<Row> = Vec::new();
        let shards_to_come = announced(told, Event::planned_shards).map_or(0, |n| n.saturating_sub(shards(told).0));
        rows.extend(row(["shard_not_started", ""], shards_to_come));
        rows.extend(row(["abandoned", ""], u64::from(course.phase == "abandoned")));
        let unfinished = self.tests.iter().filter(|test| test.last().is_none());
        rows.extend(
            unfinished
                .map(|test| self.row(["not_finished", &test.names.test], 1, since, test.origin.worker.as_deref())),
        );
        let tests = announced(told, Event::planned_tests).map_or(0, |n| n.saturating_sub(self.tests.len() as u64));
        rows.extend(row(["not_started", ""], tests));
        let mut by_suite = BTreeMap::<Id, u64>::new();
        for ((_, suite), said) in suites(told.iter().filter(|told| !told.without.suite)) {
            *by_suite.entry(suite).or_default() += said.planned.unwrap_or(0);
        }
        for (suite, planned) in by_suite {
            let started = self.tests.iter().filter(|test| test.names.suite_id == suite).count() as u64;
            let named = told.iter().find(|told| told.event.suite() == suite)?;
            rows.extend(row(["not_started", &named.event.names.suite], planned.saturating_sub(started)));
        }
        Some(rows)
    }
}
