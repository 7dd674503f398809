//! One case while it is read, and what its children mean for its attempts.
//!
//! Contract: children are taken as they come. The worst of `failure` and `error` is the outcome (a skip beside them is
//! not), several of them are one error. `flakyFailure` and `flakyError` are attempts before it, `rerunFailure` and
//! `rerunError` are attempts after a failure, and before a case that passed.

use super::super::report::{Attempt, Case};
use std::borrow::Cow;
use weir_schemas::event::TestErrorData;
use weir_schemas::limits::{CUT_MARK, Limits, cut};
use weir_schemas::outcome::Outcome;
use weir_schemas::text::Text;

/// Problems of one case that are kept: more tell nobody anything.
pub(super) const PROBLEMS_MAX: usize = 64;

/// What a problem element says about its case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It is how the case ended.
    Final,
    /// It is how an attempt before ended.
    Flaky,
    /// It is how another attempt ended.
    Rerun,
}

/// A `failure`, `error`, `flakyFailure` … while it is read.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) role: Role,
    pub(super) outcome: Outcome,
    pub(super) message: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
    pub(super) duration_ms: Option<f64>,
    /// The text directly in it.
    pub(super) text: Capped,
    /// The text of a `stackTrace` in it.
    pub(super) stack: Capped,
}

/// A text of which no more is kept than its limit needs.
#[derive(Debug)]
pub(super) struct Capped {
    text: String,
    bytes_max: usize,
}

impl Capped {
    pub(super) fn new(bytes_max: usize) -> Capped {
        // Room for one more mark: what is over the limit must be seen to be over it.
        Capped { text: String::new(), bytes_max: bytes_max + CUT_MARK.len() }
    }

    pub(super) fn push(&mut self, more: &str) {
        let mut end = more.len().min(self.bytes_max.saturating_sub(self.text.len()));
        while !more.is_char_boundary(end) {
            end += 1;
        }
        self.text.push_str(&more[..end]);
    }

    fn trimmed(&self) -> &str {
        // Leading blanks of the first line belong to its indentation only if more lines follow; they say nothing.
        self.text.trim_end().trim_start_matches(['\n', '\r'])
    }
}

impl Problem {
    fn stack(&self) -> &str {
        let (stack, text) = (self.stack.trimmed(), self.text.trimmed());
        if stack.is_empty() { text } else { stack }
    }

    fn message(&self) -> Cow<'_, str> {
        let given = self.message.as_deref().map(str::trim).filter(|message| !message.is_empty());
        let first_line = || self.stack().lines().map(str::trim).find(|line| !line.is_empty());
        let kind = || self.kind.as_deref().filter(|kind| !kind.is_empty());
        Cow::Borrowed(given.or_else(first_line).or_else(kind).unwrap_or("no message in the report"))
    }

    /// The error of this problem and those beside it.
    pub(super) fn error(&self, beside: &[&Problem], limits: &Limits) -> TestErrorData<'static> {
        let mut stack = Capped::new(limits.error_stack);
        stack.push(self.stack());
        for other in beside {
            let kind = other.kind.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("failure");
            stack.push(&format!("\n--- also {kind}: "));
            stack.push(&other.message());
            stack.push("\n");
            stack.push(other.stack());
        }
        let name = |value: &Option<String>| {
            let value = value.as_deref().map(str::trim).filter(|value| !value.is_empty())?;
            Some(Text::from(cut(value, limits.name).into_owned()))
        };
        TestErrorData {
            message: Text::from(cut(&self.message(), limits.error_message).into_owned()),
            kind: name(&self.kind),
            stack: Some(stack.trimmed())
                .filter(|text| !text.is_empty())
                .map(|text| Text::from(cut(text, limits.error_stack).into_owned())),
            file: name(&self.file),
            line: self.line,
        }
    }

    fn attempt(&self, limits: &Limits) -> Attempt {
        Attempt { outcome: self.outcome, duration_ms: self.duration_ms, error: Some(self.error(&[], limits)) }
    }
}

/// A case while it is read.
#[derive(Debug, Default)]
pub(super) struct OpenCase {
    pub(super) case: Case,
    pub(super) duration_ms: Option<f64>,
    pub(super) line: Option<u32>,
    /// What its attributes say of its outcome.
    pub(super) status: Option<Outcome>,
    pub(super) skipped: bool,
    /// Whether it is still to be done: its failure is expected and fails nothing (node's runner).
    pub(super) to_do: bool,
    problems: Vec<Problem>,
    /// Problems that were not kept.
    pub(super) left_out: u64,
}

impl OpenCase {
    /// Takes a problem in. Of too many none is kept, but the worst is, since it is the outcome.
    pub(super) fn add(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
            return;
        }
        self.left_out += 1;
        let finals = self.problems.iter().filter(|kept| kept.role == Role::Final);
        let worst = finals.map(|kept| kept.outcome).max();
        if problem.role == Role::Final
            && worst.is_none_or(|worst| problem.outcome > worst)
            && let Some(last) = self.problems.last_mut()
        {
            *last = problem;
        }
    }

    /// Whether its outcome is known although its end is not: nothing makes a failure good again.
    pub(super) fn failed(&self) -> bool {
        !self.to_do && self.problems.iter().any(|problem| problem.role == Role::Final)
    }

    /// Whether the end of the case before was reported as a case of its own: pytest does so when the teardown of a
    /// failed test fails as well.
    pub(super) fn teardown_of(&self, before: &Case) -> bool {
        let of_teardown = |problem: &Problem| {
            problem.outcome == Outcome::Error
                && problem.message.as_deref().is_some_and(|message| message.starts_with("failed on teardown"))
        };
        before.suite == self.case.suite
            && before.name == self.case.name
            && before.class == self.case.class
            && !self.problems.is_empty()
            && self.problems.iter().all(of_teardown)
    }

    /// The case with its attempts, in the order in which they ran.
    pub(super) fn finish(mut self, limits: &Limits) -> Case {
        let last = self.last_attempt(limits);
        let fails = last.outcome.fails();
        let of = |role: Role| self.problems.iter().filter(move |problem| problem.role == role);
        let mut attempts: Vec<Attempt> = of(Role::Flaky).map(|problem| problem.attempt(limits)).collect();
        let reruns = of(Role::Rerun).map(|problem| problem.attempt(limits));
        if fails {
            attempts.push(last);
            attempts.extend(reruns);
        } else {
            attempts.extend(reruns);
            attempts.push(last);
        }
        self.case.attempts = attempts;
        self.case
    }

    fn last_attempt(&self, limits: &Limits) -> Attempt {
        let counts = |problem: &&Problem| problem.role == Role::Final && !self.to_do;
        let finals: Vec<&Problem> = self.problems.iter().filter(counts).collect();
        let worst = finals.iter().map(|problem| problem.outcome).max();
        let outcome = match worst {
            Some(outcome) => outcome,
            None if self.skipped => Outcome::Skipped,
            None => self.status.unwrap_or(Outcome::Passed),
        };
        let error = match finals.iter().position(|problem| problem.outcome == outcome) {
            Some(first) => {
                let beside: Vec<&Problem> =
                    finals.iter().enumerate().filter(|(at, _)| *at != first).map(|(_, problem)| *problem).collect();
                Some(finals[first].error(&beside, limits))
            }
            None if outcome.fails() => Some(TestErrorData {
                message: Text::from(format!("reported as {} without a reason", outcome.as_str())),
                ..TestErrorData::default()
            }),
            None => None,
        };
        let here = |mut error: TestErrorData<'static>| {
            if error.file.is_none() {
                error.file = self.case.file.as_deref().map(|file| Text::from(cut(file, limits.name).into_owned()));
                error.line = error.line.or(self.line);
            }
            error
        };
        Attempt { outcome, duration_ms: self.duration_ms, error: error.map(here) }
    }
}
