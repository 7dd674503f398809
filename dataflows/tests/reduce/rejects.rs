//! `rejects`: the last that were not taken by one `reduce`, and counts in the difference.

use super::common::oracle::live_metrics::{WINDOWS, left};
use super::stages::{Rows, Stages};
use std::cmp::Reverse;
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::input::RejectKind;
use weir_schemas::row::RowWriter;
use weir_schemas::view::REJECTS;

pub(crate) fn rows<'s>(stages: &Stages<'s>, config: &Config) -> Rows<'s> {
    let (shown, topics) = (config.rejects, config.topics.clone());
    let refused = stages.refused.clone();
    let alone = refused.clone().filter(|(_, refusal)| !refusal.kind.counted());
    let alone = alone.map(|(tick, refusal)| ((), (Reverse((tick, refusal.position, refusal.kind)), refusal)));
    let last = alone.reduce(move |(), refused| {
        let last = refused.iter().take(shown).map(|((Reverse((tick, place, _)), refusal), _)| {
            let mut row = RowWriter::default();
            row.str(&refusal.project).str(refusal.kind.as_str()).str(&topics[usize::from(place.topic)]);
            row.uint(place.partition.into()).uint(place.offset).uint(place.index.into());
            row.int(1).str(&refusal.message).str(&refusal.stream).uint(*tick);
            row.finish(&REJECTS)
        });
        last.collect()
    });
    let counted = refused.filter(|(_, refusal)| refusal.kind.counted());
    let counted = counted.map(|(_, refusal)| (refusal.project, refusal.kind.as_str().to_owned()));
    // Attempts that came after every window.
    let late = stages.facts.clone().filter(|fact| WINDOWS.into_iter().all(|window| left(fact.at, window) <= fact.came));
    let late = late.map(|fact| (Arc::clone(&fact.names.project), RejectKind::Late.as_str().to_owned()));
    let counts = counted.concat(late).count().map(|((project, kind), count)| {
        let mut row = RowWriter::default();
        row.str(&project).str(&kind).str("").int(0).int(0).int(0).int(count).null().null().null();
        row.finish(&REJECTS)
    });
    last.map(|(_, row)| row).concat(counts)
}
