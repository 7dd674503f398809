//! What few events say besides what happened: announcements, withdrawals, why a test failed, what was measured.
//!
//! Contract: boxed once an event that says any of it, so the others need no room for it. Measured numbers become integers here,
//! clamped to what all sums can hold.

use super::{ErrorText, Text, Withdraws};
use crate::views::coverage::ALL;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_schemas::event::{CoverageData, CoverageFile, CoverageMode, EventType, PerformanceData, TestEvent};
use weir_schemas::id::{Id, shorten};
use weir_schemas::limits::{Limits, cut};
use weir_schemas::lines::Lines;
use weir_schemas::outcome::Outcome;

/// What few events say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Extra {
    pub(super) planned_tests: Option<u32>,
    pub(super) planned_shards: Option<u32>,
    pub(super) max_attempts: Option<u32>,
    pub(super) withdraws: Option<Withdraws>,
    pub(super) error: Option<Arc<ErrorText>>,
    /// `eventId`, of an event that tells of a failure.
    pub(super) event_name: Option<Text>,
    pub(super) performance: Option<Arc<Performance>>,
    pub(super) coverage: Option<Arc<Coverage>>,
}

/// Resource use: integers, so that sums are exact (`views.md`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Performance {
    /// Memory, in bytes.
    pub memory: Option<i64>,
    /// Processor use, as a fraction of one core × 10⁶.
    pub cpu: Option<i64>,
    /// Named numbers × 10⁶, in order of their names.
    pub metrics: Vec<(Text, i64)>,
}

/// What an event says is covered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// The kind of tests; empty where none is named.
    pub flag: Text,
    /// Whether it replaces what its session said before under this flag.
    pub replace: bool,
    /// A percentage × 10⁶ without lines.
    pub percentage: Option<i64>,
    /// The files, each once, in order of their identities.
    pub files: Vec<CoveredFile>,
}

/// What an event says is covered of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoveredFile {
    /// The path's identity.
    pub id: Id,
    /// The path from the repository's root.
    pub path: Text,
    /// Lines that ran.
    pub covered: Lines,
    /// Lines that could have run, those that did among them.
    pub instrumented: Lines,
}

pub(super) fn extra(event: &TestEvent<'_>, limits: &Limits) -> Option<Box<Extra>> {
    let data = &event.data;
    let fails = match event.event_type {
        EventType::SetupFailed | EventType::TestError | EventType::TimeoutOccurred => true,
        _ => event.outcome().is_some_and(Outcome::fails),
    };
    let announces = data.planned_tests.is_some() || data.planned_shards.is_some() || data.max_attempts.is_some();
    let tells = data.error.is_some() || data.performance.is_some() || data.coverage.is_some();
    if !(fails || announces || tells || event.event_type == EventType::ResultWithdrawn) {
        return None;
    }
    let withdraws = (event.event_type == EventType::ResultWithdrawn).then(|| match &data.withdraws {
        Some(id) => Withdraws::Event(Id::of(&[id])),
        None => Withdraws::Test { attempt: data.attempt },
    });
    Some(Box::new(Extra {
        planned_tests: data.planned_tests,
        planned_shards: data.planned_shards,
        max_attempts: data.max_attempts,
        withdraws,
        error: error_text(event, limits),
        event_name: fails.then(|| Text::from(&*event.event_id)),
        performance: data.performance.as_ref().map(|said| Arc::new(performance(said, limits))),
        coverage: data.coverage.as_ref().map(|said| Arc::new(coverage(said, limits))),
    }))
}

fn coverage(said: &CoverageData<'_>, limits: &Limits) -> Coverage {
    // Whoever decoded the event has checked the lines.
    let lines = |text: &str| Lines::parse(text).unwrap_or_default();
    let file = |said: &CoverageFile<'_>| {
        let (path, covered) = (shorten(&said.path, limits.name), lines(&said.covered));
        let instrumented = lines(&said.instrumented).union(&covered);
        CoveredFile { id: Id::of(&["file", &path]), path: path.into(), covered, instrumented }
    };
    Coverage {
        // `*` stands for all flags together, and is none itself.
        flag: said
            .flag
            .as_deref()
            .filter(|flag| *flag != ALL)
            .map_or_else(Text::default, |flag| cut(flag, limits.name).into()),
        replace: said.mode == Some(CoverageMode::Replace),
        percentage: said.percentage.filter(|_| said.files.is_empty()).map(millionths),
        files: once(said.files.iter().map(file).collect()),
    }
}

/// Puts what was said of one path together, where that stands several times.
fn once(mut files: Vec<CoveredFile>) -> Vec<CoveredFile> {
    files.sort_by_key(|file| file.id);
    files.dedup_by(|next, first| {
        let same = next.id == first.id;
        if same {
            first.covered = first.covered.union(&next.covered);
            first.instrumented = first.instrumented.union(&next.instrumented);
        }
        same
    });
    files
}

/// What was measured, in integers; numbers are clamped to what all sums can hold.
fn performance(said: &PerformanceData<'_>, limits: &Limits) -> Performance {
    let mut metrics: Vec<(Text, i64)> =
        said.metrics.iter().map(|(name, value)| (Text::from(&*cut(name, limits.name)), millionths(*value))).collect();
    // Names that are one when cut: the first stays.
    metrics.dedup_by(|next, first| next.0 == first.0);
    metrics.truncate(limits.metrics);
    Performance { memory: said.memory.map(whole), cpu: said.cpu.map(millionths), metrics }
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to what i64 holds exactly")]
fn whole(value: f64) -> i64 {
    value.round().clamp(-MEASURED_MAX, MEASURED_MAX) as i64
}

fn millionths(value: f64) -> i64 {
    whole(value * 1e6)
}

/// The largest number that is measured, in its unit: above, it counts as this.
const MEASURED_MAX: f64 = 9e15;

fn error_text(event: &TestEvent<'_>, limits: &Limits) -> Option<Arc<ErrorText>> {
    let error = event.data.error.as_ref()?;
    let short = |text: &str| Text::from(&*cut(text, limits.name));
    Some(Arc::new(ErrorText {
        message: Text::from(&*cut(&error.message, limits.error_message)),
        kind: error.kind.as_deref().map(short),
        stack: error.stack.as_deref().map(|stack| Text::from(&*cut(stack, limits.error_stack))),
        file: error.file.as_deref().map(short),
        line: error.line,
    }))
}
