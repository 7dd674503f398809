//! What events say of tests: from events, withdrawals and incidents to attempts, by joins and one `reduce` a test.

use super::of::Of;
use super::told::{Life, Told};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_dataflows::facts::Failure;
use weir_dataflows::input::{Names, Origin, Text, Withdraws};
use weir_schemas::control::Incident;
use weir_schemas::event::EventType;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;

/// What is above counts as this one.
const ATTEMPTS_MAX: u32 = 1_000;

/// An event with the tick at which it was first taken back by its name, and whether an incident covers it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Marked {
    pub(crate) told: Told,
    pub(crate) void: Option<u64>,
    pub(crate) covered: bool,
}

impl Marked {
    /// Whether it counts.
    pub(crate) fn counts(&self) -> bool {
        self.void.is_none() && !self.covered
    }
}

/// A test of a life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Test {
    pub(crate) names: Arc<Names>,
    pub(crate) origin: Arc<Origin>,
    /// Those that count: their ends, `None` of one under way.
    pub(crate) attempts: Vec<Option<Ended>>,
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) at: u64,
    pub(crate) duration_us: Option<u64>,
    pub(crate) origin: Arc<Origin>,
    pub(crate) failure: Option<Failure>,
}

impl Test {
    pub(crate) fn last(&self) -> Option<&Ended> {
        self.attempts.iter().flatten().last()
    }

    pub(crate) fn fails(&self) -> bool {
        self.last().is_some_and(|last| last.outcome.fails())
    }

    pub(crate) fn running(&self) -> bool {
        self.attempts.last().is_some_and(Option::is_none)
    }

    pub(crate) fn flaky(&self) -> bool {
        let mut ended = self.attempts.iter().flatten().skip_while(|ended| !ended.outcome.fails());
        ended.any(|ended| ended.outcome == Outcome::Passed)
    }
}

/// Joins events with what takes them back.
pub(crate) fn marked<'s>(events: Of<'s, (Life, Told)>, incidents: Of<'s, (Text, Incident)>) -> Of<'s, (Life, Marked)> {
    let withdrawn: Of<'s, ((Life, Id), u64)> = events
        .clone()
        .flat_map(|(life, told)| match told.event.withdrawal() {
            Some(Withdraws::Event(id)) if !told.without.withdrawal => Some(((life, id), told.tick)),
            _ => None,
        })
        .reduce(|_, ticks: &[(u64, isize)]| vec![ticks[0].0]);
    let covered = events
        .clone()
        .map(|(life, told)| (Arc::clone(&told.event.origin.project), (life, told)))
        .join(incidents)
        .filter(|(_, ((_, told), incident))| incident.covers(told.event.origin.worker.as_deref(), told.at()))
        .map(|(_, ((life, told), _))| (life, told.place()))
        .distinct();
    let by_name = events.map(|(life, told)| ((life, told.event.id), told));
    let void = by_name.clone().join(withdrawn.clone()).map(|(key, (told, tick))| (key, (told, Some(tick))));
    let sound = by_name.antijoin(withdrawn.map(|(key, _)| key)).map(|(key, told)| (key, (told, None)));
    let by_place = void.concat(sound).map(|((life, _), (told, void))| ((life, told.place()), (told, void)));
    let mark = |covered: bool| {
        move |((life, _), (told, void)): ((Life, _), (Told, Option<u64>))| (life, Marked { told, void, covered })
    };
    let open = by_place.clone().antijoin(covered.clone()).map(mark(false));
    by_place.semijoin(covered).map(mark(true)).concat(open)
}

/// The tests that count.
pub(crate) fn tests(marked: Of<'_, (Life, Marked)>) -> Of<'_, ((Life, Id), Test)> {
    let kept = marked.filter(|(_, marked)| !marked.told.without.test);
    let by_test = kept.flat_map(|(life, marked)| Some(((life, marked.told.event.test()?), marked)));
    by_test.reduce(|_, events| test(events).into_iter().collect())
}

/// An attempt while its events are gone through.
struct Attempt<'a> {
    /// Stream and number that its first event stated.
    stated: (Id, u32),
    begun: bool,
    covered: bool,
    said: Vec<&'a Told>,
}

fn test(events: &[(Marked, isize)]) -> Option<Test> {
    let mut first = None;
    let (mut attempts, mut taken_back) = (BTreeMap::<u32, Attempt<'_>>::new(), Vec::new());
    for (Marked { told, void, covered }, _) in events {
        let event = &told.event;
        if let Some(Withdraws::Test { attempt }) = event.withdrawal() {
            taken_back.push(attempt.map(|attempt| attempt.min(ATTEMPTS_MAX)));
        }
        if event.kind != EventType::TestCaseStarted && event.outcome.is_none() {
            continue;
        }
        first = first.or(Some(told));
        let stated = (event.stream(), event.attempt.unwrap_or(1));
        let known = attempts.iter().find(|(_, attempt)| attempt.stated == stated).map(|(number, _)| *number);
        let next = attempts.last_key_value().map_or(1, |(last, _)| last + 1);
        let number = if event.report { known.unwrap_or(next) } else { stated.1 }.min(ATTEMPTS_MAX);
        let new = Attempt { stated, begun: false, covered: false, said: Vec::new() };
        let attempt = attempts.entry(number).or_insert(new);
        attempt.begun |= event.outcome.is_none();
        if event.outcome.is_some() && void.is_none() {
            attempt.covered |= covered;
            attempt.said.extend((!covered).then_some(told));
        }
    }
    attempts.retain(|number, attempt| {
        let back = taken_back.contains(&None) || taken_back.contains(&Some(*number));
        !back && (!attempt.said.is_empty() || attempt.begun && !attempt.covered)
    });
    let first = &first.filter(|_| !attempts.is_empty())?.event;
    let attempts = attempts.into_values().map(|attempt| end(&attempt.said)).collect();
    Some(Test { names: Arc::clone(&first.names), origin: Arc::clone(&first.origin), attempts })
}

/// The worst that was said, by its first teller; what is missing of it by others.
fn end(said: &[&Told]) -> Option<Ended> {
    let worst = |said: &mut dyn Iterator<Item = &Told>| {
        // Of equals the first.
        said.fold(None::<Told>, |worst, told| match worst {
            Some(worst) if worst.event.outcome >= told.event.outcome => Some(worst),
            _ => Some(told.clone()),
        })
    };
    let teller = worst(&mut said.iter().copied())?;
    let in_words = |told: &&Told| told.event.error().is_some_and(|error| !error.message.is_empty());
    let described = worst(&mut said.iter().copied().filter(|told| told.failure.is_some()).filter(in_words));
    Some(Ended {
        outcome: teller.event.outcome?,
        at: teller.at(),
        duration_us: teller.event.duration_us.or_else(|| said.iter().find_map(|told| told.event.duration_us)),
        origin: Arc::clone(&teller.event.origin),
        failure: teller.failure.as_ref().and(described.as_ref().unwrap_or(&teller).failure.clone()),
    })
}
