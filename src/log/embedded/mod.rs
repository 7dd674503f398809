//! The embedded log: one topic in one folder on local disk, with the meaning of a Kafka topic.
//!
//! Contract: [`Embedded::open`] takes the folder for itself and verifies it; after that it is a [`Log`]. All partitions share
//! the segment files, so a commit is one write and one `fdatasync` whatever the number of partitions. One named thread
//! writes: it takes all that waits, makes it durable, then answers everybody. The key → partition rule is XXH3-64 modulo
//! the number of partitions, which is fixed, with a random identity, when the topic is made.
//!
//! | file | what it owns |
//! |---|---|
//! | `meta` | what is fixed when a topic is made |
//! | `lock` | one process at a time |
//! | `frame` | a record's bytes and checksum |
//! | `segment`, `index` | a file of records, its header, footer and chunks |
//! | `open`, `tail` | verification at start, the torn tail |
//! | `queue`, `writer` | from `append` to durable |
//! | `reader` | reading by offset, concurrently with the writer |
//! | `retention` | dropping whole segments by age and size |
//!
//! # Invariants
//! Readers see durable records only. A batch stands together and in its order. Only the last segment may end in a torn
//! tail; any other damage is [`LogError::Corrupt`], at the latest when it is read.
//!
//! # Cost
//! Memory: the queue (`queue_bytes` and one batch), one write buffer of 1 MiB, the active segment's index, 8 MiB a reader. One copy of each
//! payload on its way in, none on its way out.
//!
//! # Failure
//! A full disk is answered with [`AppendError::Full`] and left behind without a restart. A failed sync is final: the system
//! may have dropped the pages and would report success the next time, so nothing more is taken until the log is opened anew.

mod frame;
mod index;
mod lock;
mod meta;
mod open;
mod queue;
mod reader;
mod retention;
mod segment;
mod stats;
mod tail;
mod writer;

pub use open::{OpenReport, TornTail};
pub use retention::Retained;
pub use stats::CommitStats;

use super::bell::Bells;
use super::{AppendError, Bell, Commit, Log, LogError, NewRecord, Reader, payload_bytes};
use frame::HEADER_BYTES;
use queue::Queue;
use segment::Segment;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The version of the files' format.
const FORMAT: u32 = 1;
/// No batch and no queue is larger, and so no commit than both together: places within one have 32 bits.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// How an embedded log is kept. [`EmbeddedConfig::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// The folder; made if it is not there. One topic a folder.
    pub folder: PathBuf,
    /// The topic's name.
    pub topic: String,
    /// How many partitions a new topic gets (1 to 1,024). An existing one keeps what it has.
    pub partitions: u32,
    /// A segment that has reached this size is sealed, and the next begins.
    pub segment_bytes: u64,
    /// A segment this old is sealed as well, so that retention by age does not wait for a quiet topic to fill one.
    pub segment_age: Duration,
    /// Bytes that may wait for, or be in, a commit; at most 1 GiB. The batch that
    /// passes it is still taken, whatever its size.
    pub queue_bytes: usize,
    /// Records that may, likewise.
    pub queue_records: usize,
    /// The largest record.
    pub record_bytes_max: usize,
    /// From the beginning of one commit to that of the next; a queue that is half full does not wait for it. Zero: as soon
    /// as the one before is durable.
    pub commit_interval: Duration,
    /// Segments whose newest record is older than this may be dropped. The default is longer than the longest state (30
    /// days), so that a restart rebuilds all of it. Zero: kept for ever.
    pub retention_age: Duration,
    /// The oldest segments may be dropped while the topic is larger than this. Zero: no limit.
    pub retention_bytes: u64,
}

impl EmbeddedConfig {
    /// The defaults for a topic in a folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, topic: impl Into<String>) -> Self {
        EmbeddedConfig {
            folder: folder.into(),
            topic: topic.into(),
            partitions: 4,
            segment_bytes: 64 << 20,
            segment_age: Duration::from_secs(24 * 3600),
            queue_bytes: 32 << 20,
            queue_records: 200_000,
            record_bytes_max: 16 << 20,
            commit_interval: Duration::ZERO,
            retention_age: Duration::from_secs(31 * 24 * 3600),
            retention_bytes: 0,
        }
    }
}

/// A topic on local disk.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    _lock: lock::FolderLock,
}

/// What the writer, the readers and the handle have in common.
#[derive(Debug)]
struct Shared {
    config: EmbeddedConfig,
    identity: u128,
    partitions: u32,
    queue: Queue,
    store: Mutex<Store>,
    /// Rung whenever the store's ends move, and at the close.
    moved: Condvar,
    /// Rung then as well.
    bells: Bells,
    stats: stats::Stats,
    /// Held while segments are dropped, so that they go oldest first.
    retaining: Mutex<()>,
}

/// What is durable.
#[derive(Debug)]
struct Store {
    /// Oldest first, without holes in their sequence; the last is the active one.
    segments: VecDeque<Arc<Segment>>,
    ends: Vec<u64>,
    closed: bool,
}

impl Store {
    fn starts(&self) -> &[u64] {
        self.segments.front().map_or(&[], |segment| &segment.starts)
    }

    /// The segment with this sequence, unless retention dropped it.
    fn segment(&self, sequence: u64) -> Option<Arc<Segment>> {
        let first = self.segments.front()?.sequence;
        let at = usize::try_from(sequence.checked_sub(first)?).ok()?;
        self.segments.get(at).map(Arc::clone)
    }
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for the ends to move, or for the close.
    fn moved(&self) {
        self.moved.notify_all();
        self.bells.ring();
    }
}

impl Embedded {
    /// Opens the topic in a folder, making it when there is none. `progress` is told how many bytes of how many have been
    /// verified.
    ///
    /// # Errors
    /// [`LogError::Locked`] when another process has it, [`LogError::Corrupt`] for damage before the tail,
    /// [`LogError::Version`], or [`LogError::Io`].
    pub fn open(
        config: EmbeddedConfig,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Embedded, OpenReport), LogError> {
        open::open(config, progress)
    }

    /// Whether the last commit met a full disk and none has succeeded since. A small probe clears it when space returns,
    /// whether anything is appended or not.
    #[must_use]
    pub fn disk_full(&self) -> bool {
        self.shared.queue.full()
    }

    /// Blocks while [`Embedded::disk_full`] is `seen`, until the time is over or the log is closed. Returns what it is.
    #[must_use]
    pub fn wait_disk(&self, seen: bool, at_most: Duration) -> bool {
        self.shared.queue.wait_disk(seen, at_most)
    }

    /// What commits have cost since the log was opened.
    #[must_use]
    pub fn stats(&self) -> CommitStats {
        self.shared.stats.get()
    }

    /// Bytes of all records retained.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.store().segments.iter().map(|segment| segment.extent().len).sum()
    }

    /// Drops the oldest segments that age or size let go: those that are sealed, hold no offset from `floor` on (one a
    /// partition, the first that must stay), and whose newest record is `retention_age` old at `now` (epoch ms), or that
    /// stand above `retention_bytes`.
    ///
    /// # Errors
    /// A file cannot be removed. What was dropped is no longer read either way.
    pub fn retain(&self, now: u64, floor: &[u64]) -> Result<Retained, LogError> {
        retention::retain(&self.shared, now, floor)
    }
}

impl Log for Embedded {
    fn topic(&self) -> &str {
        &self.shared.config.topic
    }

    fn identity(&self) -> u128 {
        self.shared.identity
    }

    fn partitions(&self) -> u32 {
        self.shared.partitions
    }

    fn partition_of(&self, key: &[u8]) -> u32 {
        partition_of(key, self.shared.partitions)
    }

    fn append(&self, records: Vec<NewRecord>) -> Result<Commit, AppendError> {
        let payloads = payload_bytes(&records, self.shared.partitions, self.shared.config.record_bytes_max)?;
        let bytes = payloads + records.len() * HEADER_BYTES;
        if bytes > BATCH_BYTES_MAX {
            return Err(AppendError::Oversize { bytes, limit: BATCH_BYTES_MAX });
        }
        self.shared.queue.push(records, bytes)
    }

    fn starts(&self) -> Vec<u64> {
        self.shared.store().starts().to_vec()
    }

    fn ends(&self) -> Vec<u64> {
        self.shared.store().ends.clone()
    }

    fn wait_past(&self, seen: &[u64], at_most: Duration) -> Vec<u64> {
        let deadline = Instant::now() + at_most;
        let mut store = self.shared.store();
        loop {
            let past = store.ends.iter().zip(seen).any(|(end, seen)| end > seen);
            let left = deadline.saturating_duration_since(Instant::now());
            if past || store.closed || left.is_zero() {
                return store.ends.clone();
            }
            store = self.shared.moved.wait_timeout(store, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn ring(&self, bell: &Arc<Bell>) {
        self.shared.bells.add(bell);
    }

    fn reader(&self, from: &[u64]) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(reader::SegmentReader::new(Arc::clone(&self.shared), from)?))
    }

    fn close(&self) {
        self.shared.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!(topic = %self.shared.config.topic, "the log's writer ended by a panic");
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

/// The partition of a key: XXH3-64 with seed 0, modulo the number of partitions.
#[must_use]
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    let partition = xxhash_rust::xxh3::xxh3_64(key) % u64::from(partitions);
    u32::try_from(partition).expect("smaller than a number of 32 bits")
}

/// Milliseconds since the epoch, at least 1: no record has an `appended_at` of zero.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// A number of bytes as an index. Weir runs on 64 bits.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("an address space of 64 bits")
}

/// Makes the names in a folder durable.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// Says what was tried on which file when the system refuses.
fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> LogError {
    let path = path.display().to_string();
    move |source| LogError::Io { action, path, source }
}
