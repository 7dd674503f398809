//! `PUT` and `DELETE` of `/v1/rules/{id}` and `/v1/incidents/{id}`: what people say while Weir runs.
//!
//! Contract: each request becomes one record of the topic `weir.control`; of records with one project, kind and id the last
//! holds. `PUT /v1/incidents` makes the id itself, of what is said, so a repeated request changes nothing. Taking back what
//! is not there is no error, since the log decides in which order things were said. The answer is 202
//! `{"id", "position": {"partition", "offset"}}` once the log has it durably. With `?wait=applied` it waits until a frame
//! with it is released: 200 with the `tick` besides, from which on everything that is shown has it; 422 when the engine
//! refuses it (one rule too many), and 202 when that takes too long. With `?dry_run=true` a rule is not put: the answer says what
//! it would change ([`dry_run`]). What it says goes by no clock but the tick; when it
//! was said and by whom is kept for people.
//!
//! # Invariants
//! What is appended is acceptable to the dataflow ([`body`]); another writer of the topic is checked by the engine.
//! However far behind the engine is, it can be said that a machine is broken.

mod body;
mod dry_run;

use super::refusal::Refusal;
use super::{Ingest, Received, body as bodies, observe, query::Parameters};
use crate::log::{NewRecord, Position};
use crate::verdicts::Verdict;
use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use weir_schemas::control::{ControlKind, ControlRecord};
use weir_schemas::limits::Limits;

/// Bytes of a body, as sent and after decompression: many times what the longest texts need.
pub const BODY_BYTES_MAX: usize = 64 << 10;

/// Who a request comes from, where that is known: an extension of the request.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The name of its token.
    pub name: Arc<str>,
    /// Whether it may see rows.
    pub reads: bool,
}

type Name = Result<Path<String>, PathRejection>;
type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// What every request carries besides its body.
struct Asked {
    parameters: Parameters,
    /// Whether it is to be waited for.
    wait: bool,
    sender: Option<Sender>,
}

impl Asked {
    fn read(pairs: Pairs, known: &[&str], sender: Option<Extension<Sender>>) -> Result<Asked, Refusal> {
        let unreadable = |error: QueryRejection| Refusal::Query {
            field: "query".to_owned(),
            problem: error.body_text(),
            remedy: "write it as name=value&name=value, percent-encoded".to_owned(),
        };
        let Query(pairs) = pairs.map_err(unreadable)?;
        let mut parameters = Parameters::new(pairs, known)?;
        let wait = match parameters.text("wait").as_deref() {
            None => false,
            Some("applied") => true,
            Some(other) => {
                let (problem, remedy) = (format!("`{other}` cannot be waited for"), "known is: applied".to_owned());
                return Err(Refusal::Query { field: "wait".to_owned(), problem, remedy });
            }
        };
        Ok(Asked { parameters, wait, sender: sender.map(|Extension(sender)| sender) })
    }
}

fn id(name: Name) -> Result<String, Refusal> {
    let Path(id) = name.map_err(|error| Refusal::Query {
        field: "id".to_owned(),
        problem: error.body_text(),
        remedy: "write it in the path as percent-encoded UTF-8".to_owned(),
    })?;
    Ok(id)
}

/// `PUT /v1/rules/{id}`
pub(super) async fn put_rule(
    State(ingest): State<Arc<Ingest>>,
    name: Name,
    pairs: Pairs,
    sender: Option<Extension<Sender>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let mut asked = Asked::read(pairs, &["wait", "dry_run"], sender)?;
    let dry = asked.parameters.value("dry_run", "true: nothing is put")?.unwrap_or(false);
    let received = receive(&ingest, &headers, body).await?;
    let record = body::rule(id(name)?, &received.bytes)?;
    if dry && asked.sender.as_ref().is_some_and(|sender| !sender.reads) {
        return Err(Refusal::MayNotRead);
    }
    if dry { dry_run::answer(&ingest, &record).await } else { say(&ingest, record, asked).await }
}

/// `DELETE /v1/rules/{id}?kind=&project=`
pub(super) async fn remove_rule(
    State(ingest): State<Arc<Ingest>>,
    name: Name,
    pairs: Pairs,
    sender: Option<Extension<Sender>>,
) -> Result<Response, Refusal> {
    let mut asked = Asked::read(pairs, &["kind", "project", "wait"], sender)?;
    let refused = |problem: String| {
        let remedy = format!("name the kind of the rule, {}", body::KINDS);
        Refusal::Query { field: "kind".to_owned(), problem, remedy }
    };
    let kind = asked.parameters.text("kind").ok_or_else(|| refused("missing".to_owned()))?;
    let kind = match body::kind_of_rule(&kind).map_err(&refused)? {
        ControlKind::Incident => return Err(refused("an incident is removed at /v1/incidents".to_owned())),
        kind => kind,
    };
    ingest.open()?;
    let project = asked.parameters.text("project").unwrap_or_default();
    say(&ingest, body::removal(kind, project, id(name)?)?, asked).await
}

/// `PUT /v1/incidents/{id}`
pub(super) async fn put_incident(
    State(ingest): State<Arc<Ingest>>,
    name: Name,
    pairs: Pairs,
    sender: Option<Extension<Sender>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let asked = Asked::read(pairs, &["wait"], sender)?;
    let received = receive(&ingest, &headers, body).await?;
    say(&ingest, body::incident(Some(id(name)?), &received.bytes)?, asked).await
}

/// `PUT /v1/incidents`
pub(super) async fn put_new_incident(
    State(ingest): State<Arc<Ingest>>,
    pairs: Pairs,
    sender: Option<Extension<Sender>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let asked = Asked::read(pairs, &["wait"], sender)?;
    let received = receive(&ingest, &headers, body).await?;
    say(&ingest, body::incident(None, &received.bytes)?, asked).await
}

/// `DELETE /v1/incidents/{id}?project=`
pub(super) async fn remove_incident(
    State(ingest): State<Arc<Ingest>>,
    name: Name,
    pairs: Pairs,
    sender: Option<Extension<Sender>>,
) -> Result<Response, Refusal> {
    let mut asked = Asked::read(pairs, &["project", "wait"], sender)?;
    let project = asked.parameters.text("project").ok_or_else(|| Refusal::Query {
        field: "project".to_owned(),
        problem: "missing".to_owned(),
        remedy: "name the project of the incident".to_owned(),
    })?;
    ingest.open()?;
    say(&ingest, body::removal(ControlKind::Incident, project, id(name)?)?, asked).await
}

async fn receive(ingest: &Ingest, headers: &HeaderMap, body: Body) -> Result<Received, Refusal> {
    ingest.open()?;
    let limits = Limits { record: BODY_BYTES_MAX, decompressed: BODY_BYTES_MAX, ..ingest.limits.clone() };
    let received = bodies::read(headers, body, &limits, &ingest.room, ingest.body_timeout).await;
    let received = received.map_err(|refusal| match refusal {
        Refusal::TooLarge { limit, .. } => Refusal::RuleTooLarge { limit },
        other => other,
    })?;
    observe::body("control", &received);
    Ok(received)
}

/// Appends what is said, and answers.
async fn say(ingest: &Ingest, record: ControlRecord, asked: Asked) -> Result<Response, Refusal> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let said_at = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let said_by = asked.sender.map(|sender| sender.name.to_string()).unwrap_or_default();
    let record = ControlRecord { said_at, said_by, ..record };
    let payload = serde_json::to_vec(&record).expect("a control record can be written as JSON").into();
    let positions = ingest.append(&*ingest.control, vec![NewRecord::new(0, payload)]).await?;
    observe::control(record.change.kind());
    let position = *positions.first().expect("one record was appended");
    let later = (StatusCode::ACCEPTED, Json(json!({ "id": record.id, "position": position }))).into_response();
    if asked.wait { Ok(applied(ingest, &record.id, position).await.unwrap_or(later)) } else { Ok(later) }
}

/// What became of it; nothing when that is not known in time, or no longer.
async fn applied(ingest: &Ingest, id: &str, position: Position) -> Option<Response> {
    let verdict = ingest.verdicts.wait_for(ingest.control.topic(), position)?;
    match tokio::time::timeout(ingest.verdict_timeout, verdict).await.ok()?.ok()? {
        Verdict::Accepted { tick } => {
            Some((StatusCode::OK, Json(json!({ "id": id, "position": position, "tick": tick }))).into_response())
        }
        Verdict::Refused { kind, reason } => {
            let said = json!({ "code": "rejected", "error": reason, "kind": kind, "id": id, "position": position });
            Some((StatusCode::UNPROCESSABLE_ENTITY, Json(said)).into_response())
        }
        // Verdicts on events.
        Verdict::Duplicate | Verdict::Conflict { .. } => None,
    }
}
