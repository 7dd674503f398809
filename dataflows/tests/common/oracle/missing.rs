//! The view `missing`.

use super::Runs;
use super::admission::{Judged, missing};
use super::budget::KINDS;
use super::runs::{Run, announced, complete_at, heard_at, names, planned, streams, suites_of};
use std::collections::{BTreeMap, BTreeSet};
use weir_dataflows::Config;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::MISSING;

fn written(run: &Run, [kind, id]: [&str; 2], count: u64, since: u64, worker: Option<&str>) -> Row {
    let ((project, name), mut writer) = (names(run), RowWriter::default());
    writer.str(&project).str(&name).str(kind).str(id).uint(count).uint(since).opt_str(worker);
    writer.finish(&MISSING)
}

/// The rows of a run's streams.
fn of_streams(run: &Run, missing: impl Fn(Id) -> u64, rows: &mut Vec<Row>) {
    let streams: BTreeMap<Id, &str> =
        run.events.iter().map(|(_, event)| (event.stream(), &*event.origin.stream_name)).collect();
    for (id, name) in streams {
        let worker =
            run.events.iter().filter(|(_, event)| event.stream() == id).find_map(|(_, e)| e.origin.worker.as_deref());
        let count = missing(id);
        if let Some(since) = (count > 0).then(|| complete_at(run, id).or(run.ended_at)).flatten() {
            rows.push(written(run, ["version_gap", name], count, since, worker));
        }
        if run.silent.contains(&id) {
            rows.push(written(run, ["silent_shard", name], 1, heard_at(run, id), worker));
        }
    }
}

/// The rows of what was left out, which move at whole seconds.
fn of_budget(run: &Run, time: u64, rows: &mut Vec<Row>) {
    for (kind, word) in KINDS.into_iter().enumerate() {
        let seconds = run.left_out.iter().filter(|(_, of)| *of == kind).map(|(at, _)| at.next_multiple_of(1_000));
        let told: Vec<u64> = seconds.filter(|second| *second <= time).collect();
        if let Some(since) = told.first() {
            rows.push(written(run, ["overflow", word], told.len() as u64, *since, None));
        }
    }
}

/// The rows at `time`.
pub fn rows(config: &Config, runs: &Runs<'_>, judged: &[Judged], time: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (id, run) in runs {
        of_budget(run, time, &mut rows);
        of_streams(run, |stream| missing(config, judged, stream, *id, time), &mut rows);
        let Some(since) = run.ended_at else { continue };
        let all = &run.tests;
        let mut row = |kind: &str, id: &str, count: u64, worker: Option<&str>| {
            rows.push(written(run, [kind, id], count, since, worker));
        };
        if let Some(shards) = announced(run, |event| event.planned_shards()).filter(|shards| *shards > streams(run).0) {
            row("shard_not_started", "", shards - streams(run).0, None);
        }
        if run.phase == "abandoned" {
            row("abandoned", "", 1, None);
        }
        for test in all.values().filter(|test| test.outcome().is_none()) {
            row("not_finished", &test.first.names.test, 1, test.first.origin.worker.as_deref());
        }
        if let (Some(planned), true) = planned(run) {
            let never = planned.saturating_sub(all.len() as u64);
            if never > 0 {
                row("not_started", "", never, None);
            }
        }
        let suites = suites_of(&run.of_suites, None);
        let ids: BTreeSet<Id> = suites.keys().map(|(_, suite)| *suite).collect();
        for id in ids {
            let planned: u64 = suites
                .iter()
                .filter(|((_, suite), _)| *suite == id)
                .filter_map(|(_, s)| s.planned)
                .map(u64::from)
                .sum();
            let started = all.values().filter(|test| test.first.suite() == id).count() as u64;
            if planned > started {
                let told =
                    run.events.iter().find(|(_, event)| event.suite() == id).map(|(_, event)| event).expect("named");
                row("not_started", &told.names.suite, planned - started, None);
            }
        }
    }
    rows
}
