//! The client protocol: what goes over the WebSocket in both directions.
//!
//! Contract: JSON text frames. A client's message is parsed in two steps, first its `type`, then its fields, so that an
//! error names the field and, where it can, the subscription. Server messages serialize to exactly what a client
//! deserializes; batches are assembled from shared bytes by the hub in the same shape as [`Batch`].
//!
//! How a client keeps its rows: `initial_data` part 0 replaces the subscription's rows, `last` makes them visible. A batch
//! covers (`from`, `time`]; apply its entries in order, `up` replaces the row of its key, `del` removes a key, and show the
//! result at `last` (absent: true), when every subscription of the group equals its view at `time`. An entry with its own
//! `from` is the first after a snapshot or resume: it takes in the subscriptions of that name whose rows are of that time,
//! and batches and progress move only what was taken in. Position to resume from: `{epoch, time}` of the last batch that was
//! applied to its `last`, or of the last `progress`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// The subprotocol's name.
pub const SUBPROTOCOL: &str = "weir.v1";
/// The version that `hello` and `welcome` carry.
pub const VERSION: u32 = 1;
/// The group of all subscriptions of a connection while there is one throttle class.
pub const GROUP: u32 = 1;

/// Filter names of the protocol and the columns that they stand for.
pub const FILTER_NAMES: &[(&str, &str)] =
    &[("runId", "run"), ("testSuiteId", "suite"), ("testFramework", "framework"), ("userId", "user")];

/// The words of an enum column of a view, worst last; `None` where any word is taken.
#[must_use]
pub fn enum_words(view: &str, column: &str) -> Option<&'static [&'static str]> {
    match column {
        "state" if view == "flaky_tests" => Some(&["healthy", "fixed", "flaky", "broken"]),
        "outcome" => Some(&["running", "skipped", "passed", "failed", "error", "timeout"]),
        "latest_result" => Some(&["skipped", "passed", "failed", "error", "timeout"]),
        "severity" => Some(&["info", "warning", "error"]),
        "state" => Some(&["running", "passed", "failed", "abandoned"]),
        "scope" if view.starts_with("performance") => Some(&["suite", "test"]),
        "scope" => Some(&["project", "framework", "branch", "suite"]),
        _ => None,
    }
}

/// A place in a history: valid on any gateway and over restarts, as long as the epoch is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Since {
    /// The history.
    pub epoch: String,
    /// The tick.
    pub time: u64,
}

/// A wish to see a channel or view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subscribe {
    /// The client's own name for it, unique on its connection.
    pub subscription_id: String,
    /// A channel or a view.
    pub channel: String,
    /// AND over fields, OR inside a list.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub filters: Map<String, Value>,
    /// How it wants it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
    /// Where it left off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
}

/// Authenticates and resumes in one frame.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The protocol's version.
    pub v: u32,
    /// A token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What the client can do besides; unknown ones are ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<String>,
    /// Subscriptions to make or resume.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resume: Vec<Subscribe>,
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum ClientMessage {
    /// Optional first message.
    Hello(Hello),
    /// Wants to see something.
    Subscribe(Subscribe),
    /// No longer wants to.
    Unsubscribe {
        /// The client's name for it.
        subscription_id: String,
    },
    /// Asks for a `pong`.
    Ping {
        /// Comes back in the `pong`.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
    },
    /// Presents a token.
    Auth {
        /// The token.
        token: String,
    },
}

/// Why a client's message is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid message format: {problem}")]
pub struct InvalidMessage {
    /// What is wrong.
    pub problem: String,
    /// The subscription that it is about, where it can be told.
    pub subscription_id: Option<String>,
}

impl ClientMessage {
    /// Parses one message.
    ///
    /// # Errors
    /// Text that is no JSON object, an unknown `type`, or missing, mistyped or unknown fields.
    pub fn parse(text: &str) -> Result<ClientMessage, InvalidMessage> {
        let invalid = |problem: String| InvalidMessage { problem, subscription_id: None };
        let mut fields: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| invalid(format!("not a JSON object: {error}")))?;
        let kind = match fields.remove("type") {
            Some(Value::String(kind)) => kind,
            Some(_) => return Err(invalid("type is not a string".to_owned())),
            None => return Err(invalid("type is missing".to_owned())),
        };
        let subscription_id = fields.get("subscriptionId").and_then(Value::as_str).map(str::to_owned);
        let fields = Value::Object(fields);
        let parsed = match kind.as_str() {
            "hello" => Hello::deserialize(fields).map(ClientMessage::Hello),
            "subscribe" => Subscribe::deserialize(fields).map(ClientMessage::Subscribe),
            "unsubscribe" => Named::deserialize(fields)
                .map(|Named { subscription_id }| ClientMessage::Unsubscribe { subscription_id }),
            "ping" => Numbered::deserialize(fields).map(|Numbered { id }| ClientMessage::Ping { id }),
            "auth" => Token::deserialize(fields).map(|Token { token }| ClientMessage::Auth { token }),
            other => {
                return Err(InvalidMessage {
                    problem: format!("unknown type {other:?}; known: hello, subscribe, unsubscribe, ping, auth"),
                    subscription_id,
                });
            }
        };
        parsed.map_err(|error| InvalidMessage { problem: format!("{kind}: {error}"), subscription_id })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    subscription_id: String,
}

#[derive(Deserialize)]
struct Numbered {
    #[serde(default)]
    id: Option<u64>,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum ServerMessage {
    /// The first message, once the client is known.
    Welcome {
        /// The protocol's version.
        v: u32,
        /// The connection's name in the server's logs.
        connection_id: String,
        /// The server's name.
        server: String,
        /// The history that is shown; empty while it is not known.
        epoch: String,
        /// Where it is.
        time: u64,
        /// A `progress` comes at least so often.
        heartbeat_ms: u64,
        /// What a connection may do.
        limits: WelcomeLimits,
    },
    /// A subscription stands; comes before its data.
    SubscriptionConfirmed(SubscriptionConfirmed),
    /// A part of a snapshot.
    InitialData(InitialData),
    /// Changes.
    Batch(Batch),
    /// Where the group is while nothing changes.
    Progress(Progress),
    /// Something was not done.
    Error(ErrorMessage),
    /// Answers a `ping`.
    Pong {
        /// The ping's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        /// The server's clock, epoch ms.
        timestamp: u64,
    },
}

/// What a connection may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WelcomeLimits {
    /// Subscriptions at a time.
    pub subscriptions: usize,
    /// Messages a second.
    pub inbound_per_sec: u32,
    /// Bytes of a message.
    pub message_bytes: usize,
}

/// How a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// With all its rows.
    Snapshot,
    /// With what changed since.
    Resumed,
}

/// One view of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewSchema {
    /// Its name.
    pub view: String,
    /// Raised with every change of its columns.
    pub version: u32,
    /// The indexes of the key columns.
    pub key: Vec<usize>,
    /// Names and kinds.
    pub columns: Vec<(String, String)>,
}

impl From<&crate::view::View> for ViewSchema {
    fn from(view: &crate::view::View) -> ViewSchema {
        let columns = view.columns.iter().map(|column| (column.name.to_owned(), column.kind.as_str().to_owned()));
        ViewSchema {
            view: view.name.to_owned(),
            version: view.version,
            key: (0..view.key).collect(),
            columns: columns.collect(),
        }
    }
}

/// A subscription stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionConfirmed {
    /// The client's name for it.
    pub subscription_id: String,
    /// The name by which batches call it.
    pub subscription: String,
    /// The channel or view.
    pub channel: String,
    /// The canonical filter's hash.
    pub filter_id: String,
    /// How it begins.
    pub mode: Mode,
    /// The history.
    pub epoch: String,
    /// Where it begins.
    pub time: u64,
    /// The group that moves together.
    pub group: u32,
    /// Its views.
    pub schemas: Vec<ViewSchema>,
    /// Views of the channel that lack a filter's column.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_views: Vec<String>,
}

/// A part of a snapshot; `part` and `last` run over all views of the subscription.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitialData {
    /// The client's name for the subscription.
    pub subscription_id: String,
    /// The server's.
    pub subscription: String,
    /// The view of these rows.
    pub view: String,
    /// The history.
    pub epoch: String,
    /// When the rows held.
    pub time: u64,
    /// From 0, which replaces all rows of the subscription.
    pub part: u32,
    /// Whether the snapshot is complete.
    pub last: bool,
    /// The rows, ordered by key.
    pub rows: Vec<Vec<Value>>,
}

/// The changes of a group in (`from`, `time`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// Rises by one with each batch of the connection.
    pub sequence: u64,
    /// The server's clock, epoch ms.
    pub timestamp: u64,
    /// The history.
    pub epoch: String,
    /// The group.
    pub group: u32,
    /// Where the group was.
    pub from: u64,
    /// Where it is, once `last` is applied.
    pub time: u64,
    /// Whether entries are net over the whole span; false: one by one, in order.
    pub net: bool,
    /// From 0, in a batch that goes in several messages; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u32>,
    /// Whether the batch is complete; absent means that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<bool>,
    /// The changes.
    pub messages: Vec<Entry>,
}

/// Changes of one view of one subscription.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The server's name of the subscription.
    pub subscription: String,
    /// The view.
    pub view: String,
    /// On the first entry after a snapshot or resume: where the subscription was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Rows that are new or replace the row of their key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub up: Vec<Vec<Value>>,
    /// Keys that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub del: Vec<Vec<Value>>,
}

/// Where the group is while nothing changes: all its subscriptions equal their views at `time`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The group.
    pub group: u32,
    /// The history; empty while it is not known.
    pub epoch: String,
    /// Where it is.
    pub time: u64,
    /// The server's clock, epoch ms.
    pub timestamp: u64,
    /// Whether the numbers are not those of now: the engine is not live, has not moved for a while or
    /// is more than 5 s behind its log. Holds until the next `progress` of this connection says otherwise.
    pub stale: bool,
    /// What the engine does: `starting` `recovering` `live` `draining`.
    pub phase: String,
    /// How complete the numbers are.
    pub completeness: Completeness,
}

/// How complete the numbers are, over all projects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Completeness {
    /// Everything up to here is in.
    pub up_to: u64,
    /// Runs that have not ended.
    pub running_runs: i64,
    /// Streams of them that are not complete.
    pub open_streams: i64,
    /// Shards of them from which more is to come: these streams, and shards that were announced and not seen yet.
    #[serde(default)]
    pub open_shards: i64,
    /// Tests of them that were announced and not seen yet.
    pub not_seen: i64,
    /// Records that are durable and not in yet.
    pub behind_records: u64,
    /// How long the oldest of them has waited, about, in ms.
    pub behind_ms: u64,
    /// During a recovery: records replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<u64>,
    /// During a recovery: records to replay in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_replay: Option<u64>,
}

/// Something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorMessage {
    /// A word for programs.
    pub code: String,
    /// A sentence for people.
    pub error: String,
    /// Whether the same may succeed later.
    pub temporary: bool,
    /// When to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The subscription that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
}

/// Why the server closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// Too many messages were not understood, or one was too large.
    BadMessage,
    /// No or no good token.
    Unauthorized,
    /// The token does not cover it.
    Forbidden,
    /// No token came in time.
    HelloTimeout,
    /// Limits were ignored again and again.
    Abuse,
    /// The server restarts.
    Restart,
    /// Nothing was read for too long.
    NoProgress,
    /// The server is full.
    OverCapacity,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            CloseCode::BadMessage => 4400,
            CloseCode::Unauthorized => 4401,
            CloseCode::Forbidden => 4403,
            CloseCode::HelloTimeout => 4408,
            CloseCode::Abuse => 4429,
            CloseCode::Restart => 4101,
            CloseCode::NoProgress => 4108,
            CloseCode::OverCapacity => 4109,
        }
    }

    /// Whether a client may connect again unchanged, after a pause.
    #[must_use]
    pub const fn retryable(self) -> bool {
        matches!(self, CloseCode::Restart | CloseCode::NoProgress | CloseCode::OverCapacity)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

#[cfg(test)]
mod tests;
