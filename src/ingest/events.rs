//! `POST /v1/events`: TestEvents as one object, an array, or one a line.
//!
//! Contract: 202 once the log has every item durably:
//! `{"accepted", "positions": [{"index", "count", "partition", "offset"}], "rejectedCount", "rejected": [{"index", "kind",
//! "field", "offset", "reason"}]}`. Positions say where the items stand in the log, bad ones included; rejected lists the
//! bad ones, up to a limit. With `?wait=admitted` (one event) the answer waits for the engine's verdict: 201 when it
//! counts, 200 with `"duplicate": true` when its `eventId` was there before (so a repeated request succeeds), 409 with the
//! expected version, 422 with the reason, and 202 when no verdict comes in time.

use super::plan::{Placed, Plan, Rejected, placed, plan};
use super::query::Parameters;
use super::refusal::Refusal;
use super::{INLINE_BYTES, Ingest, observe, off_the_runtime};
use crate::log::Position;
use crate::verdicts::Verdict;
use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;

/// What the log has taken.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Taken {
    accepted: usize,
    positions: Vec<Placed>,
    rejected_count: usize,
    rejected: Vec<Rejected>,
}

/// The handler.
pub(super) async fn post(
    State(ingest): State<Arc<Ingest>>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let mut parameters = Parameters::new(pairs, &["wait"])?;
    let wait = match parameters.text("wait").as_deref() {
        None => false,
        Some("admitted") => true,
        Some(other) => {
            let (problem, remedy) = (format!("`{other}` cannot be waited for"), "known is: admitted".to_owned());
            return Err(Refusal::Query { field: "wait".to_owned(), problem, remedy });
        }
    };
    let received = ingest.receive("events", &headers, body).await?;
    let plan = planned(&ingest, &received.bytes).await?;
    if wait && plan.records.len() != 1 {
        return Err(Refusal::WaitForOne(plan.records.len()));
    }
    let Plan { records, rejected_count, rejected } = plan;
    let accepted = records.len() - rejected_count;
    let positions = ingest.append(&*ingest.log, records).await?;
    observe::events(accepted, rejected_count);
    // The log has the bytes: their room is free for others while a verdict is waited for.
    drop(received);
    let taken = Taken { accepted, positions: placed(&positions), rejected_count, rejected };
    match positions.as_slice() {
        [position] if wait => Ok(admitted(&ingest, *position, taken).await),
        _ => Ok((StatusCode::ACCEPTED, Json(taken)).into_response()),
    }
}

async fn planned(ingest: &Arc<Ingest>, body: &bytes::Bytes) -> Result<Plan, Refusal> {
    if body.len() <= INLINE_BYTES {
        return plan(body, &ingest.limits, &*ingest.log);
    }
    let (ingest, body) = (Arc::clone(ingest), body.clone());
    off_the_runtime(move || plan(&body, &ingest.limits, &*ingest.log)).await
}

/// Waits for the verdict on the one event of a request.
async fn admitted(ingest: &Ingest, position: Position, taken: Taken) -> Response {
    if let Some(rejected) = taken.rejected.first() {
        return refused(rejected.kind, &rejected.reason, Some(rejected), position);
    }
    let verdict = match ingest.verdicts.wait_for(ingest.log.topic(), position) {
        Some(verdict) => tokio::time::timeout(ingest.verdict_timeout, verdict).await,
        None => return (StatusCode::ACCEPTED, Json(taken)).into_response(),
    };
    match verdict {
        Ok(Ok(Verdict::Accepted { .. })) => (StatusCode::CREATED, Json(taken)).into_response(),
        Ok(Ok(Verdict::Duplicate)) => {
            let said = json!({ "accepted": 0, "duplicate": true, "positions": taken.positions, "rejectedCount": 0, "rejected": [] });
            (StatusCode::OK, Json(said)).into_response()
        }
        Ok(Ok(Verdict::Conflict { expected })) => {
            let error = format!("the version is taken: the stream expects {expected}");
            let said = json!({ "code": "conflict", "error": error, "field": "version", "expected": expected, "position": position });
            (StatusCode::CONFLICT, Json(said)).into_response()
        }
        Ok(Ok(Verdict::Refused { kind, reason })) => refused(&kind, &reason, None, position),
        // The time is over, or the engine ends: the event is safe in the log and its verdict comes later.
        Ok(Err(_)) | Err(_) => (StatusCode::ACCEPTED, Json(taken)).into_response(),
    }
}

fn refused(kind: &str, reason: &str, rejected: Option<&Rejected>, position: Position) -> Response {
    let mut said = json!({ "code": "rejected", "error": reason, "kind": kind, "reason": reason, "position": position });
    if let Some(rejected) = rejected {
        said["field"] = json!(rejected.field);
        said["offset"] = json!(rejected.offset);
    }
    (StatusCode::UNPROCESSABLE_ENTITY, Json(said)).into_response()
}
