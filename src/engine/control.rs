//! How the engine's threads end together: one flag, the first error, and everybody woken.
//!
//! Contract: [`Control::stop`] ends the engine in good order once everything is released; [`Control::fail`] ends it at once
//! and triggers the process's shutdown, the first error wins. [`Control::guard`] makes a panic of one thread the end of all.

use super::EngineError;
use crate::log::LogError;
use crate::shutdown::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle, Thread};
use std::time::Duration;

/// The state that the engine's threads have in common.
pub(super) struct Control {
    /// The process's token: when to drain.
    pub(super) shutdown: Shutdown,
    stopping: AtomicBool,
    error: Mutex<Option<EngineError>>,
    changed: Condvar,
    /// The workers' threads, which park.
    pub(super) workers: Vec<OnceLock<Thread>>,
}

impl Control {
    pub(super) fn new(shutdown: Shutdown, workers: usize) -> Self {
        Control {
            shutdown,
            stopping: AtomicBool::new(false),
            error: Mutex::new(None),
            changed: Condvar::new(),
            workers: (0..workers).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Whether the threads are to end now.
    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Ends the threads.
    pub(super) fn stop(&self) {
        {
            // Under the lock, so that nobody misses it between looking and waiting.
            let _error = self.lock();
            self.stopping.store(true, Ordering::Release);
        }
        self.changed.notify_all();
        self.wake_workers();
    }

    /// Ends the threads and the process because of `error`; a thread that was merely told to stop says nothing.
    pub(super) fn fail(&self, error: EngineError) {
        // A log is closed under the engine when it is to end.
        if !matches!(error, EngineError::Stopped | EngineError::Log(LogError::Closed { .. })) {
            self.lock().get_or_insert(error);
        }
        self.stop();
        self.shutdown.trigger();
    }

    /// The first error, once.
    pub(super) fn take_error(&self) -> Option<EngineError> {
        self.lock().take()
    }

    /// Waits for the time given, or until the threads are to end.
    pub(super) fn pause(&self, at_most: Duration) {
        let error = self.lock();
        let ended = self.changed.wait_timeout_while(error, at_most, |_| !self.stopping());
        drop(ended);
    }

    /// Wakes a parked worker.
    pub(super) fn wake(&self, worker: usize) {
        if let Some(thread) = self.workers.get(worker).and_then(OnceLock::get) {
            thread.unpark();
        }
    }

    fn wake_workers(&self) {
        (0..self.workers.len()).for_each(|worker| self.wake(worker));
    }

    /// A guard that fails the engine when its thread panics.
    pub(super) fn guard(&self, thread: &'static str) -> PanicGuard<'_> {
        PanicGuard { control: self, thread }
    }

    fn lock(&self) -> MutexGuard<'_, Option<EngineError>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Control::guard`].
pub(super) struct PanicGuard<'a> {
    control: &'a Control,
    thread: &'static str,
}

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.control.fail(EngineError::Panicked { thread: self.thread });
        }
    }
}

/// Starts a named thread.
pub(super) fn spawn(thread: &'static str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, EngineError> {
    Builder::new().name(thread.to_owned()).spawn(run).map_err(|source| EngineError::Thread { thread, source })
}
