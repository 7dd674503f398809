//! What the engine says of itself to whoever asks: readiness, progress of a recovery, how far behind, the clock.
//!
//! Contract: the engine writes, gateway and ingest read; reading never blocks the engine. How far behind it is is computed
//! when somebody reads ([`Status::measure`]), since an engine that is held up writes nothing. Whether the disk is full is
//! written by whoever watches the disk.

use serde::Serialize;
use std::mem::discriminant;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// Records that waited longer make the numbers those of the past …
pub const LAG_MS: u64 = 5_000;
/// … until the wait is this short again: a load at the edge is not to turn to and fro with each tick.
const LAG_OVER_MS: u64 = 2_500;

/// What the engine is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl Phase {
    /// Its word on the wire.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Recovering { .. } => "recovering",
            Phase::Live => "live",
            Phase::Draining => "draining",
        }
    }
}

/// What is known of the wall clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Clock {
    /// How far the wall clock lies behind the last tick, in ms: time is advanced by elapsed time until it catches up. 0
    /// when all is well.
    pub behind_ms: u64,
    /// How far the wall clock had jumped ahead at the last start or since, in ms, when it was more than a minute; 0 once it
    /// has gone at the pace of elapsed time for ten minutes.
    pub ahead_ms: u64,
    /// What to do about it, when something is wrong.
    pub remedy: Option<String>,
}

/// The state of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineStatus {
    /// What it is doing.
    pub phase: Phase,
    /// Names the history that positions belong to; empty until known.
    pub epoch: Arc<str>,
    /// Everything up to this tick is released.
    pub time: u64,
    /// Records durable in the log and not yet read.
    pub behind_records: u64,
    /// How long the oldest of them has waited, about, in ms.
    pub behind_ms: u64,
    /// The clock.
    pub clock: Clock,
    /// Whether the disk under the log is full.
    pub disk_full: bool,
    /// Whether the log does not answer: nothing can be bound, so nothing new is shown.
    pub log_silent: bool,
    /// The tick of the newest snapshot; 0: none.
    pub snapshot_at: u64,
    /// Anything that a person should know, each a sentence (a torn tail cut off, a new epoch and why).
    pub notices: Vec<String>,
}

impl EngineStatus {
    /// Takes in how far behind the engine is; whether that is new.
    fn take_behind(&mut self, Behind { records, ms }: Behind) -> bool {
        let before = (self.behind_records, self.behind_ms);
        (self.behind_records, self.behind_ms) = (records, ms);
        before != (records, ms)
    }
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
            log_silent: false,
            snapshot_at: 0,
            notices: Vec::new(),
        }
    }
}

/// How far the engine is behind its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Records durable in the log and not yet read.
    pub records: u64,
    /// How long the oldest of them has waited, about, in ms.
    pub ms: u64,
}

/// Tells how far behind the engine is.
struct Gauge(Box<dyn Fn() -> Behind + Send + Sync>);

impl std::fmt::Debug for Gauge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0().fmt(f)
    }
}

/// A shared view of the engine's state; cheap to clone.
#[derive(Clone, Debug)]
pub struct Status(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: watch::Sender<EngineStatus>,
    /// Whether the numbers lag behind the log. Tells of that and of another kind of phase only, for the many that need not
    /// hear of every frame.
    lagging: watch::Sender<bool>,
    /// Once the engine is live.
    behind: OnceLock<Gauge>,
}

impl Default for Status {
    fn default() -> Self {
        let state = watch::Sender::new(EngineStatus::default());
        Status(Arc::new(Shared { state, lagging: watch::Sender::new(false), behind: OnceLock::new() }))
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

    /// Changes it; readers are woken when `change` says that it did, or when how far behind the engine is has changed.
    pub fn update_if(&self, change: impl FnOnce(&mut EngineStatus) -> bool) {
        let mut turned = false;
        let (behind, was_lagging) = (self.behind(), self.lagging());
        let mut lagging = was_lagging;
        self.0.state.send_if_modified(|status| {
            let before = discriminant(&status.phase);
            let changed = change(status) | behind.is_some_and(|behind| status.take_behind(behind));
            turned = discriminant(&status.phase) != before;
            lagging = status.behind_ms > if was_lagging { LAG_OVER_MS } else { LAG_MS };
            changed
        });
        if turned || lagging != was_lagging {
            self.0.lagging.send_replace(lagging);
        }
    }

    /// Whether the log is silent; readers are woken when that is new.
    pub fn log_silent(&self, silent: bool) {
        self.update_if(|status| std::mem::replace(&mut status.log_silent, silent) != silent);
    }

    /// Looks how far behind the engine is; readers are woken when that has changed.
    pub fn look(&self) {
        self.update_if(|_| false);
    }

    /// From now on `behind` tells how far behind the engine is; the first call counts.
    pub fn measure(&self, behind: impl Fn() -> Behind + Send + Sync + 'static) {
        self.0.behind.get_or_init(|| Gauge(Box::new(behind)));
    }

    /// A copy, with how far behind the engine is now.
    #[must_use]
    pub fn get(&self) -> EngineStatus {
        let mut status = self.0.state.borrow().clone();
        if let Some(behind) = self.behind() {
            status.take_behind(behind);
        }
        status
    }

    fn behind(&self) -> Option<Behind> {
        self.0.behind.get().map(|Gauge(behind)| behind())
    }

    /// What the engine is doing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.state.borrow().phase.clone()
    }

    /// Whether what is released is so far behind the log that it is not of now.
    #[must_use]
    pub fn lagging(&self) -> bool {
        *self.0.lagging.borrow()
    }

    /// Whether events are taken and numbers are current.
    #[must_use]
    pub fn ready(&self) -> bool {
        let status = self.0.state.borrow();
        status.phase == Phase::Live && !status.disk_full && !status.log_silent
    }

    /// A receiver that sees every change; how far behind the engine is, as of the last one.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<EngineStatus> {
        self.0.state.subscribe()
    }

    /// A receiver that sees each change to another kind of phase or of [`Status::lagging`], and nothing else.
    #[must_use]
    pub fn turns(&self) -> watch::Receiver<bool> {
        self.0.lagging.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lagging_begins_late_ends_later_and_wakes_only_then() {
        let status = Status::default();
        let mut turns = status.turns();
        for (behind_ms, lagging, woken) in [
            (LAG_MS, false, false),
            (LAG_MS + 1, true, true),
            (LAG_MS - 1, true, false),
            (LAG_OVER_MS + 1, true, false),
            (LAG_OVER_MS, false, true),
            (LAG_MS, false, false),
        ] {
            status.update(|status| status.behind_ms = behind_ms);
            assert_eq!(status.lagging(), lagging, "{behind_ms} ms behind");
            assert_eq!(turns.has_changed().expect("the status lives"), woken, "{behind_ms} ms behind");
            turns.borrow_and_update();
        }
    }
}
