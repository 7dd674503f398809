//! How complete the numbers are: over all projects, of one, of one run.
//!
//! Contract: `GET /v1/completeness?project=&run=` answers, all at one `time`: `exact`, by view the tick as of which its rows are (its last
//! cadence point, so that nobody takes the row of a second for that of an instant); `total` and `projects`, what runs that have not ended
//! still owe: `runningRuns`, `openStreams`, `shardsNotSeen`, the sum of both as `openShards`, and `notSeen`, tests announced and not
//! seen; and with `project` or `run`, which may be given more than once, `runs`: the same of each run that owes something, and of each
//! that was named, with its state. `behindRecords` and `behindMs` are what the log has and the numbers have not.
//!
//! # Cost
//! A walk over the rows of `run_progress` that are asked for; a place among the answers under way.
//!
//! # Failure
//! More than [`RUNS_MAX`] runs to be listed, or more in state than a snapshot may have: `too_large`, with what would narrow it.

use crate::gateway::Gateway;
use crate::gateway::auth::Role;
use crate::gateway::http_error::HttpError;
use crate::gateway::queries::{Collected, collect};
use crate::hub::OpenWork;
use crate::hub::completeness::Reader;
use crate::hub::query::{Filters, Query, QueryError};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query as Parameters, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_schemas::row::Row;
use weir_schemas::view::{RUN_PROGRESS, VIEWS};

/// Runs in an answer, at most.
const RUNS_MAX: usize = 1_000;

/// `GET /v1/completeness`
pub(crate) async fn completeness(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    pairs: Result<Parameters<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Value>, HttpError> {
    gateway.admit(&headers, Role::Read)?;
    let Parameters(pairs) = pairs.map_err(|error| bad_request("invalid_query", error.body_text()))?;
    let filters = filters(pairs)?;
    let (listed, named) = (!filters.is_empty(), filters.iter().any(|(name, _)| name == "run"));
    let query = Query::of_view(&RUN_PROGRESS, filters)
        .map_err(|error| bad_request(QueryError::code(&error), error.to_string()))?;
    let limit = gateway.hub.config().snapshot_rows_max;
    let Collected { snapshot, more, .. } = collect(&gateway, query, limit, None).await?;
    if more {
        return Err(too_large(format!("there are more than {limit} runs: name a project")));
    }
    let (reader, mut answer) = (Reader::default(), Answer::default());
    for row in snapshot.views.iter().flat_map(|(_, rows)| rows) {
        answer.add(row, reader.read(row), listed, named);
    }
    if answer.runs.len() > RUNS_MAX {
        return Err(too_large(format!("there are more than {RUNS_MAX} such runs: name one")));
    }
    let status = gateway.status.get();
    let mut body = json!({
        "epoch": &*snapshot.epoch,
        "time": snapshot.time,
        "exact": exact_at(snapshot.time),
        "behindRecords": status.behind_records,
        "behindMs": status.behind_ms,
        "total": numbers(&answer.total),
        "projects": answer.projects.iter().map(|(name, open)| with_names(open, &[("project", name.as_str())])).collect::<Vec<_>>(),
    });
    if listed {
        body["runs"] = Value::Array(answer.runs);
    }
    Ok(Json(body))
}

/// `project` and `run`, and nothing else.
fn filters(pairs: Vec<(String, String)>) -> Result<Filters, HttpError> {
    let mut filters = Filters::new();
    for (name, value) in pairs {
        if !["project", "run"].contains(&name.as_str()) {
            return Err(bad_request("invalid_query", format!("unknown parameter {name:?}; known: project, run")));
        }
        match filters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => filters.push((name, vec![value])),
        }
    }
    Ok(filters)
}

/// As of which tick the rows of each view are at `time`.
fn exact_at(time: u64) -> Map<String, Value> {
    let at = |cadence_ms: u64| time - time.checked_rem(cadence_ms).unwrap_or(0);
    VIEWS.iter().map(|view| (view.name.to_owned(), json!(at(view.cadence_ms)))).collect()
}

#[derive(Default)]
struct Answer {
    total: OpenWork,
    projects: BTreeMap<String, OpenWork>,
    runs: Vec<Value>,
}

impl Answer {
    /// Takes a run in; it is listed if it is wanted by name, or owes something and its project is.
    fn add(&mut self, row: &Row, open: OpenWork, listed: bool, named: bool) {
        let [project, run] = [0, 1].map(|column| row.text(column).unwrap_or_default());
        self.total.add(&open, 1);
        if open.running_runs > 0 {
            self.projects.entry(project.to_owned()).or_default().add(&open, 1);
        }
        if named || (listed && open.running_runs > 0) {
            let state = RUN_PROGRESS.column("state").and_then(|column| row.text(column)).unwrap_or_default();
            self.runs.push(with_names(&open, &[("project", project), ("run", run), ("state", state)]));
        }
    }
}

fn numbers(open: &OpenWork) -> Value {
    json!({
        "runningRuns": open.running_runs,
        "openStreams": open.open_streams,
        "shardsNotSeen": open.shards_not_seen,
        "openShards": open.open_shards(),
        "notSeen": open.not_seen,
    })
}

fn with_names(open: &OpenWork, names: &[(&str, &str)]) -> Value {
    let mut value = numbers(open);
    names.iter().for_each(|(name, of)| value[*name] = json!(of));
    value
}

fn bad_request(code: &'static str, message: String) -> HttpError {
    HttpError::new(StatusCode::BAD_REQUEST, code, message)
}

fn too_large(message: String) -> HttpError {
    HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
}
