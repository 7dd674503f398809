//! `progress`: what tells quiet from stalled.
//!
//! Contract: a client that was told nothing else hears where its group is at least every heartbeat, and sooner, but at most
//! once an interval, when time or the engine's state moved. A changed [`Condition`] is told at once, also to a client that
//! gets batches all the time: it turns a few times in a server's life, and to stale and back at most every [`STALE_AFTER`],
//! or as the engine falls behind and catches up. A client may take what it was told last for what holds; while that is
//! stale it is told again every interval, batches or not, so that it knows how far.

use crate::hub::Head;
use crate::status::{EngineStatus, Phase};
use std::sync::Arc;
use std::time::{Duration, Instant};
use weir_schemas::protocol::{Completeness, GROUP, Progress};

/// An engine that is live moves time at least once a second; after this long without, the numbers are called stale.
const STALE_AFTER: Duration = Duration::from_secs(3);

/// What a person must know at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    phase: &'static str,
    stale: bool,
}

impl Condition {
    /// What a client takes for granted until it is told.
    const SOUND: Condition = Condition { phase: "live", stale: false };

    /// `lagging`: as [`Status::lagging`](crate::status::Status::lagging).
    pub(crate) fn of(head: &Head, phase: &Phase, lagging: bool, now: Instant) -> Condition {
        let current = *phase == Phase::Live && head.live && now < stale_at(head);
        Condition { phase: phase.as_str(), stale: lagging || !current }
    }
}

/// From when on the numbers are called stale if time does not move.
pub(crate) fn stale_at(head: &Head) -> Instant {
    head.moved_at + STALE_AFTER
}

/// When the next `progress` is due.
#[derive(Debug)]
pub(crate) struct Pulse {
    heartbeat: Duration,
    interval: Duration,
    told_at: Instant,
    /// When the last `progress` was sent.
    said_at: Instant,
    looked_at: Instant,
    condition: Condition,
    last: Option<Progress>,
}

impl Pulse {
    pub(crate) fn new(heartbeat: Duration, interval: Duration, now: Instant) -> Pulse {
        Pulse {
            heartbeat,
            interval,
            told_at: now,
            said_at: now,
            looked_at: now,
            condition: Condition::SOUND,
            last: None,
        }
    }

    /// Notes that the client was sent data.
    pub(crate) fn told(&mut self, now: Instant) {
        self.told_at = now;
    }

    /// When to look again.
    pub(crate) fn next(&self) -> Instant {
        let next = self.told_at + self.interval;
        let next = if self.looked_at < next { next } else { self.looked_at + self.interval };
        next.min(self.told_at + self.heartbeat)
    }

    /// Whether the client must be told before anything else.
    pub(crate) fn turned(&self, condition: Condition, now: Instant) -> bool {
        self.condition != condition || (condition.stale && now >= self.said_at + self.interval)
    }

    /// Whether to send `progress` now.
    pub(crate) fn due(&mut self, progress: &Progress, now: Instant) -> bool {
        self.looked_at = now;
        let since = now.saturating_duration_since(self.told_at);
        let moved = self.last.as_ref().is_none_or(|last| !same(last, progress));
        since >= self.heartbeat || (moved && since >= self.interval)
    }

    /// Notes that `progress` was sent.
    pub(crate) fn sent(&mut self, condition: Condition, progress: Progress, now: Instant) {
        (self.told_at, self.said_at) = (now, now);
        self.condition = condition;
        self.last = Some(progress);
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
    condition: Condition,
    (epoch, time): (Arc<str>, u64),
    timestamp: u64,
) -> Progress {
    let (replayed, to_replay) = match status.phase {
        Phase::Recovering { replayed, total } => (Some(replayed), Some(total)),
        _ => (None, None),
    };
    Progress {
        group: GROUP,
        epoch: epoch.to_string(),
        time,
        timestamp,
        stale: condition.stale,
        phase: condition.phase.to_owned(),
        completeness: Completeness {
            up_to: head.time,
            running_runs: head.open.running_runs,
            open_streams: head.open.open_streams,
            open_shards: head.open.open_shards(),
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

    fn say(head: &Head, status: &EngineStatus, time: u64, at: Instant) -> Progress {
        progress(head, status, Condition::of(head, &status.phase, false, at), ("e".into(), time), 0)
    }

    #[test]
    fn quiet_and_stalled_look_different() {
        let now = Instant::now();
        let quiet = head(5, true, now);
        assert!(!say(&quiet, &live(), 5, now + Duration::from_secs(2)).stale);
        assert!(say(&quiet, &live(), 5, stale_at(&quiet)).stale, "time stands still");
        assert!(say(&head(5, false, now), &live(), 5, now).stale, "the hub replays the past");
        let recovering = EngineStatus { phase: Phase::Recovering { replayed: 1, total: 2 }, ..EngineStatus::default() };
        let said = say(&head(5, false, now), &recovering, 5, now);
        assert!(said.stale && said.phase == "recovering" && said.completeness.to_replay == Some(2));
    }

    #[test]
    fn progress_comes_at_the_interval_when_time_moves_and_at_the_heartbeat_when_not() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pulse = Pulse::new(Duration::from_secs(15), Duration::from_secs(1), start);
        let mut due = |time, ms| {
            let progress = say(&head(time, true, at(ms)), &live(), time, at(ms));
            let due = pulse.due(&progress, at(ms));
            if due {
                pulse.sent(Condition::SOUND, progress, at(ms));
            }
            due
        };
        assert!(!due(1, 500), "too soon");
        assert!(due(1, 1_000));
        assert!(!due(1, 3_000), "nothing moved");
        assert!(due(2, 3_100));
        assert!(!due(2, 18_099));
        assert!(due(2, 18_100), "the heartbeat");
    }

    #[test]
    fn a_stale_client_hears_how_far_at_the_interval_though_it_gets_batches() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pulse = Pulse::new(Duration::from_secs(15), Duration::from_secs(1), start);
        let here = head(1, true, start);
        let lagging = Condition::of(&here, &Phase::Live, true, start);
        assert!(pulse.turned(lagging, start), "at once");
        pulse.sent(lagging, say(&here, &live(), 1, start), start);
        pulse.told(at(990));
        assert!(!pulse.turned(lagging, at(999)));
        assert!(pulse.turned(lagging, at(1_000)), "told again");
        assert!(pulse.turned(Condition::SOUND, at(999)), "and at once when it is over");
    }

    #[test]
    fn it_looks_again_at_the_interval_whether_or_not_something_moved() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pulse = Pulse::new(Duration::from_secs(15), Duration::from_secs(1), start);
        let still = head(1, true, start);
        pulse.sent(Condition::SOUND, say(&still, &live(), 1, start), start);
        let mut now = start;
        for looks in 1..=15 {
            now = pulse.next();
            assert_eq!(now, at(looks * 1_000));
            assert_eq!(pulse.due(&say(&still, &live(), 1, start), now), looks == 15, "the heartbeat");
        }
        pulse.told(now);
        assert_eq!(pulse.next(), at(16_000));
    }
}
