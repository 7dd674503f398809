//! What was taken from the library and not handed out yet, by partition.
//!
//! Contract: what came of a partition stands in its order; [`Waiting::next`] takes partitions in turn, so none starves.
//!
//! # Cost
//! O(1) a record, whichever partition is asked for.

use super::super::Record;
use std::collections::VecDeque;

/// What comes of a partition, in its order.
pub(super) enum Came {
    Record(Record),
    /// Nothing is before this offset that was not handed out.
    End(u64),
}

/// See the module.
pub(super) struct Waiting {
    queues: Vec<VecDeque<Came>>,
    /// Of the records in each.
    bytes: Vec<usize>,
    turn: usize,
}

/// A record's memory.
fn bytes(came: &Came) -> usize {
    if let Came::Record(record) = came { record.payload.len() + size_of::<Came>() } else { 0 }
}

impl Waiting {
    pub(super) fn new(partitions: u32) -> Waiting {
        let queues: Vec<_> = (0..partitions).map(|_| VecDeque::new()).collect();
        Waiting { bytes: vec![0; queues.len()], queues, turn: 0 }
    }

    pub(super) fn push(&mut self, partition: u32, came: Came) {
        self.bytes[partition as usize] += bytes(&came);
        self.queues[partition as usize].push_back(came);
    }

    /// The first of a partition, left where it is.
    pub(super) fn first(&self, partition: u32) -> Option<&Came> {
        self.queues[partition as usize].front()
    }

    /// The first of a partition.
    pub(super) fn take(&mut self, partition: u32) -> Option<Came> {
        let came = self.queues[partition as usize].pop_front()?;
        self.bytes[partition as usize] -= bytes(&came);
        Some(came)
    }

    /// The first of some partition: of one until it has no more, then of the next.
    pub(super) fn next(&mut self) -> Option<(u32, Came)> {
        for _ in 0..self.queues.len() {
            let partition = u32::try_from(self.turn).expect("partitions are numbered by u32");
            if let Some(came) = self.take(partition) {
                return Some((partition, came));
            }
            self.turn = (self.turn + 1) % self.queues.len();
        }
        None
    }

    /// What waits of other partitions than this one, in bytes.
    pub(super) fn aside(&self, partition: u32) -> usize {
        self.bytes.iter().sum::<usize>() - self.bytes[partition as usize]
    }

    pub(super) fn clear(&mut self) {
        self.queues.iter_mut().for_each(VecDeque::clear);
        self.bytes.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn record(partition: u32, offset: u64, bytes: usize) -> Came {
        let payload = Bytes::from(vec![0; bytes]);
        Came::Record(Record { partition, offset, appended_at: 0, payload, envelope: None })
    }

    #[test]
    fn each_partition_keeps_its_order_and_its_bytes() {
        let mut waiting = Waiting::new(3);
        for (partition, offset) in [(2, 0), (0, 7), (2, 1), (0, 8)] {
            waiting.push(partition, record(partition, offset, 100));
        }
        waiting.push(2, Came::End(5));
        let one = 100 + size_of::<Came>();
        assert_eq!((waiting.aside(2), waiting.aside(0), waiting.aside(1)), (2 * one, 2 * one, 4 * one));
        assert!(matches!(waiting.take(2), Some(Came::Record(Record { offset: 0, .. }))));
        assert!(matches!(waiting.first(2), Some(Came::Record(Record { offset: 1, .. }))));
        let offset = |came| match came {
            Came::Record(record) => record.offset,
            Came::End(offset) => offset,
        };
        let rest: Vec<_> = std::iter::from_fn(|| waiting.next()).map(|(of, came)| (of, offset(came))).collect();
        assert_eq!(rest, [(0, 7), (0, 8), (2, 1), (2, 5)]);
        assert_eq!(waiting.aside(1), 0);
    }
}
