//! The silent clock: ticks less the time for which Weir itself was away or behind.
//!
//! Contract: [`Silence::set`] is called at the tick at which it stops or goes on; [`Silence::at`] gives the clock's value
//! at a tick at or after the last change. Both come from the bindings, so a recovery computes the same.

use crate::keyed::{Collection, Updates};
use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract};
use timely::dataflow::operators::vec::Map as _;

/// Whether the clock stands still from a tick on, for one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Whether it does.
    pub paused: bool,
    /// The worker that is told: how a broadcast is routed.
    pub peer: u64,
}

/// What is said on one worker, for all of them.
#[must_use]
pub fn everywhere(said: Collection<'_, bool>) -> Collection<'_, Pause> {
    let peers = said.scope().peers() as u64;
    said.flat_map(move |(paused, time, diff)| (0..peers).map(move |peer| (Pause { paused, peer }, time, diff)))
}

/// Distributes it to the workers that are told.
#[must_use]
pub fn by_worker() -> impl ParallelizationContract<u64, Updates<Pause>> {
    Exchange::new(|(pause, _, _): &(Pause, u64, i64)| pause.peer)
}

/// A clock that can stand still.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    stopped_at: Option<u64>,
    lost_ms: u64,
}

impl Silence {
    /// Whether it stands still.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.stopped_at.is_some()
    }

    /// Stops it or lets it go on.
    pub fn set(&mut self, now: u64, paused: bool) {
        match (self.stopped_at, paused) {
            (None, true) => self.stopped_at = Some(now),
            (Some(at), false) => {
                self.lost_ms += now - at;
                self.stopped_at = None;
            }
            _ => {}
        }
    }

    /// What it shows at `now`.
    #[must_use]
    pub fn at(&self, now: u64) -> u64 {
        self.stopped_at.unwrap_or(now).saturating_sub(self.lost_ms)
    }

    /// The tick at which it will show `value`, if it does not stop before; `None` while it stands still short of it.
    #[must_use]
    pub fn reaches(&self, value: u64) -> Option<u64> {
        match self.stopped_at {
            Some(at) if self.at(at) < value => None,
            _ => Some(value + self.lost_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_away_does_not_count() {
        let mut silence = Silence::default();
        assert_eq!((silence.at(100), silence.reaches(150)), (100, Some(150)));
        silence.set(120, true);
        silence.set(130, true);
        assert_eq!((silence.at(900), silence.reaches(150), silence.reaches(110)), (120, None, Some(110)));
        silence.set(1_000, false);
        assert_eq!((silence.at(1_000), silence.at(1_030), silence.reaches(150)), (120, 150, Some(1_030)));
    }
}
