//! Whether the topic is still what it was when it was opened.
//!
//! Contract: asks the brokers every [`EVERY`], and whenever a reader found an offset missing. What has changed is told to every
//! reader of the topic, each of which ends with it: offsets of another topic of the same name mean other records, and who
//! reads a new partition is decided when the engine begins. Brokers that do not answer say nothing. One named thread a topic.

use super::super::Change;
use super::{LogError, Shared, failed, raw};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(5);
/// How long the brokers may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Starts asking, until the topic is closed.
pub(super) fn start(shared: &Arc<Shared>) -> Result<(), LogError> {
    let watched = Arc::clone(shared);
    let asks = move || {
        while !watched.ends.wait_closed(EVERY) {
            if let Some(change) = look(&watched) {
                watched.ends.changed(change);
                break;
            }
        }
    };
    let started = Builder::new().name("kafka-topic".to_owned()).spawn(asks);
    // It ends by itself, with the topic.
    started.map(drop).map_err(|error| failed(&shared.config.topic, "watch", &error))
}

/// How the topic has changed, as far as the brokers say.
pub(super) fn look(shared: &Shared) -> Option<Change> {
    let topic = &shared.config.topic;
    // While no broker is there, what describes a topic tries to connect as fast as it can (librdkafka 2.12): so it is asked only
    // when somebody answers.
    shared.producing.client().fetch_metadata(Some(topic), ANSWER).ok()?;
    match raw::describe(shared.producing.client(), topic, ANSWER) {
        Ok(found) if found.identity != shared.identity => Some(Change::Recreated),
        Ok(found) if found.partitions != shared.partitions => {
            Some(Change::Partitions { before: shared.partitions, now: found.partitions })
        }
        Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition)) => Some(Change::Deleted),
        Ok(_) | Err(_) => None,
    }
}
