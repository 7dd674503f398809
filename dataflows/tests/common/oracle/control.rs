//! What people have said that holds at a time: rules and incidents, and the view `rules`.

use super::super::Tick;
use regex::Regex;
use std::collections::BTreeMap;
use weir_schemas::control::{ControlChange, ControlKind, ControlRecord, Incident};
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::RULES;

/// By kind, project and id: what holds at `time`, and since when.
pub fn holding(ticks: &[Tick], time: u64) -> BTreeMap<(ControlKind, &str, &str), (&ControlRecord, u64)> {
    let mut held: BTreeMap<_, (&ControlRecord, u64)> = BTreeMap::new();
    for tick in ticks.iter().filter(|tick| tick.at <= time) {
        let before = held.clone();
        for said in &tick.control {
            let record = &*said.record;
            let name = (record.change.kind(), &*record.project, &*record.id);
            match record.change {
                ControlChange::Removed(_) => held.remove(&name),
                _ => held.insert(name, (record, tick.at)),
            };
        }
        assert!(before.len() < 1_000, "histories are too short to meet the limit");
    }
    held
}

/// The incidents of a project that hold at `time`.
pub fn incidents(ticks: &[Tick], project: &str, time: u64) -> Vec<Incident> {
    let of = |(record, _): (&ControlRecord, u64)| match &record.change {
        ControlChange::Incident(incident) if record.project == project => Some(incident.clone()),
        _ => None,
    };
    holding(ticks, time).into_values().filter_map(of).collect()
}

/// The masks for a project that hold at `time`, in their order; everyone's before its own of the same order and id.
pub fn masks(ticks: &[Tick], project: &str, time: u64) -> Vec<Regex> {
    let of = |(record, _): (&ControlRecord, u64)| match &record.change {
        ControlChange::Mask(mask) if record.project.is_empty() || record.project == project => {
            Some((mask.order, record.id.clone(), record.project.clone(), Regex::new(&mask.pattern).expect("checked")))
        }
        _ => None,
    };
    let mut masks: Vec<_> = holding(ticks, time).into_values().filter_map(of).collect();
    masks.sort_by(|(a, b, c, _), (d, e, f, _)| (a, b, c).cmp(&(d, e, f)));
    masks.into_iter().map(|(.., regex)| regex).collect()
}

/// The rows of the view `rules`.
pub fn rows(ticks: &[Tick], time: u64) -> Vec<Row> {
    let row = |(record, since): (&ControlRecord, u64)| {
        // As it is written on the wire: {"kind":{…}}.
        let text = serde_json::to_string(&record.change).expect("can be written");
        let (kind, text) = text.trim_matches(['{', '}']).split_once(':').expect("one change");
        let mut writer = RowWriter::default();
        writer.str(&record.project).str(kind.trim_matches('"')).str(&record.id).str(&format!("{text}}}"));
        writer.uint(record.said_at).opt_str((!record.said_by.is_empty()).then_some(&*record.said_by)).uint(since);
        writer.finish(&RULES)
    };
    holding(ticks, time).into_values().map(row).collect()
}
