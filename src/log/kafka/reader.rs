//! Reading: partitions that are assigned, each from its offset.
//!
//! Contract: see [`Reader`]. One consumer a reader; librdkafka fetches ahead of it, and is slowed by not being read from.
//!
//! # Invariants
//! A partition's offset is where its next record may stand: after the last one read, or after what is no record (the end of a
//! transaction, what a compaction took) once the brokers said that nothing else comes before.
//!
//! # Cost
//! One call of the library a batch, and one copy of each payload into the memory of its batch. While one partition is waited
//! for, what came of the others is kept up to [`ASIDE_BYTES`]; above, it is dropped and that partition alone is fetched, until
//! another one is asked for, which has all of them fetched again.
//!
//! # Failure
//! What is no longer there is an error. Brokers that are away are none: they are waited for, until the log is closed.

use super::super::{Envelope, LogError, Reader, Record};
use super::envelope;
use super::raw::{self, Events, Fetched, Queue, Room};
use super::waiting::{Came, Waiting};
use super::{Shared, failed, stats, watch};
use bytes::{Bytes, BytesMut};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use std::ffi::CString;
use std::sync::Arc;
use std::time::Duration;

/// Records that are taken from the library at once.
const BATCH: usize = 2_048;
/// How long one partition is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// What may wait of other partitions than the one that is read.
const ASIDE_BYTES: usize = 128 << 20;

/// See the module.
pub(super) struct TopicReader {
    shared: Arc<Shared>,
    /// Both are dropped before the consumer.
    queue: Queue,
    events: Events,
    consumer: BaseConsumer,
    offsets: Vec<u64>,
    /// Taken from the library, and not handed out yet.
    waiting: Waiting,
    room: Room,
    /// The one partition that is fetched; `None`: all are.
    alone: Option<u32>,
    /// The topic's name, as the library takes it.
    topic: CString,
    keeps: Keeps,
    /// Whether it reads what comes, and not the past: then its statistics are the topic's.
    live: bool,
}

/// What is kept of what stands beside a record's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keeps {
    /// What changes its meaning.
    Meaning,
    /// Key and headers, whatever they are.
    Everything,
}

impl Keeps {
    /// By which names headers are kept.
    fn headers(self) -> fn(&[u8]) -> Option<String> {
        match self {
            Keeps::Meaning => envelope::wanted,
            Keeps::Everything => envelope::named,
        }
    }

    fn envelope(self, tombstone: bool, key: Option<&[u8]>, headers: Vec<(String, Bytes)>) -> Option<Envelope> {
        match self {
            Keeps::Meaning => envelope::of(tombstone, key, headers),
            Keeps::Everything => envelope::whole(tombstone, key, headers),
        }
    }
}

impl TopicReader {
    /// One that does not fetch yet.
    pub(super) fn new(shared: Arc<Shared>, from: &[u64], keeps: Keeps) -> Result<TopicReader, LogError> {
        assert_eq!(from.len(), shared.partitions as usize, "one offset a partition");
        let topic = &shared.config.topic;
        let refused = |error: KafkaError| failed(topic, "read", &error);
        let mut config = shared.properties.consumer();
        if matches!(keeps, Keeps::Everything) {
            // Who looks single records up may not do so for days, and nobody would hear them.
            config.set("statistics.interval.ms", "0");
        }
        let mut consumer: BaseConsumer = config.create().map_err(refused)?;
        let ends = Arc::clone(&shared.ends);
        consumer.set_nonempty_callback(move || ends.bells.ring());
        shared.ask();
        for (partition, offset) in (0..shared.partitions).zip(from) {
            let (start, end) = shared.ends.of(partition);
            if !(start..=end).contains(offset) {
                let topic = topic.clone();
                return Err(LogError::Overtaken { topic, partition, start, end, wanted: *offset });
            }
        }
        let no_queue = || failed(topic, "read", &"the client has no queue");
        let queue = Queue::of(consumer.client()).ok_or_else(no_queue)?;
        let events = Events::of(consumer.client()).ok_or_else(no_queue)?;
        let name = CString::new(topic.as_str()).map_err(|error| failed(topic, "read", &error))?;
        let (offsets, waiting, room) = (from.to_vec(), Waiting::new(shared.partitions), Room::new(BATCH));
        let (alone, topic, live) = (None, name, false);
        Ok(TopicReader { shared, queue, events, consumer, offsets, waiting, room, alone, topic, keeps, live })
    }

    /// The same, with all partitions fetched from now on.
    pub(super) fn fetching(mut self) -> Result<TopicReader, LogError> {
        self.assign(None)?;
        Ok(self)
    }

    /// Fetches from where it is, one partition alone or all of them; what was fetched before is dropped.
    fn assign(&mut self, alone: Option<u32>) -> Result<(), LogError> {
        let topic = &self.shared.config.topic;
        let refused = |error: KafkaError| failed(topic, "read", &error);
        let mut assigned = TopicPartitionList::new();
        for (partition, offset) in (0..self.shared.partitions).zip(&self.offsets) {
            if alone.is_none_or(|alone| alone == partition) {
                let offset = Offset::Offset(offset.cast_signed());
                assigned.add_partition_offset(topic, partition.cast_signed(), offset).map_err(refused)?;
            }
        }
        self.consumer.assign(&assigned).map_err(refused)?;
        self.waiting.clear();
        self.alone = alone;
        Ok(())
    }

    /// Goes to an offset of one partition, and fetches that alone; by reading on, where it is ahead by less than `near`.
    pub(super) fn go_to(&mut self, partition: u32, offset: u64, near: u64) -> Result<(), LogError> {
        let (start, end) = self.shared.ends.of(partition);
        if offset < start {
            return Err(self.overtaken(partition, (start, end), offset));
        }
        let at = &mut self.offsets[partition as usize];
        if self.alone == Some(partition) && (*at..*at + near).contains(&offset) {
            return Ok(());
        }
        *at = offset;
        self.assign(Some(partition))
    }

    /// Fetches nothing more from where it is.
    pub(super) fn forget(&mut self) {
        // Nobody hears of it: what is asked for next is assigned anew.
        drop(self.consumer.unassign());
        self.waiting.clear();
        self.alone = None;
    }

    /// Says what the client has said.
    pub(super) fn tend(&self) {
        self.events.tell(|_| ());
    }

    fn overtaken(&self, partition: u32, (start, end): (u64, u64), wanted: u64) -> LogError {
        LogError::Overtaken { topic: self.shared.config.topic.clone(), partition, start, end, wanted }
    }

    /// Takes what was fetched; waits for it at most so long.
    fn fetch(&mut self, timeout: Duration) -> Result<(), LogError> {
        self.unchanged()?;
        let mut bytes = BytesMut::new();
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        let keeps = self.keeps;
        raw::take(&self.queue, &mut self.room, timeout, keeps.headers(), |fetched| match fetched {
            Fetched::Record { partition, offset, appended_at, payload, key, headers } => {
                let begin = bytes.len();
                bytes.extend_from_slice(payload.unwrap_or_default());
                let envelope = keeps.envelope(payload.is_none(), key, headers).map(Arc::new);
                found.push((partition, offset, Some((appended_at, begin..bytes.len(), envelope))));
            }
            Fetched::Error { partition, offset, code: RDKafkaErrorCode::PartitionEOF } => {
                found.push((partition, offset, None));
            }
            Fetched::Error { partition, code, .. } => problems.push((partition, code)),
        });
        self.events.tell(|statistics| {
            if !self.live {
                return;
            }
            let topic = &self.shared.config.topic;
            stats::fetches(topic, statistics);
            stats::lag(topic, &self.offsets, &self.shared.ends.ends());
        });
        let bytes: Bytes = bytes.freeze();
        for (partition, offset, record) in found {
            let (partition, offset) = (partition.cast_unsigned(), offset.cast_unsigned());
            let came = match record {
                Some((appended_at, at, envelope)) => {
                    let appended_at = u64::try_from(appended_at).unwrap_or(0);
                    Came::Record(Record { partition, offset, appended_at, payload: bytes.slice(at), envelope })
                }
                None => Came::End(offset),
            };
            self.waiting.push(partition, came);
        }
        for partition in 0..self.shared.partitions {
            if let Some((start, end)) = raw::watermarks(self.consumer.client(), &self.topic, partition.cast_signed()) {
                self.shared.ends.learn(partition, start, end);
            }
        }
        problems.into_iter().try_for_each(|(partition, code)| self.judge(partition, code))
    }

    /// Whether an error ends the reader.
    fn judge(&self, partition: i32, code: RDKafkaErrorCode) -> Result<(), LogError> {
        use RDKafkaErrorCode as Code;
        let topic = &self.shared.config.topic;
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => {
                // An offset that is not there may be one of another topic.
                if let Some(change) = watch::look(&self.shared) {
                    self.shared.ends.changed(change);
                    return self.unchanged();
                }
                self.shared.ask();
                let partition = partition.cast_unsigned();
                let ends = self.shared.ends.of(partition);
                Err(self.overtaken(partition, ends, self.offsets[partition as usize]))
            }
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
                // The brokers may only not agree yet: it is believed when they say so.
                if let Some(change) = watch::look(&self.shared) {
                    self.shared.ends.changed(change);
                }
                self.unchanged()
            }
            Code::TopicAuthorizationFailed => Err(failed(topic, "read", &code)),
            // The client goes on by itself.
            code => {
                tracing::warn!(topic, partition, %code, "Kafka cannot be read for the moment");
                Ok(())
            }
        }
    }

    /// # Errors
    /// The topic is no longer what it was.
    fn unchanged(&self) -> Result<(), LogError> {
        match self.shared.ends.change() {
            Some(change) => Err(LogError::Changed { topic: self.shared.config.topic.clone(), change }),
            None => Ok(()),
        }
    }

    /// # Errors
    /// Nobody is to wait for the brokers any more.
    fn not_closed(&self) -> Result<(), LogError> {
        let closed = self.shared.ends.closed();
        if closed { Err(LogError::Closed { topic: self.shared.config.topic.clone() }) } else { Ok(()) }
    }

    /// Moves on by what came; gives it, if it is a record.
    fn pass(&mut self, partition: u32, came: Came) -> Option<Record> {
        let (next, record) = match came {
            Came::Record(record) => (record.offset + 1, Some(record)),
            Came::End(offset) => (offset, None),
        };
        let offset = &mut self.offsets[partition as usize];
        *offset = next.max(*offset);
        record
    }
}

impl Drop for TopicReader {
    fn drop(&mut self) {
        // What is left in the queue would keep the client from ending.
        drop(self.consumer.unassign());
        raw::take(&self.queue, &mut self.room, LOOK, |_| None, |_| ());
        self.events.tell(|_| ());
    }
}

impl Reader for TopicReader {
    fn read(&mut self, records_max: usize, bytes_max: usize, out: &mut Vec<Record>) -> Result<usize, LogError> {
        self.live = true;
        if self.alone.is_some() {
            self.assign(None)?;
        }
        let (before, mut bytes, mut fetched) = (out.len(), 0, false);
        while out.len() - before < records_max && (bytes == 0 || bytes < bytes_max) {
            let Some((partition, came)) = self.waiting.next() else {
                if fetched || out.len() > before {
                    break;
                }
                self.fetch(Duration::ZERO)?;
                fetched = true;
                continue;
            };
            let record = self.pass(partition, came);
            bytes += record.as_ref().map_or(0, |record| record.payload.len().max(1));
            out.extend(record);
        }
        Ok(out.len() - before)
    }

    fn read_partition(&mut self, partition: u32, end: u64, out: &mut Vec<Record>) -> Result<usize, LogError> {
        let before = out.len();
        while self.shared.ends.of(partition).1 < end && !self.shared.ask_of(partition) {
            self.not_closed()?;
        }
        let end = end.min(self.shared.ends.of(partition).1);
        if self.alone.is_some_and(|alone| alone != partition) {
            self.assign(None)?;
        }
        while self.offsets[partition as usize] < end {
            let beyond = match self.waiting.first(partition) {
                Some(Came::Record(record)) => record.offset >= end,
                Some(Came::End(offset)) => *offset > end,
                None => {
                    self.not_closed()?;
                    if self.waiting.aside(partition) > ASIDE_BYTES {
                        self.assign(Some(partition))?;
                    }
                    self.fetch(LOOK)?;
                    continue;
                }
            };
            if beyond {
                // Whatever was before it is no record.
                self.offsets[partition as usize] = end;
                break;
            }
            let came = self.waiting.take(partition).expect("looked at just now");
            let record = self.pass(partition, came);
            out.extend(record);
        }
        Ok(out.len() - before)
    }

    fn offsets(&self) -> &[u64] {
        &self.offsets
    }
}
