//! The logs of a server on local disk: opened, watched for a full disk, shortened by retention, closed.
//!
//! Contract: below the data folder, `events` holds what came in and `bindings` what tick each record has. Bindings are kept
//! longer than the events that they bind, since events without bindings could not be replayed.

use super::ServeError;
use crate::config::Config;
use crate::log::embedded::{Embedded, EmbeddedConfig};
use crate::log::{Log, LogError};
use crate::shutdown::Shutdown;
use crate::status::{Phase, Status};
use crate::task;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::time::MissedTickBehavior;

/// The topic of what comes in.
pub const EVENTS_TOPIC: &str = "weir.events";
/// The topic of ticks.
pub const BINDINGS_TOPIC: &str = "weir.bindings";

/// How often it is looked whether the disk is full.
const DISK_INTERVAL: Duration = Duration::from_millis(250);
/// How often retention looks for something to drop.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);
/// How much longer than events their bindings are kept: an event can outlive the age by the day that its segment may
/// stay open and the day until that is sealed.
const BINDINGS_MARGIN: Duration = Duration::from_secs(3 * 24 * 3_600);
/// How often opening says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// The logs.
#[derive(Clone)]
pub(super) struct Storage {
    pub(super) events: Arc<Embedded>,
    pub(super) bindings: Arc<Embedded>,
}

impl Storage {
    /// Opens both logs, making them where they are not; blocks while their tails are verified. Anything that a person
    /// should know goes to the notices of `status`.
    pub(super) fn open(config: &Config, status: &Status) -> Result<Storage, ServeError> {
        let folder = &config.data.folder;
        std::fs::create_dir_all(folder).map_err(|source| ServeError::Folder { path: folder.clone(), source })?;
        let retention_age = config.log.retention_age.duration();
        let events = EmbeddedConfig {
            partitions: config.log.partitions,
            segment_bytes: config.log.segment_size.bytes(),
            record_bytes_max: config.limits.record.len(),
            retention_age,
            retention_bytes: config.log.retention_size.bytes(),
            ..EmbeddedConfig::new(folder.join("events"), EVENTS_TOPIC)
        };
        let bindings = EmbeddedConfig {
            partitions: 1,
            retention_age: retention_age + BINDINGS_MARGIN,
            ..EmbeddedConfig::new(folder.join("bindings"), BINDINGS_TOPIC)
        };
        Ok(Storage { events: open(events, status)?, bindings: open(bindings, status)? })
    }

    /// Makes everything taken durable and takes no more.
    pub(super) fn close(&self) {
        self.events.close();
        self.bindings.close();
    }

    /// Tells `status` whether the disk is full, until `shutdown`.
    pub(super) fn watch_disk(&self, status: Status, shutdown: Shutdown) {
        let storage = self.clone();
        task::spawn("disk", async move {
            let mut interval = tokio::time::interval(DISK_INTERVAL);
            while next(&mut interval, &shutdown).await {
                let full = storage.events.disk_full() || storage.bindings.disk_full();
                if full != status.get().disk_full {
                    match full {
                        true => tracing::error!("the disk under the log is full: nothing is taken until space is free"),
                        false => tracing::info!("the disk under the log has space again"),
                    }
                    status.update(|status| status.disk_full = full);
                }
            }
        });
    }

    /// Drops what age and size let go, until `shutdown`. Nothing is dropped that the engine may not have bound yet, nor
    /// while the clock is known to be wrong.
    pub(super) fn retain(&self, status: Status, shutdown: Shutdown) {
        let storage = self.clone();
        task::spawn("retention", async move {
            let mut interval = tokio::time::interval(RETENTION_INTERVAL);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let ends = || (storage.events.ends(), storage.bindings.ends());
            let mut earlier = ends();
            while next(&mut interval, &shutdown).await {
                let floor = std::mem::replace(&mut earlier, ends());
                let engine = status.get();
                // What was durable one interval ago is bound when the engine lags by less than that.
                let caught_up = u128::from(engine.behind_ms) < RETENTION_INTERVAL.as_millis() / 2;
                let clock_sound = engine.clock.ahead_ms == 0 && engine.clock.behind_ms == 0;
                if engine.phase == Phase::Live && caught_up && clock_sound {
                    let storage = storage.clone();
                    let dropping = tokio::task::spawn_blocking(move || storage.drop_old(&floor.0, &floor.1));
                    if let Err(error) = dropping.await {
                        tracing::debug!(%error, "retention was cut short");
                    }
                }
            }
        });
    }

    fn drop_old(&self, events_floor: &[u64], bindings_floor: &[u64]) {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        for (log, floor) in [(&self.events, events_floor), (&self.bindings, bindings_floor)] {
            let starts = log.starts();
            match log.retain(now, floor) {
                Ok(_) if log.starts() == starts => (),
                Ok(retained) => tracing::info!(topic = log.topic(), ?retained, "old segments were dropped"),
                Err(error) => {
                    let error = crate::error::chain(&error);
                    tracing::warn!(topic = log.topic(), error, "old segments cannot be dropped");
                }
            }
        }
    }
}

async fn next(interval: &mut tokio::time::Interval, shutdown: &Shutdown) -> bool {
    tokio::select! {
        _ = interval.tick() => true,
        () = shutdown.wait() => false,
    }
}

fn open(config: EmbeddedConfig, status: &Status) -> Result<Arc<Embedded>, LogError> {
    let topic = config.topic.clone();
    let mut told_at = Instant::now();
    let mut progress = |done: u64, total: u64| {
        if told_at.elapsed() >= PROGRESS_INTERVAL {
            told_at = Instant::now();
            tracing::info!(topic, "verifying the log: {} of {} MiB", done >> 20, total >> 20);
        }
    };
    let (log, report) = Embedded::open(config, &mut progress)?;
    for notice in report.notices() {
        tracing::warn!("{notice}");
        status.update(|status| status.notices.push(notice));
    }
    tracing::info!(topic = log.topic(), segments = report.segments, ends = ?report.ends, "the log is open");
    Ok(Arc::new(log))
}
