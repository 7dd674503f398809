//! What a rule would change if it were put, by the rows of the hub.
//!
//! Contract: nothing is written. The answer is 200 `{"epoch", "time", "view", "come", "go", "pending"}`: rows of `view` that would come
//! and go at `time`, and those that would come later, each at its `fired_at`, if nothing else changed. All rows that it rests on
//! are of one `time`. A kind of rule is an arm in [`answer`]; one without is refused with 501.
//!
//! # Failure
//! While the server recovers it is refused, since the hub's rows are not those of now.

use crate::hub::query::{Filters, Query, QueryError};
use crate::hub::scan::{Scan, Snapshot, Step};
use crate::ingest::Ingest;
use crate::ingest::refusal::Refusal;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use std::fmt::Write as _;
use std::sync::Arc;
use weir_dataflows::views::alerts::{self, Difference};
use weir_schemas::control::{AlertRule, ControlChange, ControlRecord};
use weir_schemas::row::{Row, Value, write_json_str};
use weir_schemas::view::{ALERTS, RULES, View};

/// Says what `record` would change.
pub(super) async fn answer(ingest: &Ingest, record: &ControlRecord) -> Result<Response, Refusal> {
    match &record.change {
        ControlChange::Alert(rule) => of_alerts(ingest, record, rule).await,
        other => Err(Refusal::NoDryRun { kind: other.kind().as_str() }),
    }
}

async fn of_alerts(ingest: &Ingest, record: &ControlRecord, rule: &AlertRule) -> Result<Response, Refusal> {
    let view = rule.view().map_err(|error| Refusal::Rule { field: error.field, problem: error.problem })?;
    let of_project = || -> Filters {
        let project = Some(record.project.clone()).filter(|project| !project.is_empty());
        project.map(|project| ("project".to_owned(), vec![project])).into_iter().collect()
    };
    let only = |column: &str, value: &str| (column.to_owned(), vec![value.to_owned()]);
    let mut of_rule = of_project();
    of_rule.push(only("rule", &record.id));
    let of_id = vec![only("kind", record.change.kind().as_str()), only("id", &record.id)];
    let snapshot = rows(ingest, vec![(&RULES, of_id), (view, of_project()), (&ALERTS, of_rule)]).await?;
    let [(_, said), (_, rows), (_, firing)] = &snapshot.views[..] else { unreachable!("three views were asked for") };
    let said: Vec<ControlRecord> = said.iter().filter_map(|row| held(row, &record.id)).collect();
    let difference = alerts::dry_run(record, &said, rows, firing, snapshot.time);
    Ok(tell(&snapshot, &ALERTS, &difference))
}

/// A row of the view `rules` as the alert rule that it tells of.
fn held(row: &Row, id: &str) -> Option<ControlRecord> {
    let text = |name| match row.column(RULES.column(name)?) {
        Value::Str(text) => Some(text),
        _ => None,
    };
    let change = ControlChange::Alert(serde_json::from_str(text("text")?).ok()?);
    let (project, id) = (text("project")?.to_owned(), id.to_owned());
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

fn tell(snapshot: &Snapshot, view: &'static View, difference: &Difference) -> Response {
    let mut text = String::from("{\"epoch\":");
    write_json_str(&snapshot.epoch, &mut text);
    let _infallible = write!(text, ",\"time\":{},\"view\":\"{}\"", snapshot.time, view.name);
    for (name, rows) in [("come", &difference.come), ("go", &difference.go), ("pending", &difference.pending)] {
        let _infallible = write!(text, ",\"{name}\":[");
        for (index, row) in rows.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            row.write_json(view, &mut text);
        }
        text.push(']');
    }
    text.push('}');
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}
