//! `test_results`: each test of each live run, with the outcome of its last attempt.
//!
//! The state is kept by [`crate::results`], which several views share; this is the row.

use crate::results::attempts::{Standing, Test};
use std::sync::Arc;
use weir_schemas::event::Severity;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::TEST_RESULTS;

/// The word for a test none of whose attempts has ended.
pub const RUNNING: &str = "running";

/// The row of a test.
pub fn row(writer: &mut RowWriter, test: &Test, standing: &Standing) -> Row {
    let names = &test.names;
    let last = test.last();
    let failure = last.and_then(|last| last.failure);
    let origin = last.map_or(&test.origin, |last| last.origin);
    let severity = origin.severity.unwrap_or(if standing.outcome.is_some_and(Outcome::fails) {
        Severity::Error
    } else {
        Severity::Info
    });
    writer.str(&names.project).str(&names.run).str(&names.test).str(&names.test_name);
    writer.opt_str((!names.suite.is_empty()).then_some(&*names.suite));
    writer.str(standing.outcome.map_or(RUNNING, Outcome::as_str));
    writer.opt_str(failure.map(|failure| &*failure.message));
    writer.int(i64::from(standing.attempts)).bool(standing.flaky);
    writer.opt_uint(last.and_then(|last| last.duration_us));
    writer.opt_uint(standing.outcome.map(|_| standing.finished_at));
    match failure {
        Some(failure) => writer.str(&failure.fingerprint.to_string()),
        None => writer.null(),
    };
    writer.opt_str(origin.framework.as_deref()).opt_str(origin.user.as_deref()).opt_str(origin.branch.as_deref());
    writer.str(severity.as_str()).list(origin.tags.iter().map(Arc::as_ref));
    writer.opt_str(origin.worker.as_deref()).opt_str(origin.shard.as_deref());
    writer.finish(&TEST_RESULTS)
}
