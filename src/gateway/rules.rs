//! What people have said that holds, over HTTP: rules and incidents.
//!
//! Contract: `GET /v1/rules?project=` answers `{"epoch", "time", "rules": […]}` with the alert, flaky and mask rules that hold
//! at `time`, those for all projects too when a project is named; `GET /v1/incidents?project=` the same of incidents. Each has
//! `id`, `kind`, `project`, the fields that were put, `saidAt`, `saidBy` where known, and `since`, the tick from which on it
//! holds. They are rows of the view `rules`, in the order of its keys. After them the alert rules come that are there without anybody
//! having put them: `builtIn` is true, `overriddenBy` lists the projects in which a rule of the same id holds instead (the empty
//! one: in all of them), of those that were asked for, and `holds` says whether it does anywhere among these.

use crate::gateway::Gateway;
use crate::gateway::auth::Role;
use crate::gateway::http_error::HttpError;
use crate::hub::query::{Filters, Query, QueryError};
use crate::hub::scan::{Scan, Step};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query as Parameters, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use weir_schemas::control::{AlertRule, builtin};
use weir_schemas::row;
use weir_schemas::row::Row;
use weir_schemas::view::RULES;

type Pairs = Result<Parameters<Vec<(String, String)>>, QueryRejection>;

/// `GET /v1/rules`
pub(crate) async fn rules(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    pairs: Pairs,
) -> Result<Json<Value>, HttpError> {
    gateway.admit(&headers, Role::Read)?;
    // A rule for all projects is one of each project.
    let projects = project(pairs)?.map(|project| vec![project, String::new()]);
    let mut said = held(&gateway, "rules", &["alert", "flaky", "mask"], projects.clone()).await?;
    if let Some(rules) = said["rules"].as_array_mut() {
        let builtin: Vec<Value> =
            builtin::alerts().iter().map(|(id, rule)| of_builtin(id, rule, rules, projects.as_deref())).collect();
        rules.extend(builtin);
    }
    Ok(Json(said))
}

/// A built-in rule, with what holds instead of it.
fn of_builtin(id: &str, rule: &AlertRule, said: &[Value], projects: Option<&[String]>) -> Value {
    let same = said.iter().filter(|rule| rule["kind"] == "alert" && rule["id"] == id);
    let by: Vec<&str> = same.filter_map(|rule| rule["project"].as_str()).collect();
    let everywhere = by.contains(&"") || projects.into_iter().flatten().any(|project| by.contains(&project.as_str()));
    let mut fields = match serde_json::to_value(rule) {
        Ok(Value::Object(fields)) => fields,
        _ => unreachable!("a rule is written as an object"),
    };
    fields.retain(|_, value| !value.is_null());
    fields.extend([
        ("id".to_owned(), json!(id)),
        ("kind".to_owned(), json!("alert")),
        ("project".to_owned(), json!("")),
        ("builtIn".to_owned(), json!(true)),
        ("overriddenBy".to_owned(), json!(by)),
        ("holds".to_owned(), json!(!everywhere)),
    ]);
    Value::Object(fields)
}

/// `GET /v1/incidents`
pub(crate) async fn incidents(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    pairs: Pairs,
) -> Result<Json<Value>, HttpError> {
    gateway.admit(&headers, Role::Read)?;
    let projects = project(pairs)?.map(|project| vec![project]);
    Ok(Json(held(&gateway, "incidents", &["incident"], projects).await?))
}

fn bad_request(code: &'static str, message: String) -> HttpError {
    HttpError::new(StatusCode::BAD_REQUEST, code, message)
}

fn project(pairs: Pairs) -> Result<Option<String>, HttpError> {
    let Parameters(pairs) = pairs.map_err(|error| bad_request("invalid_query", error.body_text()))?;
    let mut project = None;
    for (name, value) in pairs {
        if name != "project" {
            return Err(bad_request("invalid_query", format!("unknown parameter {name:?}; known: project")));
        }
        if project.replace(value).is_some() {
            return Err(bad_request("invalid_query", "project is given twice".to_owned()));
        }
    }
    // Scripts pass unset variables.
    Ok(project.filter(|project| !project.is_empty()))
}

async fn held(
    gateway: &Gateway,
    list: &str,
    kinds: &[&str],
    projects: Option<Vec<String>>,
) -> Result<Value, HttpError> {
    let mut filters: Filters = vec![("kind".to_owned(), kinds.iter().map(|kind| (*kind).to_owned()).collect())];
    filters.extend(projects.map(|projects| ("project".to_owned(), projects)));
    let query =
        Query::of_view(&RULES, filters).map_err(|error| bad_request(QueryError::code(&error), error.to_string()))?;
    if !gateway.hub.head().live {
        return Err(HttpError::unavailable("recovering", "the server is not live yet: it replays its log", 1));
    }
    let rows_max = gateway.hub.config().snapshot_rows_max;
    let mut scan = Scan::new(Arc::new(query), rows_max);
    let snapshot = loop {
        match scan.step(&gateway.hub) {
            Step::More => tokio::task::yield_now().await,
            Step::Done(snapshot) => break snapshot,
            Step::Full(_) => {
                return Err(bad_request("too_many_rows", format!("more than {rows_max} hold: name a project")));
            }
        }
    };
    let rows: Vec<Value> = snapshot.views.iter().flat_map(|(_, rows)| rows).map(said).collect();
    Ok(json!({ "epoch": &*snapshot.epoch, "time": snapshot.time, list: rows }))
}

/// A row as what was put, with what is known of that.
pub(super) fn said(row: &Row) -> Value {
    let value = |name: &str| match RULES.column(name).map(|column| row.column(column)) {
        Some(row::Value::Str(text)) => json!(text),
        Some(row::Value::Int(number)) => json!(number),
        _ => Value::Null,
    };
    let text = value("text");
    let mut said: Map<String, Value> =
        text.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    said.retain(|_, value| !value.is_null());
    for (field, column) in [
        ("id", "id"),
        ("kind", "kind"),
        ("project", "project"),
        ("saidAt", "said_at"),
        ("saidBy", "said_by"),
        ("since", "since"),
    ] {
        let value = value(column);
        if !value.is_null() {
            said.insert(field.to_owned(), value);
        }
    }
    Value::Object(said)
}
