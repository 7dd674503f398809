//! The view `missing`.

use super::Runs;
use super::runs::{names, planned, suites};
use std::collections::BTreeSet;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::MISSING;

/// The rows.
pub fn rows(runs: &Runs<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for run in runs.values() {
        let Some(since) = run.ended_at else { continue };
        let (all, (project, name)) = (&run.tests, names(run));
        let mut row = |kind: &str, id: &str, count: u64, worker: Option<&str>| {
            let mut writer = RowWriter::default();
            writer.str(&project).str(&name).str(kind).str(id).uint(count).uint(since).opt_str(worker);
            rows.push(writer.finish(&MISSING));
        };
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
        let streams = suites(run, None);
        let ids: BTreeSet<Id> = streams.keys().map(|(_, suite)| *suite).collect();
        for id in ids {
            let planned: u64 = streams
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
