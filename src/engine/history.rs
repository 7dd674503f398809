//! What of the past can be replayed: everything, or, over a log that retention has shortened, everything from a tick on.
//!
//! Contract: [`Plan::make`] reads the bindings up to a given offset when either log no longer begins at its beginning. Feeding
//! then begins after the last binding that has lost a record, at one tick for all partitions: records of other partitions
//! bound before it are left out as well, so the state is that of a log which began there, not a patchwork.
//!
//! A record may outlive its binding: the log's last segment stays however old it is. Such a record is left out as one that is
//! gone, since the bindings that are left say how far its partition is bound ([`super::Binding::whole`]).
//!
//! # Failure
//! A partition of which no binding is left while its records are cannot be told bound from unbound: an error. What retention
//! leaves of a bindings log never looks like that.

use super::EngineError;
use super::bindings::{Body, Counting};
use super::tail::decode;
use crate::log::Log;

/// Entries read at a time.
pub(super) const ENTRIES: u64 = 4_096;

/// From where to feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Bindings before this offset of their log are not fed.
    pub(super) feed_from: u64,
    /// The first offset to feed, by partition.
    pub(super) offsets: Vec<u64>,
    /// The first tick that is fed, when the past is shortened.
    pub(super) shortened_to: Option<u64>,
}

impl Plan {
    /// Decides from where to feed, given that our `Start` stands at `own_start` of the bindings log.
    pub(super) fn make(events: &dyn Log, bindings: &dyn Log, own_start: u64) -> Result<Plan, EngineError> {
        let starts = events.starts();
        let bindings_start = bindings.starts().first().copied().unwrap_or(0);
        if bindings_start == 0 && starts.iter().all(|start| *start == 0) {
            return Ok(Plan { feed_from: 0, offsets: starts, shortened_to: None });
        }
        let mut scan = Scan {
            feed_from: bindings_start,
            bound_to: vec![None; starts.len()],
            first: vec![None; starts.len()],
            first_tick: None,
        };
        scan.read(bindings, bindings_start, own_start, &starts)?;
        let ends = events.ends();
        let mut offsets = Vec::with_capacity(starts.len());
        for (partition, start) in starts.iter().enumerate() {
            let (first, bound_to) = (scan.first[partition], scan.bound_to[partition]);
            if bound_to.is_none() && bindings_start > 0 && *start < ends[partition] {
                return Err(EngineError::Unbound { partition, bindings_start });
            }
            offsets.push(first.or(bound_to).unwrap_or(*start).max(*start));
        }
        // With nothing left to feed, the past ends where the next tick begins; any stable name of it will do.
        Ok(Plan { feed_from: scan.feed_from, offsets, shortened_to: Some(scan.first_tick.unwrap_or(0)) })
    }
}

struct Scan {
    feed_from: u64,
    bound_to: Vec<Option<u64>>,
    first: Vec<Option<u64>>,
    first_tick: Option<u64>,
}

impl Scan {
    fn read(&mut self, bindings: &dyn Log, from: u64, own_start: u64, starts: &[u64]) -> Result<(), EngineError> {
        let mut reader = bindings.reader(&[from])?;
        let mut counting = Counting::default();
        let mut records = Vec::new();
        while reader.offsets()[0] < own_start {
            let end = own_start.min(reader.offsets()[0] + ENTRIES);
            reader.read_partition(0, end, &mut records)?;
            for record in records.drain(..) {
                let entry = decode(&record)?;
                let Body::Binding(binding) = &entry.body else {
                    counting.counts(&entry);
                    continue;
                };
                if !counting.counts(&entry) {
                    continue;
                }
                self.first_tick.get_or_insert(binding.tick);
                for part in &binding.parts {
                    let partition = part.partition as usize;
                    let Some(start) = starts.get(partition) else { continue };
                    if part.first_offset() < *start {
                        self.feed_from = record.offset + 1;
                        self.first.fill(None);
                        self.first_tick = None;
                    }
                }
                for part in &binding.parts {
                    let partition = part.partition as usize;
                    if partition < starts.len() {
                        self.bound_to[partition] = Some(part.next_offset);
                        if self.feed_from <= record.offset {
                            self.first[partition].get_or_insert(part.first_offset());
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
