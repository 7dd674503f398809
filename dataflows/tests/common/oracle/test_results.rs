//! The view `test_results`.

use super::Runs;
use super::attempts::Attempt;
use super::runs::names;
use weir_schemas::event::Severity;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::TEST_RESULTS;

/// The rows.
pub fn rows(runs: &Runs<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for run in runs.values() {
        let (project, name) = names(run);
        for test in run.tests.values() {
            let last = test.ended().last();
            let outcome = test.outcome();
            let failure = last.and_then(Attempt::failure);
            let worst = last.and_then(Attempt::worst).map(|(_, worst)| worst);
            let origin = worst.map_or(&test.first.origin, |worst| &worst.origin);
            let finished_at = last.and_then(Attempt::ended_at);
            let severity = if outcome.is_some_and(Outcome::fails) { Severity::Error } else { Severity::Info };
            let mut writer = RowWriter::default();
            writer.str(&project).str(&name).str(&test.first.names.test).str(&test.first.names.test_name);
            let suite = &*test.first.names.suite;
            writer.opt_str((!suite.is_empty()).then_some(suite)).str(outcome.map_or("running", Outcome::as_str));
            writer.opt_str(failure.as_ref().map(|failure| &*failure.message));
            writer
                .int(test.attempts.len() as i64)
                .bool(test.flaky())
                .opt_uint(test.duration_us())
                .opt_uint(finished_at);
            writer.opt_str(failure.map(|failure| failure.fingerprint.to_string()).as_deref());
            writer
                .opt_str(origin.framework.as_deref())
                .opt_str(origin.user.as_deref())
                .opt_str(origin.branch.as_deref());
            writer.str(severity.as_str()).list([].into_iter());
            writer.opt_str(origin.worker.as_deref()).opt_str(origin.shard.as_deref());
            rows.push(writer.finish(&TEST_RESULTS));
        }
    }
    rows
}
