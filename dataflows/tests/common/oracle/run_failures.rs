//! Failures of a run itself: events that tell of one and name no test.

use super::super::Tick;
use super::attempts::{At, recognised};
use super::control::masks;
use std::collections::BTreeSet;
use std::sync::Arc;
use weir_dataflows::facts::{AttemptFact, Failure};
use weir_dataflows::input::Withdraws;
use weir_schemas::control::Incident;
use weir_schemas::event::EventType;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;

/// Those that were not taken back and that no incident covers; of two events of one name the first.
pub fn run_failures(events: &[At], incidents: &[Incident], ticks: &[Tick]) -> Vec<AttemptFact> {
    let kinds = [EventType::SetupFailed, EventType::TestError, EventType::TimeoutOccurred];
    let taken_back = |id: Id| events.iter().any(|(_, event)| event.withdrawal() == Some(Withdraws::Event(id)));
    let mut seen = BTreeSet::new();
    let mut failures = Vec::new();
    for (tick, event) in events {
        let at = event.at.min(*tick);
        let of_run = kinds.contains(&event.kind) && event.test().is_none();
        if !of_run || !seen.insert((event.stream(), event.id)) || taken_back(event.id) {
            continue;
        }
        if incidents.iter().any(|incident| incident.covers(event.origin.worker.as_deref(), at)) {
            continue;
        }
        let outcome = match event.kind {
            EventType::TimeoutOccurred => Outcome::Timeout,
            _ => Outcome::Error,
        };
        let failure = recognised(event, outcome, &masks(ticks, &event.origin.project, *tick));
        let (stream, name) = (Arc::clone(&event.origin.stream_name), Arc::clone(event.name().expect("it fails")));
        failures.push(AttemptFact {
            attempt: 0,
            at,
            came: *tick,
            outcome,
            duration_us: event.duration_us,
            names: Arc::clone(&event.names),
            origin: Arc::clone(&event.origin),
            failure: Some(Arc::new(Failure { event: name, stream, ..failure })),
        });
    }
    failures
}
