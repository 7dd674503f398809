//! LCOV tracefiles: what `lcov`, `geninfo`, c8, nyc, coverage.py, cargo-llvm-cov, Dart and many others write.
//!
//! Contract: one pass over the lines. A record goes from `SF:` to `end_of_record`; of it the `DA:` lines count, in any order
//! and any number of times: a line is covered if it ran by any of them. Functions, branches, checksums and the names of
//! tests are passed over: branches are counts without identity, which cannot be merged. `LF` and `LH`, what a record
//! declares, are compared with what it holds, and what it holds counts.
//!
//! Counts are read for being zero or not: they exceed 32 and 64 bits, come as `1.8e+19`, and below zero where a racing
//! counter was torn; such a count proves nothing, and the line is taken as not run.
//!
//! # Cost
//! O(bytes) time; memory as [`super::coverage`] says.
//!
//! # Failure
//! Each line that cannot be read is an issue. A record without its end counts as far as it goes.

use super::coverage::{CoverageReport, Hit, Ran, line_number, ran};
use super::issues::Issues;
use super::paths::normalise;
use super::{Format, Issue, IssueKind, encoding};
use weir_schemas::limits::cut;

/// Reads a report.
pub(super) fn read(input: &[u8]) -> (CoverageReport, Vec<Issue>) {
    let (text, complaint) = encoding::to_text(input);
    let mut parser = Parser::default();
    if let Some(complaint) = complaint {
        parser.issues.add(0, IssueKind::Encoding, || complaint);
    }
    for line in text.split_inclusive('\n') {
        parser.line(line.trim());
        parser.at += line.len();
    }
    parser.finish();
    (parser.report, parser.issues.finish(Format::Lcov, &text))
}

/// Whether a text begins as an LCOV file does.
pub(super) fn begins(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    first.is_some_and(|line| ["TN:", "SF:", "VER:"].iter().any(|start| line.starts_with(start)))
}

/// A record that is open.
#[derive(Default)]
struct Record {
    name: String,
    /// Where it began.
    at: usize,
    hits: Vec<Hit>,
    lines_found: Option<u64>,
    lines_hit: Option<u64>,
}

#[derive(Default)]
struct Parser {
    report: CoverageReport,
    issues: Issues,
    open: Option<Record>,
    at: usize,
    known: bool,
}

impl Parser {
    fn issue(&mut self, kind: IssueKind, message: impl FnOnce() -> String) {
        self.issues.add(self.at, kind, message);
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        if line == "end_of_record" {
            return match self.open.take() {
                Some(record) => self.close(record),
                None => self.issue(IssueKind::Syntax, || "end_of_record closes nothing: ignored".to_owned()),
            };
        }
        match line.split_once(':') {
            Some(("SF", name)) => self.open(name),
            Some(("DA", value)) => self.data(value),
            Some((word @ ("LF" | "LH"), value)) => self.declared(word, value),
            // Names of tests, functions, branches, conditions: whatever this or a later version says besides.
            Some((word, _)) if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase()) => {}
            _ => self.issue(IssueKind::Syntax, || format!("`{}` is no line of LCOV: ignored", cut(line, 80))),
        }
    }

    fn open(&mut self, name: &str) {
        self.known = true;
        if let Some(record) = self.open.take() {
            let cut = cut(&record.name, 200).into_owned();
            self.issue(IssueKind::Cut, || format!("no end_of_record for {cut}: taken as far as it goes"));
            self.close(record);
        }
        self.open = Some(Record { name: normalise(name.trim()), at: self.at, ..Record::default() });
    }

    fn data(&mut self, value: &str) {
        if self.open.is_none() {
            return self.issue(IssueKind::Syntax, || "a DA line outside of a record: ignored".to_owned());
        }
        let mut fields = value.split(',');
        let (line, count) = (fields.next().unwrap_or_default().trim(), fields.next().unwrap_or_default().trim());
        let line = match line_number(line) {
            Ok(line) => line,
            Err(reason) => return self.issue(IssueKind::Value, || format!("{reason}: left out")),
        };
        let Some(found) = ran(count) else {
            return self.issue(IssueKind::Value, || {
                format!("`{}` says not how often line {line} ran: left out", cut(count, 80))
            });
        };
        if found == Ran::Negative {
            self.issue(IssueKind::Value, || format!("line {line} ran {} times: taken as not run", cut(count, 80)));
        }
        if let Some(record) = &mut self.open {
            record.hits.push(Hit::new(line, found == Ran::Yes));
        }
    }

    fn declared(&mut self, word: &str, value: &str) {
        let count = value.trim().parse().ok();
        if let Some(record) = &mut self.open {
            match word {
                "LF" => record.lines_found = count,
                _ => record.lines_hit = count,
            }
        }
    }

    fn close(&mut self, mut record: Record) {
        if record.name.is_empty() {
            let at = record.at;
            self.issues.add(at, IssueKind::Value, || "SF: names no file: its record is left out".to_owned());
            return;
        }
        Hit::once_each(&mut record.hits);
        let total = record.hits.len() as u64;
        let covered = record.hits.iter().filter(|hit| hit.ran()).count() as u64;
        if let (Some(lines_found), Some(lines_hit)) = (record.lines_found, record.lines_hit) {
            self.report.declare(lines_hit, lines_found);
            if (lines_hit, lines_found) != (covered, total) && total > 0 {
                self.issues.add(record.at, IssueKind::Count, || {
                    let name = cut(&record.name, 200);
                    format!("{name} declares {lines_hit} of {lines_found} lines covered and has {covered} of {total}: these count")
                });
            }
        }
        let file = self.report.file(&record.name);
        self.report.add(file, &record.hits);
    }

    fn finish(&mut self) {
        if let Some(record) = self.open.take() {
            let name = cut(&record.name, 200).into_owned();
            self.issue(IssueKind::Cut, || format!("the report ends inside the record of {name}"));
            self.close(record);
        }
        if !self.known {
            self.issue(IssueKind::NotThisFormat, || "no SF: line in it: not an LCOV report".to_owned());
        }
        self.report.judge(&mut self.issues, self.at);
    }
}
