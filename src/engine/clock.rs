//! Ticks: when a batch is closed, what time it is.
//!
//! Contract: [`Minter::mint`] gives the tick of a batch that is closed now: the wall clock in whole 10 ms, but above the last
//! tick. A wall clock found behind the last tick is replaced by the time elapsed since then, so time neither crawls nor
//! stops until it has caught up. A jump ahead of more than a minute is taken and shown, until the wall clock has gone at the
//! pace of elapsed time for [`AGREED_AFTER`]: then it is what the time is. Never event timestamps.
//!
//! [`Minter::jumped`] tells that time has passed without ticks, whatever the reason: a process stopped, a machine asleep or
//! a clock set ahead. The very next tick marks that, so that silence over it is nobody's.
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
/// A wall clock that has jumped ahead is believed once it has gone with elapsed time for so long: NTP sets a wrong one right
/// within minutes.
const AGREED_AFTER: Duration = Duration::from_secs(600);
/// Idle ticks are a second apart at most; a gap above this is an outage.
const OUTAGE_MS: u64 = 5_000;

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
    /// The last tick marks an outage, or begins a life: time may go on from it with a jump.
    marked: bool,
    jump: Option<Jump>,
    /// What the wall clock showed when it was last looked at, and when that was.
    seen: (u64, Duration),
    status: ClockStatus,
}

/// A jump ahead of the wall clock.
#[derive(Clone, Copy, Debug)]
struct Jump {
    ms: u64,
    /// Since when the wall clock has gone with elapsed time.
    agreed_at: Duration,
    /// While Weir was not running: as likely a time away as a clock that was set.
    away: bool,
}

impl Minter {
    /// One that goes on after `last`, the largest tick that anybody has bound; 0 when there is none.
    pub(super) fn new(last: u64, time: &dyn TimeSource) -> Self {
        let (wall, elapsed) = (time.wall_ms(), time.elapsed());
        let status = ClockStatus::default();
        let mut minter =
            Minter { last, anchor: (last, elapsed), marked: false, jump: None, seen: (wall, elapsed), status };
        minter.judge(wall, last, elapsed);
        if let Some(jump) = &mut minter.jump {
            // Noticed once: the first tick finds the clock where it is expected.
            jump.away = true;
            minter.anchor.0 = wall;
            minter.say();
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

    /// Whether time has passed since the last tick that should have had ticks, and that is not marked yet.
    pub(super) fn jumped(&self, time: &dyn TimeSource) -> bool {
        self.last > 0 && !self.marked && self.now(time).saturating_sub(self.last) > OUTAGE_MS
    }

    /// The tick of a batch that is closed now.
    pub(super) fn mint(&mut self, time: &dyn TimeSource) -> u64 {
        let (wall, elapsed) = (time.wall_ms(), time.elapsed());
        let expected = self.expected(elapsed);
        self.judge(wall, expected, elapsed);
        let least = self.last + GRAIN_MS;
        let tick = grain(wall);
        if tick >= least {
            self.anchor = (tick, elapsed);
            self.last = tick;
        } else {
            self.last = grain(expected).max(least);
        }
        self.marked = false;
        self.last
    }

    /// The very next tick: the one that marks an outage ahead.
    pub(super) fn mint_next(&mut self) -> u64 {
        self.last += GRAIN_MS;
        self.marked = true;
        self.last
    }

    fn expected(&self, elapsed: Duration) -> u64 {
        self.anchor.0.saturating_add(ms(elapsed.saturating_sub(self.anchor.1)))
    }

    /// Takes note of a wall clock that shows `wall` when the ticks so far let expect `expected`.
    fn judge(&mut self, wall: u64, expected: u64, elapsed: Duration) {
        if self.last == 0 {
            return;
        }
        let behind = self.last.saturating_sub(wall);
        let ahead = wall.saturating_sub(expected);
        self.status.behind_ms = if behind >= BEHIND_SHOWN_MS { behind } else { 0 };
        if ahead > AHEAD_SHOWN_MS {
            self.jump = Some(Jump { ms: ahead, agreed_at: elapsed, away: false });
        } else if let Some(jump) = &mut self.jump {
            // Set again, forth or back, it has to prove itself anew.
            if wall.abs_diff(self.seen.0.saturating_add(ms(elapsed.saturating_sub(self.seen.1)))) >= BEHIND_SHOWN_MS {
                jump.agreed_at = elapsed;
            }
            if elapsed.saturating_sub(jump.agreed_at) >= AGREED_AFTER {
                self.jump = None;
            }
        }
        self.seen = (wall, elapsed);
        self.say();
    }

    /// Says what is known, and what to do about it.
    fn say(&mut self) {
        let behind = self.status.behind_ms;
        self.status.ahead_ms = self.jump.map_or(0, |jump| jump.ms);
        self.status.remedy = match self.jump {
            _ if behind > 0 => Some(format!(
                "the wall clock is {behind} ms behind the last tick, which it once showed: set it right (NTP); until it has \
                 caught up, time advances by elapsed time and stays ahead of the clock"
            )),
            Some(Jump { away: true, .. }) => Some(
                "time has jumped ahead since the last start: if Weir was not down for that long, set the wall clock right (NTP); \
                 ticks already minted stand, and time advances by elapsed time until the clock catches up. Else nothing is \
                 wrong, and in ten minutes this is no longer said"
                    .to_owned(),
            ),
            Some(Jump { ms, .. }) => Some(format!(
                "the wall clock jumped {ms} ms ahead: if it is wrong, set it right (NTP); ticks already minted stand, and time \
                 advances by elapsed time until the clock catches up. If this machine stood still for so long nothing is \
                 wrong, and in ten minutes this is no longer said"
            )),
            None => None,
        };
    }
}

fn ms(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
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

    #[test]
    fn a_jump_ahead_is_shown_until_the_clock_has_gone_with_elapsed_time_for_ten_minutes() {
        let time = Still::default();
        time.pass(50_000_000, 0);
        // Away for a day, at the start.
        let mut minter = Minter::new(50_000_000 - 86_400_000 / 2, &time);
        minter.mint_next();
        let mut pass = |seconds: u32, jump_ms: i64| {
            for second in 0..seconds {
                let jump = if second == 0 { jump_ms } else { 0 };
                time.pass(1_000 + jump, 1_000);
                minter.mint(&time);
            }
            minter.status().clone()
        };
        assert!(pass(599, 0).ahead_ms > 43_000_000);
        assert_eq!(pass(1, 0), ClockStatus::default());
        // Another jump begins anew, one more than halfway through it again.
        assert_eq!(pass(500, 90_000).ahead_ms, 90_000);
        assert_eq!(pass(500, 70_000).ahead_ms, 70_000);
        assert_eq!(pass(200, 0), ClockStatus::default());
        // A clock that is set again has to go with elapsed time from then on, also while time is ahead of it.
        assert_eq!(pass(500, 100_000).ahead_ms, 100_000);
        let behind = pass(600, -100_000);
        assert_eq!((behind.behind_ms, behind.ahead_ms), (99_000, 100_000));
        assert!(behind.remedy.is_some_and(|remedy| remedy.contains("behind")));
        assert_eq!(pass(1, 0).ahead_ms, 0);
        assert_eq!(pass(1, 100_000), ClockStatus::default());
    }

    #[test]
    fn a_fresh_log_has_no_jump_however_long_its_first_tick_takes() {
        let time = Still::default();
        time.pass(1_700_000_000_000, 0);
        let mut minter = Minter::new(0, &time);
        time.pass(25, 25);
        assert!(!minter.jumped(&time));
        minter.mint(&time);
        assert_eq!(minter.status(), &ClockStatus::default());
    }

    #[test]
    fn time_without_ticks_is_a_jump_until_it_is_marked_and_passed() {
        let time = Still::default();
        time.pass(10_000_000, 0);
        let mut minter = Minter::new(0, &time);
        minter.mint(&time);
        // A second between idle ticks is none; a process stopped, a machine asleep, a clock set ahead are.
        for (wall, elapsed, jumped) in [(1_000, 1_000, false), (20_000, 20_000, true), (3_600_000, 5, true)] {
            time.pass(wall, elapsed);
            assert_eq!(minter.jumped(&time), jumped, "{wall} {elapsed}");
            if jumped {
                let last = minter.last();
                assert_eq!(minter.mint_next(), last + GRAIN_MS);
                assert!(!minter.jumped(&time), "is marked");
            }
            assert_eq!(minter.mint(&time), grain(time.wall_ms()));
            assert!(!minter.jumped(&time));
        }
        // Behind a clock set back, a stop is one as well.
        time.pass(-3_600_000, 0);
        minter.mint(&time);
        assert!(!minter.jumped(&time));
        time.pass(20_000, 20_000);
        assert!(minter.jumped(&time));
    }
}
