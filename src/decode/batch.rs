//! A request body as raw items: one JSON object, a JSON array, or newline-delimited JSON.
//!
//! Contract: [`split_batch`] finds the items and their offsets without decoding them, so that a bad item is kept as the
//! very bytes that came. What a body is, is sniffed: `[` opens an array; a first line that is a value by itself means a
//! value a line, blank lines skipped; else values may span lines. In newline-delimited JSON a line that is no JSON is one
//! bad item and the rest goes on.
//!
//! # Invariants
//! Items are slices of the body, in order, disjoint; never more than the limit.
//!
//! # Cost
//! One pass over the body (two where values span lines); 24 bytes an item.
//!
//! # Failure
//! [`BodyError`]: the body is unreadable as a whole (empty, not JSON, an array that breaks off, too many items) and
//! nothing of it is to be taken.

use super::event::{error_offset, error_reason, without_bom};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// One item of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Where it begins in the body.
    pub offset: usize,
    /// Its bytes, without surrounding white space.
    pub bytes: &'a [u8],
}

/// Why a body is unreadable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Nothing but white space.
    #[error("the body is empty")]
    Empty,
    /// Neither an object, nor an array, nor newline-delimited JSON.
    #[error("the body is not readable as JSON: {reason} (at byte {offset})")]
    Unreadable {
        /// Where reading ended.
        offset: usize,
        /// What is wrong there.
        reason: String,
    },
    /// More items than a batch may have.
    #[error("more than {limit} events in one body: send them in several")]
    TooMany {
        /// The limit.
        limit: usize,
        /// Where the first item too many begins.
        offset: usize,
    },
}

/// Splits a body into its items, at most `items_max` (`Limits::batch_events`).
///
/// # Errors
/// [`BodyError`]: nothing of the body is usable.
pub fn split_batch(body: &[u8], items_max: usize) -> Result<Vec<Item<'_>>, BodyError> {
    let json = without_bom(body).trim_ascii_start();
    let start = body.len() - json.len();
    let split = match json.first() {
        None => return Err(BodyError::Empty),
        Some(b'[') => array(json, items_max),
        Some(_) if json_value(first_line(json)).is_ok() => lines(json, items_max),
        Some(_) => values(json, items_max),
    };
    match split {
        Ok(mut items) => {
            items.iter_mut().for_each(|item| item.offset += start);
            Ok(items)
        }
        Err(error) => Err(error.shifted(start)),
    }
}

impl BodyError {
    fn shifted(self, start: usize) -> BodyError {
        match self {
            BodyError::Empty => BodyError::Empty,
            BodyError::Unreadable { offset, reason } => BodyError::Unreadable { offset: offset + start, reason },
            BodyError::TooMany { limit, offset } => BodyError::TooMany { limit, offset: offset + start },
        }
    }

    fn unreadable(json: &[u8], error: &serde_json::Error) -> BodyError {
        BodyError::Unreadable { offset: error_offset(json, error), reason: error_reason(error) }
    }
}

fn json_value(bytes: &[u8]) -> Result<&RawValue, serde_json::Error> {
    serde_json::from_slice(bytes)
}

fn first_line(json: &[u8]) -> &[u8] {
    json.split(|byte| *byte == b'\n').next().unwrap_or(json)
}

fn item<'a>(json: &'a [u8], bytes: &'a [u8]) -> Item<'a> {
    // `bytes` is a slice of `json`: their distance is the offset.
    Item { offset: bytes.as_ptr() as usize - json.as_ptr() as usize, bytes }
}

fn array(json: &[u8], items_max: usize) -> Result<Vec<Item<'_>>, BodyError> {
    struct Items {
        items_max: usize,
    }
    impl<'de> Visitor<'de> for Items {
        type Value = Vec<&'de RawValue>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(raw) = seq.next_element::<&'de RawValue>()? {
                items.push(raw);
                if items.len() > self.items_max {
                    // The rest is skipped, not kept.
                    while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                }
            }
            Ok(items)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let raws = deserializer
        .deserialize_seq(Items { items_max })
        .and_then(|items| deserializer.end().map(|()| items))
        .map_err(|error| BodyError::unreadable(json, &error))?;
    let items: Vec<Item<'_>> = raws.iter().map(|raw| item(json, raw.get().as_bytes())).collect();
    match items.get(items_max) {
        Some(first_too_many) => Err(BodyError::TooMany { limit: items_max, offset: first_too_many.offset }),
        None => Ok(items),
    }
}

fn lines(json: &[u8], items_max: usize) -> Result<Vec<Item<'_>>, BodyError> {
    let mut items = Vec::new();
    for line in json.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if !line.is_empty() {
            push(&mut items, item(json, line), items_max)?;
        }
    }
    Ok(items)
}

/// Values one after another, each over as many lines as it likes; and where that breaks off, lines, if one of them at
/// least is an object.
fn values(json: &[u8], items_max: usize) -> Result<Vec<Item<'_>>, BodyError> {
    let mut items = Vec::new();
    for value in serde_json::Deserializer::from_slice(json).into_iter::<&RawValue>() {
        match value {
            Ok(raw) => push(&mut items, item(json, raw.get().as_bytes()), items_max)?,
            Err(error) => {
                let line_of_its_own = |line: &[u8]| line.trim_ascii().starts_with(b"{") && json_value(line).is_ok();
                return if json.split(|byte| *byte == b'\n').any(line_of_its_own) {
                    lines(json, items_max)
                } else {
                    Err(BodyError::unreadable(json, &error))
                };
            }
        }
    }
    Ok(items)
}

fn push<'a>(items: &mut Vec<Item<'a>>, item: Item<'a>, items_max: usize) -> Result<(), BodyError> {
    if items.len() == items_max {
        return Err(BodyError::TooMany { limit: items_max, offset: item.offset });
    }
    items.push(item);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(body: &str) -> Vec<&str> {
        let items = split_batch(body.as_bytes(), 100).expect("is readable");
        for item in &items {
            assert!(body.as_bytes()[item.offset..].starts_with(item.bytes), "{body}: {item:?}");
        }
        items.iter().map(|item| std::str::from_utf8(item.bytes).expect("is text")).collect()
    }

    #[test]
    fn one_object_an_array_and_lines_give_their_items() {
        assert_eq!(texts(r#"{"a":1}"#), [r#"{"a":1}"#]);
        assert_eq!(texts(" \n{\"a\":\n1\n}\n"), ["{\"a\":\n1\n}"]);
        assert_eq!(texts("\u{feff}[ {\"a\":[1]} ,\n 7,null ]\n"), ["{\"a\":[1]}", "7", "null"]);
        assert_eq!(texts("[]"), [] as [&str; 0]);
        assert_eq!(texts("{\"a\":1}\r\n\n  {\"b\":2}\r\n"), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(texts("{\n\"a\":1}\n{\n\"b\":2}"), ["{\n\"a\":1}", "{\n\"b\":2}"]);
        assert_eq!(texts("{\"a\":1}{\"b\":2}"), ["{\"a\":1}", "{\"b\":2}"]);
    }

    #[test]
    fn a_broken_line_is_one_bad_item_and_the_rest_goes_on() {
        assert_eq!(texts("{\"a\":1}\n{\"b\":\n{\"c\":3}\n"), ["{\"a\":1}", "{\"b\":", "{\"c\":3}"]);
        assert_eq!(texts("{\"a\":\n{\"b\":2}\n"), ["{\"a\":", "{\"b\":2}"]);
        assert_eq!(texts("oops\n{\"b\":2}"), ["oops", "{\"b\":2}"]);
        let body = b"{\"a\":1}\n{\"b\":\"\xff\"}\n{\"c\":3}";
        assert_eq!(split_batch(body, 9).expect("is readable").len(), 3);
    }

    #[test]
    fn an_unreadable_body_is_an_error_with_its_offset() {
        let cases: [(&[u8], usize); 7] = [
            (b"[{\"a\":1}", 8),
            (b"\xEF\xBB\xBF [{\"a\":1},]", 13),
            (b"[1] 2", 4),
            (b"[\"\xff\"]", 2),
            (b"{\"a\":", 5),
            (b"{\n\"a\":", 6),
            (b"<html>\n</html>", 0),
        ];
        for (body, at) in cases {
            match split_batch(body, 9) {
                Err(BodyError::Unreadable { offset, .. }) => assert_eq!(offset, at, "{body:?}"),
                other => panic!("{body:?} gives {other:?}"),
            }
        }
        assert_eq!(split_batch(b" \n\t", 9), Err(BodyError::Empty));
        assert_eq!(split_batch(b"", 9), Err(BodyError::Empty));
    }

    #[test]
    fn a_batch_over_the_limit_is_refused_in_every_form() {
        for (body, offset) in [("[1,2,3]", 5), ("1\n2\n3\n", 4), ("{\n}{\n}{\n}", 6)] {
            assert_eq!(split_batch(body.as_bytes(), 2), Err(BodyError::TooMany { limit: 2, offset }), "{body}");
            assert_eq!(split_batch(body.as_bytes(), 3).map(|items| items.len()), Ok(3), "{body}");
        }
    }

    #[test]
    fn depth_does_not_exhaust_the_stack() {
        let deep = format!("[{}{}]", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(split_batch(deep.as_bytes(), 9).map(|items| items.len()), Ok(1));
    }

    proptest! {
        #[test]
        fn any_bytes_give_disjoint_items_or_an_error_inside_the_body(
            body in prop::collection::vec(prop::sample::select(b"{}[]\":,\n 1a\\\xff".as_slice()), 0..60)
        ) {
            match split_batch(&body, 5) {
                Ok(items) => {
                    let mut end = 0;
                    for item in items {
                        prop_assert!(item.offset >= end && !item.bytes.is_empty());
                        end = item.offset + item.bytes.len();
                        prop_assert_eq!(&body[item.offset..end], item.bytes);
                    }
                }
                Err(BodyError::Empty) => prop_assert!(body.trim_ascii().is_empty()),
                Err(BodyError::Unreadable { offset, .. } | BodyError::TooMany { offset, .. }) => {
                    prop_assert!(offset <= body.len());
                }
            }
        }

        #[test]
        fn what_was_joined_is_split_again(values in prop::collection::vec("[a-z\\\\\"\\n{}\\[\\]]{0,12}", 1..6)) {
            let items: Vec<String> =
                values.iter().map(|value| serde_json::json!({ "v": value }).to_string()).collect();
            for body in [format!("[{}]", items.join(", ")), items.join("\n"), items.join("\n\n") + "\r\n"] {
                let split = split_batch(body.as_bytes(), 100).expect("is readable");
                let found: Vec<&[u8]> = split.iter().map(|item| item.bytes).collect();
                let expected: Vec<&[u8]> = items.iter().map(|item| item.as_bytes()).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
