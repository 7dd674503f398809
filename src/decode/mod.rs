//! Decoding: bytes that came from outside into events.
//!
//! Contract: pure functions of bytes, limits and context; no clock, no I/O. [`event`] reads TestEvent JSON, [`batch`] finds
//! the items of a request body, [`record`] says what a record of a topic is, [`decode`] turns a finished report of some [`Format`] into events with stable identities.
//! A format is one file here and one arm in [`decode`]; what those of tests share stands in [`report`], those of coverage in
//! [`coverage`].
//!
//! # Invariants
//! The same bytes in the same context give the same events, byte for byte. A report is never refused for one bad part:
//! what cannot be read is an [`Issue`] and the rest goes on.
//!
//! # Cost
//! O(bytes) time and memory; at most `Limits::batch_events` events a report.

pub mod batch;
mod cobertura;
pub mod compression;
pub mod coverage;
mod encoding;
pub mod event;
mod identity;
mod issues;
mod junit;
mod lcov;
mod paths;
pub mod record;
pub mod report;
mod xml;

use coverage::CoverageTotals;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use weir_schemas::event::TestEvent;
use weir_schemas::limits::Limits;

/// A report format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// JUnit XML, in all its dialects.
    Junit,
    /// Coverage as an LCOV tracefile.
    Lcov,
    /// Coverage as Cobertura XML.
    Cobertura,
}

impl Format {
    /// All formats.
    pub const ALL: [Format; 3] = [Format::Junit, Format::Lcov, Format::Cobertura];

    /// The word in `?format=` and in `metadata.source`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Junit => "junit",
            Format::Lcov => "lcov",
            Format::Cobertura => "cobertura",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word names no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown report format `{0}`")]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;
    fn from_str(word: &str) -> Result<Format, UnknownFormat> {
        Format::ALL.into_iter().find(|format| format.as_str() == word).ok_or_else(|| UnknownFormat(word.to_owned()))
    }
}

/// What bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// TestEvent JSON: for [`batch::split_batch`].
    Events,
    /// A report: for [`decode`].
    Report(Format),
}

/// How much of the beginning is looked at: comments and a document type may stand before the first element.
const SNIFFED_BYTES: usize = 64 << 10;

/// What the bytes are by their beginning: `{` and `[` open JSON, `<` opens XML, whose first element tells the rest, and the
/// first words of LCOV are its own; `None` when it is none of these.
#[must_use]
pub fn sniff(bytes: &[u8]) -> Option<Sniffed> {
    let beginning = &bytes[..bytes.len().min(SNIFFED_BYTES)];
    let beginning =
        [b"\xFF\xFE", b"\xFE\xFF"].iter().find_map(|mark| beginning.strip_prefix(*mark)).unwrap_or(beginning);
    // What matters here is ASCII: of UTF-16 every other byte, whichever is first.
    let wide = beginning.iter().take(2).any(|byte| *byte == 0);
    let narrow: Vec<u8> = beginning.iter().copied().filter(|byte| !wide || *byte != 0).collect();
    let text = String::from_utf8_lossy(event::without_bom(&narrow));
    match text.trim_ascii_start().as_bytes().first()? {
        b'{' | b'[' if !wide => Some(Sniffed::Events),
        b'<' if xml::root(&text) == Some("coverage") => Some(Sniffed::Report(Format::Cobertura)),
        b'<' => Some(Sniffed::Report(Format::Junit)),
        _ if lcov::begins(&text) => Some(Sniffed::Report(Format::Lcov)),
        _ => None,
    }
}

/// What is known about a report beside its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The project; `default` when empty.
    pub project: String,
    /// The run (build, pipeline): becomes `correlationId`.
    pub run: String,
    /// The shard of the run.
    pub shard: Option<String>,
    /// The branch that was tested.
    pub branch: Option<String>,
    /// The commit that was tested.
    pub commit: Option<String>,
    /// The machine that ran the tests; default: the suite's host name, where the report has one.
    pub worker: Option<String>,
    /// Which deliberate try of the run's job this is: the same bytes under another attempt are another stream.
    pub attempt: Option<u32>,
    /// OS, browser, matrix cell: part of each test's identity.
    pub variant: Option<String>,
    /// The test framework.
    pub framework: Option<String>,
    /// Who started the run.
    pub user: Option<String>,
    /// Which kind of tests covered (unit, e2e, …): the same coverage under another flag is another session.
    pub flag: Option<String>,
    /// The repository's root on the machine that wrote the report: what source files' paths begin with there.
    pub root: Option<String>,
    /// When the report came in, epoch ms: the time of whatever has no absolute time of its own.
    pub received_at_ms: u64,
}

/// In what way a part of a report was not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IssueKind {
    /// Nothing of the format was found in it.
    NotThisFormat,
    /// Bytes that are no text in the encoding.
    Encoding,
    /// A character that may not stand there; it was replaced.
    Character,
    /// Markup that is not well formed.
    Syntax,
    /// It ends before its end.
    Cut,
    /// It is nested too deeply; the rest was left out.
    Depth,
    /// A document type or an entity of its own: skipped, never resolved.
    Entity,
    /// A value that cannot be understood, taken as absent.
    Value,
    /// What it declares is not what it holds; what it holds counts.
    Count,
    /// It has more than a batch may have; the rest was left out.
    TooMany,
}

/// A part of a report that was not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// The format that was decoded.
    pub format: Format,
    /// The line, from 1.
    pub line: usize,
    /// In what way.
    pub kind: IssueKind,
    /// What is wrong and what became of it, for a person.
    pub message: String,
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}: {}", self.format, self.line, self.message)
    }
}

/// What a report says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Its events, one stream, versions from 1.
    pub events: Vec<TestEvent<'static>>,
    /// What was not as it should be, in the order of the lines.
    pub issues: Vec<Issue>,
    /// What a report of coverage says in all; `None` of any other.
    pub coverage: Option<CoverageTotals>,
}

/// Turns a whole report into events: one stream with stable identities (`events.md`, reports over HTTP), each suite
/// started and completed in it; of coverage, one session.
#[must_use]
pub fn decode(format: Format, input: &[u8], limits: &Limits, context: &Context) -> Decoded {
    let (report, mut issues) = match format {
        Format::Junit => {
            let (report, issues) = junit::read(input, limits);
            let events = report::events(&report, format, input, limits, context);
            return Decoded { events, issues, coverage: None };
        }
        Format::Lcov => lcov::read(input),
        Format::Cobertura => cobertura::read(input, limits),
    };
    let (events, totals) = coverage::events(report, format, input, limits, context, &mut issues);
    Decoded { events, issues, coverage: Some(totals) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_tells_reports_from_events() {
        let report = Some(Sniffed::Report(Format::Junit));
        let (lcov, cobertura) = (Some(Sniffed::Report(Format::Lcov)), Some(Sniffed::Report(Format::Cobertura)));
        let utf16 = |text: &str| [0xFEFF].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let (wide_lcov, wide_cobertura): (Vec<u8>, Vec<u8>) = (utf16("TN:\r\nSF:a"), utf16("<?xml?><coverage>"));
        for (bytes, expected) in [
            (b"\xEF\xBB\xBF \n<?xml version='1.0'?>".as_slice(), report),
            (b"<testsuite/>", report),
            (b"\xFF\xFE<\0?\0", report),
            (b"\0<\0?", report),
            (b" {\"eventId\":1}\n{}", Some(Sniffed::Events)),
            (b"[{}]", Some(Sniffed::Events)),
            (b"", None),
            (b"ok 1 - passes", None),
            (b"TN:\nSF:a.c\n", lcov),
            (b"\xEF\xBB\xBF# made by hand\r\n\r\nSF:a.c\r\n", lcov),
            (b"  VER:1\n", lcov),
            (b"SF is no record", None),
            (b"<?xml version='1.0'?>\n<!DOCTYPE coverage SYSTEM 'x'>\n<!-- <a> -->\n<coverage>", cobertura),
            (b"<coverage/>", cobertura),
            (b"<coverages/>", report),
            (b"<testsuite name='<coverage>'/>", report),
            (&wide_lcov, lcov),
            (&wide_cobertura, cobertura),
        ] {
            assert_eq!(sniff(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn formats_are_known_by_their_words() {
        for format in Format::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
        }
        assert_eq!("trx".parse::<Format>(), Err(UnknownFormat("trx".to_owned())));
    }
}
