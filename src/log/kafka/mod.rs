//! One topic of Apache Kafka.
//!
//! Contract: [`Kafka::open`] finds the topic on its brokers; after that it is a [`Log`]. What is appended is produced with an
//! idempotent producer and `acks=all`, so it stands once and in its order, and is acknowledged when Kafka has it. A reader has
//! partitions assigned, from explicit offsets; no consumer group is joined and nothing is committed. The key → partition rule is
//! that of Kafka's own Java producer, so that a stream that comes over HTTP and through Kafka is in one partition.
//!
//! | file | what it owns |
//! |---|---|
//! | `client` | properties, and which of them nobody may set |
//! | `envelope` | what stands beside a record's bytes and changes what they mean |
//! | `ends` | what is known of where the partitions begin and end, and who is told |
//! | `producer` | from `append` to acknowledged |
//! | `reader` | reading by offset |
//! | `waiting` | what was taken from the library and not handed out yet |
//! | `lookup` | single records, by where they stand |
//! | `watch` | whether the topic is still what it was |
//! | `topics` | making topics, and asking how those are that are there |
//! | `stats` | what clients measure of themselves |
//! | `raw` | the calls of librdkafka that its Rust crate does not have: all unsafe code |
//!
//! # Invariants
//! Records have offsets that ascend, with holes where transactions ended or a compaction took records away. Nothing is ever read
//! from an offset that was not asked for: where one is not there any more the reader ends. A topic that was deleted and made
//! again has another identity, and its readers end, as they do when it has more partitions than before.
//!
//! # Failure
//! Brokers that are away are waited for. An append that was not acknowledged in `message.timeout.ms` fails, and may still stand.

mod client;
mod ends;
mod envelope;
mod lookup;
mod producer;
mod raw;
mod reader;
mod stats;
pub mod topics;
mod waiting;
mod watch;

pub use client::{PropertyError, check_property};
pub use lookup::Lookup;

use super::{AppendError, Bell, Commit, Log, LogError, NewRecord, Reader, payload_bytes};
use client::Properties;
use ends::Ends;
use producer::Producing;
use reader::{Keeps, TopicReader};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How a topic is reached. [`KafkaConfig::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// The topic.
    pub topic: String,
    /// Properties of the client, as librdkafka names them; `bootstrap.servers` is one of them.
    pub properties: BTreeMap<String, String>,
    /// The largest record.
    pub record_bytes_max: usize,
    /// Records that may be on their way to the brokers.
    pub queue_records: usize,
    /// Bytes that may.
    pub queue_bytes: usize,
    /// How long the brokers may take to answer when the topic is opened.
    pub patience: Duration,
}

impl KafkaConfig {
    /// The defaults for a topic reached with these properties.
    #[must_use]
    pub fn new(topic: impl Into<String>, properties: BTreeMap<String, String>) -> Self {
        KafkaConfig {
            topic: topic.into(),
            properties,
            record_bytes_max: 16 << 20,
            queue_records: 200_000,
            queue_bytes: 64 << 20,
            patience: Duration::from_secs(30),
        }
    }
}

/// A topic of Kafka.
pub struct Kafka(Arc<Shared>);

/// What the readers and the handle have in common.
struct Shared {
    config: KafkaConfig,
    properties: Properties,
    identity: u128,
    partitions: u32,
    ends: Arc<Ends>,
    producing: Producing,
}

impl Kafka {
    /// Finds the topic.
    ///
    /// # Errors
    /// A property that may not be set, brokers that do not answer, or a topic that is not there.
    pub fn open(config: KafkaConfig) -> Result<Kafka, LogError> {
        let properties = Properties::check(&config)?;
        let ends = Arc::new(Ends::default());
        let producing = Producing::new(&config, &properties, Arc::clone(&ends))?;
        let description = raw::describe(producing.client(), &config.topic, config.patience)
            .map_err(|error| failed(&config.topic, "open", &error))?;
        let (identity, partitions) = (description.identity, description.partitions);
        let found = (0..partitions).map(|partition| producing.offsets(&config.topic, partition, config.patience));
        ends.begin(found.collect::<Result<_, _>>().map_err(|error| failed(&config.topic, "open", &error))?);
        let shared = Arc::new(Shared { config, properties, identity, partitions, ends, producing });
        watch::start(&shared)?;
        Ok(Kafka(shared))
    }
}

impl Kafka {
    /// A way to look single records up.
    ///
    /// # Errors
    /// The topic cannot be read.
    pub fn lookup(&self) -> Result<Lookup, LogError> {
        let reader = TopicReader::new(Arc::clone(&self.0), &self.0.ends.ends(), Keeps::Everything)?;
        Ok(Lookup::new(reader))
    }

    /// A reader that keeps all keys and headers, from these offsets.
    ///
    /// # Errors
    /// As [`Log::reader`].
    pub fn whole_reader(&self, from: &[u64]) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(TopicReader::new(Arc::clone(&self.0), from, Keeps::Everything)?.fetching()?))
    }
}

fn failed(topic: &str, action: &'static str, error: &dyn std::fmt::Display) -> LogError {
    LogError::Kafka { action, topic: topic.to_owned(), reason: error.to_string() }
}

impl Shared {
    /// Asks the brokers where the partitions begin and end.
    fn ask(&self) {
        for partition in 0..self.partitions {
            // Brokers that do not answer are waited for by whoever asks again.
            self.ask_of(partition);
        }
        self.ends.asked();
    }

    /// The same of one partition; whether its leader answered.
    fn ask_of(&self, partition: u32) -> bool {
        let answer = self.producing.offsets(&self.config.topic, partition, ANSWER);
        if let Ok((start, end)) = &answer {
            self.ends.learn(partition, *start, *end);
        }
        answer.is_ok()
    }
}

impl Log for Kafka {
    fn topic(&self) -> &str {
        &self.0.config.topic
    }

    fn identity(&self) -> u128 {
        self.0.identity
    }

    fn partitions(&self) -> u32 {
        self.0.partitions
    }

    fn partition_of(&self, key: &[u8]) -> u32 {
        partition_of(key, self.0.partitions)
    }

    fn append(&self, records: Vec<NewRecord>) -> Result<Commit, AppendError> {
        let bytes = payload_bytes(&records, self.0.partitions, self.0.config.record_bytes_max)?;
        self.0.producing.append(&self.0.config, &records, bytes)
    }

    fn starts(&self) -> Vec<u64> {
        self.0.ends.starts()
    }

    fn ends(&self) -> Vec<u64> {
        self.0.ends.ends()
    }

    fn wait_past(&self, seen: &[u64], at_most: Duration) -> Vec<u64> {
        self.0.ends.wait_past(seen, at_most, || self.0.ask())
    }

    fn ring(&self, bell: &Arc<Bell>) {
        self.0.ends.bells.add(bell);
    }

    fn reader(&self, from: &[u64]) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(TopicReader::new(Arc::clone(&self.0), from, Keeps::Meaning)?.fetching()?))
    }

    fn close(&self) {
        self.0.producing.close();
        self.0.ends.close();
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.close();
    }
}

/// How long one partition's leader may take to say where it ends.
const ANSWER: Duration = Duration::from_secs(1);

/// The partition of a key: that of Kafka's Java producer, murmur2 of the bytes without its sign, modulo the number of partitions
/// (`org.apache.kafka.common.utils.Utils.murmur2`).
#[must_use]
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions
}

/// MurmurHash2 with 32 bits, little-endian, with the seed that Kafka uses.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    #[expect(clippy::cast_possible_truncation, reason = "the length's lower half, as Java has it")]
    let mut hash = SEED ^ bytes.len() as u32;
    let words = bytes.chunks_exact(4);
    let rest = words.remainder();
    for word in words {
        let mut k = u32::from_le_bytes(word.try_into().expect("four bytes")).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        for (n, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * n);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_hashed_as_kafka_hashes_it() {
        // From the tests of org.apache.kafka.common.utils.Utils, 4.1.
        let cases: [(&str, i32); 5] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }
}
