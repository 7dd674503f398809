//! What people tell Weir while the simulated fleet runs: incidents, alert rules, masks and flaky rules, all of which they take back.

use super::catalogue::PROJECTS;
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_dataflows::control::ControlInput;
use weir_dataflows::input::Position;
use weir_schemas::control::{
    AlertRule, Comparison, Condition, ControlChange, ControlKind, ControlRecord, FlakyRule, Incident, MaskRule,
};
use weir_schemas::event::Severity;

/// What is said at the beginning of an hour.
pub(crate) fn said(hour: u64, at: u64) -> Vec<ControlInput> {
    let project = |hour: u64| format!("project-{}", hour % PROJECTS);
    let changes = match hour % 12 {
        1 | 7 => vec![(project(hour), ControlChange::Incident(incident(hour, at)))],
        3 | 9 => vec![(project(hour - 2), ControlChange::Removed(ControlKind::Incident))],
        5 => vec![
            (project(hour), ControlChange::Alert(alert())),
            (project(hour), ControlChange::Mask(MaskRule { pattern: "account[a-m]".to_owned(), order: 0 })),
            (project(hour), ControlChange::Flaky(FlakyRule { window: 10, days: 1, ..FlakyRule::default() })),
        ],
        11 => [ControlKind::Alert, ControlKind::Mask, ControlKind::Flaky]
            .map(|kind| (project(hour - 6), ControlChange::Removed(kind)))
            .to_vec(),
        _ => Vec::new(),
    };
    let input = |(index, (project, change)): (usize, (String, ControlChange))| ControlInput {
        position: Position { topic: 1, offset: hour * 8 + index as u64, ..Position::default() },
        record: Arc::new(ControlRecord { project, id: "soak".to_owned(), change, said_at: at, said_by: String::new() }),
    };
    changes.into_iter().enumerate().map(input).collect()
}

/// A machine was broken for the last half hour.
fn incident(hour: u64, at: u64) -> Incident {
    Incident { worker: format!("machine-{}", hour / 24 * 3 + 20), from: Some(at - 1_800_000), ..Incident::default() }
}

fn alert() -> AlertRule {
    AlertRule {
        view: "run_progress".to_owned(),
        filter: BTreeMap::from([("state".to_owned(), vec!["running".to_owned()])]),
        when: vec![Condition { column: "failed".to_owned(), is: Comparison::AtLeast, threshold: 2.0 }],
        for_ms: 10_000,
        clear: None,
        severity: Severity::Warning,
        message: "{run}: {value} tests fail".to_owned(),
        disabled: false,
    }
}
