//! `rules`: the last that was said under each name, unless it was that it is taken back.

use super::stages::{Rows, Stages};
use weir_dataflows::Config;
use weir_dataflows::input::Position;
use weir_schemas::control::{ControlChange, ControlRecord};
use weir_schemas::row::RowWriter;
use weir_schemas::view::RULES;

pub(crate) fn rows<'s>(stages: &Stages<'s>, _: &Config) -> Rows<'s> {
    let by_name = stages.control.clone().map(|(tick, place, text)| {
        let record: ControlRecord = serde_json::from_str(&text).expect("it was written");
        ((record.change.kind(), record.project, record.id), (tick, place, text))
    });
    let last = by_name.reduce(|(kind, project, id), said: &[((u64, Position, String), isize)]| {
        let (tick, _, text) = &said.last().expect("never empty").0;
        let record: ControlRecord = serde_json::from_str(text).expect("it was written");
        let rule = match &record.change {
            ControlChange::Incident(incident) => serde_json::to_string(incident),
            ControlChange::Alert(rule) => serde_json::to_string(rule),
            ControlChange::Flaky(rule) => serde_json::to_string(rule),
            ControlChange::Mask(rule) => serde_json::to_string(rule),
            ControlChange::Removed(_) => return Vec::new(),
        };
        let mut row = RowWriter::default();
        row.str(project).str(kind.as_str()).str(id).str(&rule.expect("can be written")).uint(record.said_at);
        row.opt_str(super::shared::some(&record.said_by)).uint(*tick);
        vec![row.finish(&RULES)]
    });
    last.map(|(_, row)| row)
}
