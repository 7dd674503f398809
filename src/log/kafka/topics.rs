//! Making topics, and asking how those are that are there.
//!
//! Contract: [`Topics`] speaks to the brokers and decides nothing; what a topic of Weir's should be like is
//! `commands/topics`.

use super::{LogError, Properties, failed, producer::Quiet};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the brokers may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// A topic that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopicOf {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// How many replicas of each.
    pub replicas: u32,
    /// Settings of the topic, as Kafka names them.
    pub settings: BTreeMap<&'static str, String>,
}

/// A topic that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// How many partitions it has.
    pub partitions: u32,
    /// How many replicas the partition with the fewest has.
    pub replicas: u32,
    /// Its settings, as Kafka names them, those of the broker included where it has none of its own.
    pub settings: BTreeMap<String, String>,
}

/// See the module.
pub struct Topics(AdminClient<Quiet>);

impl Topics {
    /// With the properties of a client.
    ///
    /// # Errors
    /// One that may not be set.
    pub fn new(properties: &BTreeMap<String, String>) -> Result<Topics, LogError> {
        let config = Properties::of(properties, 0)?.admin();
        let client = config.create_with_context(Quiet).map_err(|error: KafkaError| failed("*", "ask for", &error))?;
        Ok(Topics(client))
    }

    /// How many brokers there are.
    ///
    /// # Errors
    /// They do not answer.
    pub fn brokers(&self) -> Result<u32, LogError> {
        let found = self.0.inner().fetch_metadata(None, ANSWER).map_err(|error| failed("*", "ask for", &error))?;
        Ok(u32::try_from(found.brokers().len()).unwrap_or(u32::MAX))
    }

    /// A topic, if it is there.
    ///
    /// # Errors
    /// The brokers do not answer, or do not allow it.
    pub async fn find(&self, topic: &str) -> Result<Option<Found>, LogError> {
        let error = |error: &dyn std::fmt::Display| failed(topic, "ask for", error);
        let metadata = self.0.inner().fetch_metadata(Some(topic), ANSWER).map_err(|failed| error(&failed))?;
        let of_it = metadata.topics().iter().find(|found| found.name() == topic);
        let Some(of_it) = of_it else { return Ok(None) };
        if let Some(code) = of_it.error() {
            return match RDKafkaErrorCode::from(code) {
                RDKafkaErrorCode::UnknownTopicOrPartition => Ok(None),
                code => Err(error(&code)),
            };
        }
        let replicas = of_it.partitions().iter().map(|partition| partition.replicas().len()).min();
        let asked = [ResourceSpecifier::Topic(topic)];
        let answers = self.0.describe_configs(&asked, &options()).await.map_err(|failed| error(&failed))?;
        let mut settings = BTreeMap::new();
        for answer in answers {
            let entries = answer.map_err(|code| error(&code))?.entries;
            settings.extend(entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))));
        }
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(Some(Found {
            partitions: count(of_it.partitions().len()),
            replicas: count(replicas.unwrap_or(0)),
            settings,
        }))
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// The brokers do not answer, or refuse.
    pub async fn make(&self, topic: &NewTopicOf) -> Result<(), LogError> {
        let NewTopicOf { name, partitions, replicas, settings } = topic;
        let whole = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        let mut new = NewTopic::new(name, whole(*partitions), TopicReplication::Fixed(whole(*replicas)));
        for (setting, value) in settings {
            new = new.set(setting, value);
        }
        let made = self.0.create_topics([&new], &options()).await.map_err(|error| failed(name, "make", &error))?;
        let refused = made.into_iter().find_map(Result::err);
        refused.map_or(Ok(()), |(_, code)| Err(failed(name, "make", &code)))
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER))
}
