//! What a rule would change if it were put.
//!
//! Contract: nothing is written. The answer is 200 with `epoch`, `time` (all of it is of that one time), `view`, and `over`: how many
//! rows of which view it was held against. Of alert rules that is asked of the hub's rows; of flaky and mask rules, of the engine's
//! state ([`crate::questions`]), at the next point at which their views are exact.
//!
//! | kind | `view` | says |
//! |---|---|---|
//! | alert | `alerts` | rows that `come` and `go`, and those `pending`, each at its `fired_at`, if nothing else changed |
//! | flaky | `flaky_tests` | rows that `come` and `go` |
//! | mask | `failure_patterns` | patterns that would `come` and `go` if the errors over which it is came again, the errors that are `changed`, `from` one fingerprint `to` another, and how many were `cut` and so left out |
//!
//! # Failure
//! While the server recovers it is refused, since what there is is not of now; so is a rule for which there is no room. When too
//! many ask at a time, or the engine does not answer in time, it can be asked again.

use crate::hub::query::{Filters, Query, QueryError};
use crate::hub::scan::{Scan, Snapshot, Step};
use crate::ingest::Ingest;
use crate::ingest::refusal::Refusal;
use crate::questions::{Answered, QUESTIONS_MAX};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use weir_dataflows::control::rules_max;
use weir_dataflows::dry_run::Pattern;
use weir_dataflows::views::alerts;
use weir_schemas::control::{AlertRule, ControlChange, ControlRecord};
use weir_schemas::row::{Row, Value, write_json_str};
use weir_schemas::view::{ALERTS, ERROR_STREAM, FAILURE_PATTERNS, FLAKY_TESTS, RULES, View};

/// Says what `record` would change.
pub(super) async fn answer(ingest: &Ingest, record: &ControlRecord) -> Result<Response, Refusal> {
    room(ingest, record).await?;
    match &record.change {
        ControlChange::Alert(rule) => of_alerts(ingest, record, rule).await,
        ControlChange::Flaky(_) => of_tests(ingest, record).await,
        ControlChange::Mask(_) => of_failures(ingest, record).await,
        ControlChange::Incident(_) | ControlChange::Removed(_) => unreachable!("a body says a rule"),
    }
}

/// Refuses a rule that the engine would refuse as one too many.
async fn room(ingest: &Ingest, record: &ControlRecord) -> Result<(), Refusal> {
    let kind = record.change.kind();
    let of_kind = vec![only("project", &record.project), only("kind", kind.as_str())];
    let held = rows(ingest, vec![(&RULES, of_kind)]).await?;
    let (ids, max) = (held.views[0].1.iter().filter_map(|row| text(row, "id")), rules_max(kind));
    let ids: BTreeSet<&str> = ids.collect();
    match ids.len() >= max && !ids.contains(&*record.id) {
        true => Err(Refusal::TooManyRules { max, kind: kind.as_str() }),
        false => Ok(()),
    }
}

fn only(column: &str, value: &str) -> (String, Vec<String>) {
    (column.to_owned(), vec![value.to_owned()])
}

/// What a row of the view `rules` says in a column of text.
fn text<'r>(row: &'r Row, column: &str) -> Option<&'r str> {
    match row.column(RULES.column(column)?) {
        Value::Str(text) => Some(text),
        _ => None,
    }
}

async fn of_alerts(ingest: &Ingest, record: &ControlRecord, rule: &AlertRule) -> Result<Response, Refusal> {
    let view = rule.view().map_err(|error| Refusal::Rule { field: error.field, problem: error.problem })?;
    let of_project = || -> Filters {
        let project = Some(record.project.clone()).filter(|project| !project.is_empty());
        project.map(|project| ("project".to_owned(), vec![project])).into_iter().collect()
    };
    let mut of_rule = of_project();
    of_rule.push(only("rule", &record.id));
    let of_id = vec![only("kind", record.change.kind().as_str()), only("id", &record.id)];
    let snapshot = rows(ingest, vec![(&RULES, of_id), (view, of_project()), (&ALERTS, of_rule)]).await?;
    let [(_, said), (_, rows), (_, firing)] = &snapshot.views[..] else { unreachable!("three views were asked for") };
    let said: Vec<ControlRecord> = said.iter().filter_map(|row| held(row, &record.id)).collect();
    let difference = alerts::dry_run(record, &said, rows, firing, snapshot.time);
    let over = json!({ "view": view.name, "rows": rows.len() });
    let mut told = Told::new(&snapshot.epoch, snapshot.time, &ALERTS, &over);
    told.rows("come", &difference.come).rows("go", &difference.go).rows("pending", &difference.pending);
    Ok(told.response())
}

/// A row of the view `rules` as the alert rule that it tells of.
fn held(row: &Row, id: &str) -> Option<ControlRecord> {
    let change = ControlChange::Alert(serde_json::from_str(text(row, "text")?).ok()?);
    let (project, id) = (text(row, "project")?.to_owned(), id.to_owned());
    Some(ControlRecord { project, id, change, said_at: 0, said_by: String::new() })
}

/// The rows of several views at one time.
async fn rows(ingest: &Ingest, views: Vec<(&'static View, Filters)>) -> Result<Snapshot, Refusal> {
    let refused = |error: QueryError| Refusal::Rule { field: "filter".to_owned(), problem: error.to_string() };
    let query = Query::of_each(views).map_err(refused)?;
    if !ingest.hub.head().live {
        return Err(Refusal::NotTaking("recovering"));
    }
    let limit = ingest.hub.config().snapshot_rows_max;
    let mut scan = Scan::new(Arc::new(query), limit);
    loop {
        match scan.step(&ingest.hub) {
            Step::More => tokio::task::yield_now().await,
            Step::Done(snapshot) => return Ok(snapshot),
            Step::Full(_) => return Err(Refusal::DryRunTooLarge { limit }),
        }
    }
}

/// Asks the engine, which is live; gives the epoch with the answer.
async fn ask(ingest: &Ingest, record: &ControlRecord) -> Result<(Arc<str>, Answered), Refusal> {
    let asked = ingest.questions.ask(record.clone()).ok_or(Refusal::TooManyDryRuns { limit: QUESTIONS_MAX })?;
    let late = || Refusal::DryRunLate { seconds: ingest.verdict_timeout.as_secs() };
    let answered =
        tokio::time::timeout(ingest.verdict_timeout, asked).await.map_err(|_| late())?.map_err(|_| late())?;
    let limit = ingest.hub.config().snapshot_rows_max;
    let changes = answered.answer.rows.come.len() + answered.answer.failures.changed.len();
    match answered.answer.too_many || changes > limit {
        true => Err(Refusal::DryRunTooLarge { limit }),
        // An epoch lasts as long as the process.
        false => Ok((ingest.hub.head().epoch, answered)),
    }
}

async fn of_tests(ingest: &Ingest, record: &ControlRecord) -> Result<Response, Refusal> {
    let (epoch, Answered { time, answer }) = ask(ingest, record).await?;
    let over = json!({ "view": FLAKY_TESTS.name, "rows": answer.over });
    let mut told = Told::new(&epoch, time, &FLAKY_TESTS, &over);
    told.rows("come", &answer.rows.come).rows("go", &answer.rows.go);
    Ok(told.response())
}

async fn of_failures(ingest: &Ingest, record: &ControlRecord) -> Result<Response, Refusal> {
    let (epoch, Answered { time, answer }) = ask(ingest, record).await?;
    let failures = &answer.failures;
    let over = json!({ "view": ERROR_STREAM.name, "rows": answer.over, "cut": failures.cut });
    let pattern = |of: &Pattern| {
        json!({ "project": &*of.project, "fingerprint": of.fingerprint.to_string(), "pattern": &*of.pattern, "type": &*of.kind,
            "errors": of.errors })
    };
    let changed = failures.changed.iter().map(|of| {
        json!({ "project": &*of.project, "stream": &*of.stream, "event": &*of.event, "from": of.from.to_string(),
            "to": of.to.to_string() })
    });
    let mut told = Told::new(&epoch, time, &FAILURE_PATTERNS, &over);
    told.list("come", &failures.come.iter().map(pattern).collect());
    told.list("go", &failures.go.iter().map(pattern).collect());
    told.list("changed", &changed.collect());
    Ok(told.response())
}

/// An answer, as it is written: rows are longer than they need to be as anything but text.
struct Told {
    text: String,
    view: &'static View,
}

impl Told {
    fn new(epoch: &str, time: u64, view: &'static View, over: &Json) -> Told {
        let mut text = String::from("{\"epoch\":");
        write_json_str(epoch, &mut text);
        let _infallible = write!(text, ",\"time\":{time},\"view\":\"{}\",\"over\":{over}", view.name);
        Told { text, view }
    }

    fn rows(&mut self, name: &str, rows: &[Row]) -> &mut Told {
        let _infallible = write!(self.text, ",\"{name}\":[");
        for (index, row) in rows.iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            row.write_json(self.view, &mut self.text);
        }
        self.text.push(']');
        self
    }

    fn list(&mut self, name: &str, list: &Json) {
        let _infallible = write!(self.text, ",\"{name}\":{list}");
    }

    fn response(mut self) -> Response {
        self.text.push('}');
        ([(CONTENT_TYPE, "application/json")], self.text).into_response()
    }
}
