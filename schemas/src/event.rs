//! The TestEvent: the one shape in which everything enters Weir, and the product's public contract.
//!
//! Contract: JSON, camelCase, versioned as a JSON Schema under `schemas/json/` that is generated from these types (a test
//! fails when it is stale). Strings borrow from the input. Unknown fields are ignored here and kept in the log; an
//! unknown event type is an error. `docs` of each field are the schema's descriptions.
//!
//! # Invariants
//! Decoding knows no limits and no clock; [`TestEvent::check`] applies the limits that make an event a reject. Texts that
//! are merely long are cut by whoever keeps them (`limits::cut`).
//!
//! # Cost
//! About 1.3 µs for an event of 500 bytes on one core of a small server (`benches/decode.rs`).

use crate::outcome::Outcome;
use crate::text::Text;
use crate::timestamp::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

mod rules;

pub use rules::InvalidEvent;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// A run began; may announce `plannedShards`, `plannedTests`, `maxAttempts`.
    RunStarted,
    /// A run ended, whatever its streams say.
    RunCompleted,
    /// A suite began in this stream; may announce `plannedTests`.
    TestSuiteStarted,
    /// A suite ended in this stream.
    TestSuiteCompleted,
    /// A test began.
    TestCaseStarted,
    /// A test ended, with `result`.
    TestCaseCompleted,
    /// A test ended well.
    TestPassed,
    /// A test ended with a failed assertion.
    TestFailed,
    /// A test was skipped.
    TestSkipped,
    /// An assertion was evaluated inside a test.
    AssertionEvaluated,
    /// Coverage of this stream so far.
    CoverageUpdated,
    /// Resource use of a test or suite.
    PerformanceMeasured,
    /// A test broke, or, without a test, something in the run did.
    TestError,
    /// A test was ended for taking too long.
    TimeoutOccurred,
    /// The setup of a suite or run failed.
    SetupFailed,
    /// Takes a result back.
    ResultWithdrawn,
}

impl EventType {
    /// All types, in wire order.
    pub const ALL: [EventType; 16] = [
        EventType::RunStarted,
        EventType::RunCompleted,
        EventType::TestSuiteStarted,
        EventType::TestSuiteCompleted,
        EventType::TestCaseStarted,
        EventType::TestCaseCompleted,
        EventType::TestPassed,
        EventType::TestFailed,
        EventType::TestSkipped,
        EventType::AssertionEvaluated,
        EventType::CoverageUpdated,
        EventType::PerformanceMeasured,
        EventType::TestError,
        EventType::TimeoutOccurred,
        EventType::SetupFailed,
        EventType::ResultWithdrawn,
    ];
}

/// One test event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestEvent<'a> {
    /// Unique; the idempotency key. At most 128 bytes.
    #[serde(borrow)]
    #[schemars(length(min = 1, max = 128))]
    pub event_id: Text<'a>,
    /// What happened.
    pub event_type: EventType,
    /// The test execution session; usually one shard of one run. At most 256 bytes.
    #[schemars(length(min = 1, max = 256))]
    pub stream_id: Text<'a>,
    /// Position in the stream, from 1.
    #[schemars(range(min = 1))]
    pub version: u64,
    /// When it happened.
    pub timestamp: Timestamp,
    /// The event that caused this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<Text<'a>>,
    /// The run (build, pipeline); default `streamId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Text<'a>>,
    /// What the event says.
    #[serde(default)]
    pub data: EventData<'a>,
    /// Where it comes from.
    #[serde(default)]
    pub metadata: Metadata<'a>,
}

/// What an event says; which fields matter depends on its type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EventData<'a> {
    /// The test's stable identity; together with `metadata.variant`.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub test_id: Option<Text<'a>>,
    /// The test's readable name; its identity (with suite and variant) where `testId` is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_name: Option<Text<'a>>,
    /// The suite's identity within the run; default `testSuiteName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_suite_id: Option<Text<'a>>,
    /// The suite's readable name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_suite_name: Option<Text<'a>>,
    /// How the test ended, on `test_case_completed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Outcome>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<TestErrorData<'a>>,
    /// How long it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub duration: Option<f64>,
    /// Coverage, on `coverage_updated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<CoverageData<'a>>,
    /// Resource use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub performance: Option<PerformanceData<'a>>,
    /// Assertions evaluated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assertions: Vec<AssertionData<'a>>,
    /// Which try of the test this is, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub attempt: Option<u32>,
    /// Tests announced, on `run_started` or `test_suite_started`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned_tests: Option<u32>,
    /// Streams announced, on `run_started`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned_shards: Option<u32>,
    /// How often a failing test is tried at most, on `run_started` or `test_suite_started`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// The `eventId` to take back, on `result_withdrawn`; or use `testId` and `attempt` (absent: all attempts).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdraws: Option<Text<'a>>,
}

/// Why a test failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestErrorData<'a> {
    /// The message; the first 8 KiB are kept.
    #[serde(borrow)]
    pub message: Text<'a>,
    /// The exception's type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Text<'a>>,
    /// The stack trace; the first 64 KiB are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Text<'a>>,
    /// The source file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Text<'a>>,
    /// The line in it, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// Coverage of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CoverageData<'a> {
    /// A bare percentage, where no lines are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub percentage: Option<f64>,
    /// Lines by file; at most 5,000 files an event. One file may stand there several times: its lines are joined.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<CoverageFile<'a>>,
    /// Kind of tests that covered: unit, e2e, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<Text<'a>>,
    /// Whether it adds to what this stream said before, or replaces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<CoverageMode>,
}

/// How a coverage event relates to its stream's earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CoverageMode {
    /// Adds lines.
    #[default]
    Add,
    /// Replaces what the stream said.
    Replace,
}

/// Covered and instrumented lines of one file, as ranges: `1-4,7`. Lines count from 1 to 16777215; no blanks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CoverageFile<'a> {
    /// The path from the repository's root.
    #[serde(borrow)]
    #[schemars(length(min = 1))]
    pub path: Text<'a>,
    /// Lines that ran.
    pub covered: Text<'a>,
    /// Lines that could have run.
    pub instrumented: Text<'a>,
}

/// Resource use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PerformanceData<'a> {
    /// Memory, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
    /// Processor use, as a fraction of one core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Named numbers.
    #[serde(borrow, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<Text<'a>, f64>,
}

/// One assertion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssertionData<'a> {
    /// What was asserted.
    #[serde(borrow)]
    pub description: Text<'a>,
    /// Whether it held.
    pub passed: bool,
    /// What was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Text<'a>>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<Text<'a>>,
}

/// How bad something is, from least to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warning,
    /// Wrong.
    Error,
}

impl Severity {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// Where an event comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata<'a> {
    /// The project; default `default`.
    #[serde(borrow)]
    #[schemars(length(min = 1))]
    pub project: Text<'a>,
    /// The test framework.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub framework: Option<Text<'a>>,
    /// Who started the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Text<'a>>,
    /// How bad it is; default by the event's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Free words to filter by; at most 32 are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Text<'a>>,
    /// The branch that was tested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<Text<'a>>,
    /// The commit that was tested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<Text<'a>>,
    /// The machine that ran the tests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<Text<'a>>,
    /// The shard of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Text<'a>>,
    /// OS, browser, matrix cell: part of a test's identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<Text<'a>>,
    /// What made the event out of a report: the format's name. Absent on events sent as such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Text<'a>>,
    /// Free pairs; at most 64 are kept.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Text<'a>, Text<'a>>,
}

/// The project of an event that names none.
pub const DEFAULT_PROJECT: &str = "default";

impl Default for Metadata<'_> {
    fn default() -> Self {
        Metadata {
            project: Text::from(DEFAULT_PROJECT),
            framework: None,
            user_id: None,
            severity: None,
            tags: Vec::new(),
            branch: None,
            commit: None,
            worker: None,
            shard: None,
            variant: None,
            source: None,
            labels: BTreeMap::new(),
        }
    }
}

impl TestEvent<'_> {
    /// The run's name: `correlationId`, default `streamId`.
    #[must_use]
    pub fn run(&self) -> &str {
        self.correlation_id.as_deref().unwrap_or(&self.stream_id)
    }

    /// The suite's identity within its run: `testSuiteId`, default `testSuiteName`. An empty name is none, here and below.
    #[must_use]
    pub fn suite(&self) -> Option<&str> {
        named(self.data.test_suite_id.as_ref()).or(named(self.data.test_suite_name.as_ref()))
    }

    /// `testId`.
    #[must_use]
    pub fn test_id(&self) -> Option<&str> {
        named(self.data.test_id.as_ref())
    }

    /// `testName`, default `testId`.
    #[must_use]
    pub fn test_name(&self) -> Option<&str> {
        named(self.data.test_name.as_ref()).or(self.test_id())
    }

    /// Whether the event names a test.
    #[must_use]
    pub fn names_a_test(&self) -> bool {
        self.test_name().is_some()
    }

    /// The outcome that the event states for its test's attempt, if it states one.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        if !self.names_a_test() {
            return None;
        }
        match self.event_type {
            EventType::TestCaseCompleted => self.data.result,
            EventType::TestPassed => Some(Outcome::Passed),
            EventType::TestFailed => Some(Outcome::Failed),
            EventType::TestSkipped => Some(Outcome::Skipped),
            EventType::TestError => Some(Outcome::Error),
            EventType::TimeoutOccurred => Some(Outcome::Timeout),
            EventType::SetupFailed => Some(Outcome::Error),
            _ => None,
        }
    }
}

fn named<'t>(text: Option<&'t Text<'_>>) -> Option<&'t str> {
    text.map(|text| &**text).filter(|text| !text.is_empty())
}

/// The JSON Schema of a [`TestEvent`], as committed under `schemas/json/`.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(TestEvent<'static>);
    schema.insert("title".to_owned(), "Weir TestEvent".into());
    schema.to_value()
}

#[cfg(test)]
mod tests;
