//! The gateway: sockets, sessions, HTTP queries, authentication and limits.
//!
//! Contract: [`router`] serves `/v1/stream` (WebSocket), `/v1/views`, `/v1/views/{view}`, `/v1/completeness` and `/v1/digests` from a
//! hub.
//! Stateless: a client's whole position is `{epoch, time}`. Every request passes the check of `Host` and `Origin`
//! ([`origin`]), then that of its token ([`auth`]).
//!
//! | file | what it owns |
//! |---|---|
//! | `socket` | the WebSocket: handshake, one message under way, close |
//! | `session` | one connection: what the client says, what it is told, when it is over |
//! | `group`, `batch` | its subscriptions, which move together |
//! | `progress` | telling quiet from stalled |
//! | `options`, `limits` | what a client may ask for |
//! | `queries` | HTTP |
//! | `completeness` | what is still to come, of runs and projects |
//!
//! # Failure
//! A full server answers 503 with `Retry-After`. At shutdown each session closes with 4101; [`Gateway::drained`] waits for
//! that.

pub mod auth;
mod batch;
mod completeness;
mod group;
pub mod http_error;
mod limits;
mod options;
pub mod origin;
pub mod page;
mod progress;
mod queries;
mod rules;
mod session;
mod socket;
mod why;

use crate::connections::Connections;
use crate::hub::{Head, Hub};
use crate::shutdown::Shutdown;
use crate::status::Status;
use crate::task;
use auth::{Auth, Identity, Refusal, Role, token_of};
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use group::Snapshots;
use http_error::HttpError;
use metrics::counter;
use origin::Origins;
use progress::Condition;
use session::Session;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use weir_schemas::protocol::Progress;

/// Limits and rhythms; the defaults are the protocol's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How the server calls itself in `welcome`.
    pub server_name: String,
    /// Connections in all; above: 503.
    pub connections_max: usize,
    /// Snapshots being collected at a time, over all connections.
    pub snapshots_max: usize,
    /// And being written: each holds its rows until the client has them.
    pub snapshots_writing_max: usize,
    /// A client that takes longer to read a snapshot is closed.
    pub snapshot_timeout: Duration,
    /// Answers of `/v1/views/{view}` under way at a time.
    pub pages_max: usize,
    /// How long a request waits for its turn among those; after it: 503.
    pub page_wait: Duration,
    /// Subscriptions a connection.
    pub subscriptions_max: usize,
    /// `subscribe` messages a second and connection.
    pub subscribes_per_second: u32,
    /// Messages a second and connection.
    pub inbound_per_second: u32,
    /// Bytes of a client's message.
    pub message_bytes_max: usize,
    /// A `progress` comes at least so often.
    pub heartbeat: Duration,
    /// And at most so often.
    pub progress_interval: Duration,
    /// WebSocket pings.
    pub ping_interval: Duration,
    /// Where a token is needed, how long it may take to come.
    pub hello_timeout: Duration,
    /// A client that takes not one byte for so long is closed.
    pub drain_timeout: Duration,
    /// A client that is closed may take so long to read and answer that.
    pub close_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            server_name: "weir".to_owned(),
            connections_max: 10_000,
            snapshots_max: 64,
            snapshots_writing_max: 1_024,
            snapshot_timeout: Duration::from_secs(120),
            pages_max: 64,
            page_wait: Duration::from_secs(5),
            subscriptions_max: 128,
            subscribes_per_second: 10,
            inbound_per_second: 50,
            message_bytes_max: 64 << 10,
            heartbeat: Duration::from_secs(15),
            progress_interval: Duration::from_secs(1),
            ping_interval: Duration::from_secs(30),
            hello_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(2),
        }
    }
}

/// Everything that sessions and queries share.
pub struct Gateway {
    hub: Hub,
    status: Status,
    auth: Auth,
    origins: Origins,
    config: Config,
    shutdown: Shutdown,
    connections: Connections,
    snapshots: Snapshots,
    pages: Arc<Semaphore>,
    connection_ids: AtomicU64,
}

impl Gateway {
    /// A gateway to `hub`.
    #[must_use]
    pub fn new(
        hub: Hub,
        status: Status,
        auth: Auth,
        origins: Origins,
        config: Config,
        shutdown: Shutdown,
    ) -> Arc<Gateway> {
        Arc::new(Gateway {
            hub,
            status,
            auth,
            origins,
            connections: Connections::new(config.connections_max, 0),
            snapshots: Snapshots::new(config.snapshots_max, config.snapshots_writing_max),
            pages: Arc::new(Semaphore::new(config.pages_max)),
            config,
            shutdown,
            connection_ids: AtomicU64::new(0),
        })
    }

    /// Connections at this moment.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.count()
    }

    /// Waits until every session has ended; call it after the shutdown token was triggered.
    pub async fn drained(&self) {
        self.connections.none_left().await;
    }

    /// Lets an HTTP request in, or says why not.
    ///
    /// # Errors
    /// A foreign `Host` or `Origin`, or no token for `role`.
    pub fn admit(&self, headers: &HeaderMap, role: Role) -> Result<Identity, HttpError> {
        self.origins.check(headers, &self.auth)?;
        Ok(self.auth.authorize(headers, role)?)
    }

    fn next_connection_id(&self) -> String {
        format!("c{}", self.connection_ids.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn condition(&self, head: &Head, now: Instant) -> Condition {
        Condition::of(head, &self.status.phase(), self.status.lagging(), now)
    }

    fn progress(&self, head: &Head, condition: Condition, place: (Arc<str>, u64), timestamp: u64) -> Progress {
        progress::progress(head, &self.status.get(), condition, place, timestamp)
    }
}

/// The gateway's routes.
pub fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/v1/stream", get(stream))
        .route("/v1/views", get(queries::views))
        .route("/v1/views/{view}", get(queries::rows))
        .route("/v1/why/flaky_tests/{test}", get(why::flaky_test))
        .route("/v1/completeness", get(completeness::completeness))
        .route("/v1/digests", get(queries::digests))
        .route("/v1/rules", get(rules::rules))
        .route("/v1/incidents", get(rules::incidents))
        .with_state(gateway)
}

/// `GET /v1/stream`
async fn stream(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Result<Response, HttpError> {
    let headers = request.headers();
    gateway.origins.check(headers, &gateway.auth)?;
    let identity = match gateway.auth.identify(token_of(headers).as_deref()) {
        Ok(identity) if identity.may(Role::Read) => Some(identity),
        Ok(_) => return Err(Refusal::Forbidden(Role::Read).into()),
        // It may come in `hello` or `auth`.
        Err(Refusal::Missing) => None,
        Err(refusal) => return Err(refusal.into()),
    };
    if gateway.shutdown.triggered() {
        return Err(HttpError::unavailable("restarting", "the server is ending", 1));
    }
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let accepted = socket::accept(&mut request, gateway.config.message_bytes_max)?;
    let Some(place) = gateway.connections.enter(address) else {
        counter!("weir_gateway_refused_total").increment(1);
        return Err(HttpError::unavailable("over_capacity", "the server has all the connections that it can hold", 5));
    };
    let upgrade = accepted.upgrade;
    task::spawn("session", async move {
        match upgrade.socket().await {
            Ok(socket) => Session::new(gateway, socket, identity, place).run().await,
            Err(error) => tracing::debug!(%error, "a WebSocket handshake was not completed"),
        }
    });
    Ok(accepted.response)
}
