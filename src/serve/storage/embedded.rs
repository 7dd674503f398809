//! Logs on local disk: opened, watched for a full disk, shortened by retention, closed.
//!
//! Contract: below the data folder, `events` holds what came in, `control` the rules and incidents that people gave, and
//! `bindings` what tick each record has. Bindings are kept longer than the events that they bind may be. An event that outlives
//! even those, in a segment that nothing has filled since, is left out at the next start as if it were gone. What people said
//! is kept for ever: it is little, and holds until they say otherwise. A folder from before there was any gets an empty log.

use super::{BINDINGS_TOPIC, CONTROL_TOPIC, EVENTS_TOPIC, ServeError};
use crate::config::Config;
use crate::engine::Logs;
use crate::engine::snapshots::{Cut, Store};
use crate::log::embedded::{Embedded, EmbeddedConfig};
use crate::log::{Log, LogError};
use crate::shutdown::Shutdown;
use crate::status::{EngineStatus, Phase, Status};
use crate::task;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::time::MissedTickBehavior;

/// How often it is looked whether the disk is full.
const DISK_INTERVAL: Duration = Duration::from_millis(250);
/// How often retention looks for something to drop.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);
/// How much longer than events their bindings are kept: an event can outlive the age by the day that its segment may
/// stay open and the day until that is sealed.
pub const BINDINGS_MARGIN: Duration = Duration::from_secs(3 * 24 * 3_600);
/// A segment of what people said; a small file is enough.
const CONTROL_SEGMENT_BYTES: u64 = 4 << 20;
/// The number of the events topic, in `TOPICS`.
const EVENTS_NUMBER: u16 = 0;
/// How often opening says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// The logs in a data folder.
#[derive(Clone)]
pub(super) struct Folder {
    events: Arc<Embedded>,
    control: Arc<Embedded>,
    bindings: Arc<Embedded>,
}

impl Folder {
    /// Opens the logs, making them where they are not; blocks while their tails are verified. Anything that a person
    /// should know goes to the notices of `status`.
    pub(super) fn open(config: &Config, status: &Status) -> Result<Folder, ServeError> {
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
        let control = EmbeddedConfig {
            partitions: 1,
            segment_bytes: CONTROL_SEGMENT_BYTES,
            segment_age: Duration::MAX,
            retention_age: Duration::ZERO,
            ..EmbeddedConfig::new(folder.join("control"), CONTROL_TOPIC)
        };
        let bindings = EmbeddedConfig {
            partitions: 1,
            retention_age: retention_age + BINDINGS_MARGIN,
            ..EmbeddedConfig::new(folder.join("bindings"), BINDINGS_TOPIC)
        };
        Ok(Folder { events: open(events, status)?, control: open(control, status)?, bindings: open(bindings, status)? })
    }

    /// The logs as the engine takes them.
    pub(super) fn logs(&self) -> Logs {
        let log = |log: &Arc<Embedded>| Arc::clone(log) as Arc<dyn Log>;
        Logs { events: vec![log(&self.events)], control: log(&self.control), bindings: log(&self.bindings) }
    }

    /// Tells `status` whether the disk under the logs is full, until `shutdown`; nobody else does.
    pub(super) fn watch_disk(&self, status: Status, shutdown: Shutdown) {
        let folder = self.clone();
        task::spawn("disk", async move {
            let mut interval = tokio::time::interval(DISK_INTERVAL);
            while next(&mut interval, &shutdown).await {
                let full = [&folder.events, &folder.control, &folder.bindings].iter().any(|log| log.disk_full());
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

    /// Drops what age and size let go, until `shutdown`; nothing that the oldest snapshot goes on with.
    pub(super) fn retain(&self, snapshots: Option<Store>, status: Status, shutdown: Shutdown) {
        let folder = self.clone();
        task::spawn("retention", async move {
            let mut interval = tokio::time::interval(RETENTION_INTERVAL);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut bound = None;
            while next(&mut interval, &shutdown).await {
                let Some(floor) = folder.floor(&mut bound, &status.get()) else { continue };
                let (folder, snapshots) = (folder.clone(), snapshots.clone());
                let dropping = tokio::task::spawn_blocking(move || {
                    match snapshots.map_or(Ok(None), |snapshots| snapshots.oldest()) {
                        Ok(None) => folder.drop_old(now_ms(), &floor),
                        Ok(Some(oldest)) => folder.drop_old(now_ms(), &floor.down_to(&oldest.manifest.cut)),
                        Err(error) => {
                            let error = crate::error::chain(&error);
                            tracing::warn!(
                                error,
                                "nothing is dropped while it is not known what a snapshot goes on with"
                            );
                        }
                    }
                });
                if let Err(error) = dropping.await {
                    tracing::debug!(%error, "retention was cut short");
                }
            }
        });
    }

    /// From where on everything must stay, one interval after the last look; `earlier` is what that one found. Nothing is
    /// dropped that the engine may not have bound yet, nor while the clock may be ahead; to one that is behind, all is young.
    fn floor(&self, earlier: &mut Option<Floor>, engine: &EngineStatus) -> Option<Floor> {
        let live = engine.phase == Phase::Live;
        let now = live.then(|| Floor { events: self.events.ends(), bindings: self.bindings.ends() });
        // What was durable one interval ago is bound when the engine was live and lags by less than that.
        let floor = std::mem::replace(earlier, now);
        let caught_up = u128::from(engine.behind_ms) < RETENTION_INTERVAL.as_millis() / 2;
        floor.filter(|_| live && caught_up && engine.clock.ahead_ms == 0)
    }

    fn drop_old(&self, now: u64, floor: &Floor) {
        for (log, floor) in [(&self.events, &floor.events), (&self.bindings, &floor.bindings)] {
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

/// The first offsets that must stay, by log and partition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Floor {
    events: Vec<u64>,
    bindings: Vec<u64>,
}

impl Floor {
    /// The same, and what follows a snapshot must stay.
    fn down_to(mut self, cut: &Cut) -> Floor {
        for position in cut.positions.iter().filter(|position| position.topic == EVENTS_NUMBER) {
            if let Some(floor) = self.events.get_mut(position.partition as usize) {
                *floor = (*floor).min(position.next_offset);
            }
        }
        self.bindings.iter_mut().for_each(|floor| *floor = (*floor).min(cut.bindings_offset));
        self
    }
}

fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::units::{Period, Size};
    use crate::engine::snapshots::Position;
    use crate::log::NewRecord;
    use crate::status::Clock;
    use bytes::Bytes;

    fn fill(log: &Embedded) {
        for _ in 0..8 {
            let record = NewRecord::new(0, Bytes::from_static(&[7; 2_000]));
            log.append(vec![record]).expect("is taken").wait().expect("is durable");
        }
    }

    #[test]
    fn what_a_snapshot_goes_on_with_stays() {
        let position = |topic, partition, next_offset| Position { topic, partition, next_offset, hash: None };
        let positions = vec![position(EVENTS_NUMBER, 1, 7), position(EVENTS_NUMBER, 0, 90), position(1, 1, 3)];
        let cut = Cut { positions, bindings_offset: 40, ..Cut::default() };
        let floor = Floor { events: vec![50, 60], bindings: vec![100] };
        assert_eq!(floor.down_to(&cut), Floor { events: vec![50, 7], bindings: vec![40] });
    }

    #[test]
    fn retention_drops_only_what_the_engine_had_bound_and_never_by_a_clock_that_may_be_ahead() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.data.folder = folder.path().to_owned();
        (config.log.segment_size, config.log.retention_age) = (Size::from_bytes(4_000), Period::from_days(1));
        let folder = Folder::open(&config, &Status::default()).expect("opens");
        let live = EngineStatus { phase: Phase::Live, ..EngineStatus::default() };
        let replaying = EngineStatus { phase: Phase::Recovering { replayed: 1, total: 2 }, ..live.clone() };
        let behind = EngineStatus { behind_ms: 31_000, ..live.clone() };
        let ahead = EngineStatus { clock: Clock { ahead_ms: 70_000, ..Clock::default() }, ..live.clone() };
        let mut earlier = None;
        let mut look = |engine: &EngineStatus| folder.floor(&mut earlier, engine);
        fill(&folder.events);
        assert_eq!(look(&replaying), None);
        assert_eq!(look(&live), None, "was not live at the look before");
        fill(&folder.events);
        let floor = look(&live).expect("is live for an interval");
        assert_eq!(floor.events, [8, 0, 0, 0], "as of the look before");
        for engine in [&behind, &ahead] {
            assert_eq!(look(engine), None, "{engine:?}");
            assert!(look(&live).is_some(), "and goes on once that is over");
        }
        let day = 24 * 3_600 * 1_000;
        folder.drop_old(now_ms() + day / 2, &floor);
        assert_eq!(folder.events.starts()[0], 0, "is not old enough");
        folder.drop_old(now_ms() + day + 1, &floor);
        assert!((2..=8).contains(&folder.events.starts()[0]), "{:?}", folder.events.starts());
        assert_eq!(folder.bindings.starts(), [0]);
    }
}
