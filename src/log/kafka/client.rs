//! The properties of Kafka clients: what Weir sets, what may be passed through, and what nobody may change.
//!
//! Contract: [`Properties::check`] refuses by name what would break exactness; whatever else is set is passed through, and
//! librdkafka itself refuses what it does not know.

use super::{KafkaConfig, LogError};
use rdkafka::ClientConfig;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A property that may not be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Kafka property {name} = {value:?} cannot be set: {reason}")]
pub struct PropertyError {
    /// Its name.
    pub name: String,
    /// What it was set to.
    pub value: String,
    /// What it would break.
    pub reason: &'static str,
}

/// What nobody else may set, and why.
const REFUSED: &[(&str, &str)] = &[
    ("acks", "a record counts when all replicas in sync have it"),
    ("request.required.acks", "a record counts when all replicas in sync have it"),
    ("enable.idempotence", "a record that is sent again after an error must not stand twice"),
    ("max.in.flight", "it is bound to the idempotence of the producer"),
    ("max.in.flight.requests.per.connection", "it is bound to the idempotence of the producer"),
    ("transactional.id", "ticks are bound without transactions"),
    ("partitioner", "records are put into partitions by Weir, by the stream"),
    ("queue.buffering.max.messages", "Weir bounds what is on its way, so that a batch is taken whole or not at all"),
    ("queue.buffering.max.kbytes", "Weir bounds what is on its way, so that a batch is taken whole or not at all"),
    ("message.max.bytes", "it follows from the largest record"),
    ("group.id", "no consumer group is joined: the partitions are assigned by the configuration"),
    ("group.instance.id", "no consumer group is joined: the partitions are assigned by the configuration"),
    ("group.protocol", "no consumer group is joined: the partitions are assigned by the configuration"),
    ("enable.auto.commit", "the offsets that count are in the bindings"),
    ("auto.commit.interval.ms", "the offsets that count are in the bindings"),
    ("enable.auto.offset.store", "the offsets that count are in the bindings"),
    ("auto.offset.reset", "an offset that is gone is an error, and never skipped in silence"),
    ("enable.partition.eof", "Weir needs to know where a partition ends"),
    ("isolation.level", "records of transactions that were aborted were never said"),
    ("check.crcs", "records are checked as they come"),
    ("delivery.timeout.ms", "it is another word for message.timeout.ms: set that"),
    ("retries", "a record is tried until message.timeout.ms is over: set that"),
    ("message.send.max.retries", "a record is tried until message.timeout.ms is over: set that"),
    ("enable.gapless.guarantee", "a record that fails does not stop those of other senders"),
    ("allow.auto.create.topics", "a topic that is made in passing has other settings than Weir needs"),
    ("plugin.library.paths", "code of others does not run in Weir"),
];

/// Whether a property may be set.
///
/// # Errors
/// It would break exactness, or something that Weir decides.
pub fn check_property(name: &str, value: &str) -> Result<(), PropertyError> {
    match REFUSED.iter().find(|(refused, _)| *refused == name) {
        Some((_, reason)) => Err(PropertyError { name: name.to_owned(), value: value.to_owned(), reason }),
        None => Ok(()),
    }
}

/// What others may set: for speed only.
const USUAL: &[(&str, &str)] = &[
    ("client.id", "weir"),
    // A broker that is back is found within a second.
    ("reconnect.backoff.max.ms", "1000"),
];
const USUAL_OF_CONSUMERS: &[(&str, &str)] = &[
    // Its default of a second lets a fast reader idle (`test-tools.md`).
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.wait.max.ms", "100"),
    ("queued.min.messages", "200000"),
    ("statistics.interval.ms", "5000"),
];
const USUAL_OF_PRODUCERS: &[(&str, &str)] =
    &[("linger.ms", "2"), ("compression.type", "lz4"), ("message.timeout.ms", "30000")];

const OF_CONSUMERS: &[(&str, &str)] = &[
    // Asked for by the library, though none is joined.
    ("group.id", "weir"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    ("isolation.level", "read_committed"),
    ("check.crcs", "true"),
];
const OF_PRODUCERS: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("acks", "all"),
    // As much as there may be: `producer` has the bound.
    ("queue.buffering.max.messages", "0"),
    ("queue.buffering.max.kbytes", "2147483647"),
];

/// What a record may be larger than its payload: its header, and that of its batch.
const OVERHEAD: usize = 4_096;

/// Properties that may be used.
pub(super) struct Properties {
    common: ClientConfig,
    record_bytes_max: usize,
}

impl Properties {
    /// # Errors
    /// One that may not be set.
    pub(super) fn check(config: &KafkaConfig) -> Result<Properties, LogError> {
        Properties::of(&config.properties, config.record_bytes_max)
    }

    /// # Errors
    /// One that may not be set.
    pub(super) fn of(properties: &BTreeMap<String, String>, record_bytes_max: usize) -> Result<Properties, LogError> {
        let mut common = ClientConfig::new();
        for (name, value) in properties {
            check_property(name, value)?;
            common.set(name, value);
        }
        Ok(Properties { common, record_bytes_max })
    }

    /// Of a client that only asks.
    pub(super) fn admin(&self) -> ClientConfig {
        self.with(&[], &[])
    }

    /// Of a consumer.
    pub(super) fn consumer(&self) -> ClientConfig {
        self.with(USUAL_OF_CONSUMERS, OF_CONSUMERS)
    }

    /// Of a producer.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.with(USUAL_OF_PRODUCERS, OF_PRODUCERS);
        config.set("message.max.bytes", (self.record_bytes_max + OVERHEAD).to_string());
        config
    }

    /// With what is usual where nothing else is set, and what is Weir's own.
    fn with(&self, usual: &[(&str, &str)], own: &[(&str, &str)]) -> ClientConfig {
        let mut config = self.common.clone();
        let not_set = USUAL.iter().chain(usual).filter(|(name, _)| self.common.get(name).is_none());
        for (name, value) in not_set.chain(own) {
            config.set(*name, *value);
        }
        config
    }
}

/// A line of librdkafka's own log.
pub(super) struct Said<'a> {
    /// As syslog has it: 3 and below are errors, 4 warnings.
    pub(super) level: i32,
    pub(super) facility: &'a str,
    pub(super) message: &'a str,
}

impl Said<'_> {
    /// Says it in Weir's log. The client mends by itself what it calls an error: none of it is one of Weir's.
    pub(super) fn trace(&self) {
        let Said { level, facility, message } = *self;
        match level {
            ..=4 if !first_for_long(facility) => tracing::debug!(facility, "Kafka client: {}", message.trim()),
            ..=4 => tracing::warn!(facility, "Kafka client: {}", message.trim()),
            5..=6 => tracing::info!(facility, "Kafka client: {}", message.trim()),
            _ => tracing::debug!(facility, "Kafka client: {}", message.trim()),
        }
    }
}

/// A warning of one kind is not said again for so long: a client that has lost its brokers warns many times a second.
const WARN_EVERY: Duration = Duration::from_secs(30);

/// Whether nothing of the kind was said for long. There are a few dozen kinds.
fn first_for_long(facility: &str) -> bool {
    static SAID: Mutex<BTreeMap<String, Instant>> = Mutex::new(BTreeMap::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    let first = said.get(facility).is_none_or(|at| at.elapsed() >= WARN_EVERY);
    if first {
        said.insert(facility.to_owned(), Instant::now());
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_weir_sets_itself_nobody_else_may() {
        for (name, _) in OF_CONSUMERS.iter().chain(OF_PRODUCERS).chain([&("message.max.bytes", "")]) {
            assert!(REFUSED.iter().any(|(refused, _)| refused == name), "{name}");
        }
    }

    #[test]
    fn what_is_usual_gives_way_to_what_is_set() {
        let mut config = KafkaConfig::new("events", BTreeMap::new());
        config.properties.insert("linger.ms".to_owned(), "50".to_owned());
        let properties = Properties::check(&config).expect("may be set");
        let (producer, consumer) = (properties.producer(), properties.consumer());
        assert_eq!((producer.get("linger.ms"), producer.get("compression.type")), (Some("50"), Some("lz4")));
        assert_eq!((producer.get("acks"), consumer.get("isolation.level")), (Some("all"), Some("read_committed")));
    }
}
