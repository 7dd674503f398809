//! What runs through the forms: events, attempts and the courses of runs, with the orders in which forms look at them.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;
use weir_dataflows::facts::{AttemptFact, Failure};
use weir_dataflows::input::{Event, Position};
use weir_schemas::id::Id;

/// A run from when it began until it left, and how often it had begun before.
pub(crate) type Life = (Id, usize);

/// An event that counts; in the order in which all came in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) tick: u64,
    pub(crate) event: Arc<Event>,
    /// What it is recognised as, if it tells of a failure: by the masks of its tick.
    pub(crate) failure: Option<Failure>,
    pub(crate) without: Without,
}

/// What of an event does not count, for want of room.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Without {
    /// All that it takes back.
    pub(crate) withdrawal: bool,
    /// All that it says of its test.
    pub(crate) test: bool,
    /// That a suite began or ended.
    pub(crate) suite: bool,
    /// These of its files.
    pub(crate) files: Vec<usize>,
}

impl Told {
    /// Where it stands.
    pub(crate) fn place(&self) -> (u64, Position) {
        (self.tick, self.event.position)
    }

    /// When it happened: never after its tick.
    pub(crate) fn at(&self) -> u64 {
        self.event.at.min(self.tick)
    }
}

impl Ord for Told {
    fn cmp(&self, other: &Told) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for Told {
    fn partial_cmp(&self, other: &Told) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Told {
    fn eq(&self, other: &Told) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Told {}

/// An attempt that ended, or a failure of a run itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fact(pub(crate) AttemptFact);

impl Fact {
    /// Of what failed.
    pub(crate) fn failure(&self) -> &Failure {
        self.0.failure.as_deref().expect("of failures")
    }

    fn order(&self) -> impl Ord + '_ {
        let Fact(fact) = self;
        let end = (fact.outcome, fact.duration_us, &fact.origin, &fact.failure);
        (fact.came, fact.at, &fact.names, fact.attempt, end)
    }
}

impl Deref for Fact {
    type Target = AttemptFact;

    fn deref(&self) -> &AttemptFact {
        &self.0
    }
}

impl Ord for Fact {
    fn cmp(&self, other: &Fact) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Fact {
    fn partial_cmp(&self, other: &Fact) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Fact {
    fn eq(&self, other: &Fact) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Fact {}

/// How a life goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Course {
    pub(crate) phase: String,
    pub(crate) ended_at: Option<u64>,
    /// The word for it in rows: of one that finished, how.
    pub(crate) state: String,
    pub(crate) last_event_at: u64,
}
