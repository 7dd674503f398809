//! Errors over HTTP: one shape for all of them, JSON with a stable code and a sentence for a person.
//!
//! Contract: `{"code": "unknown_view", "error": "there is no view \"x\" …"}`, the same two fields as in the WebSocket's
//! `error` message; a passing condition carries `Retry-After`.

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An error as HTTP shows it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HttpError {
    /// The status.
    pub status: StatusCode,
    /// A word for programs.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
    /// When to come back, in seconds, where that helps.
    pub retry_after_s: Option<u64>,
}

impl HttpError {
    /// An error that stays when the request is repeated.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> HttpError {
        HttpError { status, code, message: message.into(), retry_after_s: None }
    }

    /// 503: a condition that passes.
    pub fn unavailable(code: &'static str, message: impl Into<String>, retry_after_s: u64) -> HttpError {
        HttpError {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code,
            message: message.into(),
            retry_after_s: Some(retry_after_s),
        }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let mut response =
            (self.status, axum::Json(json!({ "code": self.code, "error": self.message }))).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
