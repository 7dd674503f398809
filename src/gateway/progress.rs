//! `progress`: what tells quiet from stalled.
//!
//! Contract: a client that was told nothing else hears where its group is at least every heartbeat, and sooner, but at most
//! once an interval, when time or the engine's state moved.

use crate::hub::Head;
use crate::status::{EngineStatus, Phase};
use std::sync::Arc;
use std::time::{Duration, Instant};
use weir_schemas::protocol::{Completeness, GROUP, Progress};

/// An engine that is live moves time at least once a second; after this long without, the numbers are called stale.
const STALE_AFTER: Duration = Duration::from_secs(3);

/// When the next `progress` is due.
#[derive(Debug)]
pub(crate) struct Pulse {
    heartbeat: Duration,
    interval: Duration,
    told_at: Instant,
    last: Option<Progress>,
}

impl Pulse {
    pub(crate) fn new(heartbeat: Duration, interval: Duration, now: Instant) -> Pulse {
        Pulse { heartbeat, interval, told_at: now, last: None }
    }

    /// Notes that the client was sent data.
    pub(crate) fn told(&mut self, now: Instant) {
        self.told_at = now;
    }

    /// When to look again.
    pub(crate) fn next(&self) -> Instant {
        self.told_at + self.interval.min(self.heartbeat)
    }

    /// Whether to send `progress` now; if so, it counts as sent.
    pub(crate) fn due(&mut self, progress: &Progress, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.told_at);
        let moved = self.last.as_ref().is_none_or(|last| !same(last, progress));
        if since >= self.heartbeat || (moved && since >= self.interval) {
            self.told_at = now;
            self.last = Some(progress.clone());
            return true;
        }
        false
    }
}

/// Whether two say the same, but for the clock.
fn same(one: &Progress, other: &Progress) -> bool {
    Progress { timestamp: 0, ..one.clone() } == Progress { timestamp: 0, ..other.clone() }
}

/// What is to be said now.
pub(crate) fn progress(
    head: &Head,
    status: &EngineStatus,
    (epoch, time): (Arc<str>, u64),
    timestamp: u64,
    now: Instant,
) -> Progress {
    let (phase, replayed, to_replay) = match status.phase {
        Phase::Starting => ("starting", None, None),
        Phase::Recovering { replayed, total } => ("recovering", Some(replayed), Some(total)),
        Phase::Live => ("live", None, None),
        Phase::Draining => ("draining", None, None),
    };
    let moving = now.saturating_duration_since(head.moved_at) < STALE_AFTER;
    Progress {
        group: GROUP,
        epoch: epoch.to_string(),
        time,
        timestamp,
        stale: !(head.live && moving && phase == "live"),
        phase: phase.to_owned(),
        completeness: Completeness {
            up_to: head.time,
            running_runs: head.open.running_runs,
            open_streams: head.open.open_streams,
            not_seen: head.open.not_seen,
            behind_records: status.behind_records,
            behind_ms: status.behind_ms,
            replayed,
            to_replay,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::OpenWork;

    fn head(time: u64, live: bool, moved_at: Instant) -> Head {
        Head { epoch: "e".into(), time, live, moved_at, open: OpenWork::default() }
    }

    fn live() -> EngineStatus {
        EngineStatus { phase: Phase::Live, ..EngineStatus::default() }
    }

    #[test]
    fn quiet_and_stalled_look_different() {
        let now = Instant::now();
        let say = |head: &Head, status: &EngineStatus, at| progress(head, status, ("e".into(), 5), 0, at);
        assert!(!say(&head(5, true, now), &live(), now + Duration::from_secs(2)).stale);
        assert!(say(&head(5, true, now), &live(), now + Duration::from_secs(3)).stale, "time stands still");
        assert!(say(&head(5, false, now), &live(), now).stale, "the hub replays the past");
        let recovering = EngineStatus { phase: Phase::Recovering { replayed: 1, total: 2 }, ..EngineStatus::default() };
        let said = say(&head(5, false, now), &recovering, now);
        assert!(said.stale && said.phase == "recovering" && said.completeness.to_replay == Some(2));
    }

    #[test]
    fn progress_comes_at_the_interval_when_time_moves_and_at_the_heartbeat_when_not() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pulse = Pulse::new(Duration::from_secs(15), Duration::from_secs(1), start);
        let say = |time, ms| progress(&head(time, true, at(ms)), &live(), ("e".into(), time), ms, at(ms));
        assert!(!pulse.due(&say(1, 500), at(500)), "too soon");
        assert!(pulse.due(&say(1, 1_000), at(1_000)));
        assert!(!pulse.due(&say(1, 3_000), at(3_000)), "nothing moved");
        assert!(pulse.due(&say(2, 3_100), at(3_100)));
        pulse.told(at(10_000));
        assert!(!pulse.due(&say(2, 24_999), at(24_999)));
        assert!(pulse.due(&say(2, 25_000), at(25_000)), "the heartbeat");
    }
}
