//! `test_results`: one row a test, whatever became of it.

use super::shared::some;
use super::stages::{Rows, Stages};
use super::tests::Test;
use weir_dataflows::Config;
use weir_schemas::event::Severity;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::TEST_RESULTS;

pub(crate) fn rows<'s>(stages: &Stages<'s>, _: &Config) -> Rows<'s> {
    stages.tests.clone().map(|(_, test)| row(&test))
}

fn row(test: &Test) -> Row {
    let (names, last) = (&test.names, test.last());
    let (failure, outcome) = (last.and_then(|last| last.failure.as_ref()), last.map(|last| last.outcome));
    let origin = last.map_or(&test.origin, |last| &last.origin);
    let severity = if test.fails() { Severity::Error } else { Severity::Info };
    let mut row = RowWriter::default();
    row.str(&names.project).str(&names.run).str(&names.test).str(&names.test_name).opt_str(some(&names.suite));
    row.str(outcome.map_or("running", Outcome::as_str)).opt_str(failure.map(|failure| &*failure.message));
    row.uint(test.attempts.len() as u64).bool(test.flaky()).opt_uint(last.and_then(|last| last.duration_us));
    row.opt_uint(last.map(|last| last.at)).opt_str(failure.map(|f| f.fingerprint.to_string()).as_deref());
    row.opt_str(origin.framework.as_deref()).opt_str(origin.user.as_deref()).opt_str(origin.branch.as_deref());
    row.str(severity.as_str()).list(origin.tags.iter().map(|tag| &**tag));
    row.opt_str(origin.worker.as_deref()).opt_str(origin.shard.as_deref());
    row.finish(&TEST_RESULTS)
}
