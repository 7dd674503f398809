//! Why a test is said to be flaky: the verdict with its evidence, its rule, and what would clear it.
//!
//! Contract: `GET /v1/why/flaky_tests/{test}?project=&branch=` answers `{"epoch", "time", "verdicts": […]}`, one of each branch on
//! which the test failed lately, or of those named: the row's values by column, `evidence` as objects, `rule` as `GET /v1/rules`
//! lists it (the default without `id`), and `clears`, which of a flaky or broken test has what would make it well. Without a
//! verdict it is 404. The rule is null if it has just changed: then the verdict is of the one before, until the next whole second.

use crate::gateway::Gateway;
use crate::gateway::auth::Role;
use crate::gateway::http_error::HttpError;
use crate::gateway::rules::said;
use crate::hub::query::{Filters, Query, QueryError};
use crate::hub::scan::{Scan, Snapshot, Step};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query as Parameters, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use weir_schemas::control::FlakyRule;
use weir_schemas::row::Row;
use weir_schemas::view::{FLAKY_TESTS, RULES, View};

/// Verdicts in an answer, at most: a test has one a branch.
const VERDICTS_MAX: usize = 1_000;

/// `GET /v1/why/flaky_tests/{test}`
pub(crate) async fn flaky_test(
    State(gateway): State<Arc<Gateway>>,
    Path(test): Path<String>,
    headers: HeaderMap,
    pairs: Result<Parameters<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Value>, HttpError> {
    gateway.admit(&headers, Role::Read)?;
    let Parameters(pairs) = pairs.map_err(|error| bad_request("invalid_query", error.body_text()))?;
    let mut filters: Filters = vec![("test".to_owned(), vec![test.clone()])];
    for (name, value) in pairs {
        if !["project", "branch"].contains(&name.as_str()) {
            return Err(bad_request("invalid_query", format!("unknown parameter {name:?}; known: project, branch")));
        }
        match filters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => filters.push((name, vec![value])),
        }
    }
    if !filters.iter().any(|(name, _)| name == "project") {
        return Err(bad_request("invalid_query", "project is missing: whose test it is".to_owned()));
    }
    let projects = filters.iter().find(|(name, _)| name == "project").map(|(_, of)| of.clone()).unwrap_or_default();
    let verdicts = read(&gateway, &FLAKY_TESTS, filters).await?;
    let rows = verdicts.views.first().map(|(_, rows)| rows.as_slice()).unwrap_or_default();
    if rows.is_empty() {
        let message = format!("no failure of {test:?} is remembered there, so nothing is said of it");
        return Err(HttpError::new(StatusCode::NOT_FOUND, "no_verdict", message));
    }
    let of_projects = projects.into_iter().chain([String::new()]).collect();
    let filters = vec![("kind".to_owned(), vec!["flaky".to_owned()]), ("project".to_owned(), of_projects)];
    let rules = read(&gateway, &RULES, filters).await?;
    let rules: Vec<Value> = rules.views.iter().flat_map(|(_, rows)| rows).map(said).collect();
    let verdicts_of: Vec<Value> = rows.iter().map(|row| verdict(row, &rules)).collect();
    Ok(Json(json!({ "epoch": &*verdicts.epoch, "time": verdicts.time, "verdicts": verdicts_of })))
}

fn bad_request(code: &'static str, message: String) -> HttpError {
    HttpError::new(StatusCode::BAD_REQUEST, code, message)
}

/// The rows of a view as it is now.
async fn read(gateway: &Gateway, view: &'static View, filters: Filters) -> Result<Snapshot, HttpError> {
    let query =
        Query::of_view(view, filters).map_err(|error| bad_request(QueryError::code(&error), error.to_string()))?;
    if !gateway.hub.head().live {
        return Err(HttpError::unavailable("recovering", "the server is not live yet: it replays its log", 1));
    }
    let mut scan = Scan::new(Arc::new(query), VERDICTS_MAX.max(2 * weir_dataflows::control::RULES_MAX));
    loop {
        match scan.step(&gateway.hub) {
            Step::More => tokio::task::yield_now().await,
            Step::Done(snapshot) | Step::Full(snapshot) => return Ok(snapshot),
        }
    }
}

fn verdict(row: &Row, rules: &[Value]) -> Value {
    let mut text = String::new();
    row.write_json(&FLAKY_TESTS, &mut text);
    let values: Vec<Value> = serde_json::from_str(&text).expect("a row is written as JSON");
    let mut fields: Map<String, Value> =
        FLAKY_TESTS.columns.iter().map(|column| column.name.to_owned()).zip(values).collect();
    let evidence = fields.remove("evidence").unwrap_or_default();
    let attempts = evidence.as_array().into_iter().flatten().filter_map(Value::as_str);
    let attempts: Vec<Value> = attempts.filter_map(|attempt| serde_json::from_str(attempt).ok()).collect();
    let (id, since) = (fields.remove("rule"), fields.remove("rule_since"));
    let judged_by = |rule: &&Value| rule.get("id") == id.as_ref() && rule.get("since") == since.as_ref();
    let own = |rule: &&Value| rule.get("project") == fields.get("project");
    let rule = match &id {
        Some(Value::String(_)) => {
            let mut all = rules.iter().filter(judged_by);
            all.clone().find(own).or_else(|| all.next()).cloned().unwrap_or_default()
        }
        _ => serde_json::to_value(FlakyRule::default()).expect("a rule can be written as JSON"),
    };
    let (passes, at) = (fields.remove("passes_needed"), fields.remove("clears_at"));
    let clears = match passes {
        Some(Value::Number(passes)) => json!({ "passes_in_a_row": passes, "or_no_failure_until": at }),
        _ => Value::Null,
    };
    fields.extend([
        ("evidence".to_owned(), Value::Array(attempts)),
        ("rule".to_owned(), rule),
        ("clears".to_owned(), clears),
    ]);
    Value::Object(fields)
}
