//! Parcels: files as the requests in which they go to the server.
//!
//! Contract: [`Packer`] turns the bytes of a file into [`Parcel`]s, each one request, compressed. Reports (JUnit XML, LCOV, Cobertura
//! XML) go as they are, with what is known of the run in the query. Events (JSON, one a line or in an array) go in parts of at most
//! [`PART_ITEMS_MAX`]; where an event does not say its run, project, branch and so on, what is known of the run is filled
//! in, and everything else of it stays as it was, byte for byte. `run_started` and `run_completed` bear ids that depend
//! only on project, run and attempt: every shard may send them, the first one counts.
//!
//! # Failure
//! A file that is neither, or too large, is a [`PackError`]; no server would take it.

use super::ci::Origin;
use crate::decode::batch::{BodyError, split_batch};
use crate::decode::{Format as Report, Sniffed, sniff};
use bytes::Bytes;
use reqwest::Url;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use weir_schemas::event::{DEFAULT_PROJECT, EventData, EventType, Metadata, TestEvent};
use weir_schemas::id::Id;
use weir_schemas::text::Text;
use weir_schemas::timestamp::Timestamp;

/// Events in one request, at most.
pub const PART_ITEMS_MAX: usize = 10_000;
/// Bytes of events in one request before compression, at most (unless one alone is larger).
pub const PART_BYTES_MAX: usize = 4 << 20;
/// A report before compression, at most; as the server's limit.
pub const REPORT_BYTES_MAX: usize = 64 << 20;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// What a person calls it.
    pub title: String,
    /// Path and query.
    pub path: String,
    /// What the body is.
    pub content_type: String,
    /// The body, compressed with zstd.
    pub body: Bytes,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Told by how it begins, else by its name
    Auto,
    /// JUnit XML
    Junit,
    /// Coverage: an LCOV tracefile
    Lcov,
    /// Coverage: Cobertura XML
    Cobertura,
    /// TestEvents as JSON: one a line, or an array
    Events,
}

/// Why a file cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It has nothing in it.
    #[error("is empty")]
    Empty,
    /// It is no known format.
    #[error("is neither a report (JUnit XML, LCOV, Cobertura XML) nor TestEvent JSON; say --format if it is")]
    Unknown,
    /// It is larger than the server takes.
    #[error("has {bytes} bytes, and a report may have at most {REPORT_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It is to be events and is no JSON.
    #[error("cannot be read as JSON")]
    Json(#[source] BodyError),
    /// Compression failed.
    #[error("cannot be compressed")]
    Compress(#[source] std::io::Error),
}

/// Makes parcels of one run.
pub struct Packer {
    origin: Origin,
    variant: Option<String>,
    flag: Option<String>,
}

impl Packer {
    /// For a run of which so much is known, and the flag of its coverage.
    pub fn new(origin: Origin, variant: Option<String>, flag: Option<String>) -> Packer {
        Packer { origin, variant, flag }
    }

    /// The project of the parcels.
    pub fn project(&self) -> &str {
        self.origin.project.as_deref().unwrap_or(DEFAULT_PROJECT)
    }

    /// The run of the parcels, if it is known.
    pub fn run(&self) -> Option<&str> {
        self.origin.run.as_deref()
    }

    /// The parcels of a file.
    ///
    /// # Errors
    /// The file is nothing that a server would take.
    pub fn pack(&self, title: &str, bytes: &[u8], format: Format) -> Result<Vec<Parcel>, PackError> {
        let report = |format, word| self.pack_report(title, bytes, format, word).map(|parcel| vec![parcel]);
        match format {
            Format::Junit => report(Report::Junit, Report::Junit.as_str()),
            Format::Lcov => report(Report::Lcov, Report::Lcov.as_str()),
            Format::Cobertura => report(Report::Cobertura, Report::Cobertura.as_str()),
            Format::Events => self.pack_events(title, bytes),
            Format::Auto => match (sniff(bytes), by_name(title)) {
                (Some(Sniffed::Events), _) => self.pack_events(title, bytes),
                // What it is by its beginning the server sees as well, and it may know more.
                (Some(Sniffed::Report(format)), _) => report(format, "auto"),
                (None, _) if bytes.trim_ascii().is_empty() => Err(PackError::Empty),
                (None, Some(format)) => report(format, format.as_str()),
                (None, None) => Err(PackError::Unknown),
            },
        }
    }

    fn pack_report(&self, title: &str, bytes: &[u8], format: Report, word: &str) -> Result<Parcel, PackError> {
        if bytes.len() > REPORT_BYTES_MAX {
            return Err(PackError::TooLarge { bytes: bytes.len() });
        }
        let Origin { project, run, branch, commit, shard, attempt, user, worker, root } = &self.origin;
        let covers = format != Report::Junit;
        let known = [
            ("project", project),
            ("run", run),
            ("branch", branch),
            ("commit", commit),
            ("shard", shard),
            ("attempt", attempt),
            ("user", user),
            ("worker", worker),
            ("variant", &self.variant),
            ("flag", if covers { &self.flag } else { &None }),
            ("root", if covers { root } else { &None }),
        ];
        let mut url = Url::parse("http://weir/v1/reports").expect("a URL");
        url.query_pairs_mut()
            .append_pair("format", word)
            .extend_pairs(known.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))));
        let path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        let content_type = if format == Report::Lcov { "text/plain" } else { "application/xml" };
        parcel(title.to_owned(), path, content_type, bytes)
    }

    fn pack_events(&self, title: &str, bytes: &[u8]) -> Result<Vec<Parcel>, PackError> {
        let items = split_batch(bytes, usize::MAX).map_err(PackError::Json)?;
        let mut parts = vec![(0, Vec::new())];
        for item in items {
            let line = self.filled_in(item.bytes);
            let full = |(count, part): &(usize, Vec<u8>)| {
                *count == PART_ITEMS_MAX || *count > 0 && part.len() + line.len() > PART_BYTES_MAX
            };
            if parts.last().is_none_or(full) {
                parts.push((0, Vec::new()));
            }
            if let Some((count, part)) = parts.last_mut() {
                *count += 1;
                part.extend_from_slice(&line);
                part.push(b'\n');
            }
        }
        let many = parts.len();
        let title = |number: usize| match many {
            1 => title.to_owned(),
            _ => format!("{title} (part {number} of {many})"),
        };
        let path = || "/v1/events".to_owned();
        let numbered = parts.iter().enumerate();
        numbered.map(|(i, (_, part))| parcel(title(i + 1), path(), "application/x-ndjson", part)).collect()
    }

    /// An event in one line, with what it does not say of its run filled in; anything else as it is.
    fn filled_in(&self, item: &[u8]) -> Vec<u8> {
        self.merged(item).unwrap_or_else(|_| item.iter().copied().filter(|byte| *byte != b'\n').collect())
    }

    fn merged(&self, item: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        let mut event: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(item)?;
        let mut metadata: BTreeMap<String, Box<RawValue>> = match event.get("metadata") {
            Some(metadata) => serde_json::from_str(metadata.get())?,
            None => BTreeMap::new(),
        };
        let Origin { project, run, branch, commit, shard, attempt: _, user, worker, root: _ } = &self.origin;
        fill(&mut event, "correlationId", run.as_deref())?;
        let known = [
            ("project", project),
            ("branch", branch),
            ("commit", commit),
            ("shard", shard),
            ("userId", user),
            ("worker", worker),
            ("variant", &self.variant),
        ];
        for (name, value) in known {
            fill(&mut metadata, name, value.as_deref())?;
        }
        if !metadata.is_empty() {
            event.insert("metadata".to_owned(), to_raw_value(&metadata)?);
        }
        let mut line = serde_json::to_vec(&event)?;
        // Line breaks stand between tokens only: in a JSON string they are escaped.
        line.retain(|byte| !matches!(byte, b'\n' | b'\r'));
        Ok(line)
    }

    /// Says that the run has begun, in so many shards.
    ///
    /// # Errors
    /// Compression failed.
    pub fn run_started(&self, run: &str, shards: u32, now_ms: u64) -> Result<Parcel, PackError> {
        let data = EventData { planned_shards: Some(shards), ..EventData::default() };
        self.announcement(run, EventType::RunStarted, "started", data, now_ms)
    }

    /// Says that the run is over.
    ///
    /// # Errors
    /// Compression failed.
    pub fn run_completed(&self, run: &str, now_ms: u64) -> Result<Parcel, PackError> {
        self.announcement(run, EventType::RunCompleted, "completed", EventData::default(), now_ms)
    }

    fn announcement(
        &self,
        run: &str,
        event_type: EventType,
        word: &str,
        data: EventData<'_>,
        now_ms: u64,
    ) -> Result<Parcel, PackError> {
        let attempt = self.origin.attempt.as_deref().unwrap_or("1");
        let id = Id::of(&["announcement", self.project(), run, attempt, word]);
        let text = |value: &Option<String>| value.clone().map(Text::from);
        let event = TestEvent {
            event_id: id.to_string().into(),
            event_type,
            // A stream of its own, named by its content: nothing of a shard's stream is known here.
            stream_id: format!("run-{word}-{id}").into(),
            version: 1,
            timestamp: Timestamp(now_ms),
            causation_id: None,
            correlation_id: Some(run.into()),
            data,
            metadata: Metadata {
                project: self.project().into(),
                branch: text(&self.origin.branch),
                commit: text(&self.origin.commit),
                user_id: text(&self.origin.user),
                ..Metadata::default()
            },
        };
        let json = serde_json::to_vec(&event).expect("an event is always JSON");
        parcel(format!("run {word}"), "/v1/events".to_owned(), "application/json", &json)
    }
}

/// What a file is that only its name tells.
fn by_name(title: &str) -> Option<Report> {
    let ending = title.rsplit_once('.')?.1.to_ascii_lowercase();
    matches!(ending.as_str(), "info" | "lcov").then_some(Report::Lcov)
}

fn fill(
    object: &mut BTreeMap<String, Box<RawValue>>,
    name: &str,
    value: Option<&str>,
) -> Result<(), serde_json::Error> {
    if let (Some(value), false) = (value, object.contains_key(name)) {
        object.insert(name.to_owned(), to_raw_value(value)?);
    }
    Ok(())
}

fn parcel(title: String, path: String, content_type: &str, raw: &[u8]) -> Result<Parcel, PackError> {
    let body = zstd::bulk::compress(raw, 3).map_err(PackError::Compress)?;
    Ok(Parcel { title, path, content_type: content_type.to_owned(), body: body.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn packer() -> Packer {
        let some = |text: &str| Some(text.to_owned());
        Packer::new(
            Origin { project: some("web"), run: some("r 9"), branch: some("main"), ..Origin::default() },
            None,
            None,
        )
    }

    fn opened(parcel: &Parcel) -> String {
        String::from_utf8(zstd::bulk::decompress(&parcel.body, 1 << 26).expect("zstd")).expect("text")
    }

    #[test]
    fn a_report_goes_as_it_is_with_the_run_in_the_query() {
        let bytes = b"\xef\xbb\xbf\n<testsuite name=\"a\"/>";
        let [parcel] = &packer().pack("a.xml", bytes, Format::Auto).expect("packs")[..] else { panic!("one parcel") };
        assert_eq!(parcel.path, "/v1/reports?format=auto&project=web&run=r+9&branch=main");
        assert_eq!(opened(parcel).as_bytes(), bytes);
    }

    #[test]
    fn events_are_filled_in_where_they_are_silent() {
        let lines = concat!(
            r#"{"eventId":"a","future":1.50,"metadata":{"branch":"own"}}"#,
            "\n\n",
            r#"{"eventId":"b","correlationId":"mine"}"#,
            "\nno json\n",
        );
        let [parcel] = &packer().pack("e", lines.as_bytes(), Format::Auto).expect("packs")[..] else { panic!("one") };
        let text = opened(parcel);
        let [a, b, bad] = text.lines().collect::<Vec<_>>()[..] else { panic!("three lines: {text}") };
        let (project, main) = ("web", "main");
        assert_eq!(
            serde_json::from_str::<Value>(a).expect("JSON"),
            json!({"eventId": "a", "future": 1.5, "correlationId": "r 9", "metadata": {"branch": "own", "project": project}})
        );
        assert!(a.contains("1.50"), "values stay as they were written: {a}");
        assert_eq!(
            serde_json::from_str::<Value>(b).expect("JSON"),
            json!({"eventId": "b", "correlationId": "mine", "metadata": {"branch": main, "project": project}})
        );
        assert_eq!(bad, "no json", "a bad line is the server's to judge");
    }

    #[test]
    fn many_events_go_in_parts_and_none_is_lost() {
        let count = PART_ITEMS_MAX * 2 + 5;
        let lines: String = (0..count).map(|i| format!("{{\"eventId\":\"{i}\"}}\n")).collect();
        let parcels = packer().pack("e", lines.as_bytes(), Format::Auto).expect("packs");
        assert_eq!(parcels.len(), 3);
        let all: Vec<String> =
            parcels.iter().flat_map(|p| opened(p).lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        assert_eq!(all.len(), count);
        assert!(all.iter().enumerate().all(|(i, line)| line.contains(&format!("\"eventId\":\"{i}\""))));
    }

    #[test]
    fn an_array_of_many_lines_becomes_a_line_an_event() {
        let text = "[\n {\n  \"eventId\": \"a\"\n },\n {\"eventId\": \"b\"}\n]";
        let [parcel] = &packer().pack("e", text.as_bytes(), Format::Auto).expect("packs")[..] else { panic!("one") };
        assert_eq!(opened(parcel).lines().count(), 2, "{}", opened(parcel));
    }

    #[test]
    fn announcements_are_the_same_from_every_shard_and_valid() {
        let limits = weir_schemas::limits::Limits::default();
        let event = |parcel: &Parcel| {
            let text = opened(parcel);
            let event: TestEvent<'_> = serde_json::from_str(&text).expect("an event");
            assert_eq!(event.check(&limits), Ok(()));
            (event.event_id.to_string(), event.stream_id.to_string())
        };
        let started = |packer: &Packer, at| event(&packer.run_started("r", 4, at).expect("packs"));
        assert_eq!(started(&packer(), 1), started(&packer(), 2));
        let again = Origin { attempt: Some("2".to_owned()), ..packer().origin };
        assert_ne!(started(&packer(), 1), started(&Packer::new(again, None, None), 1), "a rerun begins anew");
        assert_ne!(started(&packer(), 1), event(&packer().run_completed("r", 1).expect("packs")));
    }

    #[test]
    fn what_no_server_takes_is_not_packed() {
        assert!(matches!(packer().pack("f", b" \n", Format::Auto), Err(PackError::Empty)));
        assert!(matches!(packer().pack("f", b"ok 1 - tap", Format::Auto), Err(PackError::Unknown)));
        assert!(matches!(packer().pack("f", b"", Format::Events), Err(PackError::Json(_))));
    }
}
