//! What the engine says of itself to whoever asks: readiness, progress of a recovery, how far behind, the clock.
//!
//! Contract: the engine writes, gateway and ingest read; reading never blocks the engine.

use serde::Serialize;
use std::mem::discriminant;
use std::sync::Arc;
use tokio::sync::watch;

/// What the engine is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Opening the log.
    Starting,
    /// Replaying the log through its bindings.
    Recovering {
        /// Records fed so far.
        replayed: u64,
        /// Records to feed in all.
        total: u64,
    },
    /// Taking events as they come.
    Live,
    /// Ending: nothing more is taken.
    Draining,
}

/// What is known of the wall clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Clock {
    /// How far the wall clock lies behind the last tick, in ms: time is advanced by elapsed time until it catches up. 0
    /// when all is well.
    pub behind_ms: u64,
    /// How far the wall clock had jumped ahead at the last start or since, in ms, when it was more than a minute.
    pub ahead_ms: u64,
    /// What to do about it, when something is wrong.
    pub remedy: Option<String>,
}

/// The state of the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineStatus {
    /// What it is doing.
    #[serde(flatten)]
    pub phase: Phase,
    /// Names the history that positions belong to; empty until known.
    pub epoch: Arc<str>,
    /// Everything up to this tick is released.
    pub time: u64,
    /// Records durable in the log and not yet given a tick.
    pub behind_records: u64,
    /// How long the oldest of them has waited, about, in ms.
    pub behind_ms: u64,
    /// The clock.
    pub clock: Clock,
    /// Whether the disk under the log is full.
    pub disk_full: bool,
    /// Anything that a person should know, each a sentence (a torn tail cut off, a new epoch and why).
    pub notices: Vec<String>,
}

impl Default for EngineStatus {
    fn default() -> Self {
        EngineStatus {
            phase: Phase::Starting,
            epoch: "".into(),
            time: 0,
            behind_records: 0,
            behind_ms: 0,
            clock: Clock::default(),
            disk_full: false,
            notices: Vec::new(),
        }
    }
}

/// A shared view of the engine's state; cheap to clone.
#[derive(Clone, Debug)]
pub struct Status(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: watch::Sender<EngineStatus>,
    /// Tells of another kind of phase only, for the many that need not hear of every frame.
    turns: watch::Sender<()>,
}

impl Default for Status {
    fn default() -> Self {
        let state = watch::Sender::new(EngineStatus::default());
        Status(Arc::new(Shared { state, turns: watch::Sender::new(()) }))
    }
}

impl Status {
    /// Changes it; readers are woken.
    pub fn update(&self, change: impl FnOnce(&mut EngineStatus)) {
        self.update_if(|status| {
            change(status);
            true
        });
    }

    /// Changes it; readers are woken when `change` says that it did.
    pub fn update_if(&self, change: impl FnOnce(&mut EngineStatus) -> bool) {
        let mut turned = false;
        self.0.state.send_if_modified(|status| {
            let before = discriminant(&status.phase);
            let changed = change(status);
            turned = discriminant(&status.phase) != before;
            changed
        });
        if turned {
            self.0.turns.send_replace(());
        }
    }

    /// A copy.
    #[must_use]
    pub fn get(&self) -> EngineStatus {
        self.0.state.borrow().clone()
    }

    /// What the engine is doing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.state.borrow().phase.clone()
    }

    /// Whether events are taken and numbers are current.
    #[must_use]
    pub fn ready(&self) -> bool {
        let status = self.0.state.borrow();
        status.phase == Phase::Live && !status.disk_full
    }

    /// A receiver that sees every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<EngineStatus> {
        self.0.state.subscribe()
    }

    /// A receiver that sees each change to another kind of phase, and nothing else.
    #[must_use]
    pub fn turns(&self) -> watch::Receiver<()> {
        self.0.turns.subscribe()
    }
}
