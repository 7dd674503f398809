//! From a record of the log to an input of the dataflow.
//!
//! Contract: [`Feed::input`] is a pure function of the record's bytes and position, the topic's number and the limits. A
//! record that is no acceptable event becomes a refusal with its reason; none is dropped and none stops anything (A4).

use crate::decode::event::{EventError, EventErrorKind, decode_event};
use crate::log::Record;
use std::sync::Arc;
use weir_dataflows::input::{Event, Input, Interner, Position, Refusal, RejectKind};
use weir_schemas::limits::{Limits, cut};

/// Raised when the same bytes under the same limits give another input.
pub(super) const DECODING: u32 = 1;

/// A time so far ahead of its tick is another clock's opinion, not the way of the record.
const SKEW_MS: u64 = 1_000;

/// Counts the inputs whose times lie in the future of the tick that they have; the views take the tick's.
pub(super) fn count_skew(inputs: &[Input], tick: u64) {
    let ahead = |input: &&Input| matches!(input, Input::Event(event) if event.at > tick + SKEW_MS);
    let skewed = inputs.iter().filter(ahead).count() as u64;
    if skewed > 0 {
        metrics::counter!("weir_event_clock_skew_total").increment(skewed);
    }
}

/// One worker's way of reading records.
pub(super) struct Feed {
    topic: u16,
    limits: Arc<Limits>,
    interner: Interner,
}

impl Clone for Feed {
    fn clone(&self) -> Self {
        // The interner only saves memory; each worker has its own.
        Feed::new(self.topic, Arc::clone(&self.limits))
    }
}

impl Feed {
    /// For records of the topic of this number.
    pub(super) fn new(topic: u16, limits: Arc<Limits>) -> Self {
        Feed { topic, limits, interner: Interner::default() }
    }

    /// What the record means.
    pub(super) fn input(&mut self, record: &Record) -> Input {
        let position = Position { topic: self.topic, partition: record.partition, offset: record.offset, index: 0 };
        match decode_event(&record.payload, &self.limits) {
            Ok(event) => Input::Event(Arc::new(Event::new(&event, position, &self.limits, &mut self.interner))),
            Err(error) => Input::Refused(Arc::new(self.refusal(position, &error))),
        }
    }

    fn refusal(&mut self, position: Position, error: &EventError) -> Refusal {
        metrics::counter!("weir_engine_decode_errors_total", "kind" => error.kind.as_str()).increment(1);
        Refusal {
            position,
            kind: match error.kind {
                EventErrorKind::Malformed => RejectKind::Malformed,
                EventErrorKind::Invalid => RejectKind::Invalid,
                EventErrorKind::Oversize => RejectKind::Oversize,
            },
            project: self.interner.text("default"),
            stream: self.interner.text(""),
            message: cut(&error.to_string(), self.limits.name).into(),
            expected: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(payload: &'static [u8]) -> Input {
        let record = Record { partition: 2, offset: 9, appended_at: 0, payload: bytes::Bytes::from_static(payload) };
        Feed::new(1, Arc::new(Limits { record: 200, ..Limits::default() })).input(&record)
    }

    #[test]
    fn a_record_is_an_event_or_a_refusal_with_its_position_and_reason() {
        let at = Position { topic: 1, partition: 2, offset: 9, index: 0 };
        let good = br#"{"eventId":"e","eventType":"run_started","streamId":"s","version":1,"timestamp":5}"#;
        assert!(matches!(input(good), Input::Event(event) if event.position == at));
        for (bytes, kind) in [
            (&b"{"[..], RejectKind::Malformed),
            (br#"{"eventId":"e"}"#, RejectKind::Invalid),
            (&[b' '; 201], RejectKind::Oversize),
        ] {
            let Input::Refused(refusal) = input(bytes) else { panic!("{kind:?} is refused") };
            assert_eq!((refusal.position, refusal.kind), (at, kind));
            assert!(!refusal.message.is_empty());
        }
    }
}
