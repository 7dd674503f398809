//! What one connection, and all of them, may take.
//!
//! Contract: rates are token buckets that hold one second's worth; strikes are counted over a minute. Time is an argument.
//! Connections are counted by permits that give their place back when dropped.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

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

#[derive(Debug, Default)]
struct Counts {
    by_address: HashMap<IpAddr, usize>,
}

/// The connections of this process; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    max: usize,
    per_address_max: usize,
    counts: Arc<Mutex<Counts>>,
    all: Arc<watch::Sender<usize>>,
}

/// A place among the connections, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    address: Option<IpAddr>,
    connections: Connections,
}

impl Connections {
    /// At most `max` in all and `per_address_max` from one address (0: as many as in all).
    pub(crate) fn new(max: usize, per_address_max: usize) -> Connections {
        Connections { max, per_address_max, counts: Arc::default(), all: Arc::new(watch::Sender::new(0)) }
    }

    /// Takes a place, where there is one.
    pub(crate) fn enter(&self, address: Option<IpAddr>) -> Option<Place> {
        let mut counts = self.counts.lock().expect("no holder of this lock panics");
        if *self.all.borrow() >= self.max {
            return None;
        }
        if let Some(address) = address {
            let count = counts.by_address.entry(address).or_default();
            if self.per_address_max > 0 && *count >= self.per_address_max {
                return None;
            }
            *count += 1;
        }
        self.all.send_modify(|all| *all += 1);
        Some(Place { address, connections: self.clone() })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        *self.all.borrow()
    }

    /// Waits until there are none.
    pub(crate) async fn none_left(&self) {
        let mut receiver = self.all.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _seen = receiver.wait_for(|all| *all == 0).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.connections.counts.lock().expect("no holder of this lock panics");
        if let Some(address) = self.address
            && let Some(count) = counts.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&address);
            }
        }
        self.connections.all.send_modify(|all| *all -= 1);
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

    #[test]
    fn places_are_limited_and_given_back() {
        let connections = Connections::new(3, 2);
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = connections.enter(Some(one)).expect("the first of one");
        let _second = connections.enter(Some(one)).expect("the second of one");
        assert!(connections.enter(Some(one)).is_none(), "one address has two");
        let _third = connections.enter(Some(two)).expect("the first of two");
        assert!(connections.enter(Some(two)).is_none(), "three in all");
        drop(first);
        assert_eq!(connections.count(), 2);
        assert!(connections.enter(Some(one)).is_some());
    }
}
