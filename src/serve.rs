//! The server: everything that lives in one process, wired together.
//!
//! Contract: [`start`] takes a configuration, a listener and a token and returns once requests are answered; recovery goes
//! on behind it, visible in `/readyz`. [`Server::ended`] returns when shutdown was triggered and everything has ended in
//! order. This is the only module, besides `commands`, that knows all others.
//!
//! # Failure
//! What keeps it from starting is a [`ServeError`] with a remedy. A panic of any thread ends the process
//! ([`end_on_panic`]): nothing catches it and goes on with half a state.

use crate::commands::{EXIT_PANIC, Exit, Failure};
use crate::config::Config;
use crate::shutdown::Shutdown;
use crate::status::{Phase, Status};
use crate::{http, probes, task, telemetry};
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

/// A server that answers requests.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// What its engine says of itself.
    pub status: Status,
    http: JoinHandle<()>,
}

/// Why a server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The system does not tell of signals.
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
}

/// Opens the configured address.
///
/// # Errors
/// It is taken, not this machine's, or not allowed.
pub fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    http::bind(address).map_err(|source| ServeError::Listen { address, source })
}

/// Starts everything; requests are answered when it returns.
///
/// # Errors
/// What keeps it from starting.
#[expect(clippy::unused_async, reason = "tasks are started, which needs the runtime that the caller runs on")]
pub async fn start(config: &Config, listener: TcpListener, shutdown: Shutdown) -> Result<Server, ServeError> {
    let address =
        listener.local_addr().map_err(|source| ServeError::Listen { address: config.server.listen, source })?;
    let status = Status::default();
    let router = probes::router(status.clone());
    let limits = http::Limits {
        connections_max: config.server.max_connections,
        header_timeout: config.server.header_timeout.duration(),
        drain_timeout: config.server.drain_timeout.duration(),
    };
    upkeep(shutdown.clone());
    let http = task::spawn("http", http::serve(listener, router, limits, shutdown));
    Ok(Server { address, status, http })
}

impl Server {
    /// Waits until shutdown was triggered and everything has ended in order.
    ///
    /// # Errors
    /// Something did not end in order.
    pub async fn ended(self) -> Result<(), ServeError> {
        if let Err(error) = self.http.await {
            tracing::error!(%error, "the HTTP server broke");
        }
        Ok(())
    }
}

/// Serves until SIGINT or SIGTERM; a second one ends the process at once.
///
/// # Errors
/// As [`start`] and [`Server::ended`].
pub async fn until_signal(config: &Config) -> Result<(), ServeError> {
    let shutdown = Shutdown::default();
    end_on_signals(shutdown.clone())?;
    let server = start(config, listen(config.server.listen)?, shutdown.clone()).await?;
    tracing::info!(address = %server.address, "listening");
    shutdown.wait().await;
    server.status.update(|status| status.phase = Phase::Draining);
    server.ended().await
}

/// Triggers `shutdown` at the first SIGINT or SIGTERM and ends the process at the second.
///
/// # Errors
/// The system does not tell of signals.
pub fn end_on_signals(shutdown: Shutdown) -> Result<(), ServeError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    task::spawn("signals", async move {
        for first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = terminate.recv() => (),
            }
            if first {
                tracing::info!("ending in order; a second signal ends at once");
                shutdown.trigger();
            }
        }
        std::process::exit(Exit::Failed as i32);
    });
    Ok(())
}

/// Makes a panic of any thread end the process, after its message.
pub fn end_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        tracing::error!("a thread panicked: {panic}; the process ends");
        std::process::exit(EXIT_PANIC);
    }));
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

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Failure {
        match &error {
            ServeError::Listen { source, .. } => {
                let remedy = match source.kind() {
                    io::ErrorKind::AddrInUse => "stop what listens there, or choose another address with --listen",
                    io::ErrorKind::AddrNotAvailable => "this machine has no such address: choose another with --listen",
                    io::ErrorKind::PermissionDenied => {
                        "ports below 1024 need a privilege: choose a higher one with --listen"
                    }
                    _ => "choose another address with --listen",
                };
                Failure::new(Exit::Environment, &error).with_remedy(remedy)
            }
            ServeError::Signals(_) => Failure::new(Exit::Failed, &error),
        }
    }
}
