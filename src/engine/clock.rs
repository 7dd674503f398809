//! Ticks: when a batch is closed, what time it is.
//!
//! Contract: [`Minter::mint`] gives the tick of a batch that is closed now: the wall clock in whole 10 ms, but above the last
//! tick. A wall clock found behind the last tick is replaced by the time elapsed since then, so time neither crawls nor
//! stops until it has caught up; a jump ahead of more than a minute is taken and shown. Never event timestamps.
//!
//! # Invariants
//! Ticks ascend strictly and are multiples of [`GRAIN_MS`].

use crate::status::Clock as ClockStatus;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Ticks are multiples of so many ms.
pub const GRAIN_MS: u64 = 10;
/// A wall clock behind the last tick by less than this is a slew, not a fault.
const BEHIND_SHOWN_MS: u64 = 500;
/// A jump ahead by less than this is not shown.
const AHEAD_SHOWN_MS: u64 = 60_000;

/// Where time comes from: the one seam at which tests step the clock.
pub trait TimeSource: std::fmt::Debug + Send + Sync + 'static {
    /// The wall clock, in epoch ms.
    fn wall_ms(&self) -> u64;
    /// Time elapsed since some moment in the past; never goes back.
    fn elapsed(&self) -> Duration;
}

/// The system's clocks.
#[derive(Debug)]
pub struct SystemTimeSource(Instant);

impl Default for SystemTimeSource {
    fn default() -> Self {
        SystemTimeSource(Instant::now())
    }
}

impl TimeSource for SystemTimeSource {
    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Mints the ticks of one process.
#[derive(Debug)]
pub(super) struct Minter {
    last: u64,
    /// What the wall clock should show at `anchor.1` of elapsed time: the last tick minted while the clock was right.
    anchor: (u64, Duration),
    status: ClockStatus,
}

impl Minter {
    /// One that goes on after `last`, the largest tick that anybody has bound; 0 when there is none.
    pub(super) fn new(last: u64, time: &dyn TimeSource) -> Self {
        let mut minter = Minter { last, anchor: (last, time.elapsed()), status: ClockStatus::default() };
        if last > 0 {
            let wall = time.wall_ms();
            minter.judge(wall, last);
            if minter.status.ahead_ms > 0 {
                // Said once, in the words for a start: the first tick finds the clock where it is expected.
                minter.anchor.0 = wall;
                minter.status.remedy = Some(
                    "time has jumped ahead since the last start: if Weir was not down for that long, set the wall clock right (NTP); \
                     ticks already minted stand, and time advances by elapsed time until the clock catches up"
                        .to_owned(),
                );
            }
        }
        minter
    }

    /// The last tick minted.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// What is known of the wall clock.
    pub(super) fn status(&self) -> &ClockStatus {
        &self.status
    }

    /// What the time is now, by the same rule, without minting: never before the last tick.
    pub(super) fn now(&self, time: &dyn TimeSource) -> u64 {
        let wall = time.wall_ms();
        if wall > self.last { wall } else { self.expected(time.elapsed()).max(self.last) }
    }

    /// The tick of a batch that is closed now.
    pub(super) fn mint(&mut self, time: &dyn TimeSource) -> u64 {
        let (wall, elapsed) = (time.wall_ms(), time.elapsed());
        let expected = self.expected(elapsed);
        self.judge(wall, expected);
        let least = self.last + GRAIN_MS;
        let tick = grain(wall);
        if tick >= least {
            self.anchor = (tick, elapsed);
            self.last = tick;
        } else {
            self.last = grain(expected).max(least);
        }
        self.last
    }

    /// The very next tick: the empty one that marks an outage ahead.
    pub(super) fn mint_next(&mut self) -> u64 {
        self.last += GRAIN_MS;
        self.last
    }

    fn expected(&self, elapsed: Duration) -> u64 {
        let since = u64::try_from(elapsed.saturating_sub(self.anchor.1).as_millis()).unwrap_or(u64::MAX);
        self.anchor.0.saturating_add(since)
    }

    /// Takes note of a wall clock that shows `wall` when the ticks so far let expect `expected`.
    fn judge(&mut self, wall: u64, expected: u64) {
        let behind = self.last.saturating_sub(wall);
        if behind >= BEHIND_SHOWN_MS {
            self.status.behind_ms = behind;
            self.status.remedy = Some(format!(
                "the wall clock is {behind} ms behind the last tick, which it once showed: set it right (NTP); until it has \
                 caught up, time advances by elapsed time and stays ahead of the clock"
            ));
        } else if self.status.behind_ms > 0 {
            self.status.behind_ms = 0;
            self.status.remedy = None;
        }
        let ahead = wall.saturating_sub(expected);
        if expected > 0 && ahead > AHEAD_SHOWN_MS {
            self.status.ahead_ms = ahead;
            self.status.remedy = Some(format!(
                "the wall clock jumped {ahead} ms ahead: if it is wrong, set it right (NTP); ticks already minted stand, and time \
                 advances by elapsed time until the clock catches up"
            ));
        }
    }
}

fn grain(ms: u64) -> u64 {
    ms / GRAIN_MS * GRAIN_MS
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A clock that stands where it is put.
    #[derive(Debug, Default)]
    pub(crate) struct Still {
        pub(crate) wall: AtomicU64,
        pub(crate) elapsed: AtomicU64,
    }

    impl Still {
        fn pass(&self, wall: i64, elapsed: u64) {
            let now = self.wall.load(Ordering::SeqCst).checked_add_signed(wall).expect("stays positive");
            self.wall.store(now, Ordering::SeqCst);
            self.elapsed.fetch_add(elapsed, Ordering::SeqCst);
        }
    }

    impl TimeSource for Still {
        fn wall_ms(&self) -> u64 {
            self.wall.load(Ordering::SeqCst)
        }

        fn elapsed(&self) -> Duration {
            Duration::from_millis(self.elapsed.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn ticks_follow_the_clock_in_whole_grains() {
        let time = Still::default();
        time.pass(1_000_004, 0);
        let mut minter = Minter::new(0, &time);
        assert_eq!(minter.mint(&time), 1_000_000);
        assert_eq!(minter.mint(&time), 1_000_010, "above the last");
        time.pass(27, 27);
        assert_eq!(minter.mint(&time), 1_000_030);
        assert_eq!(minter.status(), &ClockStatus::default());
    }

    #[test]
    fn behind_a_clock_set_back_time_goes_on_at_its_pace_and_says_so() {
        let time = Still::default();
        time.pass(10_000_000, 0);
        let mut minter = Minter::new(0, &time);
        minter.mint(&time);
        time.pass(-3_600_000 + 25, 25);
        for round in 1..=100 {
            assert_eq!(minter.mint(&time), (10_000_000 + round * 25) / 10 * 10, "at the pace of elapsed time");
            assert_eq!(minter.now(&time), 10_000_000 + round * 25);
            time.pass(25, 25);
        }
        assert!(minter.status().behind_ms > 3_590_000 && minter.status().remedy.is_some());
        time.pass(3_700_000, 0);
        let caught_up = minter.mint(&time);
        assert_eq!(caught_up, grain(time.wall_ms()));
        assert_eq!(minter.status().behind_ms, 0);
    }

    #[test]
    fn a_jump_ahead_is_taken_and_shown() {
        let time = Still::default();
        time.pass(10_000_000, 0);
        let mut minter = Minter::new(9_999_990, &time);
        assert_eq!(minter.mint_next(), 10_000_000);
        assert_eq!(minter.status(), &ClockStatus::default());
        time.pass(90_000, 1_000);
        assert_eq!(minter.mint(&time), 10_090_000);
        assert!(minter.status().ahead_ms >= 89_000 && minter.status().remedy.is_some());
        let later = Still::default();
        later.pass(20_000_000, 0);
        let mut minter = Minter::new(10_000_000, &later);
        for _ in 0..3 {
            let remedy = minter.status().remedy.as_deref();
            assert!(remedy.is_some_and(|remedy| remedy.contains("since the last start")), "{remedy:?}");
            assert_eq!(minter.status().ahead_ms, 10_000_000);
            later.pass(20, 20);
            minter.mint(&later);
        }
    }
}
