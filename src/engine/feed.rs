//! From a record of a log to an input of the dataflow.
//!
//! Contract: [`Feed::take`] is a pure function of the records' bytes and positions, the topic's number and the limits. A
//! record that is no acceptable event, rule or incident becomes a refusal with its reason; none is dropped and none stops
//! anything (A4).

use super::sources::{Content, Sources};
use crate::decode::compression::Encoding;
use crate::decode::event::{EventError, EventErrorKind, decode_event};
use crate::decode::record::{self, AT_ITS_TICK_MS, Meaning, Meaningless, Parcel};
use crate::log::Record;
use std::sync::Arc;
use weir_dataflows::control::ControlInput;
use weir_dataflows::fingerprint::rules;
use weir_dataflows::input::{Event, Input, Interner, Position, Refusal, RejectKind};
use weir_schemas::control::ControlRecord;
use weir_schemas::limits::{Limits, cut};

/// Raised when the same bytes under the same limits give another input.
pub(super) const DECODING: u32 = 2;

/// A time so far ahead of its tick is another clock's opinion, not the way of the record.
const SKEW_MS: u64 = 1_000;

/// Counts the inputs whose times lie in the future of the tick that they have; the views take the tick's.
pub(super) fn count_skew(inputs: &[Input], tick: u64) {
    // What has no time of its own was given its tick's on purpose.
    let skewed = tick + SKEW_MS + 1..AT_ITS_TICK_MS;
    let ahead = |input: &&Input| matches!(input, Input::Event(event) if skewed.contains(&event.at));
    let skewed = inputs.iter().filter(ahead).count() as u64;
    if skewed > 0 {
        metrics::counter!("weir_event_clock_skew_total").increment(skewed);
    }
}

/// The decoded records of an open batch.
#[derive(Default)]
pub(super) struct Open {
    /// Events, and whatever could not be read.
    pub(super) events: Vec<Input>,
    /// Rules and incidents.
    pub(super) control: Vec<ControlInput>,
}

/// One worker's way of reading records.
pub(super) struct Feed {
    /// What the records of each topic are, by number.
    topics: Vec<(u16, Content)>,
    limits: Arc<Limits>,
    interner: Interner,
}

impl Clone for Feed {
    fn clone(&self) -> Self {
        // The interner only saves memory; each worker has its own.
        Feed { topics: self.topics.clone(), limits: Arc::clone(&self.limits), interner: Interner::default() }
    }
}

impl Feed {
    /// For records of these sources.
    pub(super) fn new(sources: &Sources, limits: Arc<Limits>) -> Self {
        let topics = sources.topics().iter().map(|topic| (topic.number, topic.content)).collect();
        Feed { topics, limits, interner: Interner::default() }
    }

    /// Adds what records of a topic mean to `open`.
    pub(super) fn take(&mut self, topic: u16, records: &[Record], open: &mut Open) {
        let known = self.topics.iter().find(|(number, _)| *number == topic);
        let (_, content) = *known.expect("what is dealt is of a topic that is read");
        for record in records {
            let position = Position { topic, partition: record.partition, offset: record.offset, index: 0 };
            match content {
                Content::Events if plain(record) => open.events.push(self.event(position, &record.payload)),
                Content::Events => self.parcel(position, record, &mut open.events),
                Content::Control => match control(position, record) {
                    Ok(input) => open.control.push(input),
                    Err(refusal) => open.events.push(Input::Refused(Arc::new(self.refused(position, &refusal)))),
                },
            }
        }
    }

    /// What a record means that is not plainly one event.
    fn parcel(&mut self, position: Position, record: &Record, open: &mut Vec<Input>) {
        let envelope = record.envelope.as_deref();
        let parcel = Parcel {
            payload: &record.payload,
            tombstone: envelope.is_some_and(|envelope| envelope.tombstone),
            key: envelope.and_then(|envelope| envelope.key.as_deref()),
            header: &|name| envelope.and_then(|envelope| envelope.header(name)),
        };
        match record::read(&parcel, &self.limits) {
            Ok(Meaning::Event(bytes)) => open.push(self.event(position, &bytes)),
            Ok(Meaning::Report { events, issues }) => {
                for (event, index) in events.iter().zip(0..) {
                    let json = serde_json::to_vec(event).expect("an event can be written as JSON");
                    open.push(self.event(Position { index, ..position }, &json));
                }
                if let Some(issue) = issues.first() {
                    let message = match issues.len() {
                        1 => format!("{issue}; the rest counts"),
                        all => format!("{issue}, and {} more; the rest counts", all - 1),
                    };
                    let index = u32::try_from(events.len()).unwrap_or(u32::MAX);
                    let unreadable = Unreadable { kind: RejectKind::Malformed, project: parcel.project(), message };
                    open.push(Input::Refused(Arc::new(self.refused(Position { index, ..position }, &unreadable))));
                }
            }
            Err(Meaningless { kind, message }) => {
                let unreadable = Unreadable { kind: reject_kind(kind), project: parcel.project(), message };
                open.push(Input::Refused(Arc::new(self.refused(position, &unreadable))));
            }
        }
    }

    fn event(&mut self, position: Position, bytes: &[u8]) -> Input {
        match decode_event(bytes, &self.limits) {
            Ok(event) => Input::Event(Arc::new(Event::new(&event, position, &self.limits, &mut self.interner))),
            Err(error) => Input::Refused(Arc::new(self.refused(position, &Unreadable::from(&error)))),
        }
    }

    fn refused(&mut self, position: Position, unreadable: &Unreadable) -> Refusal {
        metrics::counter!("weir_engine_decode_errors_total", "kind" => unreadable.kind.as_str()).increment(1);
        Refusal {
            position,
            kind: unreadable.kind,
            project: self.interner.text(unreadable.project.as_deref().unwrap_or("default")),
            stream: self.interner.text(""),
            message: cut(&unreadable.message, self.limits.name).into(),
            expected: None,
        }
    }
}

/// Why a record is nothing that the dataflow takes.
struct Unreadable {
    kind: RejectKind,
    /// Whose it is, where that can be read.
    project: Option<String>,
    message: String,
}

impl From<&EventError> for Unreadable {
    fn from(error: &EventError) -> Unreadable {
        Unreadable { kind: reject_kind(error.kind), project: None, message: error.to_string() }
    }
}

fn reject_kind(kind: EventErrorKind) -> RejectKind {
    match kind {
        EventErrorKind::Malformed => RejectKind::Malformed,
        EventErrorKind::Invalid => RejectKind::Invalid,
        EventErrorKind::Oversize => RejectKind::Oversize,
    }
}

/// Whether a record's bytes are, or should be, one event and nothing else.
fn plain(record: &Record) -> bool {
    record.envelope.is_none() && Encoding::of(&record.payload).is_none()
}

/// A rule or an incident that the dataflow can take.
fn control(position: Position, record: &Record) -> Result<ControlInput, Unreadable> {
    let read: ControlRecord = serde_json::from_slice(&record.payload).map_err(|error| {
        // What is JSON, and does not say what a record must, is not malformed.
        let kind = if error.is_data() { RejectKind::Invalid } else { RejectKind::Malformed };
        Unreadable { kind, project: None, message: error.to_string() }
    })?;
    let problem = match read.check() {
        Err(error) => Some(error.to_string()),
        Ok(()) => rules::check(&read.change).err().map(|error| format!("pattern: {error}")),
    };
    match problem {
        None => Ok(ControlInput { position, record: Arc::new(read) }),
        Some(message) => {
            let project = Some(read.project).filter(|project| !project.is_empty());
            Err(Unreadable { kind: RejectKind::Invalid, project, message })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(topic: u16, payload: &'static [u8]) -> Open {
        let record = Record {
            partition: 2,
            offset: 9,
            appended_at: 0,
            payload: bytes::Bytes::from_static(payload),
            envelope: None,
        };
        let limits = Arc::new(Limits { record: 200, ..Limits::default() });
        let topics = vec![(1, Content::Events), (4, Content::Control)];
        let mut open = Open::default();
        Feed { topics, limits, interner: Interner::default() }.take(topic, &[record], &mut open);
        open
    }

    fn at(topic: u16) -> Position {
        Position { topic, partition: 2, offset: 9, index: 0 }
    }

    fn refused(topic: u16, payload: &'static [u8]) -> Arc<Refusal> {
        let open = taken(topic, payload);
        assert!(open.control.is_empty());
        let [Input::Refused(refusal)] = &open.events[..] else { panic!("it is refused") };
        assert_eq!(refusal.position, at(topic));
        Arc::clone(refusal)
    }

    #[test]
    fn a_record_is_an_event_or_a_refusal_with_its_position_and_reason() {
        let good = br#"{"eventId":"e","eventType":"run_started","streamId":"s","version":1,"timestamp":5}"#;
        assert!(matches!(&taken(1, good).events[..], [Input::Event(event)] if event.position == at(1)));
        for (bytes, kind) in [
            (&b"{"[..], RejectKind::Malformed),
            (br#"{"eventId":"e"}"#, RejectKind::Invalid),
            (&[b' '; 201], RejectKind::Oversize),
        ] {
            let refusal = refused(1, bytes);
            assert_eq!(refusal.kind, kind);
            assert!(!refusal.message.is_empty());
        }
    }

    #[test]
    fn a_control_record_is_taken_or_a_refusal_of_its_project() {
        let good = br#"{"project":"web","id":"a","change":{"mask":{"pattern":"order [0-9]+"}}}"#;
        let open = taken(4, good);
        assert!(open.events.is_empty());
        assert!(matches!(&open.control[..], [input] if input.position == at(4) && input.record.id == "a"));
        for (bytes, kind, project, said) in [
            (&b"{"[..], RejectKind::Malformed, "default", "EOF"),
            (br#"{"id":7}"#, RejectKind::Invalid, "default", "invalid type: integer"),
            (
                br#"{"project":"web","id":"a","change":{"incident":{}}}"#,
                RejectKind::Invalid,
                "web",
                "worker: missing: name a worker",
            ),
            (
                br#"{"project":"web","id":"a","change":{"mask":{"pattern":"("}}}"#,
                RejectKind::Invalid,
                "web",
                "pattern: unclosed group",
            ),
        ] {
            let refusal = refused(4, bytes);
            assert_eq!((refusal.kind, &*refusal.project), (kind, project), "{}", refusal.message);
            assert!(refusal.message.contains(said), "{}", refusal.message);
        }
    }
}
