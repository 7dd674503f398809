//! The server: everything that lives in one process, wired together.
//!
//! Contract: [`start`] takes a configuration, a listener and a token and returns once requests are answered; recovery goes
//! on behind it, visible in `/readyz`. [`Server::ended`] returns when shutdown was triggered and everything has ended in
//! order: readiness goes first, then requests, then the engine, then the log. This is the only module, besides
//! `commands`, that knows all others.
//!
//! # Failure
//! What keeps it from starting is a [`ServeError`] with a remedy. A panic of any thread ends the process
//! ([`end_on_panic`]): nothing catches it and goes on with half a state.

mod engine;
mod error;
mod guard;
mod signals;
mod storage;

pub use error::ServeError;
pub use signals::{end_on_panic, end_on_signals};
pub use storage::{BINDINGS_MARGIN, REJECT_OVERHEAD, kafka_properties};
pub use storage::{BINDINGS_TOPIC, CONTROL_TOPIC, EVENTS_TOPIC, TOPICS};

use crate::config::Config;
use crate::gateway::auth::{Auth, check_listen};
use crate::gateway::{self, Gateway, page};
use crate::hub::{self, Hub};
use crate::questions::Questions;
use crate::shutdown::Shutdown;
use crate::status::{Phase, Status};
use crate::verdicts::Verdicts;
use crate::{http, ingest, probes, task, telemetry};
use engine::Engine;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A server that answers requests.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// What its engine says of itself.
    pub status: Status,
    shutdown: Shutdown,
    http: JoinHandle<()>,
    gateway: Arc<Gateway>,
    engine: Engine,
    drain_timeout: Duration,
    storage: Storage,
}

/// Opens the configured address.
///
/// # Errors
/// It is taken, not this machine's, or not allowed.
pub fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    http::bind(address).map_err(|source| ServeError::Listen { address, source })
}

/// A client that takes not one byte of an answer for so long is closed, as one of the WebSocket is.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// An engine that has not ended after so long waits for brokers that are away; it drains for five seconds at most.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts everything; requests are answered when it returns.
///
/// # Errors
/// What keeps it from starting.
pub async fn start(config: &Config, listener: TcpListener, shutdown: Shutdown) -> Result<Server, ServeError> {
    start_after(config, &[], listener, shutdown).await
}

/// The same, on a log that has lost records, each loss by its name ([`crate::engine::Loss::name`]).
async fn start_after(
    config: &Config,
    accepted_losses: &[String],
    listener: TcpListener,
    shutdown: Shutdown,
) -> Result<Server, ServeError> {
    let address =
        listener.local_addr().map_err(|source| ServeError::Listen { address: config.server.listen, source })?;
    let auth = match &config.auth.tokens_file {
        Some(path) => Auth::from_file(path)?,
        None => Auth::open(),
    };
    check_listen(address, &auth)?;
    upkeep(shutdown.clone());
    let status = Status::default();
    let mut storage = open_storage(config, &status, &shutdown).await?;
    storage.look_after(&status, &shutdown);
    let (verdicts, questions) = (Arc::new(Verdicts::default()), Arc::new(Questions::default()));
    let hub = Hub::new(hub_config(config));
    let asked = (Arc::clone(&verdicts), Arc::clone(&questions));
    let engine =
        Engine::start((config, accepted_losses), &mut storage, hub.clone(), status.clone(), asked, shutdown.clone())?;
    let origins = guard::origins(config, &auth);
    let gateway = Gateway::new(
        hub.clone(),
        status.clone(),
        auth.clone(),
        origins.clone(),
        gateway::Config { connections_max: config.server.max_connections, ..gateway::Config::default() },
        shutdown.clone(),
    );
    let ingest = ingest::router(ingest_parts(config, &storage, hub, &status, (verdicts, questions), &shutdown));
    let router = probes::router(status.clone())
        .merge(gateway::router(Arc::clone(&gateway)))
        .merge(page::router())
        .merge(guard::writers_only(ingest, auth, origins));
    let limits = http::Limits {
        connections_max: config.server.max_connections,
        connections_per_address_max: config.server.max_connections_per_address,
        header_timeout: config.server.header_timeout.duration(),
        drain_timeout: config.server.drain_timeout.duration(),
        write_timeout: WRITE_TIMEOUT,
    };
    let http = task::spawn("http", http::serve(listener, router, limits, shutdown.clone()));
    Ok(Server { address, status, shutdown, http, gateway, engine, drain_timeout: limits.drain_timeout, storage })
}

fn hub_config(config: &Config) -> hub::Config {
    hub::Config {
        ring_span_ms: config.hub.ring_age.ms(),
        ring_bytes: config.hub.ring_size.len(),
        snapshot_rows_max: config.hub.max_snapshot_rows,
        ..hub::Config::default()
    }
}

async fn open_storage(config: &Config, status: &Status, shutdown: &Shutdown) -> Result<Storage, ServeError> {
    let (config, status, shutdown) = (config.clone(), status.clone(), shutdown.clone());
    let opening = tokio::task::spawn_blocking(move || Storage::open(&config, &status, &shutdown));
    opening.await.map_err(|error| ServeError::Broken { part: "opening the log", reason: error.to_string() })?
}

fn ingest_parts(
    config: &Config,
    storage: &Storage,
    hub: Hub,
    status: &Status,
    (verdicts, questions): (Arc<Verdicts>, Arc<Questions>),
    shutdown: &Shutdown,
) -> ingest::Parts {
    ingest::Parts {
        log: Arc::clone(storage.ingest()),
        control: Arc::clone(&storage.logs.control),
        hub,
        status: status.clone(),
        verdicts,
        questions,
        shutdown: shutdown.clone(),
        limits: config.limits.limits(),
        behind_max: config.engine.max_behind,
        room_bytes: config.ingest.inflight_size.len(),
        body_timeout: config.ingest.body_timeout.duration(),
        verdict_timeout: config.ingest.verdict_timeout.duration(),
        public_url: config.server.public_url.clone(),
        run_path: page::run_path,
    }
}

impl Server {
    /// Waits until shutdown was triggered and everything has ended in order.
    ///
    /// # Errors
    /// Something did not end in order.
    pub async fn ended(self) -> Result<(), ServeError> {
        self.shutdown.wait().await;
        self.status.update(|status| status.phase = Phase::Draining);
        let http = self.http.await;
        if tokio::time::timeout(self.drain_timeout, self.gateway.drained()).await.is_err() {
            tracing::warn!("{} clients were still connected and are cut off", self.gateway.connections());
        }
        let Server { engine, storage, .. } = self;
        let broken = |error: tokio::task::JoinError| ServeError::Broken { part: "ending", reason: error.to_string() };
        let (storage, mut ending) = (Arc::new(storage), tokio::task::spawn_blocking(move || engine.finish()));
        let waited_for = Arc::clone(&storage);
        let ended = match tokio::time::timeout(ENGINE_TIMEOUT, &mut ending).await {
            Ok(ended) => ended,
            Err(_elapsed) => {
                tokio::task::spawn_blocking(move || waited_for.wait_no_more()).await.map_err(broken)?;
                ending.await
            }
        };
        let ended = ended.map_err(broken)?;
        tokio::task::spawn_blocking(move || storage.close()).await.map_err(broken)?;
        http.map_err(|error| ServeError::Broken { part: "the HTTP server", reason: error.to_string() })?;
        ended
    }
}

/// Serves until SIGINT or SIGTERM, after these losses of the log; a second one ends the process at once.
///
/// # Errors
/// As [`start`] and [`Server::ended`].
pub async fn until_signal(config: &Config, accepted_losses: &[String]) -> Result<(), ServeError> {
    let shutdown = Shutdown::default();
    end_on_signals(shutdown.clone())?;
    let server = start_after(config, accepted_losses, listen(config.server.listen)?, shutdown).await?;
    tracing::info!("listening on http://{}", server.address);
    server.ended().await
}

/// Folds histograms while nobody scrapes, so that they stay small.
fn upkeep(shutdown: Shutdown) {
    let metrics = telemetry::metrics();
    task::spawn("metrics upkeep", async move {
        let mut interval = tokio::time::interval(telemetry::UPKEEP);
        loop {
            tokio::select! {
                _ = interval.tick() => metrics.run_upkeep(),
                () = shutdown.wait() => break,
            }
        }
    });
}
