//! The rules that make a well-formed event a reject.
//!
//! Contract: pure and without a clock. The first field that breaks a rule is named as on the wire, with the index where it
//! stands in a list.

use super::{CoverageData, EventType, TestEvent};
use crate::limits::Limits;
use crate::lines::Lines;
use std::borrow::Cow;

/// Why a well-formed event is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidEvent {
    /// The path of the field, as on the wire: `data.coverage.files[3].covered`.
    pub field: Cow<'static, str>,
    /// What is wrong with it.
    pub problem: String,
}

impl TestEvent<'_> {
    /// Applies the rules that make an event a reject.
    ///
    /// # Errors
    /// The first field that breaks a rule: an empty or over-long identity, version 0, attempt 0, a test event without a
    /// test, a completed test without `result`, a withdrawal that names nothing, a negative or non-finite number, a
    /// percentage that is none, lines that are none, more files than an event may have.
    pub fn check(&self, limits: &Limits) -> Result<(), InvalidEvent> {
        identity("eventId", &self.event_id, limits.event_id)?;
        identity("streamId", &self.stream_id, limits.stream_id)?;
        if let Some(run) = &self.correlation_id {
            identity("correlationId", run, limits.stream_id)?;
        }
        if self.version == 0 {
            return bad("version", "versions count from 1");
        }
        if self.data.attempt == Some(0) {
            return bad("data.attempt", "attempts count from 1");
        }
        if self.metadata.project.is_empty() {
            return bad("metadata.project", "empty");
        }
        if self.data.duration.is_some_and(|duration| !duration.is_finite() || duration < 0.0) {
            return bad("data.duration", "not a duration: milliseconds, 0 or more");
        }
        if let Some(coverage) = &self.data.coverage {
            check_coverage(coverage, limits)?;
        }
        self.check_by_type()
    }

    fn check_by_type(&self) -> Result<(), InvalidEvent> {
        match self.event_type {
            EventType::TestCaseStarted | EventType::TestPassed | EventType::TestFailed | EventType::TestSkipped
                if !self.names_a_test() =>
            {
                bad("data.testId", "missing: this type of event needs testId or testName")
            }
            EventType::TestCaseCompleted if !self.names_a_test() => {
                bad("data.testId", "missing: this type of event needs testId or testName")
            }
            EventType::TestCaseCompleted if self.data.result.is_none() => bad("data.result", "missing"),
            EventType::TestSuiteStarted | EventType::TestSuiteCompleted if self.suite().is_none() => {
                bad("data.testSuiteId", "missing: this type of event needs testSuiteId or testSuiteName")
            }
            EventType::ResultWithdrawn if self.data.withdraws.is_none() && !self.names_a_test() => {
                bad("data.withdraws", "missing: name the eventId to take back, or testId with attempt")
            }
            _ => Ok(()),
        }
    }
}

fn check_coverage(coverage: &CoverageData<'_>, limits: &Limits) -> Result<(), InvalidEvent> {
    if coverage.percentage.is_some_and(|percentage| !(0.0..=100.0).contains(&percentage)) {
        return bad("data.coverage.percentage", "not a percentage: a number from 0 to 100");
    }
    let (files, limit) = (coverage.files.len(), limits.coverage_files);
    if files > limit {
        let problem = format!("{files} files, at most {limit} are allowed in one event: tell them in several");
        return Err(InvalidEvent { field: Cow::Borrowed("data.coverage.files"), problem });
    }
    for (index, file) in coverage.files.iter().enumerate() {
        let of_file = |name: &str, problem: String| {
            let field = Cow::Owned(format!("data.coverage.files[{index}].{name}"));
            Err(InvalidEvent { field, problem })
        };
        if file.path.is_empty() {
            return of_file("path", "empty".to_owned());
        }
        for (name, lines) in [("covered", &file.covered), ("instrumented", &file.instrumented)] {
            if let Err(malformed) = Lines::check(lines) {
                return of_file(name, malformed.to_string());
            }
        }
    }
    Ok(())
}

fn bad(field: &'static str, problem: &str) -> Result<(), InvalidEvent> {
    Err(InvalidEvent { field: Cow::Borrowed(field), problem: problem.to_owned() })
}

fn identity(field: &'static str, value: &str, limit: usize) -> Result<(), InvalidEvent> {
    if value.is_empty() {
        return bad(field, "empty");
    }
    if value.len() > limit {
        return bad(field, &format!("{} bytes, at most {limit} are allowed", value.len()));
    }
    Ok(())
}
