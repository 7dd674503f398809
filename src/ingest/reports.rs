//! `POST /v1/reports`: a whole report of a test runner or a coverage tool, decoded here into events.
//!
//! Contract: the query names the run (`run`, required) and what else is known (`project`, `shard`, `branch`, `commit`,
//! `worker`, `attempt`, `variant`, `framework`, `user`; of coverage also `flag` and the `root` that its paths begin with), and
//! `format` (default `auto`: by the first bytes). 202 once the log has the events durably: `{"format", "project", "run",
//! "url", "events", "cases", "coverage": {"files", "linesCovered", "linesTotal"}, "issueCount", "issues": [{"line", "kind",
//! "message"}], "positions"}`, `coverage` of a coverage report only. Ids are stable, so a report that is sent again is all
//! duplicates.
//!
//! # Failure
//! A report is never refused for one bad part: what could be read is taken and the rest is listed in `issues`. Only when
//! nothing could be read is it 422, with the issues.

use super::plan::placed;
use super::query::Parameters;
use super::refusal::Refusal;
use super::room::Share;
use super::{Ingest, observe, off_the_runtime};
use crate::decode::coverage::CoverageTotals;
use crate::decode::{Context, Decoded, Format, Issue, IssueKind, Sniffed, decode, sniff};
use crate::log::NewRecord;
use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::HOST;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use weir_schemas::event::{DEFAULT_PROJECT, EventType};

/// At most so many issues are listed in an answer; `issueCount` has them all.
const ISSUES_LISTED_MAX: usize = 200;

const KNOWN: [&str; 13] = [
    "format",
    "project",
    "run",
    "shard",
    "branch",
    "commit",
    "worker",
    "attempt",
    "variant",
    "framework",
    "user",
    "flag",
    "root",
];

/// A report as records.
struct Read {
    format: Format,
    records: Vec<NewRecord>,
    cases: usize,
    coverage: Option<CoverageTotals>,
    issues: Vec<Issue>,
    /// For the bytes of the records.
    share: Share,
}

/// The handler.
pub(super) async fn post(
    State(ingest): State<Arc<Ingest>>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let mut parameters = Parameters::new(pairs, &KNOWN)?;
    let format = format(&mut parameters)?;
    let context = context(&mut parameters)?;
    let received = ingest.receive("reports", &headers, body).await?;
    let (project, run) = (context.project.clone(), context.run.clone());
    let bytes = received.bytes.clone();
    let reader = Arc::clone(&ingest);
    let read = off_the_runtime(move || read(&reader, format, &bytes, &context)).await?;
    drop(received);
    observe::report(read.format, read.records.len(), read.issues.len());
    let events = read.records.len();
    // That it is something else altogether says more than what is wrong with its first line.
    let worst = read.issues.iter().find(|issue| issue.kind == IssueKind::NotThisFormat).or(read.issues.first());
    if let (0, Some(issue)) = (events, worst) {
        let refusal = Refusal::Report(issue.message.clone());
        return Ok(unreadable(&refusal, &read));
    }
    let positions = ingest.append(&*ingest.log, read.records).await?;
    drop(read.share);
    let url = base_url(&ingest.public_url, &headers) + &(ingest.run_path)(&project, &run);
    let mut said = json!({
        "format": read.format, "project": project, "run": run, "url": url, "events": events, "cases": read.cases,
        "issueCount": read.issues.len(), "issues": listed(&read.issues), "positions": placed(&positions),
    });
    if let Some(coverage) = read.coverage {
        said["coverage"] = json!(coverage);
    }
    Ok((StatusCode::ACCEPTED, Json(said)).into_response())
}

fn listed(issues: &[Issue]) -> &[Issue] {
    &issues[..issues.len().min(ISSUES_LISTED_MAX)]
}

fn unreadable(refusal: &Refusal, read: &Read) -> Response {
    metrics::counter!("weir_ingest_refused_total", "code" => refusal.code()).increment(1);
    let said = json!({
        "code": refusal.code(), "error": refusal.to_string(), "format": read.format,
        "issueCount": read.issues.len(), "issues": listed(&read.issues),
        "remedy": "check that the file is whole and of this format",
    });
    (StatusCode::UNPROCESSABLE_ENTITY, Json(said)).into_response()
}

fn format(parameters: &mut Parameters) -> Result<Option<Format>, Refusal> {
    match parameters.text("format").as_deref() {
        None | Some("auto") => Ok(None),
        Some(word) => word.parse().map(Some).map_err(|error: crate::decode::UnknownFormat| Refusal::Query {
            field: "format".to_owned(),
            problem: error.to_string(),
            remedy: format!("known are: auto, {}", Format::ALL.map(Format::as_str).join(", ")),
        }),
    }
}

fn context(parameters: &mut Parameters) -> Result<Context, Refusal> {
    let run = parameters.text("run").ok_or_else(|| Refusal::Query {
        field: "run".to_owned(),
        problem: "missing".to_owned(),
        remedy: "name the run that the report belongs to: run=BUILD_ID".to_owned(),
    })?;
    let attempt = parameters.value("attempt", "attempts are whole numbers from 1")?;
    if attempt == Some(0) {
        let (problem, remedy) = ("attempts count from 1".to_owned(), "leave it away for the first".to_owned());
        return Err(Refusal::Query { field: "attempt".to_owned(), problem, remedy });
    }
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Context {
        project: parameters.text("project").unwrap_or_else(|| DEFAULT_PROJECT.to_owned()),
        run,
        shard: parameters.text("shard"),
        branch: parameters.text("branch"),
        commit: parameters.text("commit"),
        worker: parameters.text("worker"),
        attempt,
        variant: parameters.text("variant"),
        framework: parameters.text("framework"),
        user: parameters.text("user"),
        flag: parameters.text("flag"),
        root: parameters.text("root"),
        received_at_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
    })
}

/// Decodes a report and encodes its events as records.
fn read(ingest: &Ingest, format: Option<Format>, bytes: &[u8], context: &Context) -> Result<Read, Refusal> {
    let format = match format.map(Sniffed::Report).or_else(|| sniff(bytes)) {
        Some(Sniffed::Report(format)) => format,
        Some(Sniffed::Events) => return Err(Refusal::Report("it is JSON, which no report format here is".to_owned())),
        None => return Err(Refusal::Report("its beginning is that of no known format".to_owned())),
    };
    let Decoded { events, issues, coverage } = decode(format, bytes, &ingest.limits, context);
    let mut share = ingest.room.share();
    let mut held = 0;
    let mut records = Vec::with_capacity(events.len());
    for event in &events {
        let payload = serde_json::to_vec(event).expect("an event can be written as JSON");
        held += payload.len();
        share.grow_to(held)?;
        let stream = event.stream_id.as_bytes();
        let record = NewRecord::new(ingest.log.partition_of(stream), Bytes::from(payload));
        records.push(record.with_key(stream.to_vec()));
    }
    let cases = events.iter().filter(|event| event.event_type == EventType::TestCaseCompleted).count();
    Ok(Read { format, records, cases, coverage, issues, share })
}

/// How the sender reaches this server: as configured, else as it did.
fn base_url(configured: &str, headers: &HeaderMap) -> String {
    if !configured.is_empty() {
        return configured.trim_end_matches('/').to_owned();
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    format!("http://{host}")
}
