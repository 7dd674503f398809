//! Logs in Kafka: topics that are there already (`weir topics create` makes them), reached with the configured properties.

use super::{REJECT_OVERHEAD, ServeError};
use crate::config::Config;
use crate::config::sections;
use crate::engine::Logs;
use crate::log::kafka::{Kafka, KafkaConfig};
use crate::log::{Log, LogError};
use crate::rejects::sink::{self, Pair};
use crate::status::Status;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Opens all topics.
///
/// # Errors
/// The file of properties cannot be used, one of them may not be set, or a topic cannot be reached.
pub(super) fn open(config: &Config, status: &Status) -> Result<(Logs, Vec<Pair>), ServeError> {
    let properties = properties(&config.kafka)?;
    let open = |topic: &str| -> Result<Arc<Kafka>, LogError> {
        let record_bytes_max = config.limits.record.len();
        let log = Kafka::open(KafkaConfig { record_bytes_max, ..KafkaConfig::new(topic, properties.clone()) })?;
        tracing::info!(topic, partitions = log.partitions(), ends = ?log.ends(), "the Kafka topic is open");
        Ok(Arc::new(log))
    };
    let events = config.kafka.events.iter().map(|topic| open(topic)).collect::<Result<Vec<_>, _>>()?;
    // Whoever waits for a binding waits for nothing else, and whether it stands must not stay open: so it is tried for ever.
    let mut patient = properties.clone();
    patient.insert("message.timeout.ms".to_owned(), "0".to_owned());
    let mut of_bindings = patient.clone();
    of_bindings.insert("linger.ms".to_owned(), "0".to_owned());
    let bindings = Kafka::open(KafkaConfig::new(&config.kafka.bindings, of_bindings))?;
    let mut rejects = Vec::new();
    for topic in &events {
        let record_bytes_max = config.limits.record.len() + REJECT_OVERHEAD;
        let open =
            |name: &str| Kafka::open(KafkaConfig { record_bytes_max, ..KafkaConfig::new(name, patient.clone()) });
        match sink::pair(topic, open) {
            Ok(pair) => rejects.push(pair),
            Err(notice) => {
                tracing::warn!("{notice}");
                status.update(|status| status.notices.push(notice));
            }
        }
    }
    let control: Arc<dyn Log> = open(&config.kafka.control)?;
    let events = events.into_iter().map(|log| log as Arc<dyn Log>).collect();
    Ok((Logs { events, control, bindings: Arc::new(bindings) }, rejects))
}

/// The properties of all clients.
///
/// # Errors
/// The file of more of them cannot be used.
pub(super) fn properties(kafka: &sections::Kafka) -> Result<BTreeMap<String, String>, ServeError> {
    let mut properties = kafka.properties.clone();
    if let Some(path) = &kafka.properties_file {
        let text =
            std::fs::read_to_string(path).map_err(|source| ServeError::Properties { path: path.clone(), source })?;
        properties.extend(pairs(path, &text)?);
    }
    properties.insert("bootstrap.servers".to_owned(), kafka.brokers.join(","));
    Ok(properties)
}

/// `name=value`, one a line; lines that begin with `#` say nothing.
fn pairs(path: &Path, text: &str) -> Result<Vec<(String, String)>, ServeError> {
    let said = |(_, line): &(usize, &str)| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let pair = |(index, line): (usize, &str)| match line.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
        // What stands there may be a secret, and is not repeated.
        None => Err(ServeError::NoProperty { path: path.to_owned(), line: index + 1 }),
    };
    text.lines().enumerate().filter(said).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_properties_is_laid_over_those_of_the_configuration() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "# secrets\n\n sasl.password = a=b \nlinger.ms=7\n").expect("written");
        let mut kafka = sections::Kafka { brokers: vec!["a:1".to_owned(), "b:2".to_owned()], ..Default::default() };
        kafka.properties.insert("linger.ms".to_owned(), "1".to_owned());
        kafka.properties_file = Some(file.path().to_owned());
        let found: Vec<_> = properties(&kafka).expect("is sound").into_iter().collect();
        let expected = [("bootstrap.servers", "a:1,b:2"), ("linger.ms", "7"), ("sasl.password", "a=b")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        std::fs::write(file.path(), "linger.ms=7\nsecret").expect("written");
        let refused = properties(&kafka).expect_err("is no pair").to_string();
        assert!(refused.ends_with("line 2 is not name=value") && !refused.contains("secret"), "{refused}");
    }
}
