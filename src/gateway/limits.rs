//! What one connection may take.
//!
//! Contract: rates are token buckets that hold one second's worth; strikes are counted over a minute. Time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Lets `per_second` through each second, and no more than that at once.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn new(per_second: u32, now: Instant) -> Bucket {
        Bucket { per_second: f64::from(per_second), tokens: f64::from(per_second), at: now }
    }

    /// Takes one, or says how long until there is one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let gained = now.duration_since(self.at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.per_second);
        self.at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - self.tokens) / self.per_second))
        }
    }
}

/// Counts offences over a minute.
#[derive(Debug)]
pub(crate) struct Strikes {
    max: usize,
    recent: VecDeque<Instant>,
}

impl Strikes {
    const WINDOW: Duration = Duration::from_secs(60);

    pub(crate) fn new(max: usize) -> Strikes {
        Strikes { max, recent: VecDeque::new() }
    }

    /// Counts one; true when that makes `max` within a minute.
    pub(crate) fn strike(&mut self, now: Instant) -> bool {
        while self.recent.front().is_some_and(|first| now.duration_since(*first) >= Strikes::WINDOW) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.recent.len() >= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_its_rate_through() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        assert!((0..10).all(|_| bucket.take(start).is_ok()));
        let wait = bucket.take(start).expect_err("is empty");
        assert!(wait <= Duration::from_millis(100) && wait > Duration::from_millis(90), "{wait:?}");
        let later = start + Duration::from_millis(350);
        assert_eq!((0..9).filter(|_| bucket.take(later).is_ok()).count(), 3);
        let much_later = start + Duration::from_secs(3_600);
        assert_eq!((0..99).filter(|_| bucket.take(much_later).is_ok()).count(), 10, "no more than a second's worth");
    }

    #[test]
    fn strikes_are_forgotten_after_a_minute() {
        let start = Instant::now();
        let mut strikes = Strikes::new(3);
        assert!(!strikes.strike(start));
        assert!(!strikes.strike(start + Duration::from_secs(30)));
        assert!(!strikes.strike(start + Duration::from_secs(61)), "the first is forgotten");
        assert!(strikes.strike(start + Duration::from_secs(62)));
    }
}
