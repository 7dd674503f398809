//! The log: where everything enters, durable before it is acknowledged, replayable for ever after.
//!
//! Contract: a [`Log`] is one topic: partitions of records with ascending offsets, dense from 0 in the embedded log.
//! [`Log::append`] takes records in and gives a [`Commit`] that resolves once they are durable, with their positions; what a
//! reader sees is durable.
//! The key → partition rule is a stable hash, so a stream lives in one partition, in order, for ever.
//!
//! # Invariants
//! Nothing unacknowledged is ever read, nothing acknowledged is ever lost or changed. Offsets never repeat.
//!
//! # Failure
//! A full queue is [`AppendError::Busy`], a full disk [`AppendError::Full`]: nothing was taken. Damage is
//! [`LogError::Corrupt`] and ends the process: a log that lies is worse than one that is down.

mod bell;
pub mod embedded;
pub mod kafka;

pub use bell::Bell;

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A record to append.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// Which partition; see [`Log::partition_of`].
    pub partition: u32,
    /// The bytes, at most the log's record limit.
    pub payload: Bytes,
}

/// A record as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The partition it stands in.
    pub partition: u32,
    /// Its offset there.
    pub offset: u64,
    /// When it was appended, in epoch ms by the log's clock. Information only: nothing is computed from it but retention.
    pub appended_at: u64,
    /// The bytes.
    pub payload: Bytes,
}

/// Where an appended record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// The partition.
    pub partition: u32,
    /// The offset in it.
    pub offset: u64,
}

/// Records on their way to durability.
#[derive(Debug)]
pub struct Commit(pub(crate) oneshot::Receiver<Result<Vec<Position>, AppendError>>);

impl Commit {
    /// One that resolves to what is sent: how a log of one's own answers.
    #[must_use]
    pub fn new(outcome: oneshot::Receiver<Result<Vec<Position>, AppendError>>) -> Commit {
        Commit(outcome)
    }

    /// Waits until the records are durable.
    ///
    /// # Errors
    /// When they could not be made durable: none of them counts.
    pub async fn positions(self) -> Result<Vec<Position>, AppendError> {
        self.0.await.unwrap_or(Err(AppendError::Closed))
    }

    /// The same, blocking the thread; not for use on a runtime's worker.
    ///
    /// # Errors
    /// As [`Commit::positions`].
    pub fn wait(self) -> Result<Vec<Position>, AppendError> {
        self.0.blocking_recv().unwrap_or(Err(AppendError::Closed))
    }
}

/// One topic of a partitioned, durable, replayable log.
pub trait Log: Send + Sync + 'static {
    /// The topic's name.
    fn topic(&self) -> &str;

    /// A random identity given when the topic was made: another one means another log.
    fn identity(&self) -> u128;

    /// How many partitions it has.
    fn partitions(&self) -> u32;

    /// The partition of a key: a stable hash, the same in every version.
    fn partition_of(&self, key: &[u8]) -> u32;

    /// Takes records in; they become durable together with whatever else is waiting (group commit), in this order. When a
    /// commit fails, records appended after it may still become durable: whoever needs one only after the other waits for
    /// the first. No records are durable at once.
    ///
    /// # Errors
    /// Nothing was taken: the queue is full, the disk is, a record is over the limit, or the log is closed.
    fn append(&self, records: Vec<NewRecord>) -> Result<Commit, AppendError>;

    /// The first offset still retained, by partition.
    fn starts(&self) -> Vec<u64>;

    /// The offset after the last durable record, by partition.
    fn ends(&self) -> Vec<u64>;

    /// Blocks until some end is past `seen`, the time is over, or [`Log::close`] was called. Returns the ends.
    fn wait_past(&self, seen: &[u64], at_most: Duration) -> Vec<u64>;

    /// Rings `bell` whenever an end has moved, and at the close, for as long as somebody else holds it.
    fn ring(&self, bell: &Arc<Bell>);

    /// A reader from the given offsets, one a partition.
    ///
    /// # Errors
    /// An offset before the start or past the end, or damage.
    fn reader(&self, from: &[u64]) -> Result<Box<dyn Reader>, LogError>;

    /// Makes everything taken durable and takes no more. Idempotent.
    fn close(&self);
}

/// The bytes of all payloads, of which each is for one of the partitions and not over the limit.
fn payload_bytes(records: &[NewRecord], partitions: u32, limit: usize) -> Result<usize, AppendError> {
    let checked = records.iter().map(|record| {
        assert!(record.partition < partitions, "partition {} of {partitions}", record.partition);
        let bytes = record.payload.len();
        if bytes > limit { Err(AppendError::Oversize { bytes, limit }) } else { Ok(bytes) }
    });
    checked.sum()
}

/// Reads a log's records, each partition in order.
pub trait Reader: Send {
    /// Appends up to `records_max` durable records (and about `bytes_max` bytes) to `out`; returns how many. 0: the end
    /// for the moment. Partitions take turns, so none starves.
    ///
    /// # Errors
    /// Damage, or records dropped by retention under the reader.
    fn read(&mut self, records_max: usize, bytes_max: usize, out: &mut Vec<Record>) -> Result<usize, LogError>;

    /// Like [`Reader::read`], of one partition only, up to but without offset `end`: how a binding is replayed.
    ///
    /// # Errors
    /// As [`Reader::read`].
    fn read_partition(&mut self, partition: u32, end: u64, out: &mut Vec<Record>) -> Result<usize, LogError>;

    /// The next offset of each partition.
    fn offsets(&self) -> &[u64];
}

/// Why records were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The commit queue is full; try again shortly.
    #[error("the log's commit queue is full")]
    Busy,
    /// The disk is full: free space, or lower the retention.
    #[error("the disk under the log is full")]
    Full,
    /// A record is over the limit.
    #[error("a record of {bytes} bytes is over the limit of {limit}")]
    Oversize {
        /// Its size.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Writing failed; the log takes no more until it is opened again.
    #[error("the log cannot be written: {reason}")]
    Failed {
        /// The system's word for it.
        reason: String,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// Why a log cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The folder or a file cannot be used.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Another process holds the folder.
    #[error("{path} is in use by another process (lock held by {holder})")]
    Locked {
        /// The folder.
        path: String,
        /// What the lock file says of its holder: its process id.
        holder: String,
    },
    /// The log was written by a version that this one does not understand.
    #[error("{path} has format version {found}, this program reads {expected}")]
    Version {
        /// The file.
        path: String,
        /// Its version.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// Bytes before the tail are damaged.
    #[error("{segment} is damaged at byte {at}: partition {partition}, offset {offset}: {problem}")]
    Corrupt {
        /// The segment file.
        segment: String,
        /// Where in it.
        at: u64,
        /// Of which partition, where known.
        partition: u32,
        /// Which offset was expected there.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// Kafka refused something, or does not answer.
    #[error("cannot {action} the Kafka topic {topic}: {reason}")]
    Kafka {
        /// What was tried.
        action: &'static str,
        /// On which topic.
        topic: String,
        /// Kafka's word for it.
        reason: String,
    },
    /// A property of the Kafka client that may not be set.
    #[error(transparent)]
    Property(#[from] kafka::PropertyError),
    /// An offset that the log does not have.
    #[error("partition {partition} has offsets {start} to {end}, {wanted} was asked for")]
    OutOfRange {
        /// The partition.
        partition: u32,
        /// Its first offset.
        start: u64,
        /// The offset after its last.
        end: u64,
        /// What was asked for.
        wanted: u64,
    },
}
