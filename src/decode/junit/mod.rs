//! JUnit XML: the format that everybody writes and nobody specified.
//!
//! Contract: one pass over the elements without a tree. Suites nest; cases belong to the innermost one, or, where there is
//! none, to one named after the report or the class. Elements that are not known are looked through, output is skipped.
//! What writers declare (counts, encodings) is compared with what is there, and what is there counts.
//!
//! Repeated cases are attempts only where a writer is known to repeat a case for each try: Gradle's retry plugin, the
//! web test runner, TestNG, which marks the tries before the last as skipped, and pytest's rerun plugin, which writes them
//! as passed. A failure beside a pass of the same name could otherwise be two tests, and a failure must not be hidden.
//!
//! # Invariants
//! A document type is skipped and no entity of a document's own is ever resolved. A case whose end was cut off counts only
//! if it had failed already.
//!
//! # Cost
//! Time O(bytes), whatever the bytes. Memory: the text, and what the events made of it need; of a case no more than 64
//! problems are kept, and texts up to their limits only.
//!
//! # Failure
//! Each part that cannot be read is an issue with its line. Markup that breaks off ends the report there.

mod case;
mod suite;
mod values;

use super::issues::Issues;
use super::report::{Case, Repeats, Report};
use super::{Format, Issue, IssueKind, encoding, xml};
use case::{Capped, OpenCase, PROBLEMS_MAX, Problem, Role};
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use std::collections::BTreeMap;
use suite::OpenSuite;
use weir_schemas::limits::Limits;
use weir_schemas::outcome::Outcome;

/// Reads a report.
pub(super) fn read(input: &[u8], limits: &Limits) -> (Report, Vec<Issue>) {
    let (text, complaint) = encoding::to_text(input);
    let mut parser = Parser::new(&text, limits);
    if let Some(complaint) = complaint {
        parser.issues.add(0, IssueKind::Encoding, || complaint);
    }
    parser.run();
    (parser.report, parser.issues.finish(Format::Junit, &text))
}

/// An element that is open.
struct Frame {
    name: String,
    element: Element,
}

enum Element {
    /// `testsuites`, with its name and what it declares.
    Root {
        name: Option<String>,
        declared: Option<u64>,
        counted: u64,
    },
    Suite(OpenSuite),
    Case(Box<OpenCase>),
    Problem(Box<Problem>),
    StackTrace,
    /// Did not run, or, where it is still to be done, may fail.
    Skipped {
        to_do: bool,
    },
    Properties,
    /// Its content says nothing: output, properties of a case.
    Opaque,
    /// Not known: looked through.
    Other,
}

struct Parser<'t> {
    text: &'t str,
    limits: &'t Limits,
    report: Report,
    issues: Issues,
    frames: Vec<Frame>,
    /// Suites made for cases that stand in none.
    implicit: BTreeMap<String, usize>,
    /// Events that may still be made.
    room: usize,
    left_out: u64,
    at: usize,
    known: bool,
    testng: bool,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str, limits: &'t Limits) -> Parser<'t> {
        Parser {
            text,
            limits,
            report: Report::default(),
            issues: Issues::default(),
            frames: Vec::new(),
            implicit: BTreeMap::new(),
            room: limits.batch_events,
            left_out: 0,
            at: 0,
            known: false,
            testng: false,
        }
    }

    fn issue(&mut self, kind: IssueKind, message: impl FnOnce() -> String) {
        self.issues.add(self.at, kind, message);
    }

    fn run(&mut self) {
        let mut reader = Reader::from_str(self.text);
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
                    let reason = error.to_string();
                    let cut = matches!(error, quick_xml::Error::Syntax(_));
                    let kind = if cut { IssueKind::Cut } else { IssueKind::Syntax };
                    self.issue(kind, || format!("{reason}; what follows is left out"));
                    break false;
                }
            }
        };
        self.end(whole);
    }

    fn end(&mut self, whole: bool) {
        if whole && let Some(open) = self.frames.last() {
            let name = open.name.clone();
            self.issue(IssueKind::Cut, || format!("the report ends inside <{name}>"));
        }
        while let Some(frame) = self.frames.pop() {
            self.close(frame.element, false);
        }
        if !self.known {
            self.issue(IssueKind::NotThisFormat, || {
                "no <testsuites>, <testsuite> or <testcase> in it: not a JUnit report".to_owned()
            });
        }
        if self.left_out > 0 {
            let (left_out, limit) = (self.left_out, self.limits.batch_events);
            self.issue(IssueKind::TooMany, || {
                format!(
                    "{left_out} results were left out: a report may become at most {limit} events; send it in parts"
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
            Event::Comment(text) => self.testng |= text.contains("org.testng.reporters"),
            Event::DocType(_) => self.issue(IssueKind::Entity, || "a DOCTYPE: skipped, never resolved".to_owned()),
            Event::Empty(_) | Event::Decl(_) | Event::PI(_) | Event::Eof => {}
        }
        true
    }

    fn start(&mut self, start: &BytesStart<'_>) -> bool {
        if self.frames.len() >= self.limits.xml_depth {
            let depth = self.limits.xml_depth;
            self.issue(IssueKind::Depth, || format!("nested deeper than {depth}: what follows is left out"));
            return false;
        }
        let name = start.local_name().as_ref().to_owned();
        let element = self.open(&name, start);
        self.frames.push(Frame { name, element });
        true
    }

    fn open(&mut self, name: &str, start: &BytesStart<'_>) -> Element {
        let inside = self.frames.iter().rev().map(|frame| &frame.element).find(|e| !matches!(e, Element::Other));
        match inside {
            Some(Element::Opaque | Element::StackTrace | Element::Skipped { .. }) => return Element::Opaque,
            Some(Element::Problem(_)) if name == "stackTrace" => return Element::StackTrace,
            Some(Element::Problem(_)) => return Element::Opaque,
            Some(Element::Properties) => {
                self.property(start);
                return Element::Opaque;
            }
            _ => {}
        }
        let in_case = matches!(inside, Some(Element::Case(_)));
        let in_suite = matches!(inside, Some(Element::Suite(_)));
        match name {
            "testsuites" => self.open_root(start),
            "testsuite" => self.open_suite(start),
            "testcase" => self.open_case(start),
            "failure" if in_case || in_suite => self.open_problem(start, Role::Final, Outcome::Failed),
            "error" if in_case || in_suite => self.open_problem(start, Role::Final, Outcome::Error),
            "flakyFailure" if in_case => self.open_problem(start, Role::Flaky, Outcome::Failed),
            "flakyError" if in_case => self.open_problem(start, Role::Flaky, Outcome::Error),
            "rerunFailure" if in_case => self.open_problem(start, Role::Rerun, Outcome::Failed),
            "rerunError" if in_case => self.open_problem(start, Role::Rerun, Outcome::Error),
            "skipped" | "skip" | "ignored" | "disabled" if in_case => self.open_skipped(start),
            "properties" if in_suite => Element::Properties,
            "properties" | "system-out" | "system-err" => Element::Opaque,
            _ => Element::Other,
        }
    }

    fn open_case(&mut self, start: &BytesStart<'_>) -> Element {
        self.known = true;
        let mut open = OpenCase::default();
        let mut class = None;
        self.attributes(start, |parser, key, value| match key {
            "name" => open.case.name = value,
            "classname" => class = Some(value),
            "class" => class = class.take().or(Some(value)),
            "file" => open.case.file = Some(value).filter(|file| !file.is_empty()),
            "line" => open.line = value.trim().parse().ok(),
            "time" | "duration" => open.duration_ms = parser.duration(&value),
            "timestamp" => open.case.started_at = values::timestamp_ms(&value),
            "status" | "result" => open.status = values::status(&value).max(open.status),
            _ => {}
        });
        open.case.class = class.unwrap_or_default();
        if open.case.name.is_empty() {
            open.case.name = if open.case.class.is_empty() { "unnamed".to_owned() } else { open.case.class.clone() };
        }
        open.case.suite = self.suite_of(&open.case.class);
        open.case.repeats = self.repeats(&open.case);
        Element::Case(Box::new(open))
    }

    /// What a repetition of this case would mean.
    fn repeats(&self, case: &Case) -> Repeats {
        if self.testng {
            return Repeats::AttemptsAfterSkip;
        }
        let open = self.frames.iter().rev().find_map(|frame| match &frame.element {
            Element::Suite(suite) => Some(suite),
            _ => None,
        });
        open.map_or(Repeats::Tests, |open| open.repeats(&self.report.suites[open.index], case))
    }

    fn open_problem(&mut self, start: &BytesStart<'_>, role: Role, outcome: Outcome) -> Element {
        let mut problem = Problem {
            role,
            outcome,
            message: None,
            kind: None,
            file: None,
            line: None,
            duration_ms: None,
            text: Capped::new(self.limits.error_stack),
            stack: Capped::new(self.limits.error_stack),
        };
        self.attributes(start, |parser, key, value| match key {
            "message" => problem.message = Some(value),
            "type" => problem.kind = Some(value),
            "file" => problem.file = Some(value),
            "line" => problem.line = value.trim().parse().ok(),
            "time" => problem.duration_ms = parser.duration(&value),
            _ => {}
        });
        // The word of cargo-nextest.
        if problem.kind.as_deref() == Some("test timeout") {
            problem.outcome = Outcome::Timeout;
        }
        Element::Problem(Box::new(problem))
    }

    fn open_skipped(&mut self, start: &BytesStart<'_>) -> Element {
        let mut to_do = false;
        self.attributes(start, |_, key, value| to_do |= key == "type" && value == "todo");
        Element::Skipped { to_do }
    }

    fn property(&mut self, start: &BytesStart<'_>) {
        let mut name = String::new();
        self.attributes(start, |_, key, value| {
            if key == "name" {
                name = value;
            }
        });
        let suite = self.frames.iter_mut().rev().find_map(|frame| match &mut frame.element {
            Element::Suite(suite) => Some(suite),
            _ => None,
        });
        if let Some(suite) = suite {
            suite.property(&name);
        }
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
            let (value, illegal) = xml::legal(&value);
            if illegal {
                self.illegal_character();
            }
            take(self, attribute.key.local_name().as_ref(), value.into_owned());
        }
    }

    fn duration(&mut self, value: &str) -> Option<f64> {
        let duration = values::duration_ms(value);
        if duration.is_none() && !value.trim().is_empty() {
            self.issue(IssueKind::Value, || {
                format!("`{}` is no duration in seconds", weir_schemas::limits::cut(value, 80))
            });
        }
        duration
    }

    fn unknown_entity(&mut self) {
        self.issue(IssueKind::Entity, || "an entity that XML does not know: kept as it stands".to_owned());
    }

    fn illegal_character(&mut self) {
        self.issue(IssueKind::Character, || "characters that XML forbids became U+FFFD".to_owned());
    }

    fn content(&mut self, text: &str) {
        let Some(sink) = self.sink() else { return };
        let (text, illegal) = xml::legal(text);
        sink.push(&text);
        if illegal {
            self.illegal_character();
        }
    }

    fn reference(&mut self, name: &str) {
        let Some(sink) = self.sink() else { return };
        match xml::reference(name) {
            Some(c) => self.content(c.encode_utf8(&mut [0; 4])),
            None => {
                sink.push("&");
                sink.push(name);
                sink.push(";");
                self.unknown_entity();
            }
        }
    }

    /// Where text goes that comes now.
    fn sink(&mut self) -> Option<&mut Capped> {
        let mut frames = self.frames.iter_mut().rev().map(|frame| &mut frame.element);
        match frames.next()? {
            Element::Problem(problem) => Some(&mut problem.text),
            Element::StackTrace => match frames.next()? {
                Element::Problem(problem) => Some(&mut problem.stack),
                _ => None,
            },
            _ => None,
        }
    }

    fn end_tag(&mut self, name: &str) {
        let Some(at) = self.frames.iter().rposition(|frame| frame.name == name) else {
            let name = weir_schemas::limits::cut(name, 80).into_owned();
            self.issue(IssueKind::Syntax, || format!("</{name}> closes nothing: ignored"));
            return;
        };
        if at + 1 < self.frames.len() {
            let open = self.frames.last().map(|frame| frame.name.clone()).unwrap_or_default();
            self.issue(IssueKind::Syntax, || format!("<{open}> is not closed: closed here"));
        }
        while self.frames.len() > at {
            let whole = self.frames.len() == at + 1;
            if let Some(frame) = self.frames.pop() {
                self.close(frame.element, whole);
            }
        }
    }

    /// Closes an element that was taken off the stack; `whole` when its own end tag was there.
    fn close(&mut self, element: Element, whole: bool) {
        match element {
            Element::Root { declared, counted, .. } => self.declared(declared, counted, counted, "the report"),
            Element::Suite(suite) => self.close_suite(suite),
            Element::Case(case) => self.close_case(*case, whole),
            Element::Problem(problem) => self.close_problem(*problem),
            Element::Skipped { to_do } => {
                if let Some(Element::Case(case)) = self.enclosing() {
                    case.skipped = true;
                    case.to_do |= to_do;
                }
            }
            Element::StackTrace | Element::Properties | Element::Opaque | Element::Other => {}
        }
    }

    /// The innermost open element that is known.
    fn enclosing(&mut self) -> Option<&mut Element> {
        self.frames.iter_mut().rev().map(|frame| &mut frame.element).find(|e| !matches!(e, Element::Other))
    }

    fn close_problem(&mut self, problem: Problem) {
        let limits = self.limits;
        match self.enclosing() {
            Some(Element::Case(case)) => case.add(problem),
            Some(Element::Suite(suite)) => {
                let index = suite.index;
                let error = problem.error(&[], limits);
                if self.take_room(1) {
                    self.report.suites[index].problems.push(error);
                }
            }
            _ => {}
        }
    }

    fn close_case(&mut self, open: OpenCase, whole: bool) {
        if !whole && !open.failed() {
            let name = weir_schemas::limits::cut(&open.case.name, 80).into_owned();
            self.issue(IssueKind::Cut, || format!("the case `{name}` has no end: not counted"));
            return;
        }
        if open.left_out > 0 {
            let (name, left_out) = (weir_schemas::limits::cut(&open.case.name, 80).into_owned(), open.left_out);
            self.issue(IssueKind::TooMany, || {
                format!("the case `{name}` has {left_out} failures or errors over the {PROBLEMS_MAX} that are kept")
            });
        }
        self.count();
        if let Some(before) = self.report.cases.last()
            && open.teardown_of(before)
        {
            let teardown = open.finish(self.limits);
            if let Some(case) = self.report.cases.last_mut() {
                suite::join(case, teardown, self.limits);
            }
            return;
        }
        let case = open.finish(self.limits);
        if self.take_room(case.attempts.len()) {
            self.report.cases.push(case);
        }
    }

    /// Takes room for events, or counts what is left out.
    fn take_room(&mut self, events: usize) -> bool {
        match self.room.checked_sub(events) {
            Some(room) => {
                self.room = room;
                true
            }
            None => {
                self.left_out += 1;
                false
            }
        }
    }
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
