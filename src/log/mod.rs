//! The log: where everything enters, durable before it is acknowledged, replayable for ever after.
//!
//! Contract: a [`Log`] is one topic: partitions of records with ascending offsets, dense from 0 in the embedded log, with holes
//! in Kafka. A record is bytes, and what else a producer put beside them where that changes what they mean ([`Envelope`]).
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
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A record to append.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// Which partition; see [`Log::partition_of`].
    pub partition: u32,
    /// The bytes, at most the log's record limit.
    pub payload: Bytes,
    /// The key that other readers of the topic see, where a log has keys; empty: none.
    pub key: Bytes,
    /// Headers, where a log has them.
    pub headers: Vec<(String, Bytes)>,
}

impl NewRecord {
    /// One without a key.
    #[must_use]
    pub fn new(partition: u32, payload: Bytes) -> NewRecord {
        NewRecord { partition, payload, key: Bytes::new(), headers: Vec::new() }
    }

    /// With headers.
    #[must_use]
    pub fn with_headers(self, headers: Vec<(String, Bytes)>) -> NewRecord {
        NewRecord { headers, ..self }
    }

    /// With a key.
    #[must_use]
    pub fn with_key(self, key: impl Into<Bytes>) -> NewRecord {
        NewRecord { key: key.into(), ..self }
    }
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
    /// What stands beside them; none where the bytes alone are what was meant, as of all that Weir writes.
    pub envelope: Option<Arc<Envelope>>,
}

/// What bytes may become that are compressed, or a report, as many times as they are.
const EXPANDS: u64 = 16;

impl Record {
    /// How much memory it may take until it is released, about, in bytes of plain records.
    #[must_use]
    pub fn weight(&self) -> u64 {
        let bytes = self.payload.len() as u64;
        // The second byte of gzip and of zstd is not ASCII, that of JSON is.
        let packed = self.payload.get(1).is_some_and(|second| !second.is_ascii());
        if packed || self.envelope.is_some() { bytes * EXPANDS } else { bytes }
    }
}

/// What stands beside a record's bytes and changes what they mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Whether there are no bytes, which is not the same as zero bytes.
    pub tombstone: bool,
    /// The key, if there is one.
    pub key: Option<Bytes>,
    /// Headers, in the order in which they stand.
    pub headers: Vec<(String, Bytes)>,
}

impl Envelope {
    /// The value of the last header of a name, whatever its case; as in Kafka, where the last one counts.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().rev().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| &value[..])
    }

    /// Calls with everything that it says, so that two that differ say something else.
    pub fn parts(&self, mut call: impl FnMut(&[u8])) {
        call(&[u8::from(self.tombstone), u8::from(self.key.is_some())]);
        call(self.key.as_deref().unwrap_or_default());
        call(&(self.headers.len() as u64).to_le_bytes());
        for (name, value) in &self.headers {
            call(name.as_bytes());
            call(value);
        }
    }
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

    /// The same, for the time given at most; `None`: not yet.
    ///
    /// # Errors
    /// As [`Commit::positions`].
    pub fn wait_at_most(&mut self, at_most: Duration) -> Option<Result<Vec<Position>, AppendError>> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let (mut cx, until) = (Context::from_waker(&waker), Instant::now() + at_most);
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut self.0).poll(&mut cx) {
                return Some(outcome.unwrap_or(Err(AppendError::Closed)));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            std::thread::park_timeout(left);
        }
    }
}

/// Wakes a thread that waits for a commit.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
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
    /// Appends up to `records_max` durable records (and about `bytes_max` bytes) to `out`; returns how many. 0: nothing for
    /// the moment, whether at the end or not; what comes rings the log's bells. Partitions take turns, so none starves.
    ///
    /// # Errors
    /// Damage, or records dropped by retention under the reader.
    fn read(&mut self, records_max: usize, bytes_max: usize, out: &mut Vec<Record>) -> Result<usize, LogError>;

    /// Like [`Reader::read`], of one partition only, up to but without offset `end`: how a binding is replayed. Waits for what
    /// is on its way, so when the offset has not reached `end` the partition ends there.
    ///
    /// # Errors
    /// As [`Reader::read`].
    fn read_partition(&mut self, partition: u32, end: u64, out: &mut Vec<Record>) -> Result<usize, LogError>;

    /// The next offset of each partition: past what was read, and past what is no record.
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
    /// It was not acknowledged in time. It may stand all the same, and a repetition of it may then stand twice.
    #[error("it was not acknowledged: {reason}")]
    Unacknowledged {
        /// What is known.
        reason: String,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// How a topic has changed under who reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Change {
    /// There is another topic of its name.
    #[error(
        "was deleted and made again: nothing more of it is read, since its offsets mean other records now; to begin anew with it, \
         name another topic of bindings"
    )]
    Recreated,
    /// There is none of its name any more.
    #[error("was deleted: nothing more of it is read")]
    Deleted,
    /// It has more partitions.
    #[error("has {now} partitions now, it had {before}: the next start reads all of them, so start again")]
    Partitions {
        /// How many it had.
        before: u32,
        /// How many it has.
        now: u32,
    },
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
    /// Retention has overtaken a reader of Kafka.
    #[error(
        "the Kafka topic {topic}, partition {partition}, has offsets {start} to {end}, and {wanted} was to be read next: {}",
        if wanted < start { "retention has dropped it; the next start says what is lost" } else { "it does not reach so far any more" }
    )]
    Overtaken {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// Its first offset.
        start: u64,
        /// The offset after its last.
        end: u64,
        /// What was to be read.
        wanted: u64,
    },
    /// Brokers were waited for when the log was closed.
    #[error("the Kafka topic {topic} was closed while its brokers were waited for")]
    Closed {
        /// Which.
        topic: String,
    },
    /// The topic is not what it was when it was opened.
    #[error("the Kafka topic {topic} {change}")]
    Changed {
        /// Which.
        topic: String,
        /// How.
        change: Change,
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
