//! What the commands that speak to Kafka themselves have in common: its configuration.

use super::{Exit, Failure, LogArgs, check_config, environment, say};
use crate::config::{Config, Loaded};
use crate::telemetry;
use std::path::Path;

/// No brokers are configured.
#[derive(Debug, thiserror::Error)]
#[error("no brokers are configured: the embedded log is used, which has no topics")]
struct NoBrokers;

/// The configuration, with brokers in it. Only errors are logged unless more is asked for: the command says what it does.
///
/// # Errors
/// It cannot be read, has problems, or names no brokers.
pub(super) fn configured(file: Option<&Path>, log: &LogArgs) -> Result<Config, Failure> {
    let Loaded { config, notices } =
        Config::load(file, environment()?).map_err(|error| check_config::failure(&error))?;
    let level = log.log_level.as_deref().unwrap_or("error");
    telemetry::init_logs(level, log.log_format.unwrap_or(config.telemetry.format))
        .map_err(|error| Failure::new(Exit::Usage, &error))?;
    notices.iter().for_each(|notice| say::note(notice));
    if config.kafka.used() {
        return Ok(config);
    }
    Err(Failure::new(Exit::Usage, &NoBrokers).with_remedy("set kafka.brokers (WEIR_KAFKA_BROKERS)"))
}
