//! Taking events and reports over HTTP into the log.
//!
//! Contract: [`router`] has `POST /v1/events` ([`events`]), `POST /v1/reports` ([`reports`]), and `PUT` and `DELETE` of
//! `/v1/rules/{id}` and `/v1/incidents/{id}` ([`control`]). An answer of success means durable; a [`refusal::Refusal`] means that nothing was taken. Who may send is checked by whoever mounts the router.
//!
//! # Invariants
//! Back-pressure never costs memory: all bodies in flight share one [`room`], and what the engine or the log cannot take
//! soon is refused with `Retry-After` before it is read.
//!
//! # Failure
//! While the engine recovers events are taken, since the log is durable, but no more than may wait for the engine.

mod body;
pub mod control;
mod events;
mod observe;
mod plan;
mod query;
pub mod refusal;
pub mod reports;
mod room;

use crate::hub::Hub;
use crate::log::{Log, NewRecord, Position};
use crate::questions::Questions;
use crate::shutdown::Shutdown;
use crate::status::{EngineStatus, Phase, Status};
use crate::verdicts::Verdicts;
use axum::Router;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::routing::{post, put};
use body::Received;
use refusal::Refusal;
use room::Room;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use weir_schemas::limits::Limits;

/// Bodies up to this size are handled where they arrive: about 0.2 ms of work.
const INLINE_BYTES: usize = 64 << 10;

/// Bodies above it are handled so many at a time, each on a thread of its own, so that they neither hold up other
/// connections nor take the machine from the engine.
static LARGE_BODIES: Semaphore = Semaphore::const_new(2);

/// What ingest is made of.
pub struct Parts {
    /// Where events go.
    pub log: Arc<dyn Log>,
    /// Where rules and incidents go.
    pub control: Arc<dyn Log>,
    /// The rows of all views, for dry runs.
    pub hub: Hub,
    /// What the engine says of itself.
    pub status: Status,
    /// Where verdicts come from.
    pub verdicts: Arc<Verdicts>,
    /// Where answers come from to what rules would change.
    pub questions: Arc<Questions>,
    /// Once triggered nothing more is taken.
    pub shutdown: Shutdown,
    /// Limits on what comes in.
    pub limits: Limits,
    /// Records that may wait for the engine.
    pub behind_max: u64,
    /// Memory for bodies in flight.
    pub room_bytes: usize,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// How long a verdict is waited for.
    pub verdict_timeout: Duration,
    /// How people reach the server; empty: as the sender did.
    pub public_url: String,
    /// The path of the page of a run, from project and run.
    pub run_path: fn(&str, &str) -> String,
}

/// The state behind the routes.
struct Ingest {
    log: Arc<dyn Log>,
    control: Arc<dyn Log>,
    hub: Hub,
    status: Status,
    verdicts: Arc<Verdicts>,
    questions: Arc<Questions>,
    shutdown: Shutdown,
    limits: Limits,
    behind_max: u64,
    /// Records taken since the engine last was live: it does not count them while it recovers.
    taken_while_recovering: AtomicU64,
    room: Room,
    body_timeout: Duration,
    verdict_timeout: Duration,
    public_url: String,
    run_path: fn(&str, &str) -> String,
}

/// The routes.
pub fn router(parts: Parts) -> Router {
    observe::describe();
    let ingest = Ingest {
        log: parts.log,
        control: parts.control,
        hub: parts.hub,
        status: parts.status,
        verdicts: parts.verdicts,
        questions: parts.questions,
        shutdown: parts.shutdown,
        limits: parts.limits,
        behind_max: parts.behind_max,
        taken_while_recovering: AtomicU64::new(0),
        room: Room::new(parts.room_bytes),
        body_timeout: parts.body_timeout,
        verdict_timeout: parts.verdict_timeout,
        public_url: parts.public_url,
        run_path: parts.run_path,
    };
    Router::new()
        .route("/v1/events", post(events::post))
        .route("/v1/reports", post(reports::post))
        .route("/v1/rules/{id}", put(control::put_rule).delete(control::remove_rule))
        .route("/v1/incidents", put(control::put_new_incident))
        .route("/v1/incidents/{id}", put(control::put_incident).delete(control::remove_incident))
        .with_state(Arc::new(ingest))
}

impl Ingest {
    /// Whether anything is taken at the moment.
    fn gate(&self) -> Result<(), Refusal> {
        let status = self.open()?;
        let unseen = match status.phase {
            Phase::Recovering { .. } => self.taken_while_recovering.load(Ordering::Relaxed),
            _ => {
                self.taken_while_recovering.store(0, Ordering::Relaxed);
                0
            }
        };
        let behind = status.behind_records.max(unseen);
        if behind > self.behind_max {
            let retry_after_s = (status.behind_ms / 1_000).clamp(1, 30);
            return Err(Refusal::Behind { behind, limit: self.behind_max, retry_after_s });
        }
        Ok(())
    }

    /// Whether the server takes anything, however far behind the engine is.
    fn open(&self) -> Result<EngineStatus, Refusal> {
        if self.shutdown.triggered() {
            return Err(Refusal::NotTaking("ending"));
        }
        let status = self.status.get();
        match status.phase {
            Phase::Starting => Err(Refusal::NotTaking("starting")),
            Phase::Draining => Err(Refusal::NotTaking("ending")),
            Phase::Recovering { .. } | Phase::Live if status.disk_full => Err(Refusal::DiskFull),
            Phase::Recovering { .. } | Phase::Live if status.log_silent => {
                Err(Refusal::LogSilent("nothing was taken".to_owned()))
            }
            Phase::Recovering { .. } | Phase::Live => Ok(status),
        }
    }

    /// The body of a request, if anything is taken at the moment.
    async fn receive(&self, what: &'static str, headers: &HeaderMap, body: Body) -> Result<Received, Refusal> {
        self.gate()?;
        let received = body::read(headers, body, &self.limits, &self.room, self.body_timeout).await?;
        observe::body(what, &received);
        Ok(received)
    }

    /// Appends to a log and waits until it is durable.
    async fn append(&self, log: &dyn Log, records: Vec<NewRecord>) -> Result<Vec<Position>, Refusal> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let count = records.len() as u64;
        let began = Instant::now();
        let positions = log.append(records)?.positions().await?;
        observe::commit(began.elapsed());
        if matches!(self.status.get().phase, Phase::Recovering { .. }) {
            self.taken_while_recovering.fetch_add(count, Ordering::Relaxed);
        }
        Ok(positions)
    }
}

/// Runs work that takes long enough to hold up others on a thread of its own.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let turn = LARGE_BODIES.acquire().await.map_err(|_| Refusal::NotTaking("ending"))?;
    // The turn goes along: it is over when the work is, even if nobody waits for it any more.
    let done = tokio::task::spawn_blocking(move || {
        let result = work();
        drop(turn);
        result
    });
    match done.await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(result) => result,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_cancelled)) => Err(Refusal::NotTaking("ending")),
    }
}
