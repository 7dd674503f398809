//! What the events of a run say of its tests, attempt by attempt.

use super::super::Tick;
use super::control::masks;
use super::runs::{Lives, Run};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::facts::{AttemptFact, Failure};
use weir_dataflows::fingerprint;
use weir_dataflows::input::{ErrorText, Event, Withdraws};
use weir_dataflows::keyed::Updates;
use weir_schemas::control::Incident;
use weir_schemas::event::EventType;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::RowWriter;

/// The highest number of an attempt.
const ATTEMPTS_MAX: u32 = 1_000;

/// An event and its tick.
pub type At = (u64, Arc<Event>);

/// A test of a run, recomputed.
#[derive(Clone)]
pub struct Test {
    pub first: Arc<Event>,
    /// Those that count, in order.
    pub attempts: Vec<Attempt>,
}

/// An attempt.
#[derive(Clone)]
pub struct Attempt {
    pub number: u32,
    /// The stream and stated number of its first event.
    stated: (Id, u32),
    begun: bool,
    /// Whether an incident covers something that was said of its end.
    covered: bool,
    /// The events that say how it ended and are not withdrawn.
    pub said: Vec<At>,
    /// Why it failed, if it did.
    failure: Option<Failure>,
}

impl Attempt {
    /// The worst that was said; the first of equals.
    pub fn worst(&self) -> Option<&At> {
        let worst = self.said.iter().filter_map(|(_, event)| event.outcome).max()?;
        self.said.iter().find(|(_, event)| event.outcome == Some(worst))
    }

    pub fn outcome(&self) -> Option<Outcome> {
        self.worst().and_then(|(_, event)| event.outcome)
    }

    /// When it ended: never after the tick at which that was said.
    pub fn ended_at(&self) -> Option<u64> {
        self.worst().map(|(tick, event)| event.at.min(*tick))
    }

    pub fn duration_us(&self) -> Option<u64> {
        self.worst()?.1.duration_us.or_else(|| self.said.iter().find_map(|(_, event)| event.duration_us))
    }

    pub fn failure(&self) -> Option<Failure> {
        self.failure.clone()
    }

    /// By the worst failure that has something to say, and the masks that held when that came.
    fn recognised(&self, ticks: &[Tick]) -> Option<Failure> {
        let worst = self.worst().filter(|(_, event)| event.outcome.is_some_and(Outcome::fails))?;
        let told = |(_, event): &&At| {
            event.outcome.is_some_and(Outcome::fails) && event.error().is_some_and(|e| !e.message.is_empty())
        };
        let best = self.said.iter().filter(told).map(|(_, event)| event.outcome).max();
        let (tick, event) =
            self.said.iter().filter(told).find(|(_, event)| Some(event.outcome) == best).unwrap_or(worst);
        let masks = masks(ticks, &event.origin.project, *tick);
        let failure = recognised(event, event.outcome.expect("told"), &masks);
        let (stream, event) = (Arc::clone(&event.origin.stream_name), Arc::clone(event.name().expect("it fails")));
        Some(Failure { event, stream, ..failure })
    }
}

/// What an event's error is recognised by.
pub fn recognised(event: &Event, outcome: Outcome, masks: &[Regex]) -> Failure {
    let nothing = ErrorText::default();
    let error = event.error().map_or(&nothing, |error| error);
    fingerprint::failure(error, outcome, &masks.iter().collect::<Vec<_>>())
}

impl Test {
    pub fn ended(&self) -> impl DoubleEndedIterator<Item = &Attempt> {
        self.attempts.iter().filter(|attempt| attempt.worst().is_some())
    }

    pub fn outcome(&self) -> Option<Outcome> {
        self.ended().last().and_then(Attempt::outcome)
    }

    pub fn flaky(&self) -> bool {
        let outcomes: Vec<Outcome> = self.ended().filter_map(Attempt::outcome).collect();
        outcomes
            .iter()
            .enumerate()
            .any(|(n, outcome)| *outcome == Outcome::Passed && outcomes[..n].iter().any(|o| o.fails()))
    }

    pub fn duration_us(&self) -> Option<u64> {
        self.ended().last()?.duration_us()
    }

    /// Whether its last attempt has begun and not ended.
    pub fn running(&self) -> bool {
        self.attempts.last().is_some_and(|attempt| attempt.worst().is_none())
    }
}

/// All tests that count, by identity, but for what incidents cover.
pub fn tests(events: &[At], incidents: &[Incident], ticks: &[Tick]) -> BTreeMap<Id, Test> {
    let by_event = |(_, event): &At| match event.withdrawal() {
        Some(Withdraws::Event(id)) => Some(id),
        _ => None,
    };
    let withdrawn: BTreeSet<Id> = events.iter().filter_map(by_event).collect();
    let mut by_test: BTreeMap<Id, Vec<&At>> = BTreeMap::new();
    for event in events {
        by_test.entry(event.1.test().unwrap_or_default()).or_default().push(event);
    }
    by_test.remove(&Id::default());
    let tests = by_test.into_iter().filter_map(|(id, events)| Some((id, test(events, &withdrawn, incidents)?)));
    let mut tests: BTreeMap<Id, Test> = tests.collect();
    for attempt in tests.values_mut().flat_map(|test| &mut test.attempts) {
        attempt.failure = attempt.recognised(ticks);
    }
    tests
}

fn test(mut events: Vec<&At>, withdrawn: &BTreeSet<Id>, incidents: &[Incident]) -> Option<Test> {
    events.sort_by_key(|(at, event)| (*at, event.position));
    let taken_back: Vec<Option<u32>> = events
        .iter()
        .filter_map(|(_, event)| match event.withdrawal() {
            Some(Withdraws::Test { attempt }) => Some(attempt.map(|attempt| attempt.min(ATTEMPTS_MAX))),
            _ => None,
        })
        .collect();
    events.retain(|(_, event)| event.kind == EventType::TestCaseStarted || event.outcome.is_some());
    let first = Arc::clone(&events.first()?.1);
    let mut attempts: BTreeMap<u32, Attempt> = BTreeMap::new();
    for (at, event) in events {
        // What is above a thousand counts as that one.
        let stated = (event.stream(), event.attempt.unwrap_or(1));
        let known = attempts.values().find(|attempt| attempt.stated == stated).map(|attempt| attempt.number);
        let next = attempts.keys().last().map_or(1, |last| (last + 1).min(ATTEMPTS_MAX));
        let number = if event.report { known.unwrap_or(next) } else { stated.1.min(ATTEMPTS_MAX) };
        let attempt = attempts.entry(number).or_insert(Attempt {
            number,
            stated,
            begun: false,
            covered: false,
            said: Vec::new(),
            failure: None,
        });
        match event.outcome {
            None => attempt.begun = true,
            Some(_) if withdrawn.contains(&event.id) => {}
            Some(_) if incidents.iter().any(|i| i.covers(event.origin.worker.as_deref(), event.at.min(*at))) => {
                attempt.covered = true;
            }
            Some(_) => attempt.said.push((*at, Arc::clone(event))),
        }
    }
    let counts = |attempt: &Attempt| {
        let taken_back = taken_back.contains(&None) || taken_back.contains(&Some(attempt.number));
        !taken_back && (!attempt.said.is_empty() || attempt.begun && !attempt.covered)
    };
    let attempts: Vec<Attempt> = attempts.into_values().filter(counts).collect();
    (!attempts.is_empty()).then_some(Test { first, attempts })
}

/// Every attempt that ended, when that was first known and when it was taken back or replaced. What has left stays.
pub fn facts(lives: &Lives) -> Updates<AttemptFact> {
    facts_by(lives, |run| facts_of(run).collect())
}

/// The same of failures of the runs themselves.
pub fn failures_of_runs(lives: &Lives) -> Updates<AttemptFact> {
    facts_by(lives, |run| run.failures.clone())
}

fn facts_by(lives: &Lives, of: impl Fn(&Run) -> Vec<AttemptFact>) -> Updates<AttemptFact> {
    let mut updates = Vec::new();
    for moments in lives.values() {
        let mut known: Vec<AttemptFact> = Vec::new();
        for moment in moments {
            let now: Vec<AttemptFact> = moment.run.iter().flat_map(&of).collect();
            if moment.run.is_some() {
                updates.extend(known.iter().filter(|fact| !now.contains(fact)).map(|f| (f.clone(), moment.at, -1)));
                updates.extend(now.iter().filter(|fact| !known.contains(fact)).map(|f| (f.clone(), moment.at, 1)));
            }
            known = now;
        }
    }
    updates.sort_by_key(|(_, at, _)| *at);
    updates
}

fn facts_of(run: &Run) -> impl Iterator<Item = AttemptFact> {
    run.tests.values().flat_map(|test| {
        test.ended().filter_map(|attempt| {
            let (came, worst) = attempt.worst()?;
            Some(AttemptFact {
                attempt: attempt.number,
                at: attempt.ended_at()?,
                came: *came,
                outcome: attempt.outcome()?,
                duration_us: attempt.duration_us(),
                names: Arc::clone(&test.first.names),
                origin: Arc::clone(&worst.origin),
                failure: attempt.failure().map(Arc::new),
            })
        })
    })
}

fn count(tests: &[&Test], of: impl Fn(&Test) -> bool) -> i64 {
    tests.iter().filter(|test| of(test)).count() as i64
}

/// The columns from `started` to `flaky`.
pub fn write_counts(writer: &mut RowWriter, tests: &[&Test]) {
    let outcome =
        |wanted: &'static [Outcome]| move |test: &Test| test.outcome().is_some_and(|outcome| wanted.contains(&outcome));
    writer.int(tests.len() as i64).int(count(tests, |test| test.outcome().is_some()));
    writer.int(count(tests, outcome(&[Outcome::Passed]))).int(count(tests, outcome(&[Outcome::Failed])));
    writer
        .int(count(tests, outcome(&[Outcome::Skipped])))
        .int(count(tests, outcome(&[Outcome::Error, Outcome::Timeout])));
    writer.int(count(tests, Test::flaky));
}

pub fn fails(tests: &[&Test]) -> bool {
    tests.iter().any(|test| test.outcome().is_some_and(Outcome::fails))
}
