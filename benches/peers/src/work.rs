//! What both engines are given, and what both must give.
//!
//! Contract: [`Work::tick`] gives the same failures each time it is asked. A failure is some seconds old when it comes.

/// Of 250 patterns each.
pub(crate) const PROJECTS: u64 = 20;
/// Over all projects.
pub(crate) const PATTERNS: u64 = 5_000;
/// How long a tick is.
pub(crate) const TICK_MS: u64 = 10_000;
/// 26 hours.
pub(crate) const TICKS: u64 = 26 * 360;
/// 10 minutes, an hour, a day: what [`Seen::counts`] counts. A failure leaves when the 60th of a window in which it was has passed,
/// by the window's length.
pub(crate) const WINDOWS: [u64; 3] = [600_000, 3_600_000, 86_400_000];
/// Patterns a project.
pub(crate) const SHOWN: usize = 100;

const TESTS: u64 = 100_000;
const RUNS: u64 = 50_000;
/// Who starts runs.
pub(crate) const USERS: u64 = 400;
/// A multiple of the longest window, epoch ms.
const FIRST: u64 = 1_800_057_600_000;

/// A test failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occurrence {
    /// When, epoch ms.
    pub(crate) at: u64,
    pub(crate) pattern: Pattern,
    pub(crate) test: u64,
    pub(crate) run: u64,
    pub(crate) user: u64,
}

/// A pattern and its project; its number is one over all projects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pattern {
    pub(crate) project: u64,
    pub(crate) number: u64,
}

/// What is said of a pattern that is among the first of its project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    pub(crate) counts: [u64; 3],
    pub(crate) tests: u64,
    pub(crate) runs: u64,
    pub(crate) users: u64,
    /// Epoch ms.
    pub(crate) last: u64,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Work {
    failures: u64,
}

impl Work {
    pub(crate) fn new(failures: u64) -> Work {
        Work { failures }
    }

    pub(crate) fn occurrences(&self) -> u64 {
        self.failures * TICKS
    }

    /// The ticks in order, epoch ms.
    pub(crate) fn times() -> impl Iterator<Item = u64> {
        (0..TICKS).map(|tick| FIRST + tick * TICK_MS)
    }

    /// What comes at `now`. A run is one user's.
    pub(crate) fn tick(&self, now: u64) -> impl Iterator<Item = Occurrence> {
        let first = (now - FIRST) / TICK_MS * self.failures;
        (first..first + self.failures).map(move |number| {
            let dice = mix(number);
            // Of two, the lower: some patterns come more often than others.
            let pattern = (dice % PATTERNS).min((dice >> 20) % PATTERNS);
            // Half of a pattern's tests are its own.
            let test = if dice >> 63 == 0 { pattern * 20 + (dice >> 50) % 20 } else { (dice >> 36) % TESTS };
            let run = number / 40 % RUNS;
            Occurrence {
                at: now - (dice >> 44) % 2_000,
                pattern: Pattern { project: pattern % PROJECTS, number: pattern },
                test,
                run,
                user: mix(run) % USERS,
            }
        })
    }
}

/// A number whose bits are as if thrown (the finalizer of SplitMix64, Steele, Lea and Flood 2014).
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
