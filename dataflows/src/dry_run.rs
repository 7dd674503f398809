//! Questions to the dataflow: what a rule would change, where that follows from state and not from rows.
//!
//! Contract: a [`Question`] goes in beside the bound inputs, at a tick, and leaves no trace (`keyed/asked.rs`); its [`Answer`] leaves
//! with the frame that its time is in, so nothing is told that could not be recomputed. What a worker knows is a part of the
//! answer; parts are added up, and sorted, so the number of workers does not show.
//!
//! # Invariants
//! An answer has at most [`CHANGES_MAX`] changes a worker; above, it says that there are too many and none of them.

use crate::input::Text;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_schemas::control::ControlRecord;
use weir_schemas::id::Id;
use weir_schemas::row::Row;

/// Changes that a worker puts into an answer.
pub const CHANGES_MAX: usize = 100_000;

/// What a rule would change if it held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Its number: whoever asks knows it by that.
    pub id: u64,
    /// The rule; acceptable ([`ControlRecord::check`]).
    pub record: Arc<ControlRecord>,
    /// The worker that is asked: how a broadcast is routed.
    pub peer: u64,
}

/// What is known of a question.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's number.
    pub id: u64,
    /// How many rings or errors it is over.
    pub over: u64,
    /// There are more than [`CHANGES_MAX`] changes on a worker.
    pub too_many: bool,
    /// What a flaky rule changes.
    pub rows: Rows,
    /// What a mask rule changes.
    pub failures: Failures,
}

/// The rows of a view that would come and go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// Those that would come.
    pub come: Vec<Row>,
    /// Those that would go.
    pub go: Vec<Row>,
}

/// What would become of errors if they came again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// Errors of which it is not known, since only the beginning of their text is kept; not among those that it is over.
    pub cut: u64,
    /// Patterns that none of the errors is of, and some would be.
    pub come: Vec<Pattern>,
    /// Patterns that some of the errors are of, and none would be.
    pub go: Vec<Pattern>,
    /// Errors that would be of another pattern.
    pub changed: Vec<Changed>,
}

/// A pattern that some errors are of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pattern {
    /// Its project.
    pub project: Text,
    /// Its identity.
    pub fingerprint: Id,
    /// Its text.
    pub pattern: Text,
    /// The exception's type; empty when unknown.
    pub kind: Text,
    /// How many of the errors.
    pub errors: u64,
}

/// An error that would be of another pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Changed {
    /// Its project.
    pub project: Text,
    /// Its stream.
    pub stream: Text,
    /// The event that told of it.
    pub event: Text,
    /// The fingerprint that it would have now.
    pub from: Id,
    /// The one that it would have with the rule.
    pub to: Id,
}

impl Answer {
    /// To a question, with nothing that changes.
    #[must_use]
    pub fn to(question: &Question) -> Answer {
        Answer { id: question.id, ..Answer::default() }
    }

    /// Adds what another worker knows of the same question.
    pub(crate) fn add(&mut self, other: Answer) {
        let Answer { id: _, over, too_many, rows, failures } = other;
        self.over += over;
        self.too_many |= too_many;
        self.rows.come.extend(rows.come);
        self.rows.go.extend(rows.go);
        self.failures.cut += failures.cut;
        self.failures.come.extend(failures.come);
        self.failures.go.extend(failures.go);
        self.failures.changed.extend(failures.changed);
    }

    /// Puts what is known in order; of too many changes none is told.
    pub(crate) fn settle(&mut self) {
        if self.too_many {
            (self.rows, self.failures) = Default::default();
        }
        self.rows.come.sort();
        self.rows.go.sort();
        self.failures.come.sort();
        self.failures.go.sort();
        self.failures.changed.sort();
    }
}
