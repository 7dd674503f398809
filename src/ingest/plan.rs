//! From a body of TestEvents to records for the log.
//!
//! Contract: every item of a readable body becomes one record, the very bytes that came, so that what is wrong with it is
//! decided by the engine and stands in `rejects`; what would be rejected for its form is known here already, by the same
//! pure decoder, and told to the sender. An item that names its stream goes to the stream's partition even when it is
//! bad, so the order of a stream is kept; others go by their content.
//!
//! # Cost
//! One decode an item (about 1.3 µs for 500 bytes); the records are slices of the body, not copies.

use super::refusal::Refusal;
use crate::decode::batch::split_batch;
use crate::decode::event::{EventError, decode_event};
use crate::log::{Log, NewRecord, Position};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use weir_schemas::limits::Limits;
use weir_schemas::text::Text;

/// At most so many rejected items are listed in an answer; `rejectedCount` has them all.
pub(super) const REJECTED_LISTED_MAX: usize = 1_000;

/// The records that a body becomes.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// One an item, in order.
    pub(super) records: Vec<NewRecord>,
    /// How many items are no acceptable event.
    pub(super) rejected_count: usize,
    /// The first of them.
    pub(super) rejected: Vec<Rejected>,
}

/// An item that is no acceptable event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Rejected {
    /// Which item of the body, from 0.
    pub(super) index: usize,
    /// `malformed` (no JSON) or `invalid`.
    pub(super) kind: &'static str,
    /// The field that is wrong, as on the wire; empty where no field is to blame.
    pub(super) field: String,
    /// Where in the body, in bytes (after decompression).
    pub(super) offset: usize,
    /// What is wrong, for a person.
    pub(super) reason: String,
}

/// Makes records of a body.
pub(super) fn plan(body: &Bytes, limits: &Limits, log: &dyn Log) -> Result<Plan, Refusal> {
    let items = split_batch(body, limits.batch_events)?;
    let mut plan = Plan { records: Vec::with_capacity(items.len()), ..Plan::default() };
    for (index, item) in items.into_iter().enumerate() {
        if item.bytes.len() > limits.record {
            let (offset, bytes) = (item.offset, item.bytes.len());
            return Err(Refusal::ItemTooLarge { index, offset, bytes, limit: limits.record });
        }
        let payload = body.slice_ref(item.bytes);
        let record = match decode_event(item.bytes, limits) {
            Ok(event) => of_stream(log, event.stream_id.as_bytes(), payload),
            Err(error) => {
                plan.reject(index, item.offset, error);
                match stream_of_bad(item.bytes) {
                    Some(stream) => of_stream(log, stream.as_bytes(), payload),
                    None => NewRecord::new(log.partition_of(item.bytes), payload),
                }
            }
        };
        plan.records.push(record);
    }
    Ok(plan)
}

impl Plan {
    fn reject(&mut self, index: usize, offset: usize, error: EventError) {
        self.rejected_count += 1;
        if self.rejected.len() < REJECTED_LISTED_MAX {
            let EventError { kind, field, offset: within, reason } = error;
            self.rejected.push(Rejected { index, kind: kind.as_str(), field, offset: offset + within, reason });
        }
    }
}

/// A record of a stream: in its partition, under its name.
fn of_stream(log: &dyn Log, stream: &[u8], payload: Bytes) -> NewRecord {
    NewRecord::new(log.partition_of(stream), payload).with_key(stream.to_vec())
}

/// The stream that a bad item names.
fn stream_of_bad(bytes: &[u8]) -> Option<Text<'_>> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(rename = "streamId", borrow)]
        stream_id: Text<'a>,
    }
    serde_json::from_slice::<Named<'_>>(bytes).ok().map(|named| named.stream_id)
}

/// Positions of consecutive items at consecutive offsets of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Placed {
    /// The first item, from 0.
    pub(super) index: usize,
    /// How many items.
    pub(super) count: u64,
    /// The partition they stand in.
    pub(super) partition: u32,
    /// The first one's offset there.
    pub(super) offset: u64,
}

/// Positions, one an item, in their short form: a body of one stream is one entry.
pub(super) fn placed(positions: &[Position]) -> Vec<Placed> {
    let mut placed: Vec<Placed> = Vec::new();
    for (index, position) in positions.iter().enumerate() {
        match placed.last_mut() {
            Some(last) if last.partition == position.partition && last.offset + last.count == position.offset => {
                last.count += 1;
            }
            _ => placed.push(Placed { index, count: 1, partition: position.partition, offset: position.offset }),
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_positions_say_where_each_item_is() {
        let at = |partition, offset| Position { partition, offset };
        let positions = [at(1, 7), at(1, 8), at(0, 9), at(0, 11), at(1, 9)];
        let placed = placed(&positions);
        assert_eq!(placed.len(), 4);
        let expanded: Vec<Position> =
            placed.iter().flat_map(|run| (0..run.count).map(|n| at(run.partition, run.offset + n))).collect();
        assert_eq!(expanded, positions);
        assert!(placed.iter().all(|run| positions[run.index] == at(run.partition, run.offset)));
    }

    #[test]
    fn a_bad_item_stays_in_its_stream() {
        let named = |bytes| stream_of_bad(bytes).map(|stream| stream.as_bytes().to_vec());
        assert_eq!(named(br#"{"streamId":"s\u0031","version":"x"}"#), Some(b"s1".to_vec()));
        assert_eq!(named(br#"{"streamId":7}"#), None);
        assert_eq!(named(b"{"), None);
    }
}
