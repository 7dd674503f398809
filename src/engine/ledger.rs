//! The ledger of ticks that are closed and not yet released.
//!
//! Contract: the sequencer enters each tick before the workers can complete it; the output takes off everything up to a
//! released time. Their difference is the back-pressure: the sequencer reads no further while too much is unreleased.
//!
//! # Invariants
//! Bounded: by the records and bytes that the sequencer allows to be unreleased, and by [`TICKS_MAX`].

use super::control::Control;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// At most so many ticks are unreleased at a time.
pub(super) const TICKS_MAX: usize = 20_000;
/// How often a waiter looks whether the engine is to end.
const LOOK: Duration = Duration::from_millis(100);

/// A closed tick.
#[derive(Debug)]
pub(super) struct Closed {
    /// The tick.
    pub(super) tick: u64,
    /// How many records it has.
    pub(super) records: u64,
    /// Of how many bytes.
    pub(super) bytes: u64,
    /// The offsets after its last records, by source.
    pub(super) ends: Vec<u64>,
    /// When the first of its records was appended, in epoch ms.
    pub(super) appended_at: Option<u64>,
    /// When it was closed.
    pub(super) closed_at: Instant,
}

/// What became final with a frame.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// The offsets after the last released records, by source; empty before the first.
    pub(super) ends: Vec<u64>,
    /// How many records.
    pub(super) records: u64,
    /// When the first of them was appended, in epoch ms.
    pub(super) appended_at: Option<u64>,
    /// When the last of the ticks was closed.
    pub(super) closed_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct State {
    ticks: VecDeque<Closed>,
    records: u64,
    bytes: u64,
    released: u64,
    ends: Vec<u64>,
    /// A moving mean of the time from a tick's close to its release.
    pace: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    state: Mutex<State>,
    changed: Condvar,
}

impl Ledger {
    /// Enters a closed tick.
    pub(super) fn enter(&self, closed: Closed) {
        let mut state = self.lock();
        assert!(state.ticks.back().is_none_or(|last| last.tick < closed.tick), "ticks are closed in order");
        state.records += closed.records;
        state.bytes += closed.bytes;
        metrics::gauge!("weir_engine_unreleased_records").set(to_f64(state.records));
        state.ticks.push_back(closed);
    }

    /// Takes off everything up to `upper`.
    pub(super) fn release(&self, upper: u64) -> Settled {
        let mut state = self.lock();
        let mut settled = Settled::default();
        while state.ticks.front().is_some_and(|closed| closed.tick <= upper) {
            let Some(closed) = state.ticks.pop_front() else { break };
            state.records -= closed.records;
            state.bytes -= closed.bytes;
            state.ends = closed.ends;
            settled.records += closed.records;
            settled.appended_at = settled.appended_at.or(closed.appended_at);
            settled.closed_at = Some(closed.closed_at);
        }
        if let Some(closed_at) = settled.closed_at {
            state.pace = (state.pace * 3 + closed_at.elapsed()) / 4;
        }
        state.released = upper;
        settled.ends.clone_from(&state.ends);
        metrics::gauge!("weir_engine_unreleased_records").set(to_f64(state.records));
        drop(state);
        self.changed.notify_all();
        settled
    }

    /// Records and bytes that are closed and not released.
    pub(super) fn unreleased(&self) -> (u64, u64) {
        let state = self.lock();
        if state.ticks.len() >= TICKS_MAX { (u64::MAX, u64::MAX) } else { (state.records, state.bytes) }
    }

    /// How long a tick takes from its close to its release, about.
    pub(super) fn pace(&self) -> Duration {
        self.lock().pace
    }

    /// Waits until fewer than `records` records and `bytes` bytes are unreleased, for the time given at most, or until the
    /// engine is to end.
    pub(super) fn wait_below(&self, records: u64, bytes: u64, at_most: Duration, control: &Control) {
        self.wait(at_most, control, |state| {
            state.records < records && state.bytes < bytes && state.ticks.len() < TICKS_MAX
        });
    }

    /// Waits until `tick` is released; whether it was.
    pub(super) fn wait_released(&self, tick: u64, at_most: Duration, control: &Control) -> bool {
        self.wait(at_most, control, |state| state.released >= tick)
    }

    fn wait(&self, at_most: Duration, control: &Control, done: impl Fn(&State) -> bool) -> bool {
        let until = Instant::now().checked_add(at_most);
        let mut state = self.lock();
        loop {
            if done(&state) {
                return true;
            }
            let left = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() || control.stopping() {
                return false;
            }
            state = self.changed.wait_timeout(state, left.min(LOOK)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A count as a metric's value.
#[expect(clippy::cast_precision_loss, reason = "a metric may be off by one in 2^53")]
pub(super) fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(tick: u64, records: u64) -> Closed {
        let ends = vec![tick / 10, records];
        Closed { tick, records, bytes: records * 100, ends, appended_at: Some(tick - 5), closed_at: Instant::now() }
    }

    #[test]
    fn what_is_entered_is_unreleased_until_a_frame_covers_it() {
        let (ledger, control) = (Ledger::default(), Control::new(crate::shutdown::Shutdown::default(), 0));
        for (tick, records) in [(10, 3), (20, 0), (40, 4)] {
            ledger.enter(closed(tick, records));
        }
        assert_eq!(ledger.unreleased(), (7, 700));
        let settled = ledger.release(30);
        assert_eq!((settled.records, settled.ends, settled.appended_at), (3, vec![2, 0], Some(5)));
        assert_eq!(ledger.unreleased(), (4, 400));
        assert!(!ledger.wait_released(40, Duration::ZERO, &control));
        assert!(ledger.wait_released(30, Duration::ZERO, &control));
        assert_eq!(ledger.release(35).ends, [2, 0], "between two ticks nothing moves");
        assert_eq!(ledger.release(40).ends, [4, 4]);
        assert_eq!(ledger.unreleased(), (0, 0));
    }
}
