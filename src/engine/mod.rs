//! The engine: gives every record its tick, durably, and runs the dataflow on it.
//!
//! Contract: [`start`] recovers from the log and its bindings, then goes live; frames reach a [`FrameSink`] in order, each
//! only after its binding counts, so nothing is shown that could not be recomputed (A1). [`EngineHandle::join`] returns when
//! the process's shutdown was triggered and everything was drained, or with the error that ended it.
//!
//! | file | what it owns |
//! |---|---|
//! | `life` | the order of things: announce, recover, live, end |
//! | `clock` | ticks |
//! | `bindings` | the records of the bindings log, and which of them count |
//! | `history` | what of the past can be replayed |
//! | `recovery` | the past: the log fed through its bindings |
//! | `sequencer` | the present: batches, ticks, bindings |
//! | `sources` | the partitions of all topics that are read, as one list |
//! | `tail` | reading bindings back, fencing |
//! | `feed` | from a record to an input |
//! | `workers` | the timely workers |
//! | `ledger` | what is closed and not released: back-pressure |
//! | `behind` | what is in the log and not read |
//! | `snapshots` | states in files, from which the next start goes on |
//! | `output`, `digests` | frames on their way out, checked at whole minutes |
//! | `control` | how all threads end together |
//!
//! # Invariants
//! Only this module touches timely. All queues are bounded. A panic of any thread ends the engine and, by the process's
//! panic hook, the process (A7).

mod behind;
mod bindings;
mod clock;
mod control;
mod digests;
mod error;
mod feed;
mod history;
mod ledger;
mod life;
mod output;
mod recovery;
mod sequencer;
pub mod snapshots;
mod sources;
mod tail;
mod workers;

pub use bindings::{Assigned, Binding, Body, Chain, Counting, Entry, EntryError, Incarnation, Part, Silence};
pub use clock::{GRAIN_MS, SystemTimeSource, TimeSource};
pub use error::{EngineError, Loss, TakeError};

use crate::log::{Log, Position};
use crate::questions::Questions;
use crate::shutdown::Shutdown;
use crate::status::Status;
use crate::verdicts::Verdicts;
use control::Control;
use life::Life;
use sources::Sources;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use weir_schemas::limits::Limits;
use weir_schemas::row::Row;
use weir_schemas::update::{Digest, Frame};

/// How the engine runs.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Timely workers.
    pub workers: usize,
    /// The shortest tick.
    pub tick_min: Duration,
    /// The longest tick.
    pub tick_max: Duration,
    /// A batch closes at so many records.
    pub batch_records_max: u64,
    /// A batch takes no more records once it has so many bytes.
    pub batch_bytes_max: u64,
    /// Nothing is read while so many records are unreleased.
    pub unreleased_records_max: u64,
    /// Nothing is read while so many bytes are unreleased.
    pub unreleased_bytes_max: u64,
    /// At the end, so long is waited for what is durable to be released.
    pub drain_max: Duration,
    /// The dataflow.
    pub dataflow: weir_dataflows::Config,
    /// Limits on events.
    pub limits: Limits,
    /// The clocks.
    pub time: Arc<dyn TimeSource>,
    /// Losses that it may go on after, by [`Loss::name`].
    pub accepted_losses: Vec<String>,
    /// Where snapshots are kept, if they are made.
    pub snapshots: Option<Snapshots>,
}

/// Where snapshots are kept, and how often one is made.
#[derive(Clone, Debug)]
pub struct Snapshots {
    /// Where.
    pub store: snapshots::Store,
    /// At multiples of this, in ms of the tick axis; of ten seconds, where a view of a longer cadence is to give the same causes to
    /// another number of workers.
    pub every_ms: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            workers: 2,
            tick_min: Duration::from_millis(20),
            tick_max: Duration::from_millis(100),
            batch_records_max: 65_536,
            batch_bytes_max: 64 << 20,
            unreleased_records_max: 200_000,
            unreleased_bytes_max: 256 << 20,
            drain_max: Duration::from_secs(5),
            dataflow: weir_dataflows::Config::default(),
            limits: Limits::default(),
            time: Arc::new(SystemTimeSource::default()),
            accepted_losses: Vec::new(),
            snapshots: None,
        }
    }
}

/// Receives what the engine releases. Called from the engine's own threads; a slow sink slows the engine down to it.
pub trait FrameSink: Send + Sync + 'static {
    /// Names the history that all frames belong to; once, before the first frame.
    fn epoch(&self, epoch: Arc<str>);
    /// The next frame, live and recovered alike.
    fn frame(&self, frame: Frame);
    /// What was not taken of the frame's span, after the frame, in order; of the past, too, which a sink has had before.
    fn rejected(&self, upper: u64, rejected: &[Rejected]);
    /// The rows of every view as of the last frame, in the order of `VIEWS`; called between two frames.
    fn rows(&self) -> Vec<Vec<Row>>;
    /// The state begins with these rows, as of `tick`, and these digests; before the first frame, if at all.
    fn restore(&self, tick: u64, rows: Vec<Vec<Row>>, digests: &[Digest]);
    /// The past is replayed: frames are new from here on.
    fn live(&self);
}

/// A record that was not taken, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its topic.
    pub topic: Arc<str>,
    /// Where it stands there.
    pub position: Position,
    /// In what way, as `kind` in the view `rejects`.
    pub kind: &'static str,
    /// The reason, for a person.
    pub reason: Arc<str>,
}

/// A running engine.
pub struct EngineHandle {
    control: Arc<Control>,
    life: JoinHandle<()>,
}

impl EngineHandle {
    /// Waits until it has ended.
    ///
    /// # Errors
    /// What ended it, when it was not the process's shutdown.
    pub fn join(self) -> Result<(), EngineError> {
        // What a panic said is printed where it happened; the guard of each thread has noted that it did.
        let ended = self.life.join();
        let panicked = ended.is_err().then_some(EngineError::Panicked { thread: "engine-sequencer" });
        self.control.take_error().or(panicked).map_or(Ok(()), Err)
    }
}

/// The logs of an engine. Each topic that is read stands in the dataflow's list of topics.
#[derive(Clone)]
pub struct Logs {
    /// What comes in.
    pub events: Vec<Arc<dyn Log>>,
    /// Rules and incidents; one partition, kept for ever.
    pub control: Arc<dyn Log>,
    /// Which record belongs to which tick; one partition.
    pub bindings: Arc<dyn Log>,
}

/// Starts the engine over its logs. Returns at once; recovery goes on in its threads. When it fails it triggers `shutdown`,
/// and [`EngineHandle::join`] says why.
///
/// # Errors
/// The logs do not fit the configuration, or the thread cannot be started.
pub fn start(
    config: EngineConfig,
    logs: Logs,
    sink: Arc<dyn FrameSink>,
    status: Status,
    (verdicts, questions): (Arc<Verdicts>, Arc<Questions>),
    shutdown: Shutdown,
) -> Result<EngineHandle, EngineError> {
    let control = Arc::new(Control::new(shutdown, config.workers.max(1)));
    let sources = Arc::new(Sources::new(&logs, &config.dataflow.topics)?);
    life::check(&*logs.bindings)?;
    let Logs { bindings, .. } = logs;
    let life = Life { control: Arc::clone(&control), config, sources, bindings, sink, status, verdicts, questions };
    let life = control::spawn("engine-sequencer", move || life.run())?;
    Ok(EngineHandle { control, life })
}
