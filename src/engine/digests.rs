//! The digests of all views at whole minutes: recorded while live, checked while recovering.
//!
//! Contract: frames are shown in order ([`Digests::frame`]); what an earlier life of the same epoch recorded is told as it
//! is read ([`Digests::expect`]), before or after the frame that it speaks of. The first difference is an error that names
//! the view. The rule for which minutes are recorded depends on the frames alone, so every life agrees on it.
//!
//! # Invariants
//! Bounded: at most [`KEPT`] minutes wait for their other half.

use super::EngineError;
use std::collections::BTreeMap;
use weir_schemas::update::Frame;
use weir_schemas::view::VIEWS;

const MINUTE_MS: u64 = 60_000;
/// Minutes that wait for the frame, or for the record, that they are compared with.
const KEPT: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Digests {
    expected: BTreeMap<u64, Vec<u128>>,
    computed: BTreeMap<u64, Vec<u128>>,
    last: Vec<u128>,
    /// From this time on, minutes are recorded; none before it is known.
    live_from: Option<u64>,
}

impl Digests {
    /// Minutes at or past `time` are new.
    pub(super) fn live_from(&mut self, time: u64) {
        self.live_from = Some(time);
    }

    /// Goes on from a state that has these, which is not empty.
    pub(super) fn go_on_from(&mut self, digests: Vec<u128>) {
        self.last = digests;
    }

    /// Those of the last frame; empty before the first.
    pub(super) fn last(&self) -> &[u128] {
        &self.last
    }

    /// An earlier life had these digests at `minute`.
    pub(super) fn expect(&mut self, minute: u64, digests: Vec<u128>) -> Result<(), EngineError> {
        // Frames come in order, so whatever was computed before this minute has no other half.
        self.computed = self.computed.split_off(&minute);
        if let Some(computed) = self.computed.get(&minute) {
            return compare(minute, &digests, computed);
        }
        self.expected.insert(minute, digests);
        if self.expected.len() > KEPT {
            self.expected.pop_first();
        }
        Ok(())
    }

    /// Takes the next frame in; returns the minute and the digests to record, if it ends one that is new.
    pub(super) fn frame(&mut self, frame: &Frame) -> Result<Option<(u64, Vec<u128>)>, EngineError> {
        let digests: Vec<u128> = frame.views.iter().map(|view| view.digest.0).collect();
        let before = std::mem::replace(&mut self.last, digests);
        let minute = frame.upper / MINUTE_MS * MINUTE_MS;
        if minute <= frame.lower || before.is_empty() && minute < frame.upper {
            return Ok(None);
        }
        // A frame that ends past the minute began before it: a change up to the minute would have ended a frame at it.
        let digests = if minute == frame.upper { self.last.clone() } else { before };
        let later = self.expected.split_off(&(minute + 1));
        let expected = std::mem::replace(&mut self.expected, later).remove(&minute);
        if let Some(expected) = expected {
            compare(minute, &expected, &digests)?;
            return Ok(None);
        }
        if self.live_from.is_some_and(|from| minute >= from) {
            return Ok(Some((minute, digests)));
        }
        self.computed.insert(minute, digests);
        if self.computed.len() > KEPT {
            self.computed.pop_first();
        }
        Ok(None)
    }
}

fn compare(tick: u64, recorded: &[u128], computed: &[u128]) -> Result<(), EngineError> {
    for (view, (recorded, computed)) in VIEWS.iter().zip(recorded.iter().zip(computed)) {
        if recorded != computed {
            return Err(EngineError::Digest { view: view.name, tick, recorded: *recorded, computed: *computed });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_schemas::update::{Digest, ViewFrame};

    fn frame(lower: u64, upper: u64, digest: u128) -> Frame {
        let view = || ViewFrame { updates: Vec::new(), digest: Digest(digest) };
        Frame { lower, upper, views: VIEWS.iter().map(|_| view()).collect() }
    }

    fn all(digest: u128) -> Vec<u128> {
        vec![digest; VIEWS.len()]
    }

    #[test]
    fn a_minute_is_recorded_once_with_the_state_at_it() {
        let mut digests = Digests::default();
        digests.live_from(100_000);
        let steps =
            [(0, 59_000, 1), (59_000, 60_500, 2), (60_500, 119_000, 3), (119_000, 120_010, 4), (120_010, 180_000, 5)];
        let recorded: Vec<_> = steps
            .iter()
            .filter_map(|(lower, upper, digest)| digests.frame(&frame(*lower, *upper, *digest)).expect("fits"))
            .collect();
        assert_eq!(recorded, [(120_000, all(3)), (180_000, all(5))]);
    }

    #[test]
    fn a_difference_is_found_whichever_half_comes_first() {
        for told_first in [true, false] {
            for (recorded, fits) in [(3, true), (4, false)] {
                let mut digests = Digests::default();
                let mut outcome = Ok(());
                if told_first {
                    outcome = outcome.and(digests.expect(60_000, all(recorded)));
                }
                for (lower, upper, digest) in [(0, 59_000, 3), (59_000, 60_500, 9)] {
                    outcome = outcome.and(digests.frame(&frame(lower, upper, digest)).map(|_| ()));
                }
                if !told_first {
                    outcome = outcome.and(digests.expect(60_000, all(recorded)));
                }
                assert_eq!(outcome.is_ok(), fits, "told first: {told_first}");
                if let Err(error) = outcome {
                    assert!(error.to_string().contains(VIEWS[0].name), "{error}");
                }
            }
        }
    }
}
