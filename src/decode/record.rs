//! What a record of a topic means that is not plainly one event: compressed bytes, a whole report, nothing at all.
//!
//! Contract: [`read`] goes by what stands beside the bytes. `content-encoding` (or the bytes' own beginning) says how they are
//! compressed; `content-type` says what they are, or `weir-format` which report; the headers `weir-project`, `weir-run`,
//! `weir-shard`, `weir-branch`, `weir-commit`, `weir-worker`, `weir-attempt`, `weir-variant`, `weir-framework`, `weir-user`,
//! `weir-flag` and `weir-root` say of a report what the query says of one that comes over HTTP. Its run is its key where
//! `weir-run` is absent.
//!
//! A report is a stream of its own, named by the key and a hash of project, run, shard and content: a record that is sent again is
//! all duplicates, and another report under the same key never conflicts. What in it has no absolute time is of the record's
//! tick.
//!
//! # Invariants
//! Pure: the same record under the same limits means the same.

use super::compression::Encoding;
use super::event::EventErrorKind;
use super::identity::{hash_of, shorten};
use super::{Context, Decoded, Format, Issue, Sniffed, decode, sniff};
use std::borrow::Cow;
use weir_schemas::event::TestEvent;
use weir_schemas::limits::Limits;

/// The time of what has none: so late that its tick is taken for it, as for everything from the future.
pub const AT_ITS_TICK_MS: u64 = 253_370_764_800_000;

/// A record.
pub struct Parcel<'a, 'h> {
    /// Its bytes.
    pub payload: &'a [u8],
    /// Whether it has none.
    pub tombstone: bool,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// The value of a header, by its name in lower case.
    pub header: &'h dyn Fn(&str) -> Option<&'a [u8]>,
}

impl Parcel<'_, '_> {
    /// The project that a header names.
    #[must_use]
    pub fn project(&self) -> Option<String> {
        text((self.header)("weir-project")).filter(|project| !project.is_empty()).map(str::to_owned)
    }
}

/// What it means.
#[derive(Debug, PartialEq)]
pub enum Meaning<'a> {
    /// One event, as JSON.
    Event(Cow<'a, [u8]>),
    /// A report.
    Report {
        /// Its events, at least one.
        events: Vec<TestEvent<'static>>,
        /// What was not as it should be.
        issues: Vec<Issue>,
    },
}

/// Why it means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaningless {
    /// In what way.
    pub kind: EventErrorKind,
    /// What is wrong, for a person.
    pub message: String,
}

impl Meaningless {
    fn new(kind: EventErrorKind, message: impl Into<String>) -> Meaningless {
        Meaningless { kind, message: message.into() }
    }

    fn malformed(message: impl Into<String>) -> Meaningless {
        Meaningless::new(EventErrorKind::Malformed, message)
    }

    fn invalid(message: impl Into<String>) -> Meaningless {
        Meaningless::new(EventErrorKind::Invalid, message)
    }
}

/// Says what a record means.
///
/// # Errors
/// It means nothing.
pub fn read<'a>(parcel: &Parcel<'a, '_>, limits: &Limits) -> Result<Meaning<'a>, Meaningless> {
    if parcel.tombstone {
        return Err(Meaningless::malformed("a record without a value (a tombstone) says nothing"));
    }
    if parcel.payload.len() > limits.record {
        let (bytes, most) = (parcel.payload.len(), limits.record);
        let message = format!("the record has {bytes} bytes, at most {most} are allowed");
        return Err(Meaningless::new(EventErrorKind::Oversize, message));
    }
    let bytes = expanded(parcel, limits)?;
    let Some(format) = format(parcel, &bytes)? else { return Ok(Meaning::Event(bytes)) };
    let context = context(parcel)?;
    let Decoded { mut events, issues, .. } = decode(format, &bytes, limits, &context);
    if events.is_empty() {
        let issue = issues.first().map_or_else(|| format!("{format}: nothing is in it"), ToString::to_string);
        return Err(Meaningless::malformed(issue));
    }
    if let Some(key) = text(parcel.key) {
        // It names project, run, shard and content: a key may be that of many runs.
        let hash = events.first().map(|event| hash_of(&event.stream_id)).unwrap_or_default();
        let stream = shorten(&format!("{key}:{hash}"), limits.stream_id);
        events.iter_mut().for_each(|event| event.stream_id = stream.clone().into());
    }
    Ok(Meaning::Report { events, issues })
}

/// The bytes as they were before they were compressed.
fn expanded<'a>(parcel: &Parcel<'a, '_>, limits: &Limits) -> Result<Cow<'a, [u8]>, Meaningless> {
    let named = match text((parcel.header)("content-encoding")) {
        Some(word) => Encoding::named(word).map_err(|word| {
            Meaningless::invalid(format!("header content-encoding: `{word}` is not known: known are gzip, zstd"))
        })?,
        None => Encoding::of(parcel.payload),
    };
    let Some(encoding) = named else { return Ok(Cow::Borrowed(parcel.payload)) };
    match encoding.expand(parcel.payload, limits.decompressed) {
        Ok(Some(bytes)) => Ok(Cow::Owned(bytes)),
        Ok(None) => {
            let message = format!("more than {} bytes after decompression", limits.decompressed);
            Err(Meaningless::new(EventErrorKind::Oversize, message))
        }
        Err(error) => Err(Meaningless::malformed(format!("cannot be decompressed as {}: {error}", encoding.as_str()))),
    }
}

/// The format of a report; none of an event.
fn format(parcel: &Parcel<'_, '_>, bytes: &[u8]) -> Result<Option<Format>, Meaningless> {
    if let Some(word) = text((parcel.header)("weir-format")) {
        let known = || Format::ALL.map(Format::as_str).join(", ");
        let format = word
            .parse()
            .map_err(|error| Meaningless::invalid(format!("header weir-format: {error}: known are {}", known())));
        return format.map(Some);
    }
    let content_type = text((parcel.header)("content-type")).unwrap_or("application/json");
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" | "text/json" => return Ok(None),
        "application/xml" | "text/xml" | "text/plain" | "application/octet-stream" => {}
        known if known.ends_with("+xml") || known.ends_with("lcov") => {}
        _ => {
            let message = format!(
                "header content-type: `{essence}` is not known: known are application/json, and of reports application/xml, text/xml, \
                 text/x-lcov, text/plain"
            );
            return Err(Meaningless::invalid(message));
        }
    }
    match sniff(bytes) {
        Some(Sniffed::Events) => Ok(None),
        Some(Sniffed::Report(format)) => Ok(Some(format)),
        None => Err(Meaningless::malformed(format!("{essence}: its beginning is that of no known report"))),
    }
}

/// What is known of a report beside its bytes.
fn context(parcel: &Parcel<'_, '_>) -> Result<Context, Meaningless> {
    let header = |name: &str| text((parcel.header)(name)).filter(|value| !value.is_empty()).map(str::to_owned);
    let run = header("weir-run").or_else(|| text(parcel.key).map(str::to_owned));
    let run = run.ok_or_else(|| Meaningless::invalid("header weir-run: missing, and so is a key: name the run"))?;
    let attempt =
        header("weir-attempt").map(|word| word.parse::<u32>().ok().filter(|attempt| *attempt > 0).ok_or(word));
    let attempt = attempt
        .transpose()
        .map_err(|word| Meaningless::invalid(format!("header weir-attempt: `{word}` is not a whole number from 1")))?;
    Ok(Context {
        project: parcel.project().unwrap_or_default(),
        run,
        shard: header("weir-shard"),
        branch: header("weir-branch"),
        commit: header("weir-commit"),
        worker: header("weir-worker"),
        attempt,
        variant: header("weir-variant"),
        framework: header("weir-framework"),
        user: header("weir-user"),
        flag: header("weir-flag"),
        root: header("weir-root"),
        received_at_ms: AT_ITS_TICK_MS,
    })
}

/// Bytes as text; what is no text is as absent.
fn text(bytes: Option<&[u8]>) -> Option<&str> {
    bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const REPORT: &[u8] = br#"<testsuite name="s"><testcase classname="c" name="a" time="1"/><testcase classname="c" name="b"/></testsuite>"#;

    fn read_with<'a>(
        payload: &'a [u8],
        key: Option<&'a [u8]>,
        headers: &'a [(&str, &'a str)],
    ) -> Result<Meaning<'a>, Meaningless> {
        let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_bytes());
        let limits = Limits { record: 1_000, decompressed: 5_000, ..Limits::default() };
        read(&Parcel { payload, tombstone: false, key, header: &header }, &limits)
    }

    fn events<'a>(payload: &'a [u8], key: Option<&'a [u8]>, headers: &'a [(&str, &'a str)]) -> Vec<TestEvent<'static>> {
        match read_with(payload, key, headers) {
            Ok(Meaning::Report { events, .. }) => events,
            other => panic!("{other:?}"),
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).expect("compresses");
        encoder.finish().expect("compresses")
    }

    #[test]
    fn compressed_bytes_are_what_they_were_whether_said_so_or_not() {
        for packed in [gzip(b"{}"), zstd::encode_all(&b"{}"[..], 3).expect("compresses")] {
            let encoding = Encoding::of(&packed).expect("is known").as_str();
            for headers in [&[][..], &[("content-encoding", encoding)]] {
                assert_eq!(read_with(&packed, None, headers), Ok(Meaning::Event(Cow::Borrowed(b"{}"))));
            }
        }
    }

    #[test]
    fn a_report_is_a_stream_of_its_own_and_the_same_when_it_is_sent_again() {
        let xml =
            [("content-type", "application/xml; charset=utf-8"), ("weir-project", "web"), ("weir-branch", "main")];
        let first = events(REPORT, Some(b"job/7"), &xml);
        assert_eq!(first, events(REPORT, Some(b"job/7"), &xml));
        assert!(first.iter().zip(1..).all(|(event, version)| event.version == version));
        assert!(first[0].stream_id.starts_with("job/7:") && first[0].stream_id.len() == 38, "{}", first[0].stream_id);
        assert_eq!((first[0].metadata.project.as_str(), first[0].correlation_id.as_deref()), ("web", Some("job/7")));
        assert!(first.iter().any(|event| event.timestamp.0 == AT_ITS_TICK_MS));
        let other = String::from_utf8_lossy(REPORT).replace("\"b\"", "\"c\"");
        let other = events(other.as_bytes(), Some(b"job/7"), &xml)[0].stream_id.to_string();
        assert_ne!(other, first[0].stream_id.to_string());
        for (name, value) in [("weir-run", "8"), ("weir-shard", "2"), ("weir-project", "app")] {
            let elsewhere = [("content-type", "text/xml"), (name, value)];
            let stream = events(REPORT, Some(b"job/7"), &elsewhere)[0].stream_id.to_string();
            assert_ne!(stream, first[0].stream_id.to_string(), "{name}");
        }
        let unkeyed = events(REPORT, None, &[("content-type", "text/xml"), ("weir-run", "9")]);
        assert_eq!(unkeyed[0].correlation_id.as_deref(), Some("9"));
    }

    #[test]
    fn what_means_nothing_says_why() {
        use EventErrorKind::{Invalid, Malformed, Oversize};
        let bomb = gzip(&[b' '; 5_001]);
        let cut = &gzip(REPORT)[..20];
        let xml = ("content-type", "text/xml");
        type Case<'a> = (&'a [u8], &'a [(&'a str, &'a str)], EventErrorKind, &'a str);
        let cases: [Case<'_>; 10] = [
            (&[b' '; 1_001], &[], Oversize, "has 1001 bytes, at most 1000"),
            (&bomb, &[], Oversize, "more than 5000 bytes"),
            (cut, &[], Malformed, "cannot be decompressed as gzip"),
            (b"{}", &[("content-encoding", "br")], Invalid, "`br` is not known"),
            (b"{}", &[("content-type", "application/avro")], Invalid, "`application/avro` is not known"),
            (b"hello", &[xml, ("weir-run", "1")], Malformed, "no known report"),
            (REPORT, &[xml], Invalid, "header weir-run: missing"),
            (REPORT, &[xml, ("weir-run", "1"), ("weir-attempt", "0")], Invalid, "`0` is not a whole number from 1"),
            (b"<html/>", &[xml, ("weir-run", "1")], Malformed, "junit line"),
            (REPORT, &[("weir-format", "trx")], Invalid, "known are junit, lcov, cobertura"),
        ];
        for (payload, headers, kind, said) in cases {
            let found = read_with(payload, None, headers).expect_err("means nothing");
            assert_eq!(found.kind, kind, "{found:?}");
            assert!(found.message.contains(said), "{found:?}");
        }
        let tombstone = Parcel { payload: b"", tombstone: true, key: None, header: &|_| None };
        assert_eq!(read(&tombstone, &Limits::default()).expect_err("means nothing").kind, Malformed);
    }
}
