//! What ingest counts.

use super::body::Received;
use crate::decode::Format;
use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use std::time::Duration;
use weir_schemas::control::ControlKind;

/// Says what the metrics mean; once a process is enough, more does no harm.
pub(super) fn describe() {
    describe_counter!("weir_ingest_bodies_total", "Request bodies read, by route.");
    describe_counter!("weir_ingest_wire_bytes_total", Unit::Bytes, "Bytes of bodies as sent, by route.");
    describe_counter!("weir_ingest_bytes_total", Unit::Bytes, "Bytes of bodies after decompression, by route.");
    describe_counter!("weir_ingest_events_total", "Events that the log has taken durably.");
    describe_counter!("weir_ingest_rejected_total", "Items taken that are no acceptable event; they stand in rejects.");
    describe_counter!("weir_ingest_refused_total", "Requests refused, by code; nothing of them was taken.");
    describe_counter!("weir_ingest_report_issues_total", "Parts of reports that could not be read, by format.");
    describe_counter!("weir_ingest_control_total", "Rules and incidents said or taken back, durably, by kind.");
    describe_histogram!("weir_ingest_commit_seconds", Unit::Seconds, "From append to durable.");
}

pub(super) fn body(route: &'static str, received: &Received) {
    counter!("weir_ingest_bodies_total", "route" => route).increment(1);
    counter!("weir_ingest_wire_bytes_total", "route" => route).increment(received.wire_bytes as u64);
    counter!("weir_ingest_bytes_total", "route" => route).increment(received.bytes.len() as u64);
}

pub(super) fn events(accepted: usize, rejected: usize) {
    counter!("weir_ingest_events_total").increment(accepted as u64);
    counter!("weir_ingest_rejected_total").increment(rejected as u64);
}

pub(super) fn report(format: Format, events: usize, issues: usize) {
    counter!("weir_ingest_events_total").increment(events as u64);
    counter!("weir_ingest_report_issues_total", "format" => format.as_str()).increment(issues as u64);
}

pub(super) fn control(kind: ControlKind) {
    counter!("weir_ingest_control_total", "kind" => kind.as_str()).increment(1);
}

pub(super) fn commit(took: Duration) {
    histogram!("weir_ingest_commit_seconds").record(took.as_secs_f64());
}
