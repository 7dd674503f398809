//! How far the engine is behind its log, computed when somebody asks.
//!
//! Contract: the sequencer notes how far it has read, and now and then where the logs end; [`Reading::behind`] compares the first
//! with the logs' ends of the moment. So the figure stays true while the sequencer waits for workers or for the disk.
//!
//! What came a moment ago and is on its way from the brokers is no arrears: a reader is *level* while it has read everything
//! that had come [`FRESH`] before. One that is level all the time may never be at the end.

use crate::status::Behind;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What has come less than this ago is no arrears.
const FRESH: Duration = Duration::from_millis(250);

#[derive(Debug)]
struct Read {
    /// The next offset to read, by source.
    offsets: Vec<u64>,
    /// Everything appended before this has been read, about, in epoch ms.
    until: u64,
    /// Where the logs ended, and when that was.
    mark: (Vec<u64>, Instant),
    /// Everything that had come by then has been read.
    level: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Reading(Mutex<Read>);

impl Reading {
    /// Nothing read since `offsets`, at the time given.
    pub(super) fn new(offsets: &[u64], now: u64) -> Self {
        let mark = (vec![u64::MAX; offsets.len()], Instant::now());
        Reading(Mutex::new(Read { offsets: offsets.to_vec(), until: now, mark, level: None }))
    }

    /// Everything before `offsets` is read; the last of it was appended at `until`.
    pub(super) fn reached(&self, offsets: &[u64], until: u64) {
        let mut read = self.lock();
        read.offsets.copy_from_slice(offsets);
        read.until = until;
    }

    /// The logs end at `ends`, and it is `now`.
    pub(super) fn looked(&self, offsets: &[u64], ends: &[u64], now: u64) {
        let mut read = self.lock();
        read.offsets.copy_from_slice(offsets);
        let at = Instant::now();
        if past(offsets, ends) {
            (read.until, read.level) = (now, Some(at));
        } else if past(offsets, &read.mark.0) {
            read.level = Some(read.mark.1);
        } else if read.mark.0.iter().all(|end| *end < u64::MAX) {
            return;
        }
        read.mark = (ends.to_vec(), at);
    }

    /// Whether everything that is not fresh has been read.
    pub(super) fn level(&self) -> bool {
        self.lock().level()
    }

    /// What of a log with these ends is not read.
    pub(super) fn behind(&self, ends: &[u64], now: u64) -> Behind {
        let read = self.lock();
        if read.level() {
            return Behind::default();
        }
        let records = ends.iter().zip(&read.offsets).map(|(end, read)| end.saturating_sub(*read)).sum();
        Behind { records, ms: if records == 0 { 0 } else { now.saturating_sub(read.until) } }
    }

    fn lock(&self) -> MutexGuard<'_, Read> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read {
    fn level(&self) -> bool {
        self.level.is_some_and(|at| at.elapsed() < FRESH)
    }
}

/// Whether all `ends` were reached.
fn past(offsets: &[u64], ends: &[u64]) -> bool {
    offsets.iter().zip(ends).all(|(read, end)| read >= end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_keeps_up_is_level_though_never_at_the_end() {
        let reading = Reading::new(&[0, 0], 1);
        assert!(!reading.level(), "nothing is known");
        for come in 1..100 {
            reading.looked(&[come - 1, 0], &[come, 0], come);
            assert_eq!(reading.level(), come > 1, "what had come at the look before has been read");
        }
        assert_eq!(reading.behind(&[500, 0], 100), Behind::default(), "for the moment");
    }

    #[test]
    fn whoever_does_not_keep_up_is_behind() {
        let reading = Reading::new(&[0, 0], 1);
        for come in 1..100 {
            reading.looked(&[come, 0], &[come + 50, 10], come);
            assert!(!reading.level());
        }
        reading.reached(&[99, 0], 70);
        assert_eq!(reading.behind(&[149, 10], 100), Behind { records: 60, ms: 30 });
        reading.looked(&[149, 10], &[149, 10], 100);
        assert!(reading.level());
    }
}
