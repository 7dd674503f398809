//! Connections, counted in all and by address.
//!
//! Contract: a connection has a [`Place`] for as long as it lives and gives it back when dropped. Addresses of one IPv6 network
//! (64 bits) count as one: whoever has one has all of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

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
        let address = address.map(network);
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

/// What counts as one address.
fn network(address: IpAddr) -> IpAddr {
    const HOST: u128 = (1 << 64) - 1;
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !HOST)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn one_network_is_one_address() {
        let connections = Connections::new(10, 1);
        let _first = connections.enter("2001:db8::1".parse().ok()).expect("the first");
        assert!(connections.enter("2001:db8::2:3".parse().ok()).is_none(), "the same network");
        let _other = connections.enter("2001:db8:0:1::1".parse().ok()).expect("another network");
        let _four = connections.enter("10.0.0.1".parse().ok()).expect("another");
        assert!(connections.enter("::ffff:10.0.0.1".parse().ok()).is_none(), "the same in IPv6");
    }
}
