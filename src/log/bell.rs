//! A bell that several logs ring: how one thread waits for whichever moves first.
//!
//! Contract: a log that was given a bell ([`super::Log::ring`]) rings it after its ends have moved and when it is closed. Who
//! waits counts the rings ([`Bell::rung`]), looks at the logs, and waits for another ring ([`Bell::wait`]): what happens
//! between looking and waiting is counted, so nothing is missed.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<u64>,
    again: Condvar,
}

impl Bell {
    /// Rings it.
    pub fn ring(&self) {
        *self.lock() += 1;
        self.again.notify_all();
    }

    /// How often it was rung.
    #[must_use]
    pub fn rung(&self) -> u64 {
        *self.lock()
    }

    /// Blocks until it was rung more often than `seen`, or the time is over.
    pub fn wait(&self, seen: u64, at_most: Duration) {
        let until = Instant::now() + at_most;
        let mut rung = self.lock();
        while *rung == seen {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            rung = self.again.wait_timeout(rung, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bells that a log was given.
#[derive(Debug, Default)]
pub(super) struct Bells(Mutex<Vec<Weak<Bell>>>);

impl Bells {
    /// One more, for as long as somebody else holds it.
    pub(super) fn add(&self, bell: &Arc<Bell>) {
        let mut bells = self.lock();
        bells.retain(|held| held.strong_count() > 0);
        bells.push(Arc::downgrade(bell));
    }

    /// Rings all of them.
    pub(super) fn ring(&self) {
        self.lock().iter().filter_map(Weak::upgrade).for_each(|bell| bell.ring());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Bell>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_not_missed_and_one_during_it_ends_it() {
        let bell = Arc::new(Bell::default());
        let seen = bell.rung();
        bell.ring();
        let since = Instant::now();
        bell.wait(seen, Duration::from_secs(60));
        let (seen, rings) = (bell.rung(), Arc::clone(&bell));
        let other = std::thread::Builder::new().name("rings".to_owned()).spawn(move || rings.ring());
        bell.wait(seen, Duration::from_secs(60));
        other.expect("starts").join().expect("rings");
        assert!(since.elapsed() < Duration::from_secs(60));
        bell.wait(bell.rung(), Duration::from_millis(1));
    }
}
