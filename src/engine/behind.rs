//! How far the engine is behind its log, computed when somebody asks.
//!
//! Contract: the sequencer notes how far it has read; [`Reading::behind`] compares that with the logs' ends of the moment. So
//! the figure stays true while the sequencer waits for workers or for the disk.

use crate::status::Behind;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What has come since the log was read to its end less than this ago is no arrears: it is looked again so often.
const FRESH: Duration = Duration::from_millis(250);

#[derive(Debug)]
struct Read {
    /// The next offset to read, by source.
    offsets: Vec<u64>,
    /// Everything appended before this has been read, about, in epoch ms.
    until: u64,
    /// When the log was read to its end, if that was the last that was seen of it.
    exhausted: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Reading(Mutex<Read>);

impl Reading {
    /// Nothing read since `offsets`, at the time given.
    pub(super) fn new(offsets: &[u64], now: u64) -> Self {
        Reading(Mutex::new(Read { offsets: offsets.to_vec(), until: now, exhausted: None }))
    }

    /// Everything before `offsets` is read; the last of it was appended at `until`.
    pub(super) fn reached(&self, offsets: &[u64], until: u64) {
        let mut read = self.lock();
        read.offsets.copy_from_slice(offsets);
        (read.until, read.exhausted) = (until, None);
    }

    /// There was nothing more to read.
    pub(super) fn exhausted(&self, now: u64) {
        let mut read = self.lock();
        (read.until, read.exhausted) = (now, Some(Instant::now()));
    }

    /// What of a log with these ends is not read.
    pub(super) fn behind(&self, ends: &[u64], now: u64) -> Behind {
        let read = self.lock();
        if read.exhausted.is_some_and(|at| at.elapsed() < FRESH) {
            return Behind::default();
        }
        let records = ends.iter().zip(&read.offsets).map(|(end, read)| end.saturating_sub(*read)).sum();
        Behind { records, ms: if records == 0 { 0 } else { now.saturating_sub(read.until) } }
    }

    fn lock(&self) -> MutexGuard<'_, Read> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
