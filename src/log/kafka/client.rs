//! The properties of Kafka clients: what Weir sets, what may be passed through, and what nobody may change.
//!
//! Contract: [`Properties::check`] refuses by name what would break exactness; whatever else is set is passed through, and
//! librdkafka itself refuses what it does not know.

use super::{KafkaConfig, LogError};
use rdkafka::ClientConfig;

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

/// What is ours to say.
const REFUSED: &[(&str, &str)] = &[
    ("acks", "a record counts when all replicas in sync have it"),
    ("request.required.acks", "a record counts when all replicas in sync have it"),
    ("enable.idempotence", "a record that is sent again after an error must not stand twice"),
    ("max.in.flight", "it is bound to the idempotence of the producer"),
    ("max.in.flight.requests.per.connection", "it is bound to the idempotence of the producer"),
    ("transactional.id", "ticks are bound without transactions"),
    ("partitioner", "records are put into partitions by Weir, by the stream"),
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
];

/// Properties that may be used.
pub(super) struct Properties {
    common: ClientConfig,
    record_bytes_max: usize,
    queue_records: usize,
    queue_bytes: usize,
}

impl Properties {
    /// # Errors
    /// One that may not be set.
    pub(super) fn check(config: &KafkaConfig) -> Result<Properties, LogError> {
        let mut common = ClientConfig::new();
        common.set("client.id", "weir");
        for (name, value) in &config.properties {
            if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| refused == name) {
                let refused = PropertyError { name: name.clone(), value: value.clone(), reason };
                return Err(LogError::Property(refused));
            }
            common.set(name, value);
        }
        let KafkaConfig { record_bytes_max, queue_records, queue_bytes, .. } = *config;
        Ok(Properties { common, record_bytes_max, queue_records, queue_bytes })
    }

    /// Of a consumer. What its user sets goes before what is only for speed.
    pub(super) fn consumer(&self) -> ClientConfig {
        let mut config = self.common.clone();
        let fast = [
            // Its default of a second lets a fast reader idle (`test-tools.md`).
            ("fetch.queue.backoff.ms", "2"),
            ("fetch.wait.max.ms", "100"),
            ("queued.min.messages", "200000"),
            ("reconnect.backoff.max.ms", "1000"),
        ];
        for (name, value) in fast {
            if self.common.get(name).is_none() {
                config.set(name, value);
            }
        }
        config
            // Asked for by the library, though none is joined.
            .set("group.id", "weir")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true");
        config
    }

    /// Of a producer.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.common.clone();
        let fast = [
            ("linger.ms", "2"),
            ("compression.type", "lz4"),
            ("message.timeout.ms", "30000"),
            // A broker that is back is found within a second.
            ("reconnect.backoff.max.ms", "1000"),
        ];
        for (name, value) in fast {
            if self.common.get(name).is_none() {
                config.set(name, value);
            }
        }
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // Bounded by `producer` itself, which takes all of a batch or nothing.
            .set("queue.buffering.max.messages", self.queue_records.saturating_mul(2).to_string())
            .set("queue.buffering.max.kbytes", (self.queue_bytes / 512).max(1024).to_string())
            .set("message.max.bytes", (self.record_bytes_max + 4096).to_string());
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
            ..=4 => tracing::warn!(facility, "Kafka client: {}", message.trim()),
            5..=6 => tracing::info!(facility, "Kafka client: {}", message.trim()),
            _ => tracing::debug!(facility, "Kafka client: {}", message.trim()),
        }
    }
}
