//! `missing`: what was announced or begun and is not there. Each row is made where its reason is known.
//!
//! Announced tests never seen come from the sums of suites and runs, tests begun and never ended from the results,
//! abandoned runs from their lives. The keys of the three kinds never meet: a run's own row has no suite's name, and a suite
//! has one. All of them show once their run has ended, and leave when it is reopened or evicted.

use crate::input::Names;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::MISSING;

/// The row of a test that began and did not end before its run did, and the worker that it began on.
pub fn not_finished(writer: &mut RowWriter, names: &Names, since: u64, worker: Option<&str>) -> Row {
    row(writer, [&names.project, &names.run, "not_finished", &names.test], 1, since, worker)
}

/// The row of announced tests of a suite (or, with an empty name, of the run) that never began.
pub fn not_started(writer: &mut RowWriter, project: &str, run: &str, suite: &str, count: u64, since: u64) -> Row {
    row(writer, [project, run, "not_started", suite], count, since, None)
}

/// The row of a run that fell silent.
pub fn abandoned(writer: &mut RowWriter, project: &str, run: &str, since: u64) -> Row {
    row(writer, [project, run, "abandoned", ""], 1, since, None)
}

fn row(writer: &mut RowWriter, key: [&str; 4], count: u64, since: u64, worker: Option<&str>) -> Row {
    for part in key {
        writer.str(part);
    }
    writer.uint(count).uint(since).opt_str(worker);
    writer.finish(&MISSING)
}
