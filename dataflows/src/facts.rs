//! The collections that run between operators: what admission, runs and tests tell the views.
//!
//! Contract: each type is one collection's datum; its difference counts it. Names are shared pointers; identities are
//! `Copy`. A −1 carries exactly the datum of its +1.
//!
//! # Invariants
//! An [`AttemptFact`] is taken back by a withdrawal or replaced by a worse outcome of the same attempt; it is *not* taken
//! back when its run is evicted: whatever outlives a run (windows, patterns) derives from these facts (`time.md`, bounded
//! state). [`Running`] and [`Awaited`] count what is still shown and go down with an evicted run.

use crate::input::{Names, Origin, Text};
use crate::keyed::Collection;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::Row;
use weir_schemas::update::Cause;

/// A view's row with the reason for its change; the update's difference is +1 or −1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowChange {
    /// The row.
    pub row: Row,
    /// Why it came or left; of interest on a −1.
    pub cause: Cause,
}

/// What a view renders to.
pub type Rows<'s> = Collection<'s, RowChange>;

/// One ended attempt of one test, or a failure of a run itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptFact {
    /// Which attempt, from 1; 0: the run itself, and no test, failed.
    pub attempt: u32,
    /// When it ended, in epoch ms, already clamped to the tick at which it came.
    pub at: u64,
    /// The tick at which it was told: what was too late for a window then stays so.
    pub came: u64,
    /// How.
    pub outcome: Outcome,
    /// How long it took.
    pub duration_us: Option<u64>,
    /// Its run, suite and test.
    pub names: Arc<Names>,
    /// Where it ran.
    pub origin: Arc<Origin>,
    /// Why it failed, when it did.
    pub failure: Option<Arc<Failure>>,
}

/// Why an attempt failed, recognised.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Failure {
    /// The pattern's identity: the first 16 bytes of a SHA-256 (`views.md`, failure fingerprint), big-endian.
    pub fingerprint: Id,
    /// The readable pattern, with `%` for the masked parts.
    #[serde(with = "crate::sharing::text")]
    pub pattern: Text,
    /// The exception's type; empty when unknown.
    #[serde(with = "crate::sharing::text")]
    pub kind: Text,
    /// The message, at most 1 KiB.
    #[serde(with = "crate::sharing::text")]
    pub message: Text,
    /// Whether a type before the message was taken off before it was made the pattern.
    pub typed: bool,
    /// The first frame of the project's own code, as it is hashed; empty when unknown.
    #[serde(with = "crate::sharing::text")]
    pub frame: Text,
    /// The event that said so.
    #[serde(with = "crate::sharing::text")]
    pub event: Text,
    /// Its stream.
    #[serde(with = "crate::sharing::text")]
    pub stream: Text,
}

/// A test of which an attempt passed or failed, in a run or on a machine of it: counted by the difference. Not taken back when
/// the run is evicted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tested {
    /// The run.
    pub run: Id,
    /// The machine that it counts for, if it does.
    pub worker: Option<Text>,
    /// Whether it counts for the run as a whole.
    pub of_run: bool,
    /// Whether no attempt passed.
    pub failing: bool,
}

/// A test that has begun and not ended: counted by the difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Running {
    /// The project.
    pub project: Text,
    /// The suite within its project; zero when there is none.
    pub suite: Id,
    /// The suite's name as rows show it.
    pub suite_name: Text,
}

/// Something announced that has not come yet, over the running runs of a project: counted by the difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Awaited {
    /// The project.
    pub project: Text,
    /// What is awaited.
    pub what: AwaitedKind,
}

/// What can be awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AwaitedKind {
    /// A stream that is not complete, or a shard announced and not seen.
    Stream,
    /// A test announced and not seen.
    Test,
}

/// An attempt that came after its window had passed: counted by the difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Late {
    /// The project.
    pub project: Text,
}

/// The place of a run in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// Events come.
    Running,
    /// It said so, or all its streams are complete and it is quiet.
    Finished,
    /// It fell silent without finishing.
    Abandoned,
    /// Its detail leaves, at this very tick, from every view.
    Evicted,
}

/// A change of a run's phase; every worker is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseChange {
    /// The run.
    pub run: Id,
    /// What it is now.
    pub phase: Phase,
    /// The worker that is told: how a broadcast is routed.
    pub peer: u64,
}
