//! Coverage of a finished report in the shape that all its formats share, and the events that it becomes.
//!
//! Contract: a format's decoder fills a [`CoverageReport`]; [`events`] makes one stream of `coverage_updated` events of it, one
//! coverage session: each event adds to what the stream said before, so that together they are the report. A file that
//! stands in the report several times, under whatever spelling, is one file: a line is covered if any place says so.
//! Files without a line to cover are left out. A report that names no line at all but declares how many there are and how
//! many of them were covered becomes one event with that percentage.
//!
//! No event says that the stream is complete: coverage is told about the work of a run and is none itself, so its stream
//! does not keep the run open.
//!
//! # Invariants
//! Files are in the order of their paths, so equal reports give equal events. An event has at most [`FILES_EACH_MAX`] files
//! and [`EVENT_BYTES_MAX`] bytes of paths and lines; a file with more ranges than fit stands in several.
//!
//! # Cost
//! 4 bytes a line that is named, at least half of them distinct; O(n log n) time where lines do not ascend.

use super::identity;
use super::issues::Issues;
use super::paths::Roots;
use super::report::metadata;
use super::{Context, Format, Issue, IssueKind, xml};
use serde::Serialize;
use std::collections::BTreeMap;
use weir_schemas::event::{CoverageData, CoverageFile, CoverageMode, EventData, EventType, TestEvent};
use weir_schemas::limits::{Limits, cut};
use weir_schemas::lines::{LINE_MAX, Lines};
use weir_schemas::text::Text;
use weir_schemas::timestamp::Timestamp;

/// Files of one event.
const FILES_EACH_MAX: usize = 500;
/// Bytes of paths and lines of one event.
const EVENT_BYTES_MAX: usize = 256 << 10;
/// Files of one report; what comes after them is left out.
const FILES_MAX: usize = 200_000;

/// How much of the code ran, by a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CoverageTotals {
    /// Files with lines that could have run.
    pub files: u64,
    /// Lines that ran.
    pub lines_covered: u64,
    /// Lines that could have run.
    pub lines_total: u64,
}

/// A line, and whether it ran: what ran is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit(u32);

impl Hit {
    /// `line` is at most [`LINE_MAX`], 24 bits.
    pub(super) fn new(line: u32, ran: bool) -> Hit {
        Hit(line << 1 | u32::from(ran))
    }

    pub(super) fn line(self) -> u32 {
        self.0 >> 1
    }

    pub(super) fn ran(self) -> bool {
        self.0 & 1 == 1
    }

    /// Each line once, in order: as run if it ran anywhere.
    pub(super) fn once_each(hits: &mut Vec<Hit>) {
        if !hits.is_sorted() {
            hits.sort_unstable();
        }
        // Of two alike the later is the greater: the earlier takes its value and the later goes.
        hits.dedup_by(|later, kept| {
            let same = later.line() == kept.line();
            if same {
                *kept = *later;
            }
            same
        });
    }
}

/// What a count of executions says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    Yes,
    No,
    /// Below zero: a torn counter.
    Negative,
}

/// Reads a count of executions, of any size and in any notation; `None` where it is none.
pub(super) fn ran(count: &str) -> Option<Ran> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let some = |ran: bool| Some(if ran { Ran::Yes } else { Ran::No });
    if digits(count) {
        return some(count.bytes().any(|byte| byte != b'0'));
    }
    if !count.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '.')) {
        return None;
    }
    match count.parse::<f64>().ok()? {
        count if count < 0.0 => Some(Ran::Negative),
        count if count.is_nan() => None,
        count => some(count > 0.0),
    }
}

/// Reads the number of a line, or says why it is none.
pub(super) fn line_number(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(line @ 1..=LINE_MAX) if digits => Ok(line),
        _ => Err(format!("`{}` is no line: they count from 1 to {LINE_MAX}", cut(text, 80))),
    }
}

/// The coverage of a finished report.
#[derive(Debug, Default)]
pub(super) struct CoverageReport {
    /// The folders that it says the files are in.
    pub(super) sources: Vec<String>,
    by_name: BTreeMap<String, usize>,
    files: Vec<FileHits>,
    /// What it declares beside the lines: covered, total.
    declared: Option<(u64, u64)>,
    left_out: u64,
}

#[derive(Debug, Default)]
struct FileHits {
    name: String,
    hits: Vec<Hit>,
    /// At this many, repetitions are thrown out.
    tidy_at: usize,
}

impl CoverageReport {
    /// The file of that name, in its one spelling; `None` where there are too many.
    pub(super) fn file(&mut self, name: &str) -> Option<usize> {
        if let Some(file) = self.by_name.get(name) {
            return Some(*file);
        }
        if self.files.len() == FILES_MAX {
            self.left_out += 1;
            return None;
        }
        self.by_name.insert(name.to_owned(), self.files.len());
        self.files.push(FileHits { name: name.to_owned(), hits: Vec::new(), tidy_at: 1 << 12 });
        Some(self.files.len() - 1)
    }

    /// Adds lines of a file.
    pub(super) fn add(&mut self, file: Option<usize>, hits: &[Hit]) {
        let Some(file) = file.and_then(|file| self.files.get_mut(file)) else { return };
        file.hits.extend_from_slice(hits);
        if file.hits.len() >= file.tidy_at {
            Hit::once_each(&mut file.hits);
            file.tidy_at = (file.hits.len() * 2).max(1 << 12);
        }
    }

    /// Takes in what a part of the report declares.
    pub(super) fn declare(&mut self, covered: u64, total: u64) {
        let (others_covered, others) = self.declared.unwrap_or_default();
        self.declared = Some((others_covered.saturating_add(covered), others.saturating_add(total)));
    }

    /// What it declares: covered, total.
    pub(super) fn declared(&self) -> Option<(u64, u64)> {
        self.declared
    }

    /// Whether a line is named anywhere.
    pub(super) fn names_lines(&self) -> bool {
        self.files.iter().any(|file| !file.hits.is_empty())
    }

    /// The lines that are named in all files, each once: covered, total.
    pub(super) fn counted(&mut self) -> (u64, u64) {
        let (mut covered, mut total) = (0, 0);
        for file in &mut self.files {
            Hit::once_each(&mut file.hits);
            total += file.hits.len() as u64;
            covered += file.hits.iter().filter(|hit| hit.ran()).count() as u64;
        }
        (covered, total)
    }

    /// Notes what is wrong with the report as a whole; `at` is its end.
    pub(super) fn judge(&self, issues: &mut Issues, at: usize) {
        if self.left_out > 0 {
            let left_out = self.left_out;
            issues.add(at, IssueKind::TooMany, || {
                format!("{left_out} records of files were left out: a report may have at most {FILES_MAX} files")
            });
        }
        if let (Some((covered, total @ 1..)), false) = (self.declared, self.names_lines()) {
            issues.add(at, IssueKind::Count, || {
                format!("it names no lines, only that {covered} of {total} are covered: kept as a bare percentage")
            });
        }
    }

    /// Each file by its path, its lines in order.
    fn by_path(self, root: Option<&str>, limits: &Limits) -> BTreeMap<String, Vec<Hit>> {
        let roots = Roots::new(root, &self.sources);
        let mut by_path: BTreeMap<String, Vec<Hit>> = BTreeMap::new();
        for file in self.files.into_iter().filter(|file| !file.hits.is_empty()) {
            let path = roots.resolve(&file.name);
            let path = if path.is_empty() { file.name } else { path };
            let path = identity::shorten(&xml::legal(&path).0, limits.name);
            let hits = by_path.entry(path).or_default();
            if hits.is_empty() {
                *hits = file.hits;
            } else {
                hits.extend(file.hits);
            }
        }
        by_path.values_mut().for_each(Hit::once_each);
        by_path
    }
}

/// The events of a report, as one stream, and what they say in numbers.
pub(super) fn events(
    report: CoverageReport,
    format: Format,
    input: &[u8],
    limits: &Limits,
    context: &Context,
    issues: &mut Vec<Issue>,
) -> (Vec<TestEvent<'static>>, CoverageTotals) {
    let declared = report.declared.filter(|_| !report.names_lines());
    let hash = identity::session_hash(context, input);
    let mut stream = Stream {
        stream_id: identity::stream_of(context, &hash, limits),
        hash,
        limits,
        context,
        format,
        files: Vec::new(),
        bytes: 0,
        events: Vec::new(),
        left_out: 0,
    };
    let mut totals = CoverageTotals::default();
    for (path, hits) in report.by_path(context.root.as_deref(), limits) {
        totals.files += 1;
        totals.lines_total += hits.len() as u64;
        totals.lines_covered += hits.iter().filter(|hit| hit.ran()).count() as u64;
        stream.file(&path, &hits);
    }
    stream.flush();
    if let Some((covered, total)) = declared
        && let Some(percentage) = percentage(covered, total)
    {
        totals = CoverageTotals { files: 0, lines_covered: covered, lines_total: total };
        stream.push(CoverageData { percentage: Some(percentage), ..CoverageData::default() });
    }
    if stream.left_out > 0 {
        issues.push(Issue {
            format,
            line: 1,
            kind: IssueKind::TooMany,
            message: format!(
                "the last {} of its events were left out: a report may become at most {}; send it in parts",
                stream.left_out, limits.batch_events
            ),
        });
    }
    (stream.events, totals)
}

/// To a hundredth, so that it reads well; `None` where the numbers make none.
#[expect(clippy::cast_precision_loss, reason = "a percentage needs no more than 53 bits")]
fn percentage(covered: u64, total: u64) -> Option<f64> {
    (total > 0 && covered <= total).then(|| (covered as f64 / total as f64 * 1e4).round() / 1e2)
}

struct Stream<'c> {
    hash: String,
    stream_id: String,
    limits: &'c Limits,
    context: &'c Context,
    format: Format,
    /// Files of the next event, and what they have in bytes.
    files: Vec<CoverageFile<'static>>,
    bytes: usize,
    events: Vec<TestEvent<'static>>,
    /// Events over those that a report may become.
    left_out: u64,
}

impl Stream<'_> {
    /// Tells a file's lines, in as many parts as their ranges need.
    fn file(&mut self, path: &str, hits: &[Hit]) {
        let mut rest = hits;
        let bytes_max = EVENT_BYTES_MAX.min(self.limits.record / 2);
        // Two texts, of ranges of two lines of eight digits with their signs.
        let ranges_max = (bytes_max / 36).max(1);
        while !rest.is_empty() {
            let (covered, instrumented, taken) = part(rest, ranges_max);
            rest = &rest[taken..];
            let (covered, instrumented) = (covered.to_string(), instrumented.to_string());
            // A path's quotes double in JSON.
            let bytes = path.len() * 2 + covered.len() + instrumented.len() + 50;
            let full = self.files.len() == FILES_EACH_MAX.min(self.limits.coverage_files);
            if full || !self.files.is_empty() && self.bytes + bytes > bytes_max {
                self.flush();
            }
            self.bytes += bytes;
            self.files.push(CoverageFile {
                path: Text::from(path.to_owned()),
                covered: Text::from(covered),
                instrumented: Text::from(instrumented),
            });
        }
    }

    fn flush(&mut self) {
        self.bytes = 0;
        let files = std::mem::take(&mut self.files);
        if !files.is_empty() {
            self.push(CoverageData { files, ..CoverageData::default() });
        }
    }

    fn push(&mut self, coverage: CoverageData<'static>) {
        if self.events.len() == self.limits.batch_events {
            self.left_out += 1;
            return;
        }
        let version = self.events.len() as u64 + 1;
        let flag = self.context.flag.as_deref().filter(|flag| !flag.is_empty());
        let flag = flag.map(|flag| Text::from(identity::shorten(flag, self.limits.name)));
        let coverage = CoverageData { flag, mode: Some(CoverageMode::Add), ..coverage };
        self.events.push(TestEvent {
            event_id: Text::from(format!("{}#{version}", self.hash)),
            event_type: EventType::CoverageUpdated,
            stream_id: Text::from(self.stream_id.clone()),
            version,
            timestamp: Timestamp::from_ms(self.context.received_at_ms).unwrap_or_default(),
            causation_id: None,
            correlation_id: Some(Text::from(identity::shorten(&self.context.run, self.limits.stream_id))),
            data: EventData { coverage: Some(coverage), attempt: self.context.attempt, ..EventData::default() },
            metadata: metadata(self.format, self.context, self.limits),
        });
    }
}

/// The first lines, as many as their ranges fit into a text each: covered, instrumented, and how many were taken.
fn part(hits: &[Hit], ranges_max: usize) -> (Lines, Lines, usize) {
    let (mut covered, mut instrumented) = (Lines::new(), Lines::new());
    for (taken, hit) in hits.iter().enumerate() {
        if covered.ranges().len().max(instrumented.ranges().len()) == ranges_max {
            return (covered, instrumented, taken);
        }
        instrumented.insert(hit.line());
        if hit.ran() {
            covered.insert(hit.line());
        }
    }
    (covered, instrumented, hits.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_come_again_and_again_take_no_room() {
        let mut report = CoverageReport::default();
        let file = report.file("a");
        for n in 0..1_000_000 {
            report.add(file, &[Hit::new(n % 3_000 + 1, n == 700_000)]);
        }
        assert!(report.files[0].hits.len() < 10_000, "{}", report.files[0].hits.len());
        assert_eq!(report.counted(), (1, 3_000));
    }
}
