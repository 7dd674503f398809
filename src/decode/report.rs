//! A finished report in the shape that all formats share, and the events that it becomes.
//!
//! Contract: a format's decoder fills a [`Report`]; [`events`] makes one stream of it: for each suite its start with the
//! number of tests found, each attempt of each test as `test_case_completed`, and its end, so that the stream is complete
//! with its last event. Suites of the same identity in one report are one suite.
//!
//! Attempts are stated, from 1, where the report itself has several of one test. Else none is: `metadata.source` makes the
//! test's only attempt in this report its next one in log order, so a rerun's report continues where the first one ended.
//!
//! Times: a case's own absolute time, else its suite's advanced by what the cases before it took, else when the report
//! came in. Without an absolute time the order is kept by the versions alone.
//!
//! # Invariants
//! No clock: the context brings the time. Versions are 1 to n without gaps.

use super::identity::{self, Names};
use super::{Context, Format};
use std::collections::BTreeMap;
use weir_schemas::event::{DEFAULT_PROJECT, EventData, EventType, Metadata, TestErrorData, TestEvent};
use weir_schemas::limits::{Limits, cut};
use weir_schemas::outcome::Outcome;
use weir_schemas::text::Text;
use weir_schemas::timestamp::Timestamp;

/// A finished report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Its suites, in the order in which they open.
    pub suites: Vec<Suite>,
    /// Its cases, in order.
    pub cases: Vec<Case>,
}

/// A suite as it stands in a report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suite {
    /// Its identity: the name with whatever tells it from others of that name (package, enclosing suites).
    pub id: String,
    /// Its readable name.
    pub name: String,
    /// The machine, or whatever the writer puts there.
    pub hostname: Option<String>,
    /// When it began, epoch ms, where the report has an absolute time.
    pub started_at: Option<u64>,
    /// How long it took, ms.
    pub duration_ms: Option<f64>,
    /// Failures of the suite itself: of its setup.
    pub problems: Vec<TestErrorData<'static>>,
    /// Whether it only holds other suites.
    pub container: bool,
}

/// What repeated cases of one name are, where no case says so itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repeats {
    /// Different tests.
    #[default]
    Tests,
    /// Attempts, when all but the last failed.
    AttemptsAfterFailure,
    /// Attempts, when all but the last are marked as skipped.
    AttemptsAfterSkip,
    /// Attempts, when all but the last seem to have passed.
    AttemptsAfterPass,
}

/// One case of a report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Case {
    /// Its suite, as an index into [`Report::suites`].
    pub suite: usize,
    /// The class, module or file that the writer names; may be empty.
    pub class: String,
    /// Its name.
    pub name: String,
    /// The source file.
    pub file: Option<String>,
    /// What it means when the same case comes again.
    pub repeats: Repeats,
    /// When it began, epoch ms, where the report has an absolute time.
    pub started_at: Option<u64>,
    /// How it ended, each time that it ran; never empty.
    pub attempts: Vec<Attempt>,
}

/// One run of a case.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took, ms.
    pub duration_ms: Option<f64>,
    /// Why it failed.
    pub error: Option<TestErrorData<'static>>,
}

/// The events of a report, as one stream.
#[must_use]
pub fn events(
    report: &Report,
    format: Format,
    input: &[u8],
    limits: &Limits,
    context: &Context,
) -> Vec<TestEvent<'static>> {
    let names = identity::tell_apart(report, context, limits);
    let mut stream = Stream {
        attempts: attempts(report, &names),
        hash: identity::content_hash(context, input),
        stream_id: identity::stream_id(context, input, limits),
        run: identity::shorten(&context.run, limits.stream_id),
        metadata: metadata(format, context, limits),
        context,
        limits,
        events: Vec::new(),
    };
    for group in groups(report) {
        stream.suite(report, &group, &names);
    }
    stream.events
}

/// How many attempts of each test that has several were told so far.
type Attempts<'n> = BTreeMap<&'n Names, u32>;

fn attempts<'n>(report: &Report, names: &'n [Names]) -> Attempts<'n> {
    let mut found: BTreeMap<&Names, usize> = BTreeMap::new();
    for (case, names) in report.cases.iter().zip(names) {
        *found.entry(names).or_default() += case.attempts.len();
    }
    found.into_iter().filter(|(_, attempts)| *attempts > 1).map(|(names, _)| (names, 0)).collect()
}

/// Suites of one identity, in the order of their first; with their cases.
struct Group {
    suites: Vec<usize>,
    cases: Vec<usize>,
}

fn groups(report: &Report) -> Vec<Group> {
    let mut by_id: BTreeMap<&str, usize> = BTreeMap::new();
    let mut groups: Vec<Group> = Vec::new();
    let mut group_of = Vec::with_capacity(report.suites.len());
    for (index, suite) in report.suites.iter().enumerate() {
        let group = *by_id.entry(&suite.id).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Group { suites: Vec::new(), cases: Vec::new() });
        }
        groups[group].suites.push(index);
        group_of.push(group);
    }
    for (index, case) in report.cases.iter().enumerate() {
        groups[group_of[case.suite]].cases.push(index);
    }
    groups.retain(|group| {
        let says_something = |index: &usize| {
            let suite = &report.suites[*index];
            !suite.container || !suite.problems.is_empty()
        };
        !group.cases.is_empty() || group.suites.iter().any(says_something)
    });
    groups
}

struct Stream<'c> {
    attempts: Attempts<'c>,
    hash: String,
    stream_id: String,
    run: String,
    metadata: Metadata<'static>,
    context: &'c Context,
    limits: &'c Limits,
    events: Vec<TestEvent<'static>>,
}

impl Stream<'_> {
    fn suite(&mut self, report: &Report, group: &Group, names: &[Names]) {
        let suites: Vec<&Suite> = group.suites.iter().map(|index| &report.suites[*index]).collect();
        let Some(first) = suites.first() else { return };
        let received_at = self.context.received_at_ms;
        let data = self.suite_data(first);
        let metadata = self.metadata_of(first, None);
        let started_at = suites.iter().filter_map(|suite| suite.started_at).min().unwrap_or(received_at);
        let planned = EventData { planned_tests: Some(distinct(&group.cases, names)), ..data.clone() };
        self.push(EventType::TestSuiteStarted, started_at, planned, metadata.clone());
        for suite in &suites {
            for problem in &suite.problems {
                let data = EventData { error: Some(problem.clone()), ..data.clone() };
                self.push(EventType::SetupFailed, suite.started_at.unwrap_or(received_at), data, metadata.clone());
            }
        }
        let ended_at = self.cases(report, group, names, &data).unwrap_or(0).max(started_at);
        let known_ends = suites.iter().filter_map(|suite| Some(suite.started_at? + whole_ms(suite.duration_ms?)));
        let ended_at = known_ends.fold(ended_at, u64::max);
        let taken = suites.iter().filter_map(|suite| suite.duration_ms).reduce(|sum, more| sum + more);
        self.push(EventType::TestSuiteCompleted, ended_at, EventData { duration: taken, ..data }, metadata);
    }

    /// The attempts of the cases of one suite; gives the latest end among them.
    fn cases(
        &mut self,
        report: &Report,
        group: &Group,
        names: &[Names],
        suite_data: &EventData<'static>,
    ) -> Option<u64> {
        let mut ended_at = None;
        let mut clocks: BTreeMap<usize, Clock> = BTreeMap::new();
        for index in &group.cases {
            let (case, names) = (&report.cases[*index], &names[*index]);
            let suite = &report.suites[case.suite];
            let clock = clocks.entry(case.suite).or_insert_with(|| Clock::new(suite));
            let metadata = self.metadata_of(suite, names.variant.as_deref());
            for attempt in &case.attempts {
                let at = clock.end_of(case, attempt).unwrap_or(self.context.received_at_ms);
                ended_at = ended_at.max(Some(at));
                let mut data = case_data(suite_data, names, attempt);
                data.attempt = self.attempts.get_mut(names).map(|told| {
                    *told += 1;
                    *told
                });
                self.push(EventType::TestCaseCompleted, at, data, metadata.clone());
            }
        }
        ended_at
    }

    fn suite_data(&self, suite: &Suite) -> EventData<'static> {
        let name = cut(&suite.name, self.limits.name).into_owned();
        let id = identity::shorten(&suite.id, self.limits.name);
        EventData {
            test_suite_id: (id != name).then(|| Text::from(id)),
            test_suite_name: Some(Text::from(name)),
            ..EventData::default()
        }
    }

    fn metadata_of(&self, suite: &Suite, variant: Option<&str>) -> Metadata<'static> {
        let mut metadata = self.metadata.clone();
        if let Some(variant) = variant {
            metadata.variant = Some(Text::from(variant.to_owned()));
        }
        if metadata.worker.is_none() {
            let machine = suite.hostname.as_deref().filter(|name| *name != "localhost");
            metadata.worker = machine.map(|name| Text::from(cut(name, self.limits.name).into_owned()));
        }
        metadata
    }

    fn push(&mut self, event_type: EventType, at: u64, data: EventData<'static>, metadata: Metadata<'static>) {
        let version = self.events.len() as u64 + 1;
        self.events.push(TestEvent {
            event_id: Text::from(format!("{}#{version}", self.hash)),
            event_type,
            stream_id: Text::from(self.stream_id.clone()),
            version,
            timestamp: Timestamp::from_ms(at).unwrap_or_default(),
            causation_id: None,
            correlation_id: Some(Text::from(self.run.clone())),
            data,
            metadata,
        });
    }
}

/// How many tests the cases are: attempts of one test count once.
fn distinct(cases: &[usize], names: &[Names]) -> u32 {
    let tests: std::collections::BTreeSet<_> =
        cases.iter().map(|index| (&names[*index].test_id, &names[*index].variant)).collect();
    u32::try_from(tests.len()).unwrap_or(u32::MAX)
}

fn case_data(suite: &EventData<'static>, names: &Names, attempt: &Attempt) -> EventData<'static> {
    EventData {
        test_id: Some(Text::from(names.test_id.clone())),
        test_name: Some(Text::from(names.test_name.clone())),
        result: Some(attempt.outcome),
        duration: attempt.duration_ms,
        error: attempt.error.clone(),
        ..suite.clone()
    }
}

/// The time inside one suite: it advances by what its cases took, and not past the suite's end.
struct Clock {
    now_ms: Option<f64>,
    end_ms: Option<f64>,
}

impl Clock {
    #[expect(clippy::cast_precision_loss, reason = "epoch milliseconds are far below 2^53")]
    fn new(suite: &Suite) -> Clock {
        let start = suite.started_at.map(|at| at as f64);
        Clock { now_ms: start, end_ms: start.zip(suite.duration_ms).map(|(start, taken)| start + taken) }
    }

    fn end_of(&mut self, case: &Case, attempt: &Attempt) -> Option<u64> {
        let taken = attempt.duration_ms.unwrap_or(0.0);
        if let Some(started_at) = case.started_at {
            return Some(started_at + whole_ms(taken));
        }
        let mut now = self.now_ms? + taken;
        if let Some(end) = self.end_ms {
            now = now.min(end);
        }
        self.now_ms = Some(now);
        Some(whole_ms(now))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what u64 holds exactly")]
fn whole_ms(ms: f64) -> u64 {
    ms.clamp(0.0, 9e15) as u64
}

pub(super) fn metadata(format: Format, context: &Context, limits: &Limits) -> Metadata<'static> {
    let text = |value: &Option<String>| {
        let value = value.as_deref().filter(|value| !value.is_empty())?;
        Some(Text::from(cut(value, limits.name).into_owned()))
    };
    let project = if context.project.is_empty() { DEFAULT_PROJECT } else { &context.project };
    let mut labels = BTreeMap::new();
    if let Some(attempt) = context.attempt {
        labels.insert(Text::from("attempt"), Text::from(attempt.to_string()));
    }
    Metadata {
        project: Text::from(identity::shorten(project, limits.name)),
        framework: text(&context.framework),
        user_id: text(&context.user),
        branch: text(&context.branch),
        commit: text(&context.commit),
        worker: text(&context.worker),
        shard: text(&context.shard),
        variant: context
            .variant
            .as_deref()
            .filter(|v| !v.is_empty())
            .map(|v| Text::from(identity::shorten(v, limits.name))),
        source: Some(Text::from(format.as_str())),
        labels,
        ..Metadata::default()
    }
}
