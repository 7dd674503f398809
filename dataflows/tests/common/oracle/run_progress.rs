//! The view `run_progress`.

use super::Runs;
use super::attempts::{Test, fails, write_counts};
use super::runs::{Run, announced, names, planned, streams};
use std::collections::BTreeSet;
use std::sync::Arc;
use weir_dataflows::input::{Event, Withdraws};
use weir_schemas::event::EventType;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::RUN_PROGRESS;

/// The first of a tick and position that has it.
fn first_origin(run: &Run, of: impl Fn(&Event) -> Option<Arc<str>>) -> Option<Arc<str>> {
    run.events.iter().find_map(|(_, event)| of(event))
}

/// The rows.
pub fn rows(runs: &Runs<'_>) -> Vec<Row> {
    let row = |run: &Run| {
        let (project, name) = names(run);
        let tests: Vec<&Test> = run.tests.values().collect();
        let ids = |kinds: &[EventType]| -> BTreeSet<Id> {
            run.events
                .iter()
                .filter(|(_, e)| kinds.contains(&e.kind) && e.test().is_none())
                .map(|(_, e)| e.id)
                .collect()
        };
        let broken = ids(&[EventType::SetupFailed, EventType::TestError, EventType::TimeoutOccurred]);
        let taken_back =
            |id: &Id| run.events.iter().any(|(_, event)| event.withdrawal() == Some(Withdraws::Event(*id)));
        let failed = fails(&tests) || broken.iter().any(|id| !taken_back(id));
        let state = match run.phase {
            "finished" if failed => "failed",
            "finished" => "passed",
            phase => phase,
        };
        let (seen, open) = streams(run);
        let times = || run.events.iter().map(|(at, event)| event.at.min(*at));
        let mut writer = RowWriter::default();
        writer.str(&project).str(&name).str(state);
        for field in [
            first_origin(run, |event| event.origin.branch.clone()),
            first_origin(run, |event| event.origin.commit.clone()),
            first_origin(run, |event| event.origin.user.clone()),
            first_origin(run, |event| event.origin.framework.clone()),
        ] {
            writer.opt_str(field.as_deref());
        }
        writer.opt_uint(planned(run).0);
        write_counts(&mut writer, &tests);
        writer.opt_uint(times().min()).opt_uint(times().max()).uint(seen).uint(open);
        writer.opt_uint(announced(run, |event| event.planned_shards()));
        writer.finish(&RUN_PROGRESS)
    };
    runs.values().map(|run| row(run)).collect()
}
