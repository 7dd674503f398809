//! What waits for the writer: a queue with a bound in bytes and records, and everything that opens or shuts it.
//!
//! Contract: [`Queue::push`] takes a batch or refuses it, at once. [`Queue::take`] gives the writer all that waits. A batch
//! counts against the bound until [`Queue::done`]. Whatever its size, a batch is taken unless the bound is met already:
//! so a large one never waits for a moment in which nobody sends small ones, and memory is bounded by the queue and one
//! batch whatever the disk does.

use super::super::{AppendError, Commit, NewRecord, Position};
use super::EmbeddedConfig;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How often a full disk is tried while nothing is appended.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// A batch and whoever waits for it.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) records: Vec<NewRecord>,
    pub(super) answer: oneshot::Sender<Result<Vec<Position>, AppendError>>,
}

/// What the writer is to do.
#[derive(Debug)]
pub(super) enum Work {
    /// Make these durable.
    Commit(Vec<Batch>),
    /// See whether the disk has space again.
    Probe,
    /// Nothing will come any more.
    End,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Rung when the disk becomes full, when it has space again, and at the close.
    disk: Condvar,
    bytes_max: usize,
    records_max: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Batch>,
    waiting_bytes: usize,
    /// Waiting and being written.
    bytes: usize,
    records: usize,
    closed: bool,
    full: bool,
    failed: Option<String>,
}

impl Queue {
    pub(super) fn new(config: &EmbeddedConfig) -> Self {
        Queue {
            state: Mutex::default(),
            changed: Condvar::new(),
            disk: Condvar::new(),
            bytes_max: config.queue_bytes,
            records_max: config.queue_records,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a batch whose records need `bytes` in all.
    ///
    /// # Errors
    /// The queue is full, closed or failed.
    pub(super) fn push(&self, records: Vec<NewRecord>, bytes: usize) -> Result<Commit, AppendError> {
        let (answer, commit) = oneshot::channel();
        let mut state = self.state();
        if let Some(reason) = &state.failed {
            return Err(AppendError::Failed { reason: reason.clone() });
        }
        if state.closed {
            return Err(AppendError::Closed);
        }
        if records.is_empty() {
            answer.send(Ok(Vec::new())).expect("the receiver is held here");
            return Ok(Commit(commit));
        }
        let full = state.bytes >= self.bytes_max || state.records >= self.records_max;
        if full && state.records > 0 {
            return Err(AppendError::Busy);
        }
        state.waiting_bytes += bytes;
        state.bytes += bytes;
        state.records += records.len();
        // The writer sleeps on an empty queue, or until its next commit unless half of the bound waits.
        let wake = state.waiting.is_empty() || state.waiting_bytes >= self.bytes_max / 2;
        state.waiting.push(Batch { records, answer });
        drop(state);
        if wake {
            self.changed.notify_one();
        }
        Ok(Commit(commit))
    }

    /// Waits for work. What waits is given when `not_before` has come, half of the bound waits, or the queue is closed.
    pub(super) fn take(&self, not_before: Instant) -> Work {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let timeout = if state.waiting.is_empty() {
                if state.closed {
                    return Work::End;
                }
                state.full.then_some(PROBE_INTERVAL)
            } else if state.closed || now >= not_before || state.waiting_bytes >= self.bytes_max / 2 {
                state.waiting_bytes = 0;
                return Work::Commit(std::mem::take(&mut state.waiting));
            } else {
                Some(not_before - now)
            };
            let idle = state.waiting.is_empty();
            state = match timeout {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(timeout) => {
                    let waited = self.changed.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner);
                    if idle && waited.1.timed_out() && waited.0.waiting.is_empty() {
                        return Work::Probe;
                    }
                    waited.0
                }
            };
        }
    }

    /// Gives back the room of what was taken, and says what came of it.
    pub(super) fn done(&self, bytes: usize, records: usize, outcome: &Result<(), AppendError>) {
        let mut state = self.state();
        state.bytes -= bytes;
        state.records -= records;
        let full = matches!(outcome, Err(AppendError::Full));
        if state.full != full {
            state.full = full;
            self.disk.notify_all();
        }
        if let Err(AppendError::Failed { reason }) = outcome {
            state.failed.get_or_insert_with(|| reason.clone());
        }
    }

    pub(super) fn full(&self) -> bool {
        self.state().full
    }

    /// Blocks while the disk's state is `seen`, the time is not over and the queue is open. Returns the state.
    pub(super) fn wait_disk(&self, seen: bool, at_most: Duration) -> bool {
        let state = self.state();
        let waited = self.disk.wait_timeout_while(state, at_most, |state| state.full == seen && !state.closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.full
    }

    /// Whether writing failed for good.
    pub(super) fn failed(&self) -> Option<String> {
        self.state().failed.clone()
    }

    /// Takes no more; the writer ends when what waits is done.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
        self.disk.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_batch_over_the_bound_gets_in_beside_small_ones_and_only_one_does() {
        let mut config = EmbeddedConfig::new(std::path::Path::new("unused"), "t");
        (config.queue_bytes, config.queue_records) = (1_000, 10);
        let queue = Queue::new(&config);
        let push = |records: usize, bytes: usize| {
            let record = NewRecord::new(0, Bytes::new());
            queue.push(vec![record; records], bytes).map(drop)
        };
        push(1, 100).expect("fits");
        push(2, 5_000).expect("passes the bound");
        assert_eq!(push(1, 1), Err(AppendError::Busy), "the bound is passed");
        assert_eq!(push(2, 5_000), Err(AppendError::Busy));
        queue.done(5_100, 3, &Ok(()));
        push(9, 10).expect("there is room again");
        push(50, 10).expect("passes the bound of records");
        assert_eq!(push(1, 1), Err(AppendError::Busy));
        queue.done(20, 59, &Ok(()));
        push(1, 1_000).expect("just meets it");
        assert_eq!(push(1, 1), Err(AppendError::Busy));
    }
}
