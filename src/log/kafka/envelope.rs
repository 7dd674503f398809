//! What stands beside a record's bytes and changes what they mean: read from Kafka's key, headers and missing values.
//!
//! Contract: [`of`] gives an envelope only where one is needed. A record of JSON, whatever its key and whatever headers tracing
//! and the like put there, has none: so nearly all records cost nothing here.

use super::super::Envelope;
use bytes::Bytes;

/// What the bytes are.
const CONTENT_TYPE: &str = "content-type";
/// How they are compressed.
const CONTENT_ENCODING: &str = "content-encoding";
/// Weir's own headers: what a report belongs to.
const OWN: &str = "weir-";

/// The name of a header, in lower case, if it changes what a record means.
pub(super) fn wanted(name: &[u8]) -> Option<String> {
    let known = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    let own = name.get(..OWN.len()).is_some_and(|start| start.eq_ignore_ascii_case(OWN.as_bytes()));
    let wanted = own || known(CONTENT_TYPE) || known(CONTENT_ENCODING);
    wanted.then(|| String::from_utf8_lossy(name).to_ascii_lowercase())
}

/// The name of any header.
pub(super) fn named(name: &[u8]) -> Option<String> {
    Some(String::from_utf8_lossy(name).into_owned())
}

/// The envelope of a record with everything that stands beside its bytes.
pub(super) fn whole(tombstone: bool, key: Option<&[u8]>, headers: Vec<(String, Bytes)>) -> Option<Envelope> {
    Some(Envelope { tombstone, key: key.map(Bytes::copy_from_slice), headers })
}

/// The envelope of a record, where it has one.
pub(super) fn of(tombstone: bool, key: Option<&[u8]>, headers: Vec<(String, Bytes)>) -> Option<Envelope> {
    if !tombstone && headers.iter().all(|(name, value)| name == CONTENT_TYPE && json(value)) {
        return None;
    }
    Some(Envelope { tombstone, key: key.map(Bytes::copy_from_slice), headers })
}

/// Whether a content type says what a record is anyway.
fn json(value: &[u8]) -> bool {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(headers: &[(&str, &'static str)]) -> Option<Envelope> {
        let wanted = |(name, value): &(&str, &'static str)| {
            Some((wanted(name.as_bytes())?, Bytes::from_static(value.as_bytes())))
        };
        of(false, Some(b"key"), headers.iter().filter_map(wanted).collect())
    }

    #[test]
    fn only_what_changes_a_records_meaning_is_kept() {
        assert_eq!(with(&[]), None);
        assert_eq!(
            with(&[("traceparent", "00-1"), ("Content-Type", "application/json; charset=utf-8"), ("weird", "x")]),
            None
        );
        let report = with(&[("Content-Type", "application/xml"), ("Weir-Run", "7"), ("b3", "0")]).expect("is no JSON");
        assert_eq!(
            (report.header("content-type"), report.header("WEIR-RUN")),
            (Some(&b"application/xml"[..]), Some(&b"7"[..]))
        );
        assert_eq!((report.headers.len(), report.key.as_deref()), (2, Some(&b"key"[..])));
        assert!(with(&[("content-encoding", "gzip")]).is_some());
        assert!(of(true, None, Vec::new()).is_some_and(|envelope| envelope.tombstone));
        let twice = with(&[("weir-run", "1"), ("weir-run", "2")]).expect("has some");
        assert_eq!(twice.header("weir-run"), Some(&b"2"[..]), "the last one counts");
    }
}
