//! Why a request is refused, and how that is said.
//!
//! Contract: every refusal is JSON, `{"code", "error", "field"?, "offset"?, "remedy"?}`: a word for programs, a sentence for
//! people, where the trouble lies and what to do. What passes carries `Retry-After`. A refused request took nothing.

use crate::decode::batch::BodyError;
use crate::log::AppendError;
use axum::http::header::{ACCEPT_ENCODING, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The engine has more to do than it may.
    #[error("{behind} records wait for the engine, more than the {limit} that may")]
    Behind {
        /// How many wait.
        behind: u64,
        /// How many may.
        limit: u64,
        /// When to come back.
        retry_after_s: u64,
    },
    /// Too much is waiting to be written.
    #[error("the log's queue is full")]
    Busy,
    /// Bodies of other requests fill the memory there is for them.
    #[error("the memory for bodies in flight is taken")]
    NoRoom,
    /// The disk is full.
    #[error("the disk under the data folder is full")]
    DiskFull,
    /// The log does not answer.
    #[error("the log does not answer: {0}")]
    LogSilent(String),
    /// The server is starting or ending.
    #[error("the server is {0} and takes no events")]
    NotTaking(&'static str),
    /// The body is over a limit.
    #[error("the body is over the limit of {limit} bytes {what}")]
    TooLarge {
        /// The limit.
        limit: usize,
        /// Of what: as sent, or after decompression.
        what: &'static str,
    },
    /// One item is over the limit of a record.
    #[error("item {index} has {bytes} bytes, over the limit of {limit} for one event")]
    ItemTooLarge {
        /// Which item of the body, from 0.
        index: usize,
        /// Where it begins.
        offset: usize,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// One event that was made of the body is over what the log takes in one record.
    #[error("an event has {bytes} bytes, over the limit of {limit} for one record of the log")]
    RecordTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The content encoding is none that is understood.
    #[error("the content-encoding `{0}` is not known")]
    Encoding(String),
    /// The compressed body cannot be decompressed.
    #[error("the body is no sound {encoding}: {reason}")]
    Compression {
        /// The encoding that it is said to have.
        encoding: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive within {seconds} s")]
    Slow {
        /// The time there was.
        seconds: u64,
    },
    /// The client broke off.
    #[error("the body broke off: {0}")]
    BrokenOff(String),
    /// The body is unreadable as a whole.
    #[error("{0}")]
    Body(#[from] BodyError),
    /// A parameter of the query is wrong.
    #[error("{field}: {problem}")]
    Query {
        /// The parameter.
        field: String,
        /// What is wrong with it.
        problem: String,
        /// What would be right.
        remedy: String,
    },
    /// A rule or an incident cannot be read at all.
    #[error("the body cannot be read: {reason}")]
    NoRule {
        /// Where reading ended.
        offset: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A field of a rule or an incident is not acceptable.
    #[error("{field}: {problem}")]
    Rule {
        /// Its path.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A rule or an incident is too large.
    #[error("a rule or an incident has at most {limit} bytes")]
    RuleTooLarge {
        /// The limit.
        limit: usize,
    },
    /// A dry run shows rows.
    #[error("a dry run shows rows, which the token may not read")]
    MayNotRead,
    /// The rule that a dry run is of would be one too many.
    #[error("there are {max} rules of kind {kind} already; remove one first")]
    TooManyRules {
        /// How many there may be.
        max: usize,
        /// Their kind.
        kind: &'static str,
    },
    /// Too many ask what rules would change.
    #[error("{limit} dry runs are under way, which is as many as may be")]
    TooManyDryRuns {
        /// How many may be.
        limit: usize,
    },
    /// The engine has not answered.
    #[error("the engine has not answered the dry run within {seconds} s")]
    DryRunLate {
        /// The time there was.
        seconds: u64,
    },
    /// A dry run would look at too many rows.
    #[error("a dry run looks at {limit} rows at most, and tells as many changes")]
    DryRunTooLarge {
        /// The limit.
        limit: usize,
    },
    /// `wait` with another number of events than one.
    #[error("wait=admitted waits for the verdict on one event, the body has {0}")]
    WaitForOne(usize),
    /// Nothing of a report could be read.
    #[error("the report cannot be read: {0}")]
    Report(String),
    /// The log is broken.
    #[error("{0}")]
    Log(AppendError),
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Refusal {
        match error {
            AppendError::Busy => Refusal::Busy,
            AppendError::Full => Refusal::DiskFull,
            AppendError::Unacknowledged { reason } => Refusal::LogSilent(reason),
            AppendError::Closed => Refusal::NotTaking("ending"),
            AppendError::Oversize { bytes, limit } => Refusal::RecordTooLarge { bytes, limit },
            AppendError::Failed { .. } => Refusal::Log(error),
        }
    }
}

/// A refusal on the wire.
#[derive(Serialize)]
struct Said<'a> {
    code: &'static str,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
}

impl Refusal {
    /// The word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind().1
    }

    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Refusal::Behind { .. } => (StatusCode::TOO_MANY_REQUESTS, "engine_behind"),
            Refusal::Busy => (StatusCode::TOO_MANY_REQUESTS, "log_busy"),
            Refusal::NoRoom => (StatusCode::TOO_MANY_REQUESTS, "memory_in_use"),
            Refusal::DiskFull => (StatusCode::SERVICE_UNAVAILABLE, "disk_full"),
            Refusal::LogSilent(_) => (StatusCode::SERVICE_UNAVAILABLE, "log_silent"),
            Refusal::NotTaking(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_taking"),
            Refusal::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Refusal::ItemTooLarge { .. } | Refusal::RecordTooLarge { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "event_too_large")
            }
            Refusal::Body(BodyError::TooMany { .. }) => (StatusCode::PAYLOAD_TOO_LARGE, "too_many_events"),
            Refusal::Encoding(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown_encoding"),
            Refusal::Compression { .. } => (StatusCode::BAD_REQUEST, "bad_compression"),
            Refusal::Slow { .. } => (StatusCode::REQUEST_TIMEOUT, "body_timeout"),
            Refusal::BrokenOff(_) => (StatusCode::BAD_REQUEST, "body_broken_off"),
            Refusal::Body(BodyError::Empty) => (StatusCode::BAD_REQUEST, "body_empty"),
            Refusal::Body(BodyError::Unreadable { .. }) => (StatusCode::BAD_REQUEST, "body_unreadable"),
            Refusal::Query { .. } => (StatusCode::BAD_REQUEST, "bad_query"),
            Refusal::NoRule { .. } => (StatusCode::BAD_REQUEST, "body_unreadable"),
            Refusal::Rule { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            Refusal::RuleTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Refusal::MayNotRead => (StatusCode::FORBIDDEN, "forbidden"),
            Refusal::TooManyRules { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "rejected"),
            Refusal::TooManyDryRuns { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_dry_runs"),
            Refusal::DryRunLate { .. } => (StatusCode::SERVICE_UNAVAILABLE, "dry_run_timeout"),
            Refusal::DryRunTooLarge { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "too_many_rows"),
            Refusal::WaitForOne(_) => (StatusCode::BAD_REQUEST, "wait_for_one"),
            Refusal::Report(_) => (StatusCode::UNPROCESSABLE_ENTITY, "report_unreadable"),
            Refusal::Log(_) => (StatusCode::INTERNAL_SERVER_ERROR, "log_failed"),
        }
    }

    fn retry_after_s(&self) -> Option<u64> {
        match self {
            Refusal::Behind { retry_after_s, .. } => Some(*retry_after_s),
            Refusal::Busy | Refusal::NoRoom | Refusal::TooManyDryRuns { .. } => Some(1),
            Refusal::NotTaking(_) | Refusal::DryRunLate { .. } => Some(2),
            Refusal::LogSilent(_) => Some(5),
            Refusal::DiskFull => Some(30),
            _ => None,
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Refusal::Query { field, .. } | Refusal::Rule { field, .. } => Some(field),
            _ => None,
        }
    }

    fn offset(&self) -> Option<usize> {
        match self {
            Refusal::ItemTooLarge { offset, .. }
            | Refusal::NoRule { offset, .. }
            | Refusal::Body(BodyError::Unreadable { offset, .. } | BodyError::TooMany { offset, .. }) => Some(*offset),
            _ => None,
        }
    }

    fn remedy(&self) -> Option<&str> {
        match self {
            Refusal::Behind { .. }
            | Refusal::Busy
            | Refusal::NoRoom
            | Refusal::LogSilent(_)
            | Refusal::TooManyDryRuns { .. }
            | Refusal::DryRunLate { .. } => Some("send the same request again after the time in Retry-After"),
            Refusal::DiskFull => {
                Some("free space under the data folder, or lower the log's retention; then send again")
            }
            Refusal::NotTaking(_) => Some("send the same request again shortly"),
            Refusal::TooLarge { .. } | Refusal::Body(BodyError::TooMany { .. }) => Some("send it in several requests"),
            Refusal::ItemTooLarge { .. } | Refusal::RecordTooLarge { .. } => {
                Some("shorten the event, for instance its stack")
            }
            Refusal::Encoding(_) => Some("send gzip, zstd or identity"),
            Refusal::Slow { .. } => Some("send smaller bodies"),
            Refusal::Body(BodyError::Empty | BodyError::Unreadable { .. }) => {
                Some("send one JSON object, a JSON array of objects, or one object a line")
            }
            Refusal::Query { remedy, .. } => Some(remedy),
            Refusal::NoRule { .. } => Some("send one JSON object"),
            Refusal::RuleTooLarge { .. } => Some("shorten its texts"),
            Refusal::MayNotRead => Some("use a token that may read and write"),
            Refusal::DryRunTooLarge { .. } => Some("name a project"),
            Refusal::WaitForOne(_) => Some("send events one by one, or without wait"),
            Refusal::Report(_) => {
                Some("name the format (junit, lcov, cobertura), or send TestEvent JSON to /v1/events")
            }
            Refusal::Log(_) => Some("see the server's log; it takes nothing until it is started again"),
            Refusal::Rule { .. }
            | Refusal::TooManyRules { .. }
            | Refusal::Compression { .. }
            | Refusal::BrokenOff(_) => None,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code) = self.kind();
        metrics::counter!("weir_ingest_refused_total", "code" => code).increment(1);
        // Whoever sends while the server starts or ends is to come again: nothing is wrong.
        if status.is_server_error() && !matches!(self, Refusal::NotTaking(_)) {
            tracing::warn!(code, error = %self, "a request is refused");
        } else {
            tracing::debug!(code, error = %self, "a request is refused");
        }
        let said =
            Said { code, error: self.to_string(), field: self.field(), offset: self.offset(), remedy: self.remedy() };
        let mut response = (status, axum::Json(said)).into_response();
        if let Some(seconds) = self.retry_after_s() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if matches!(self, Refusal::Encoding(_)) {
            response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_the_log_does_not_take_is_the_senders_matter_and_a_broken_log_is_not() {
        let status = |error| Refusal::from(error).into_response().status();
        assert_eq!(status(AppendError::Oversize { bytes: 2, limit: 1 }), StatusCode::PAYLOAD_TOO_LARGE);
        let broken = AppendError::Failed { reason: "a sync failed".to_owned() };
        assert_eq!(status(broken), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
