//! The logs of a server: in a folder of its own, or in Kafka.
//!
//! Contract: [`Storage::open`] opens them as configured; nobody after it asks which they are. With Kafka nothing is kept on
//! local disk, and retention is Kafka's.

mod embedded;
mod kafka;

use super::ServeError;
use crate::config::Config;
use crate::engine::Logs;
use crate::engine::snapshots::{Rule, Store};
use crate::log::Log;
use crate::rejects::sink::Sink;
use crate::shutdown::Shutdown;
use crate::status::Status;
pub use embedded::BINDINGS_MARGIN;
use embedded::Folder;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The topic of what comes in, of the embedded log.
pub const EVENTS_TOPIC: &str = "weir.events";
/// The topic of rules and incidents, of the embedded log.
pub const CONTROL_TOPIC: &str = "weir.control";
/// The topics that the engine reads of the embedded log, by their number.
pub const TOPICS: [&str; 2] = [EVENTS_TOPIC, CONTROL_TOPIC];
/// The topic of ticks, of the embedded log.
pub const BINDINGS_TOPIC: &str = "weir.bindings";

/// See the module.
pub(super) struct Storage {
    pub(super) logs: Logs,
    /// Where what was not taken goes, besides the view.
    pub(super) rejects: Option<Sink>,
    /// Where snapshots are, if any are made.
    pub(super) snapshots: Option<Store>,
    /// Where they are on local disk.
    folder: Option<Folder>,
}

impl Storage {
    /// Opens the logs; blocks until that is done. Anything that a person should know goes to the notices of `status`.
    pub(super) fn open(config: &Config, status: &Status, shutdown: &Shutdown) -> Result<Storage, ServeError> {
        if config.kafka.used() {
            let snapshots = snapshots(config)?;
            if snapshots.is_none() {
                tracing::info!(
                    "no snapshots are made: with Kafka, snapshots.folder must name a folder that outlives the process"
                );
            }
            let (logs, pairs) = kafka::open(config, status)?;
            let rejects = if pairs.is_empty() { None } else { Some(Sink::start(pairs, shutdown.clone())?) };
            return Ok(Storage { logs, rejects, snapshots, folder: None });
        }
        let folder = Folder::open(config, status)?;
        let snapshots = snapshots(config)?;
        Ok(Storage { logs: folder.logs(), rejects: None, snapshots, folder: Some(folder) })
    }

    /// Where what comes over HTTP goes.
    pub(super) fn ingest(&self) -> &Arc<dyn Log> {
        &self.logs.events[0]
    }

    /// Looks after them until `shutdown`.
    pub(super) fn look_after(&self, status: &Status, shutdown: &Shutdown) {
        if let Some(folder) = &self.folder {
            folder.watch_disk(status.clone(), shutdown.clone());
            folder.retain(self.snapshots.clone(), status.clone(), shutdown.clone());
        }
    }

    /// Ends whoever waits for brokers that are away: with Kafka, closes it.
    pub(super) fn wait_no_more(&self) {
        if self.folder.is_none() {
            self.close();
        }
    }

    /// Makes everything taken durable and takes no more.
    pub(super) fn close(&self) {
        self.logs.events.iter().chain([&self.logs.control, &self.logs.bindings]).for_each(|log| log.close());
    }
}

/// The folder of snapshots, opened, if any are made.
fn snapshots(config: &Config) -> Result<Option<Store>, ServeError> {
    let Some(folder) = config.snapshot_folder() else { return Ok(None) };
    let rule = Rule { keep: config.snapshots.keep, span_ms: config.hub.ring_age.ms() };
    Ok(Some(Store::open(&folder, rule).map_err(|source| ServeError::Snapshots { folder, source })?))
}

/// What a reject may be larger than its original: why and where.
pub const REJECT_OVERHEAD: usize = 64 << 10;

/// The properties of all clients of Kafka: those of the configuration, its file of more, and the brokers.
///
/// # Errors
/// The file cannot be used.
pub fn kafka_properties(config: &Config) -> Result<BTreeMap<String, String>, ServeError> {
    kafka::properties(&config.kafka)
}

/// The topics that the engine reads, by their number.
pub(super) fn topics(config: &Config) -> Vec<&str> {
    if config.kafka.used() { config.kafka.topics() } else { TOPICS.to_vec() }
}
