//! What supervisors and scrapers ask: `/healthz`, `/readyz` and `/metrics`.
//!
//! Contract: `/healthz` is 200 while the process answers at all: whoever fails it is to be started again. `/readyz` is 200
//! when events are taken and numbers are current, else 503, with the engine's state as JSON either way. `/metrics` is
//! the Prometheus text form. None of them needs a token, since none shows anything of a project.

use crate::status::{Clock, EngineStatus, Phase, Status};
use crate::telemetry;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use std::sync::Arc;

/// The three routes.
pub fn router(status: Status) -> Router {
    Router::new()
        .route("/healthz", get(async || axum::Json(serde_json::json!({ "status": "up" }))))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(status)
}

/// The answer of `/readyz`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Readiness {
    ready: bool,
    /// Why not, and what to do about anything that is wrong, each a sentence.
    remedies: Vec<String>,
    /// What the engine is doing.
    phase: &'static str,
    /// While it recovers: records fed so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<u64>,
    /// While it recovers: records to feed in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    epoch: Arc<str>,
    time: u64,
    behind_records: u64,
    behind_ms: u64,
    clock: Clock,
    disk_full: bool,
    log_silent: bool,
    /// The tick of the newest snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_at: Option<u64>,
    notices: Vec<String>,
}

impl Readiness {
    fn new(ready: bool, engine: EngineStatus) -> Readiness {
        let remedies = remedies(&engine);
        let EngineStatus {
            phase,
            epoch,
            time,
            behind_records,
            behind_ms,
            clock,
            disk_full,
            log_silent,
            snapshot_at,
            notices,
        } = engine;
        let (replayed, total) = match phase {
            Phase::Recovering { replayed, total } => (Some(replayed), Some(total)),
            Phase::Starting | Phase::Live | Phase::Draining => (None, None),
        };
        Readiness {
            ready,
            remedies,
            phase: phase.as_str(),
            replayed,
            total,
            epoch,
            time,
            behind_records,
            behind_ms,
            clock,
            disk_full,
            log_silent,
            snapshot_at: Some(snapshot_at).filter(|at| *at > 0),
            notices,
        }
    }
}

async fn ready(State(status): State<Status>) -> Response {
    let engine = status.get();
    let ready = status.ready();
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, axum::Json(Readiness::new(ready, engine))).into_response()
}

fn remedies(engine: &EngineStatus) -> Vec<String> {
    let phase = match &engine.phase {
        Phase::Live => None,
        Phase::Starting => Some("The log is being opened: wait.".to_owned()),
        Phase::Recovering { replayed, total } => {
            Some(format!("State is being rebuilt from the log, {replayed} of {total} records: wait."))
        }
        Phase::Draining => Some("The server is ending: send to another one.".to_owned()),
    };
    let disk = engine.disk_full.then(|| {
        "The disk under the data folder is full: free space, or lower log.retention_age or log.retention_size."
            .to_owned()
    });
    let silent = engine.log_silent.then(|| {
        "The log does not answer, so numbers stand still: see that Kafka's brokers run and can be reached from here, or, without \
         Kafka, that the disk under the data folder does.".to_owned()
    });
    [phase, disk, silent, engine.clock.remedy.clone()].into_iter().flatten().collect()
}

async fn metrics(State(status): State<Status>) -> Response {
    let engine = status.get();
    metrics::gauge!("weir_ready").set(if status.ready() { 1.0 } else { 0.0 });
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    for (name, value) in [
        ("weir_released_tick_ms", engine.time),
        ("weir_behind_records", engine.behind_records),
        ("weir_behind_ms", engine.behind_ms),
        ("weir_clock_behind_ms", engine.clock.behind_ms),
    ] {
        metrics::gauge!(name).set(value as f64);
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], telemetry::metrics().render()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_one_flat_object() {
        let engine =
            EngineStatus { phase: Phase::Recovering { replayed: 3, total: 9 }, time: 7, ..EngineStatus::default() };
        let said = serde_json::to_value(Readiness::new(false, engine)).expect("is JSON");
        let expected = serde_json::json!({
            "ready": false, "remedies": ["State is being rebuilt from the log, 3 of 9 records: wait."],
            "phase": "recovering", "replayed": 3, "total": 9, "epoch": "", "time": 7, "behindRecords": 0,
            "behindMs": 0, "clock": { "behindMs": 0, "aheadMs": 0, "remedy": null }, "diskFull": false, "logSilent": false, "notices": [],
        });
        assert_eq!(said, expected);
    }

    #[test]
    fn everything_that_is_wrong_comes_with_a_remedy() {
        let mut engine = EngineStatus { phase: Phase::Live, ..EngineStatus::default() };
        assert_eq!(remedies(&engine), [] as [&str; 0]);
        engine.disk_full = true;
        engine.clock.remedy = Some("Set the clock.".to_owned());
        engine.phase = Phase::Recovering { replayed: 3, total: 9 };
        let remedies = remedies(&engine);
        assert_eq!(remedies.len(), 3);
        assert!(remedies[0].contains("3 of 9"), "{remedies:?}");
    }
}
