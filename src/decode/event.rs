//! TestEvent JSON: bytes to a borrowed event, or an error that names the field and the byte.
//!
//! Contract: [`decode_event`] reads one item, as it stands in a log record or in a batch. The fast path is one pass of
//! serde_json over borrowed strings; only a failure pays for finding out where: the item is read again with the path
//! tracked, and the path is then looked up in the bytes. Offsets count from the first byte given.
//!
//! # Invariants
//! Pure: the same bytes under the same limits give the same answer, so ingest and the engine agree on what is bad.
//!
//! # Cost
//! `benches/decode.rs` prints it: 0.9 µs for an event of 537 bytes, no allocation unless a string has escapes. The failing
//! path costs twice as much and is O(bytes).
//!
//! # Failure
//! Bad bytes are an [`EventError`], a reject in the end; nothing panics and nesting cannot exhaust the stack (serde_json
//! reads known fields to a fixed depth and skips unknown ones without recursion).

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_path_to_error::{Path, Segment};
use std::collections::BTreeMap;
use weir_schemas::event::TestEvent;
use weir_schemas::limits::Limits;
use weir_schemas::text::Text;

/// In what way bytes fail to be an acceptable event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventErrorKind {
    /// Not JSON.
    Malformed,
    /// JSON, but no acceptable TestEvent.
    Invalid,
    /// More bytes than a record may have.
    Oversize,
}

impl EventErrorKind {
    /// The word in `rejects.kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            EventErrorKind::Malformed => "malformed",
            EventErrorKind::Invalid => "invalid",
            EventErrorKind::Oversize => "oversize",
        }
    }
}

/// Why bytes are no acceptable event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason} (at byte {offset})", prefix(field))]
pub struct EventError {
    /// In what way.
    pub kind: EventErrorKind,
    /// The path of the field, as on the wire (`data.duration`); empty where no field is to blame.
    pub field: String,
    /// The offset of the field's value in the bytes; where the field is missing, of the object that should have it; in
    /// bytes that are not JSON, of the first one that does not fit.
    pub offset: usize,
    /// What is wrong, for a person.
    pub reason: String,
}

fn prefix(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("{field}: ") }
}

/// Reads one TestEvent and applies the limits.
///
/// # Errors
/// [`EventError`], with the field and the offset.
pub fn decode_event<'a>(bytes: &'a [u8], limits: &Limits) -> Result<TestEvent<'a>, EventError> {
    if bytes.len() > limits.record {
        return Err(oversize(bytes.len(), limits.record));
    }
    let json = without_bom(bytes);
    let shift = bytes.len() - json.len();
    // Text that is known to be UTF-8 as a whole is not checked again string by string.
    let read = match std::str::from_utf8(json) {
        Ok(text) => serde_json::from_str::<TestEvent<'a>>(text),
        Err(_) => serde_json::from_slice(json),
    };
    let decoded = match read {
        Ok(event) if json.trim_ascii_start().starts_with(b"{") => {
            event.check(limits).map(|()| event).map_err(|invalid| broken_rule(json, &invalid))
        }
        Ok(_) => Err(not_an_object(json)),
        Err(error) => Err(explain(json, &error)),
    };
    decoded.map_err(|error| EventError { offset: error.offset + shift, ..error })
}

/// `bytes` without the UTF-8 byte order mark that some writers put first.
#[must_use]
pub fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

/// The byte at which serde_json stopped: it tells line and column, both in bytes and from 1.
#[must_use]
pub fn error_offset(json: &[u8], error: &serde_json::Error) -> usize {
    if error.is_eof() {
        return json.len();
    }
    let line_start = match error.line().checked_sub(2) {
        None => 0,
        Some(newlines) => {
            let mut ends = json.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            ends.nth(newlines).map_or(json.len(), |(at, _)| at + 1)
        }
    };
    (line_start + error.column().saturating_sub(1)).min(json.len())
}

/// What serde_json says, without its line and column.
#[must_use]
pub fn error_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).map_or(text.clone(), str::to_owned)
}

fn oversize(size: usize, limit: usize) -> EventError {
    EventError {
        kind: EventErrorKind::Oversize,
        field: String::new(),
        offset: limit,
        reason: format!("{size} bytes, at most {limit} are allowed"),
    }
}

/// serde reads a struct from an array of its fields as well; that is not the contract.
fn not_an_object(json: &[u8]) -> EventError {
    EventError {
        kind: EventErrorKind::Invalid,
        field: String::new(),
        offset: json.len() - json.trim_ascii_start().len(),
        reason: "an event is a JSON object".to_owned(),
    }
}

fn broken_rule(json: &[u8], invalid: &weir_schemas::event::InvalidEvent) -> EventError {
    EventError {
        kind: EventErrorKind::Invalid,
        field: invalid.field.to_string(),
        offset: locate(json, &steps(&invalid.field)),
        reason: invalid.problem.clone(),
    }
}

/// Reads the bytes again, with the path tracked, to say which field is to blame.
fn explain(json: &[u8], error: &serde_json::Error) -> EventError {
    let reason = error_reason(error);
    if !error.is_data() {
        return EventError {
            kind: EventErrorKind::Malformed,
            field: String::new(),
            offset: error_offset(json, error),
            reason,
        };
    }
    if let Err(syntax) = serde_json::from_slice::<&RawValue>(json) {
        // The wrong type came first, but the bytes are not JSON at all: that is the better answer.
        return EventError {
            kind: EventErrorKind::Malformed,
            field: String::new(),
            offset: error_offset(json, &syntax),
            reason: error_reason(&syntax),
        };
    }
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    match serde_path_to_error::deserialize::<_, TestEvent<'_>>(&mut deserializer) {
        Ok(_) => EventError { kind: EventErrorKind::Invalid, field: String::new(), offset: 0, reason },
        Err(tracked) => {
            let (field, offset) = blame(json, tracked.path(), &reason);
            EventError { kind: EventErrorKind::Invalid, field, offset, reason }
        }
    }
}

/// The field to blame and where it stands. A missing or doubled field is named by serde's message, not by its path.
fn blame(json: &[u8], path: &Path, reason: &str) -> (String, usize) {
    let mut steps: Vec<Step<'_>> = path.iter().filter_map(Step::from_segment).collect();
    let named = ["missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| reason.strip_prefix(start).and_then(|rest| rest.strip_suffix('`')));
    if let Some(name) = named
        && steps.last() != Some(&Step::Key(name))
    {
        steps.push(Step::Key(name));
    }
    (written(&steps), locate(json, &steps))
}

#[derive(Clone, Copy, PartialEq)]
enum Step<'p> {
    Key(&'p str),
    Index(usize),
}

impl<'p> Step<'p> {
    fn from_segment(segment: &'p Segment) -> Option<Step<'p>> {
        match segment {
            Segment::Map { key } => Some(Step::Key(key)),
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Enum { .. } | Segment::Unknown => None,
        }
    }
}

/// The steps of a path as [`written`].
fn steps(path: &str) -> Vec<Step<'_>> {
    let of_part = |part| match str::split_once(part, '[') {
        Some((key, index)) => (Step::Key(key), index.trim_end_matches(']').parse().ok().map(Step::Index)),
        None => (Step::Key(part), None),
    };
    path.split('.').map(of_part).flat_map(|(key, index)| [Some(key), index]).flatten().collect()
}

fn written(steps: &[Step<'_>]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(key) if path.is_empty() => path.push_str(key),
            Step::Key(key) => {
                path.push('.');
                path.push_str(key);
            }
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// The offset of the value at `steps`, or of the innermost value on the way that exists.
fn locate(json: &[u8], steps: &[Step<'_>]) -> usize {
    let mut value = json.trim_ascii_start();
    for step in steps {
        match step_into(value, *step) {
            Some(inner) => value = inner,
            None => break,
        }
    }
    // `value` is a slice of `json`: their distance is the offset.
    value.as_ptr() as usize - json.as_ptr() as usize
}

fn step_into<'a>(value: &'a [u8], step: Step<'_>) -> Option<&'a [u8]> {
    match step {
        Step::Key(key) => {
            #[derive(Deserialize)]
            struct Fields<'a>(#[serde(borrow)] BTreeMap<Text<'a>, &'a RawValue>);
            let fields: Fields<'a> = serde_json::from_slice(prefix_value(value)?).ok()?;
            fields.0.get(&Text::from(key)).map(|raw| raw.get().as_bytes())
        }
        Step::Index(index) => {
            let items: Vec<&'a RawValue> = serde_json::from_slice(prefix_value(value)?).ok()?;
            items.get(index).map(|raw| raw.get().as_bytes())
        }
    }
}

/// The first JSON value of `bytes`.
fn prefix_value(bytes: &[u8]) -> Option<&[u8]> {
    let first = serde_json::Deserializer::from_slice(bytes).into_iter::<&RawValue>().next()?.ok()?;
    Some(first.get().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"eventId":"e1","eventType":"test_passed","streamId":"s1","version":1,"timestamp":5,"data":{"testId":"t1","duration":1.5,"assertions":[{"description":"a","passed":true}]}}"#;

    fn error(json: &[u8]) -> EventError {
        decode_event(json, &Limits::default()).expect_err("is bad")
    }

    /// Replaces one piece of the good event; the error must name `field` and stand at `marker`.
    fn expect(from: &str, to: &str, field: &str, marker: &str, reason: &str) {
        let json = GOOD.replacen(from, to, 1);
        assert_ne!(json, GOOD, "{from} occurs");
        let found = error(json.as_bytes());
        assert_eq!(found.kind, EventErrorKind::Invalid, "{json}: {found}");
        assert_eq!(found.field, field, "{json}: {found}");
        assert_eq!(found.offset, json.find(marker).expect("the marker occurs"), "{json}: {found}");
        assert!(found.reason.contains(reason), "{found}");
    }

    #[test]
    fn a_good_event_decodes_borrowed_also_after_a_byte_order_mark() {
        let marked = [b"\xEF\xBB\xBF".as_slice(), GOOD.as_bytes()].concat();
        for bytes in [GOOD.as_bytes(), &marked] {
            let event = decode_event(bytes, &Limits::default()).expect("decodes");
            assert!(matches!(event.event_id.0, std::borrow::Cow::Borrowed("e1")));
        }
        let broken = [b"\xEF\xBB\xBF".as_slice(), b"{]"].concat();
        assert_eq!(error(&broken).offset, 4);
    }

    #[test]
    fn a_wrong_value_is_named_and_located() {
        expect("1.5", "\"fast\"", "data.duration", "\"fast\"", "invalid type");
        expect("1.5", "-1.5", "data.duration", "-1.5", "0 or more");
        expect("test_passed", "test_exploded", "eventType", "\"test_exploded\"", "unknown variant");
        expect("\"version\":1", "\"version\":0", "version", "0,", "from 1");
        expect("\"version\":1", "\"version\":-4", "version", "-4", "invalid value");
        expect("\"timestamp\":5", "\"timestamp\":\"soon\"", "timestamp", "\"soon\"", "not a time");
        expect("true", "\"yes\"", "data.assertions[0].passed", "\"yes\"", "invalid type");
        expect("{\"testId\":\"t1\"", "{\"testId\":7", "data.testId", "7,", "expected a string");
        expect("\"eventId\":\"e1\"", "\"eventId\":\"\"", "eventId", "\"\"", "empty");
        let coverage = r#""coverage":{"files":[{"path":"a","covered":"1","instrumented":"1-4"},{"path":"b","covered":"9-7","instrumented":""}]},"duration""#;
        expect("\"duration\"", coverage, "data.coverage.files[1].covered", "\"9-7\"", "runs backwards");
    }

    #[test]
    fn a_missing_or_doubled_field_is_named() {
        expect("\"eventId\":\"e1\",", "", "eventId", "{", "missing");
        expect("\"description\":\"a\",", "", "data.assertions[0].description", "{\"passed\"", "missing");
        expect("\"testId\":\"t1\",", "", "data.testId", "{\"duration\"", "missing");
        expect("\"version\":1", "\"version\":1,\"version\":2", "version", "2,", "duplicate");
    }

    #[test]
    fn what_is_not_json_says_at_which_byte() {
        for (json, offset) in [
            ("", 0),
            ("{\"eventId\":", 11),
            ("{\"eventId\" \"x\"}", 11),
            ("{\n \"eventId\": \"x\",\n !}", 20),
            ("\"version\"}", 9),
            ("{} {}", 3),
            ("{\"version\": \"x\", ]}", 17),
        ] {
            let found = error(json.as_bytes());
            assert_eq!((found.kind, found.offset), (EventErrorKind::Malformed, offset), "{json}: {found}");
        }
        let found = error(b"{\"eventId\":\"\xff\"}");
        assert_eq!((found.kind, found.offset), (EventErrorKind::Malformed, 12), "{found}");
    }

    #[test]
    fn an_array_of_the_fields_is_no_event() {
        let found = error(br#" ["e1","test_passed","s1",1,5]"#);
        assert_eq!((found.kind, found.offset), (EventErrorKind::Invalid, 1), "{found}");
    }

    #[test]
    fn an_oversize_record_is_refused_unread() {
        let limits = Limits { record: 10, ..Limits::default() };
        let found = decode_event(GOOD.as_bytes(), &limits).expect_err("is too large");
        assert_eq!((found.kind, found.offset), (EventErrorKind::Oversize, 10));
    }

    #[test]
    fn nesting_and_unknown_fields_are_harmless() {
        let deep = format!("{{\"extra\":{}{},{}", "[".repeat(1_000_000), "]".repeat(1_000_000), &GOOD[1..]);
        assert!(decode_event(deep.as_bytes(), &Limits::default()).is_ok());
        let unclosed = "[".repeat(1_000_000);
        assert_eq!(error(unclosed.as_bytes()).kind, EventErrorKind::Malformed);
    }
}
