//! The view `suite_progress`.

use super::Runs;
use super::attempts::{Test, fails, write_counts};
use super::runs::{Suite, names, suites_of};
use std::collections::BTreeSet;
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::SUITE_PROGRESS;

/// The rows.
pub fn rows(runs: &Runs<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for run in runs.values() {
        let (all, (project, name)) = (&run.tests, names(run));
        let streams = suites_of(&run.of_suites, None);
        let mut ids: BTreeSet<Id> = streams.keys().map(|(_, suite)| *suite).collect();
        ids.extend(all.values().map(|test| test.first.suite()));
        for id in ids {
            let tests: Vec<&Test> = all.values().filter(|test| test.first.suite() == id).collect();
            let here: Vec<&Suite> =
                streams.iter().filter(|((_, suite), _)| *suite == id).map(|(_, suite)| suite).collect();
            let told = run
                .events
                .iter()
                .find(|(_, event)| event.suite() == id)
                .map(|(_, event)| Arc::clone(event))
                .expect("named");
            let planned: Vec<u64> = here.iter().filter_map(|suite| suite.planned).map(u64::from).collect();
            let complete = !here.is_empty() && here.iter().all(|suite| suite.ended || !suite.begun);
            let verdict = if fails(&tests) { "failed" } else { "passed" };
            let state = match run.phase {
                _ if complete => verdict,
                "finished" => verdict,
                phase => phase,
            };
            let latest = tests.iter().filter_map(|test| {
                let last = test.ended().last()?;
                Some((last.ended_at(), test.first.test(), last.outcome()))
            });
            let mut writer = RowWriter::default();
            writer.str(&project).str(&name).str(&told.names.suite).str(&told.names.suite_name);
            writer.opt_uint((!planned.is_empty()).then(|| planned.iter().sum()));
            write_counts(&mut writer, &tests);
            writer.uint(tests.iter().filter_map(|test| test.duration_us()).sum());
            writer.str(state).opt_str(latest.max().and_then(|(_, _, outcome)| outcome).map(Outcome::as_str));
            rows.push(writer.finish(&SUITE_PROGRESS));
        }
    }
    rows
}
