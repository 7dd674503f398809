//! Cobertura XML: what coverage.py, gcovr, Istanbul, coverlet, PHPUnit, Go's converters and Cobertura itself write.
//!
//! Contract: one pass over the elements without a tree. Each `line` inside a `class` counts for the class's file: under its
//! methods and under itself, in one class or several of one file, a line is one line, covered if any of them says so.
//! Conditions and branches are passed over: they are counts without identity, which cannot be merged. What the report
//! declares in all (`lines-valid`, `lines-covered`) is compared with what it holds, and what it holds counts.
//!
//! # Invariants
//! A document type is skipped and no entity of a document's own is ever resolved.
//!
//! # Cost
//! O(bytes) time; memory as [`super::coverage`] says.
//!
//! # Failure
//! Each part that cannot be read is an issue with its line. Markup that breaks off ends the report there.

use super::coverage::{CoverageReport, Hit, Ran, line_number, ran};
use super::issues::Issues;
use super::paths::normalise;
use super::{Format, Issue, IssueKind, encoding, xml};
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use weir_schemas::limits::{Limits, cut};

/// Source folders that are kept, and bytes of each: more than one is of no use.
const SOURCES_MAX: usize = 64;
const SOURCE_BYTES_MAX: usize = 4 << 10;

/// Reads a report.
pub(super) fn read(input: &[u8], limits: &Limits) -> (CoverageReport, Vec<Issue>) {
    let (text, complaint) = encoding::to_text(input);
    let mut parser = Parser::new(limits);
    if let Some(complaint) = complaint {
        parser.issues.add(0, IssueKind::Encoding, || complaint);
    }
    parser.run(&text);
    (parser.report, parser.issues.finish(Format::Cobertura, &text))
}

/// An element that is open.
#[derive(Debug, PartialEq, Eq)]
enum Element {
    Coverage,
    Source(String),
    /// A class, with its file, where it names one that is taken.
    Class(Option<usize>),
    Line,
    /// Not looked at but for its name: looked through.
    Other(String),
}

impl Element {
    fn name(&self) -> &str {
        match self {
            Element::Coverage => "coverage",
            Element::Source(_) => "source",
            Element::Class(_) => "class",
            Element::Line => "line",
            Element::Other(name) => name,
        }
    }
}

struct Parser<'l> {
    limits: &'l Limits,
    report: CoverageReport,
    issues: Issues,
    open: Vec<Element>,
    at: usize,
    /// Whether its first element is that of the format.
    known: bool,
    clover: bool,
}

impl<'l> Parser<'l> {
    fn new(limits: &'l Limits) -> Parser<'l> {
        Parser {
            limits,
            report: CoverageReport::default(),
            issues: Issues::default(),
            open: Vec::new(),
            at: 0,
            known: false,
            clover: false,
        }
    }

    fn issue(&mut self, kind: IssueKind, message: impl FnOnce() -> String) {
        self.issues.add(self.at, kind, message);
    }

    fn run(&mut self, text: &str) {
        let mut reader = Reader::from_str(text);
        let config = reader.config_mut();
        config.allow_dangling_amp = true;
        config.allow_unmatched_ends = true;
        config.check_end_names = false;
        config.expand_empty_elements = true;
        let whole = loop {
            self.at = position(reader.buffer_position());
            match reader.read_event() {
                Ok(Event::Eof) => break true,
                Ok(event) => {
                    if !self.event(event) {
                        break false;
                    }
                }
                Err(error) => {
                    self.at = position(reader.error_position());
                    let cut = matches!(error, quick_xml::Error::Syntax(_));
                    let kind = if cut { IssueKind::Cut } else { IssueKind::Syntax };
                    self.issue(kind, || format!("{error}; what follows is left out"));
                    break false;
                }
            }
        };
        self.end(whole);
    }

    fn end(&mut self, whole: bool) {
        if let (true, Some(open)) = (whole, self.open.last()) {
            let name = cut(open.name(), 80).into_owned();
            self.issue(IssueKind::Cut, || format!("the report ends inside <{name}>"));
        }
        if !self.known {
            self.issue(IssueKind::NotThisFormat, || {
                "it does not begin with <coverage>: no Cobertura report".to_owned()
            });
        } else if self.clover && !self.report.names_lines() {
            self.issue(IssueKind::NotThisFormat, || {
                "a Clover report: of coverage, LCOV and Cobertura are read, which most tools can write as well"
                    .to_owned()
            });
        } else {
            self.compare();
            self.report.judge(&mut self.issues, self.at);
        }
    }

    /// Compares what the report declares with what it holds.
    fn compare(&mut self) {
        let Some((covered, total)) = self.report.declared() else { return };
        let held = self.report.counted();
        if held != (covered, total) && self.report.names_lines() {
            let (covered_held, total_held) = held;
            self.issues.add(0, IssueKind::Count, || {
                format!(
                    "the report declares {covered} of {total} lines covered and has {covered_held} of {total_held}: \
                     these count"
                )
            });
        }
    }

    /// Takes one event in; `false` ends the reading.
    fn event(&mut self, event: Event<'_>) -> bool {
        match event {
            Event::Start(start) => return self.start(&start),
            Event::End(end) => self.end_tag(end.local_name().as_ref()),
            Event::Text(text) => self.content(&text.xml10_content()),
            Event::CData(text) => self.content(&text.xml10_content()),
            Event::GeneralRef(reference) => self.reference(&reference.into_inner()),
            Event::DocType(doctype) => {
                // Every writer refers to Cobertura's own, which says nothing; one that declares things is another matter.
                if doctype.contains('[') {
                    self.issue(IssueKind::Entity, || "a DOCTYPE: skipped, never resolved".to_owned());
                }
            }
            Event::Comment(_) | Event::Empty(_) | Event::Decl(_) | Event::PI(_) | Event::Eof => {}
        }
        true
    }

    fn start(&mut self, start: &BytesStart<'_>) -> bool {
        if self.open.len() >= self.limits.xml_depth {
            let depth = self.limits.xml_depth;
            self.issue(IssueKind::Depth, || format!("nested deeper than {depth}: what follows is left out"));
            return false;
        }
        let name = start.local_name();
        let element = match name.as_ref() {
            "coverage" if self.open.is_empty() => self.open_coverage(start),
            "source" if self.known => Element::Source(String::new()),
            "class" if self.known => self.open_class(start),
            "line" => self.open_line(start),
            other => Element::Other(other.to_owned()),
        };
        self.open.push(element);
        true
    }

    fn open_coverage(&mut self, start: &BytesStart<'_>) -> Element {
        self.known = true;
        let (mut covered, mut total) = (None, None);
        self.attributes(start, |parser, key, value| match key {
            "lines-covered" => covered = value.trim().parse().ok(),
            "lines-valid" => total = value.trim().parse().ok(),
            "clover" => parser.clover = true,
            _ => {}
        });
        if let (Some(covered), Some(total)) = (covered, total) {
            self.report.declare(covered, total);
        }
        Element::Coverage
    }

    fn open_class(&mut self, start: &BytesStart<'_>) -> Element {
        let (mut name, mut file) = (String::new(), String::new());
        self.attributes(start, |_, key, value| match key {
            "name" => name = value,
            "filename" => file = normalise(value.trim()),
            _ => {}
        });
        if file.is_empty() {
            self.issue(IssueKind::Value, || {
                format!("the class `{}` names no file: its lines are left out", cut(&name, 80))
            });
            return Element::Class(None);
        }
        Element::Class(self.report.file(&file))
    }

    fn open_line(&mut self, start: &BytesStart<'_>) -> Element {
        let file = self.open.iter().rev().find_map(|element| match element {
            Element::Class(file) => Some(*file),
            _ => None,
        });
        // Elsewhere it is something else.
        let Some(file) = file else { return Element::Line };
        let (mut number, mut hits) = (None, None);
        self.attributes(start, |_, key, value| match key {
            "number" => number = Some(value),
            "hits" => hits = Some(value),
            _ => {}
        });
        let line = match line_number(number.as_deref().unwrap_or_default().trim()) {
            Ok(line) => line,
            Err(reason) => {
                self.issue(IssueKind::Value, || format!("{reason}: left out"));
                return Element::Line;
            }
        };
        let hits = hits.unwrap_or_default();
        match ran(hits.trim()) {
            Some(found) => {
                if found == Ran::Negative {
                    self.issue(IssueKind::Value, || {
                        format!("line {line} ran {} times: taken as not run", cut(&hits, 80))
                    });
                }
                self.report.add(file, &[Hit::new(line, found == Ran::Yes)]);
            }
            None => self.issue(IssueKind::Value, || {
                format!("hits=`{}` says not how often line {line} ran: left out", cut(&hits, 80))
            }),
        }
        Element::Line
    }

    /// Hands each attribute that can be read to `take`, by its local name.
    fn attributes(&mut self, start: &BytesStart<'_>, mut take: impl FnMut(&mut Self, &str, String)) {
        // An attribute that stands there twice is no reason to lose the others: the last one counts.
        for attribute in start.attributes().with_checks(false) {
            let attribute = match attribute {
                Ok(attribute) => attribute,
                Err(error) => {
                    self.issue(IssueKind::Syntax, || format!("an attribute cannot be read: {error}"));
                    continue;
                }
            };
            let (value, unknown) = xml::attribute(&attribute.value);
            if unknown {
                self.unknown_entity();
            }
            take(self, attribute.key.local_name().as_ref(), value.into_owned());
        }
    }

    fn unknown_entity(&mut self) {
        self.issue(IssueKind::Entity, || "an entity that XML does not know: kept as it stands".to_owned());
    }

    fn content(&mut self, text: &str) {
        if let Some(Element::Source(source)) = self.open.last_mut()
            && source.len() + text.len() <= SOURCE_BYTES_MAX
        {
            source.push_str(text);
        }
    }

    fn reference(&mut self, name: &str) {
        match xml::reference(name) {
            Some(c) => self.content(c.encode_utf8(&mut [0; 4])),
            None => self.unknown_entity(),
        }
    }

    fn end_tag(&mut self, name: &str) {
        let Some(at) = self.open.iter().rposition(|element| element.name() == name) else {
            let name = cut(name, 80).into_owned();
            return self.issue(IssueKind::Syntax, || format!("</{name}> closes nothing: ignored"));
        };
        if let (true, Some(open)) = (at + 1 < self.open.len(), self.open.last()) {
            let name = cut(open.name(), 80).into_owned();
            self.issue(IssueKind::Syntax, || format!("<{name}> is not closed: closed here"));
        }
        for element in self.open.drain(at..) {
            if let Element::Source(source) = element
                && self.report.sources.len() < SOURCES_MAX
                && !source.trim().is_empty()
            {
                self.report.sources.push(source);
            }
        }
    }
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
