//! Why the engine ends, when it does not end in good order: one error for the whole boundary.

use super::bindings::{EntryError, Incarnation};
use super::snapshots::SnapshotError;
use crate::log::{AppendError, LogError};
use std::fmt;
use std::path::PathBuf;
use weir_dataflows::keyed::StateError;

/// Why the engine ended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Bindings cannot be written.
    #[error("a binding cannot be written")]
    Append(#[source] AppendError),
    /// A topic must have exactly one partition.
    #[error(
        "the topic {topic} has {partitions} partitions, it must have one: the order of its records is their meaning"
    )]
    Partitions {
        /// The topic.
        topic: String,
        /// How many it has.
        partitions: u32,
    },
    /// A topic is not among the configured ones.
    #[error("topic {topic:?} is not among the configured topics {topics:?}")]
    Topic {
        /// The log's topic.
        topic: String,
        /// Those of the dataflow's configuration.
        topics: Vec<String>,
    },
    /// A record of the bindings log cannot be understood.
    #[error("the bindings log's record at offset {offset} {source}")]
    Entry {
        /// Where.
        offset: u64,
        /// How.
        #[source]
        source: EntryError,
    },
    /// A log is not what was bound.
    #[error(
        "tick {tick} does not fit the log of {topic}: partition {partition}, offsets {from} to {to}: {problem}; the log was \
         changed, put back the one that belongs to the bindings"
    )]
    Mismatch {
        /// The tick.
        tick: u64,
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The first offset bound.
        from: u64,
        /// The offset after the last.
        to: u64,
        /// What does not fit.
        problem: String,
    },
    /// A topic is not the one whose records were bound.
    #[error(
        "the log of {topic} is not the one whose records were bound: it was deleted and made again, or is another one's; nothing of \
         it is read, since its offsets mean other records. Put back the one that belongs to the bindings, or, to begin anew with it, \
         name another topic of bindings"
    )]
    AnotherTopic {
        /// The topic.
        topic: String,
    },
    /// Records were dropped before they were bound.
    #[error("{}", Lost(losses))]
    Lost {
        /// All of them, at least one.
        losses: Vec<Loss>,
    },
    /// Bindings that count must ascend.
    #[error("the bindings log goes back from tick {last} to {tick}")]
    Backwards {
        /// The tick read.
        tick: u64,
        /// The one before it.
        last: u64,
    },
    /// Whether a partition's records were bound can no longer be known.
    #[error(
        "the bindings of {topic}, partition {partition}, have left the bindings log, which begins at offset {bindings_start}, and \
         its records have not left theirs: keep bindings longer than events"
    )]
    Unbound {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// Where the bindings log begins.
        bindings_start: u64,
    },
    /// The replayed state is not what it was.
    #[error(
        "view {view} is not what it was at tick {tick}: its digest was {recorded:032x} and is {computed:032x}; this program does \
         not compute what the one that recorded it did, run that one"
    )]
    Digest {
        /// The view.
        view: &'static str,
        /// The whole minute.
        tick: u64,
        /// What was recorded.
        recorded: u128,
        /// What was computed.
        computed: u128,
    },
    /// A snapshot cannot be taken up, though its files are what was written.
    #[error("the snapshot {folder} cannot be taken up and was put aside: the next start takes an older one, or replays the log", folder = folder.display())]
    Snapshot {
        /// Where it is.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: TakeError,
    },
    /// Another incarnation has taken over.
    #[error("another Weir has taken over this log (incarnation {by:032x}): this one releases nothing more and ends")]
    Fenced {
        /// Its identity.
        by: Incarnation,
    },
    /// The workers cannot be started.
    #[error("cannot start the workers: {reason}")]
    Workers {
        /// Timely's word for it.
        reason: String,
    },
    /// A worker has ended by itself.
    #[error("worker {worker} has ended")]
    WorkerEnded {
        /// Which.
        worker: usize,
    },
    /// A thread cannot be started.
    #[error("cannot start the thread {thread}")]
    Thread {
        /// Which.
        thread: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A thread panicked: a broken invariant.
    #[error("the thread {thread} panicked")]
    Panicked {
        /// Which.
        thread: &'static str,
    },
    /// It was told to end.
    #[error("the engine was told to end")]
    Stopped,
}

/// Why a state cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] SnapshotError),
    /// An operator cannot read its state.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Records that left their log before they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The first offset that is gone.
    pub from: u64,
    /// The first that is left.
    pub to: u64,
}

impl Loss {
    /// How somebody says that it is accepted: `TOPIC/PARTITION@OFFSET`, with the first offset that is left.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}@{}", self.topic, self.partition, self.to)
    }
}

/// All losses as one sentence.
struct Lost<'a>(&'a [Loss]);

impl fmt::Display for Lost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("retention has dropped records that were never read: ")?;
        for (index, loss) in self.0.iter().enumerate() {
            let Loss { topic, partition, from, to } = loss;
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{topic} partition {partition}, offsets {from} to {}", to.saturating_sub(1))?;
        }
        f.write_str("; make retention longer than Weir may be away; to go on without them, start once with")?;
        self.0.iter().try_for_each(|loss| write!(f, " --accept-loss {}", loss.name()))
    }
}
