//! What goes into the dataflow: events in compact form, with their positions.
//!
//! Contract: an [`Event`] is one record's meaning for the views: identities as 128-bit hashes, so that keys are `Copy`, and
//! the strings that rows show as shared pointers. `Event::new` is a pure function of the decoded event, its position and
//! the limits; the [`Interner`] only saves memory and never shows in a result.
//!
//! # Invariants
//! Long texts are cut here, once, visibly. Event times are as sent; operators clamp them to the tick.
//!
//! # Cost
//! One allocation an event of about 150 bytes; a hash and a look-up each for what it names and for where it comes from, which
//! are made once a test and run, and once a stream as long as it says the same of itself.

mod extra;
mod interner;

pub use extra::{Coverage, CoveredFile, Performance};
pub use interner::Interner;

use extra::{Extra, extra};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_schemas::event::{EventType, Severity, TestEvent};
use weir_schemas::id::Id;
use weir_schemas::limits::Limits;
use weir_schemas::outcome::Outcome;

/// A string shared by everything that shows it.
pub type Text = Arc<str>;

/// Where a record's event stands: input order is (tick, topic, partition, offset, index).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The topic's number in the configuration.
    pub topic: u16,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
    /// The event within its record.
    pub index: u32,
}

/// One thing that came in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// An event that can be understood.
    Event(Arc<Event>),
    /// A record that cannot.
    Refused(Arc<Refusal>),
}

impl Input {
    /// Where it stands.
    #[must_use]
    pub fn position(&self) -> Position {
        match self {
            Input::Event(event) => event.position,
            Input::Refused(refusal) => refusal.position,
        }
    }
}

/// An event as the views need it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Where it stands.
    pub position: Position,
    /// Its `eventId`.
    pub id: Id,
    /// Its position in the stream, from 1.
    pub version: u64,
    /// What happened.
    pub kind: EventType,
    /// When, in epoch ms, as sent.
    pub at: u64,
    /// The outcome that it states.
    pub outcome: Option<Outcome>,
    /// The attempt that it states, from 1.
    pub attempt: Option<u32>,
    /// How long the test took, in µs.
    pub duration_us: Option<u64>,
    /// What few events say; boxed, so that the others need no room for it.
    extra: Option<Box<Extra>>,
    /// Whether it was made from a report: then an absent attempt is the next in log order.
    pub report: bool,
    /// What it is about, shared by all events that are about the same.
    pub names: Arc<Names>,
    /// Where it comes from, shared by the events of a stream that say the same of it.
    pub origin: Arc<Origin>,
}

/// The run, the suite and the test that an event names: their identities, and the names as rows show them, empty where
/// there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Names {
    /// The run, within its project.
    pub run_id: Id,
    /// The suite, within its project; the zero identity when there is none.
    pub suite_id: Id,
    /// The test, within its project; `None` when there is none.
    pub test_id: Option<Id>,
    /// The project.
    #[serde(with = "crate::sharing::text")]
    pub project: Text,
    /// `correlationId`, or `streamId`.
    #[serde(with = "crate::sharing::text")]
    pub run: Text,
    /// `testSuiteId`, or `testSuiteName`.
    #[serde(with = "crate::sharing::text")]
    pub suite: Text,
    /// `testSuiteName`, or `testSuiteId`.
    #[serde(with = "crate::sharing::text")]
    pub suite_name: Text,
    /// `testId`, or the hash of (project, suite, name, variant).
    #[serde(with = "crate::sharing::text")]
    pub test: Text,
    /// `testName`, or `testId`.
    #[serde(with = "crate::sharing::text")]
    pub test_name: Text,
}

impl Names {
    /// The test, within its project; the zero identity when there is none.
    #[must_use]
    pub fn test_or_zero(&self) -> Id {
        self.test_id.unwrap_or_default()
    }
}

/// Where events come from. Two streams never share one, though they say the same of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The stream.
    pub stream: Id,
    /// `streamId`.
    #[serde(with = "crate::sharing::text")]
    pub stream_name: Text,
    /// The project.
    #[serde(with = "crate::sharing::text")]
    pub project: Text,
    /// The test framework.
    #[serde(with = "crate::sharing::maybe_text")]
    pub framework: Option<Text>,
    /// Who started the run.
    #[serde(with = "crate::sharing::maybe_text")]
    pub user: Option<Text>,
    /// The branch.
    #[serde(with = "crate::sharing::maybe_text")]
    pub branch: Option<Text>,
    /// The commit.
    #[serde(with = "crate::sharing::maybe_text")]
    pub commit: Option<Text>,
    /// The machine.
    #[serde(with = "crate::sharing::maybe_text")]
    pub worker: Option<Text>,
    /// The shard.
    #[serde(with = "crate::sharing::maybe_text")]
    pub shard: Option<Text>,
    /// The severity, where stated.
    pub severity: Option<Severity>,
    /// The tags.
    pub tags: Vec<Text>,
}

impl Origin {
    /// What a run takes from the first of its events that says it: branch, commit, user, framework.
    #[must_use]
    pub fn of_run(&self) -> [Option<&Text>; 4] {
        [&self.branch, &self.commit, &self.user, &self.framework].map(Option::as_ref)
    }
}

/// The text of a failure, cut to the limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorText {
    /// The message; may be empty.
    pub message: Text,
    /// The exception's type.
    pub kind: Option<Text>,
    /// The stack trace.
    pub stack: Option<Text>,
    /// The source file.
    pub file: Option<Text>,
    /// The line in it.
    pub line: Option<u32>,
}

/// What a `result_withdrawn` takes back, within its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Withdraws {
    /// What the event of this `eventId` said.
    Event(Id),
    /// One attempt of the test, or all of them, past and to come.
    Test {
        /// The attempt; `None`: all.
        attempt: Option<u32>,
    },
}

/// Why something was not taken, as `kind` in the view `rejects`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RejectKind {
    /// The bytes are no event.
    Malformed,
    /// An event that breaks a rule.
    Invalid,
    /// A record over the limit.
    Oversize,
    /// A version that is taken or behind.
    Conflict,
    /// An `eventId` seen before in its stream.
    Duplicate,
    /// Of a run that has left, or before every window.
    Late,
    /// Of a stream that is in another partition, too. It is a report: the event itself may count.
    Moved,
}

impl RejectKind {
    /// The word in rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            RejectKind::Malformed => "malformed",
            RejectKind::Invalid => "invalid",
            RejectKind::Oversize => "oversize",
            RejectKind::Conflict => "conflict",
            RejectKind::Duplicate => "duplicate",
            RejectKind::Late => "late",
            RejectKind::Moved => "moved",
        }
    }

    /// Whether it is shown as a count a project instead of a row each.
    #[must_use]
    pub const fn counted(self) -> bool {
        matches!(self, RejectKind::Duplicate | RejectKind::Late)
    }
}

/// Something that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refusal {
    /// Where it stands.
    pub position: Position,
    /// Why.
    pub kind: RejectKind,
    /// Its project; `default` where unreadable.
    pub project: Text,
    /// Its stream; empty where unreadable.
    pub stream: Text,
    /// The reason, for a person; empty for counted kinds.
    pub message: Text,
    /// On a conflict, the version that would have been accepted.
    pub expected: Option<u64>,
}

impl Event {
    /// That it, or what it says, is one too many; `message` is for a person.
    #[must_use]
    pub fn one_too_many(&self, message: String) -> Refusal {
        Refusal {
            position: self.position,
            kind: RejectKind::Conflict,
            project: Arc::clone(&self.origin.project),
            stream: Arc::clone(&self.origin.stream_name),
            message: message.into(),
            expected: None,
        }
    }

    /// Its stream.
    #[must_use]
    pub fn stream(&self) -> Id {
        self.origin.stream
    }

    /// Its run, within its project.
    #[must_use]
    pub fn run(&self) -> Id {
        self.names.run_id
    }

    /// Its suite, within its project; the zero identity when it names none.
    #[must_use]
    pub fn suite(&self) -> Id {
        self.names.suite_id
    }

    /// Its test, within its project; `None` when it names none.
    #[must_use]
    pub fn test(&self) -> Option<Id> {
        self.names.test_id
    }

    /// What it takes back.
    #[must_use]
    pub fn withdrawal(&self) -> Option<Withdraws> {
        self.extra.as_ref().and_then(|extra| extra.withdraws)
    }

    /// Tests announced.
    #[must_use]
    pub fn planned_tests(&self) -> Option<u32> {
        self.extra.as_ref().and_then(|extra| extra.planned_tests)
    }

    /// Streams announced.
    #[must_use]
    pub fn planned_shards(&self) -> Option<u32> {
        self.extra.as_ref().and_then(|extra| extra.planned_shards)
    }

    /// How often a failing test is tried at most.
    #[must_use]
    pub fn max_attempts(&self) -> Option<u32> {
        self.extra.as_ref().and_then(|extra| extra.max_attempts)
    }

    /// Why the test failed.
    #[must_use]
    pub fn error(&self) -> Option<&Arc<ErrorText>> {
        self.extra.as_ref().and_then(|extra| extra.error.as_ref())
    }

    /// Its `eventId`, if it tells of a failure.
    #[must_use]
    pub fn name(&self) -> Option<&Text> {
        self.extra.as_ref().and_then(|extra| extra.event_name.as_ref())
    }

    /// What it measured.
    #[must_use]
    pub fn performance(&self) -> Option<&Arc<Performance>> {
        self.extra.as_ref().and_then(|extra| extra.performance.as_ref())
    }

    /// What it says is covered.
    #[must_use]
    pub fn coverage(&self) -> Option<&Arc<Coverage>> {
        self.extra.as_ref().and_then(|extra| extra.coverage.as_ref())
    }

    /// The compact form of a decoded event.
    #[must_use]
    pub fn new(event: &TestEvent<'_>, position: Position, limits: &Limits, interner: &mut Interner) -> Event {
        let (origin, data) = (interner.origin(event, limits), &event.data);
        let names = interner.names(&origin.project, event, limits);
        Event {
            position,
            id: Id::of(&[&event.event_id]),
            version: event.version,
            kind: event.event_type,
            at: event.timestamp.0,
            outcome: event.outcome(),
            attempt: data.attempt,
            duration_us: data.duration.map(micros),
            extra: extra(event, limits),
            report: event.metadata.source.is_some(),
            names,
            origin,
        }
    }
}

/// Milliseconds as sent, to whole µs.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what u64 holds exactly")]
fn micros(ms: f64) -> u64 {
    (ms * 1_000.0).round().clamp(0.0, 9e15) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_schemas::id::run_id;

    fn event(json: &str, interner: &mut Interner) -> Event {
        let event: TestEvent<'_> = serde_json::from_str(json).expect("decodes");
        Event::new(&event, Position::default(), &Limits::default(), interner)
    }

    const ONE: &str = r#"{"eventId":"e1","eventType":"test_failed","streamId":"s1","version":1,"timestamp":5,
        "data":{"testName":"t","testSuiteName":"unit","duration":1.2345,"error":{"message":"no"}},
        "metadata":{"project":"web","branch":"main","tags":["db"]}}"#;

    #[test]
    fn a_decoded_event_keeps_what_views_need() {
        let event = event(ONE, &mut Interner::default());
        assert_eq!(event.run(), run_id("web", "s1"));
        assert_eq!(event.duration_us, Some(1_235));
        assert_eq!(event.outcome, Some(Outcome::Failed));
        assert_eq!(&*event.names.suite, "unit");
        assert_eq!(event.test(), Some(weir_schemas::id::test_id("web", &event.names.test)));
        assert_eq!(event.origin.branch.as_deref(), Some("main"));
    }

    #[test]
    fn sharing_never_shows_in_the_event() {
        let (mut large, mut small) = (Interner::default(), Interner::with_capacity(1));
        let first = event(ONE, &mut large);
        assert_eq!(first, event(ONE, &mut small));
        let again = event(ONE, &mut large);
        assert_eq!(first, again);
        assert!(Arc::ptr_eq(&first.origin, &again.origin) && Arc::ptr_eq(&first.names, &again.names));
    }
}
