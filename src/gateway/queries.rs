//! Questions over HTTP: one view as it is now, all digests, all schemas.
//!
//! Contract: `GET /v1/views/{view}?column=value…&limit=&cursor=` answers rows in key order, `limit` of them (default 10,000)
//! and, where there are more, a `cursor` for the next page. A page is exact at its `time`; the next may be of a later one.
//! Filters are those of the WebSocket; a column given twice means either.
//!
//! # Cost
//! An answer under way holds its rows, shared with the hub, and some [`CHUNK_BYTES`] of text; so many at a time, and one more
//! waits for its turn a while and is then answered 503. A client that reads too slowly is left before the end.

use crate::gateway::Gateway;
use crate::gateway::auth::Role;
use crate::gateway::http_error::HttpError;
use crate::hub::query::{Filters, Query, QueryError};
use crate::hub::scan::{Scan, Snapshot, Step};
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query as Parameters, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream;
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use weir_schemas::row::Row;
use weir_schemas::row::write_json_str;
use weir_schemas::view::{VIEWS, View, view};

/// Rows of a page unless asked for otherwise.
const LIMIT: usize = 10_000;
/// Text of a page that is written in one go.
const CHUNK_BYTES: usize = 32 << 10;

type Pairs = Result<Parameters<Vec<(String, String)>>, QueryRejection>;

/// What a request asks for besides filters.
struct Page {
    filters: Filters,
    limit: usize,
    after: Option<Box<[u8]>>,
}

/// `GET /v1/views/{view}`
pub(crate) async fn rows(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    pairs: Pairs,
) -> Result<Response, HttpError> {
    gateway.admit(&headers, Role::Read)?;
    let view = view(&name).ok_or_else(|| {
        let known: Vec<&str> = VIEWS.iter().map(|view| view.name).collect();
        HttpError::new(
            StatusCode::NOT_FOUND,
            "unknown_view",
            format!("there is no view {name:?}; known: {}", known.join(", ")),
        )
    })?;
    let Parameters(pairs) = pairs.map_err(|error| bad_request("invalid_query", error.body_text()))?;
    let page = Page::read(pairs, gateway.hub.config().snapshot_rows_max)?;
    let query =
        Query::of_view(view, page.filters).map_err(|error| bad_request(QueryError::code(&error), error.to_string()))?;
    let Collected { snapshot, more, turn } = collect(&gateway, query, page.limit, page.after).await?;
    let until = Instant::now() + gateway.config.snapshot_timeout;
    let mut text = PageText::new(view, snapshot, more, until, turn);
    let body = match text.next() {
        Some(Ok(whole)) if text.rest.is_none() => Body::from(whole),
        first => Body::from_stream(stream::iter(first.into_iter().chain(text))),
    };
    Ok(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response())
}

/// The rows of a query, once there is a place for it among those under way.
pub(crate) struct Collected {
    pub(crate) snapshot: Snapshot,
    /// Whether there are more than were asked for.
    pub(crate) more: bool,
    turn: OwnedSemaphorePermit,
}

/// Collects the rows of a query, at most `limit`, above a key.
pub(crate) async fn collect(
    gateway: &Gateway,
    query: Query,
    limit: usize,
    after: Option<Box<[u8]>>,
) -> Result<Collected, HttpError> {
    if !gateway.hub.head().live {
        return Err(HttpError::unavailable("recovering", "the server is not live yet: it replays its log", 1));
    }
    let turn = tokio::time::timeout(gateway.config.page_wait, Arc::clone(&gateway.pages).acquire_owned()).await;
    let Ok(Ok(turn)) = turn else {
        return Err(HttpError::unavailable("busy", "all places for such answers are taken for now", 1));
    };
    let mut scan = Scan::new(Arc::new(query), limit).after(after);
    loop {
        match scan.step(&gateway.hub) {
            Step::More => tokio::task::yield_now().await,
            Step::Done(snapshot) => return Ok(Collected { snapshot, more: false, turn }),
            Step::Full(snapshot) => return Ok(Collected { snapshot, more: true, turn }),
        }
    }
}

impl Page {
    fn read(pairs: Vec<(String, String)>, limit_max: usize) -> Result<Page, HttpError> {
        let mut page = Page { filters: Filters::new(), limit: LIMIT.min(limit_max), after: None };
        for (name, value) in pairs {
            match name.as_str() {
                "limit" => {
                    page.limit =
                        value.parse().ok().filter(|limit| (1..=limit_max).contains(limit)).ok_or_else(|| {
                            bad_request("invalid_limit", format!("limit is {value:?}: expected 1 to {limit_max}"))
                        })?;
                }
                "cursor" => {
                    let key = URL_SAFE_NO_PAD.decode(&value).map_err(|_| {
                        bad_request("invalid_cursor", format!("cursor {value:?} is none that an answer gave"))
                    })?;
                    page.after = Some(key.into());
                }
                _ => match page.filters.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, values)) => values.push(value),
                    None => page.filters.push((name, vec![value])),
                },
            }
        }
        Ok(page)
    }
}

fn bad_request(code: &'static str, message: String) -> HttpError {
    HttpError::new(StatusCode::BAD_REQUEST, code, message)
}

/// A page as text, made as the client takes it.
struct PageText {
    view: &'static View,
    /// What has not been given yet; none after the end.
    rest: Option<Rest>,
    /// A client that has not taken it by then does without.
    until: Instant,
    _turn: OwnedSemaphorePermit,
}

struct Rest {
    /// Before the rows that are left.
    head: String,
    rows: std::vec::IntoIter<Row>,
    /// After them.
    tail: String,
}

impl PageText {
    fn new(
        view: &'static View,
        snapshot: Snapshot,
        more: bool,
        until: Instant,
        turn: OwnedSemaphorePermit,
    ) -> PageText {
        let rows = snapshot.views.into_iter().next().map(|(_, rows)| rows).unwrap_or_default();
        let mut head = String::from("{\"view\":");
        write_json_str(view.name, &mut head);
        head.push_str(",\"epoch\":");
        write_json_str(&snapshot.epoch, &mut head);
        head.push_str(&format!(",\"time\":{},\"schema\":{},\"rows\":[", snapshot.time, schema(view)));
        let tail = match rows.last().filter(|_| more) {
            Some(last) => format!("],\"cursor\":\"{}\"}}", URL_SAFE_NO_PAD.encode(last.prefix(view.key))),
            None => "]}".to_owned(),
        };
        PageText { view, rest: Some(Rest { head, rows: rows.into_iter(), tail }), until, _turn: turn }
    }
}

impl Iterator for PageText {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = self.rest.take()?;
        if Instant::now() > self.until {
            return Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the page is read too slowly")));
        }
        let mut text = std::mem::take(&mut rest.head);
        while text.len() < CHUNK_BYTES {
            let Some(row) = rest.rows.next() else {
                text.push_str(&rest.tail);
                return Some(Ok(text));
            };
            row.write_json(self.view, &mut text);
            if rest.rows.len() > 0 {
                text.push(',');
            }
        }
        self.rest = Some(rest);
        Some(Ok(text))
    }
}

fn schema(view: &View) -> Value {
    let columns: Vec<_> = view.columns.iter().map(|column| json!([column.name, column.kind.as_str()])).collect();
    json!({ "columns": columns, "key": (0..view.key).collect::<Vec<_>>() })
}

/// `GET /v1/views`
pub(crate) async fn views(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Json<Value>, HttpError> {
    gateway.admit(&headers, Role::Read)?;
    let views: Vec<Value> = VIEWS
        .iter()
        .map(|view| {
            let filters: Vec<&str> = (0..view.columns.len())
                .filter(|index| view.filterable(*index))
                .map(|index| view.columns[index].name)
                .collect();
            json!({
                "view": view.name,
                "version": view.version,
                "channel": view.channel,
                "cadenceMs": view.cadence_ms,
                "schema": schema(view),
                "filters": filters,
            })
        })
        .collect();
    Ok(Json(json!({ "views": views })))
}

/// `GET /v1/digests`
pub(crate) async fn digests(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Json<Value>, HttpError> {
    gateway.admit(&headers, Role::Read)?;
    let digests = gateway.hub.digests();
    let views: serde_json::Map<String, Value> =
        digests.views.iter().map(|(name, digest, _)| ((*name).to_owned(), json!(digest.to_string()))).collect();
    Ok(Json(json!({ "epoch": &*digests.epoch, "time": digests.time, "views": views })))
}
