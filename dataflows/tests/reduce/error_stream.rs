//! `error_stream`: of each error what was told of it last, unless an incident covers it, and the newest of each project by one
//! `reduce`.

use super::shared::some;
use super::stages::{Rows, Stages};
use super::told::Fact;
use std::cmp::Reverse;
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::input::Text;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::ERROR_STREAM;

/// Project, stream and event.
fn name(fact: &Fact) -> (Text, Text, Text) {
    let failure = fact.failure();
    (Arc::clone(&fact.names.project), Arc::clone(&failure.stream), Arc::clone(&failure.event))
}

pub(crate) fn rows<'s>(stages: &Stages<'s>, config: &Config) -> Rows<'s> {
    let shown = config.errors;
    // What was told once has been told, though it be taken back.
    let told = stages.failures.clone().change(|fact, tick, diff| {
        let name = name(&fact);
        (diff > 0).then_some(((name, (tick, fact)), tick, 1))
    });
    let last = told.reduce(|_, told: &[((u64, Fact), isize)]| {
        told.last().map(|((_, fact), _)| fact.clone()).into_iter().collect()
    });
    let there = stages.failures.clone().map(|fact| (fact, ()));
    let errors = there.semijoin(last.map(|(_, fact)| fact)).map(|(fact, ())| {
        let (project, stream, event) = name(&fact);
        ((project, (Reverse(fact.at), Reverse(stream), Reverse(event))), fact)
    });
    let by_project = errors.clone().map(|((project, place), fact)| (project, (place, fact)));
    let covered = by_project
        .join(stages.incidents.clone())
        .filter(|(_, ((_, fact), incident))| incident.covers(fact.origin.worker.as_deref(), fact.at))
        .map(|(project, ((place, _), _))| (project, place))
        .distinct();
    let open = errors.antijoin(covered).map(|((project, place), fact)| (project, (place, fact)));
    let newest = open.reduce(move |_, errors| errors.iter().take(shown).map(|((_, fact), _)| row(fact)).collect());
    newest.map(|(_, row)| row)
}

fn row(fact: &Fact) -> Row {
    let (names, origin) = (&fact.names, &fact.origin);
    let failure = fact.failure();
    let mut row = RowWriter::default();
    row.str(&names.project).str(&failure.stream).str(&failure.event).uint(fact.at).str("error");
    row.str(fact.outcome.as_str()).opt_str(some(&failure.kind)).str(&failure.message);
    row.str(&failure.fingerprint.to_string()).opt_str(some(&names.test)).opt_str(some(&names.test_name));
    row.opt_str(some(&names.suite)).str(&names.run).opt_uint((fact.attempt > 0).then(|| fact.attempt.into()));
    row.opt_str(origin.framework.as_deref()).opt_str(origin.branch.as_deref()).opt_str(origin.user.as_deref());
    row.opt_str(origin.worker.as_deref()).list(origin.tags.iter().map(|tag| &**tag));
    row.finish(&ERROR_STREAM)
}
