//! `missing`: what was announced or begun and is not there. Each row is made where its reason is known.
//!
//! Announced tests and shards never seen come from the sums of suites and runs, tests begun and never ended from the
//! results, what found no room from the row budget, abandoned runs and what is missing of a stream from the runs' lives. Keys never meet: a run's own row has no
//! suite's name, and a suite has one. Silent shards show while their run is running, gaps in a stream once it is complete;
//! all others once their run has ended, and leave when it is reopened. With their run's eviction all of them leave.

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

/// The row of announced shards that nobody saw.
pub fn shard_not_started(writer: &mut RowWriter, project: &str, run: &str, count: u64, since: u64) -> Row {
    row(writer, [project, run, "shard_not_started", ""], count, since, None)
}

/// The row of a stream, named last in `key`, of which `count` versions never came.
pub fn version_gap(writer: &mut RowWriter, key: [&str; 3], count: u64, since: u64, worker: Option<&str>) -> Row {
    let [project, run, stream] = key;
    row(writer, [project, run, "version_gap", stream], count, since, worker)
}

/// The row of a stream, named last in `key`, that is not complete and says nothing, and its machine.
pub fn silent_shard(writer: &mut RowWriter, key: [&str; 3], since: u64, worker: Option<&str>) -> Row {
    let [project, run, stream] = key;
    row(writer, [project, run, "silent_shard", stream], 1, since, worker)
}

/// The row of a run of which `count` events were left out because of what there was no room for.
pub fn overflow(writer: &mut RowWriter, names: &Names, what: &str, count: u64, since: u64) -> Row {
    row(writer, [&names.project, &names.run, "overflow", what], count, since, None)
}

fn row(writer: &mut RowWriter, key: [&str; 4], count: u64, since: u64, worker: Option<&str>) -> Row {
    for part in key {
        writer.str(part);
    }
    writer.uint(count).uint(since).opt_str(worker);
    writer.finish(&MISSING)
}
