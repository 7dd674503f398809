//! The tests of a worker as they were at a cut, written in portions while they change.
//!
//! Contract: [`Snapshot::begin`] is told of all runs at the cut; from then on each test is written once, as it was then: when its turn
//! comes ([`Snapshot::next`]), or, copied, before it is first changed or leaves ([`Snapshot::keep`]). Tests that come after the cut are in none.
//!
//! # Cost
//! A comparison a touched test while none is being written; a copy of each that is touched before its turn, until it is written.

use super::attempts::{Test, WithdrawnEvents};
use crate::budget::{Full, Untold};
use crate::control::Incidents;
use crate::fingerprint::rules::MaskEntries;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use weir_schemas::id::Id;

/// See the module.
#[derive(Default)]
pub(super) struct Snapshot {
    /// Counts them; a test with this number is in it already, or came after the cut.
    number: u32,
    /// Whether one is being written.
    open: bool,
    /// The runs whose turn is to come, and the tests of the one whose turn it is; the last first.
    runs: Vec<Id>,
    tests: Vec<(Id, Id)>,
    /// Those whose turn came early, as they were.
    early: Vec<Entry>,
}

/// What is written next.
pub(super) enum Turn {
    /// What was copied.
    Early(Entry),
    /// A run's test, if it is still there and not written.
    Test(Id, Id),
}

impl Snapshot {
    /// Begins one of the tests of these runs.
    pub(super) fn begin(&mut self, runs: Vec<Id>) {
        (self.number, self.open, self.runs) = (self.number.wrapping_add(1), true, runs);
    }

    /// Whether one is being written.
    pub(super) fn open(&self) -> bool {
        self.open
    }

    /// The number of the last one.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Whether it is yet to have a test whose last one is `written`; it has it then.
    pub(super) fn takes(&self, written: &mut u32) -> bool {
        std::mem::replace(written, self.number) != self.number
    }

    /// A test is about to change, or to leave.
    pub(super) fn keep(&mut self, (run, id): (Id, Id), test: &Test, written: &mut u32) {
        if self.open && self.takes(written) {
            self.early.push(Entry::Test { run, id, test: Box::new(test.clone()) });
        }
    }

    /// What is written next, given the tests of a run that is still there; `None`: that was all.
    pub(super) fn next(&mut self, tests_of: impl Fn(Id) -> Option<Vec<Id>>) -> Option<Turn> {
        if let Some(entry) = self.early.pop() {
            return Some(Turn::Early(entry));
        }
        while self.tests.is_empty()
            && let Some(run) = self.runs.pop()
        {
            self.tests.extend(tests_of(run).unwrap_or_default().into_iter().rev().map(|id| (run, id)));
        }
        let test = self.tests.pop();
        self.open = test.is_some();
        test.map(|(run, id)| Turn::Test(run, id))
    }
}

/// The state of results in a snapshot. Incidents, masks, who is full and a run's own entry are on every worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Entry {
    Incidents(Incidents),
    Masks(MaskEntries),
    Full(Full),
    Untold(Id, Box<Untold>),
    Run { run: Id, withdrawn: BTreeSet<Id>, ended_at: Option<u64> },
    Test { run: Id, id: Id, test: Box<Test> },
}

/// The same, of what is still where it is: written as the one is read. In the same order.
#[derive(Serialize)]
pub(super) enum EntryRef<'a> {
    Incidents(&'a Incidents),
    #[expect(dead_code, reason = "it is made anew, and written as an `Entry`")]
    Masks(MaskEntries),
    Full(&'a Full),
    Untold(Id, &'a Untold),
    Run {
        run: Id,
        withdrawn: &'a WithdrawnEvents,
        ended_at: Option<u64>,
    },
    Test {
        run: Id,
        id: Id,
        test: &'a Test,
    },
}
