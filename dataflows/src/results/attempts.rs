//! The attempts of one test in one run: what was said of each, what was taken back, and what follows.
//!
//! Contract: a test's attempts are in order of their number; each has the worst outcome that any event not withdrawn states
//! for it. The test's outcome is that of its last attempt that ended; it is flaky when an attempt failed and a later one
//! passed. An attempt that no event numbers is the first. The attempts of a report count from where the
//! run's earlier reports of the test ended: each is the next in log order (`events.md`), so a rerun's report never mixes
//! with that of the run before. Withdrawals are remembered, so they also hold for what comes after them. What an incident covers does not count,
//! nor does an attempt of whose end nothing else is known.
//!
//! # Invariants
//! Nothing here depends on the order of events within a tick but by their positions. A test has at most [`ATTEMPTS_MAX`]
//! attempts (a higher number counts as that one) and an attempt at most [`SAID_MAX`] events that end it; one more is
//! refused.
//!
//! # Cost
//! O(attempts) a touched test and tick.

use crate::control::Incidents;
use crate::facts::{AttemptFact, Failure};
use crate::input::{Event, Names, Origin, Text};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::collections::BTreeSet;
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;

/// The highest number of an attempt.
pub const ATTEMPTS_MAX: u32 = 1_000;

/// How many events may say how one attempt ended.
pub const SAID_MAX: usize = 64;

/// An attempt has been ended by as many events as may do so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaidTooOften;

/// A test in a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Test {
    /// Its run, its suite and itself.
    pub names: Arc<Names>,
    /// Where its first event came from.
    #[serde(with = "crate::sharing::origin")]
    pub origin: Arc<Origin>,
    /// Whether anything but withdrawals came: then suite and names are those of its first such event.
    known: bool,
    /// In place while there is one, as of nearly every test: a touched test is one stretch of memory.
    attempts: SmallVec<[Attempt; 1]>,
    withdrawn: Withdrawn,
}

/// What of a test was taken back by attempt.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Withdrawn {
    all: bool,
    /// Ascending.
    attempts: Vec<u32>,
}

/// One attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Attempt {
    number: u32,
    /// The stream of its first event, and which attempt that one stated.
    stream: Id,
    stated: u32,
    begun: bool,
    /// In order of tick and position: the first to speak is asked first.
    said: SmallVec<[Said; 1]>,
}

/// What one event said of an attempt's end.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Said {
    event: Id,
    tick: u64,
    at: u64,
    outcome: Outcome,
    duration_us: Option<u64>,
    #[serde(with = "crate::sharing::origin")]
    origin: Arc<Origin>,
    failure: Option<Arc<Failure>>,
    withdrawn: bool,
    /// Whether an incident covers it.
    covered: bool,
}

/// How a test stands, for sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Standing {
    /// The outcome of the last attempt that ended; `None` while none has.
    pub outcome: Option<Outcome>,
    /// Whether an attempt failed and a later one passed.
    pub flaky: bool,
    /// How long the last ended attempt took.
    pub duration_us: u64,
    /// When it ended.
    pub finished_at: u64,
    /// Whether the last attempt has begun and not ended.
    pub running: bool,
    /// Attempts that count.
    pub attempts: u32,
}

/// The last attempt that ended, for a row.
#[derive(Clone, Copy, Debug)]
pub struct Last<'a> {
    /// Why it failed, when it did.
    pub failure: Option<&'a Arc<Failure>>,
    /// Where it ran.
    pub origin: &'a Arc<Origin>,
    /// How long it took.
    pub duration_us: Option<u64>,
}

impl Test {
    /// A test of which nothing was said yet.
    #[must_use]
    pub fn new(event: &Event) -> Test {
        Test {
            names: Arc::clone(&event.names),
            origin: Arc::clone(&event.origin),
            known: event.withdrawal().is_none(),
            attempts: SmallVec::new(),
            withdrawn: Withdrawn::default(),
        }
    }

    /// Takes the names of its first event that is no withdrawal: one who takes back may not know them all.
    pub fn introduce(&mut self, event: &Event) {
        if !self.known {
            self.names = Arc::clone(&event.names);
            self.origin = Arc::clone(&event.origin);
            self.known = true;
        }
    }

    /// Takes back one attempt, or all, past and to come.
    pub fn withdraw(&mut self, attempt: Option<u32>) {
        match attempt {
            None => self.withdrawn.all = true,
            Some(attempt) => {
                let attempt = attempt.min(ATTEMPTS_MAX);
                if let Err(index) = self.withdrawn.attempts.binary_search(&attempt) {
                    self.withdrawn.attempts.insert(index, attempt);
                }
            }
        }
    }

    /// Takes back what one event said.
    pub fn withdraw_event(&mut self, event: Id) {
        for said in self.attempts.iter_mut().flat_map(|attempt| &mut attempt.said) {
            said.withdrawn |= said.event == event;
        }
    }

    /// Whether incidents cover another part of its results than when they were last applied.
    #[must_use]
    pub fn stale(&self, incidents: &Incidents) -> bool {
        let said = self.attempts.iter().flat_map(|attempt| &attempt.said);
        said.into_iter().any(|said| said.covered != said.covered_by(&self.names.project, incidents))
    }

    /// Applies the incidents that hold now.
    pub fn cover(&mut self, incidents: &Incidents) {
        for said in self.attempts.iter_mut().flat_map(|attempt| &mut attempt.said) {
            said.covered = said.covered_by(&self.names.project, incidents);
        }
    }

    /// Says that an attempt has begun.
    pub fn begin(&mut self, event: &Event) {
        let number = self.number(event);
        self.attempt(number, event).begun = true;
    }

    /// Says how an attempt ended; called in order of tick and position. `withdrawn`: it was taken back before it came, `covered`:
    /// an incident covers it.
    ///
    /// # Errors
    /// The attempt has been ended often enough; nothing changes.
    pub fn end(
        &mut self,
        event: &Event,
        outcome: Outcome,
        failure: Option<Arc<Failure>>,
        tick: u64,
        (withdrawn, covered): (bool, bool),
    ) -> Result<(), SaidTooOften> {
        let number = self.number(event);
        let said = Said {
            event: event.id,
            tick,
            at: event.at.min(tick),
            outcome,
            duration_us: event.duration_us,
            origin: Arc::clone(&event.origin),
            failure,
            withdrawn,
            covered,
        };
        let attempt = self.attempt(number, event);
        if attempt.said.len() >= SAID_MAX {
            return Err(SaidTooOften);
        }
        attempt.said.push(said);
        Ok(())
    }

    /// The ids of the events that ended attempts.
    pub fn events(&self) -> impl Iterator<Item = Id> {
        self.attempts.iter().flat_map(|attempt| &attempt.said).map(|said| said.event)
    }

    fn number(&self, event: &Event) -> u32 {
        if !event.report {
            return event.attempt.unwrap_or(1).min(ATTEMPTS_MAX);
        }
        let same =
            |attempt: &&Attempt| attempt.stream == event.stream() && attempt.stated == event.attempt.unwrap_or(1);
        let next = || self.attempts.last().map_or(1, |last| (last.number + 1).min(ATTEMPTS_MAX));
        self.attempts.iter().find(same).map_or_else(next, |attempt| attempt.number)
    }

    fn attempt(&mut self, number: u32, event: &Event) -> &mut Attempt {
        let index = self.attempts.partition_point(|attempt| attempt.number < number);
        if self.attempts.get(index).is_none_or(|attempt| attempt.number != number) {
            let stated = event.attempt.unwrap_or(1);
            let attempt = Attempt { number, stream: event.stream(), stated, begun: false, said: SmallVec::new() };
            self.attempts.insert(index, attempt);
        }
        &mut self.attempts[index]
    }

    /// The attempts that count, in order.
    fn counting(&self) -> impl Iterator<Item = &Attempt> {
        let Withdrawn { all, attempts } = &self.withdrawn;
        self.attempts
            .iter()
            .filter(move |attempt| !all && attempts.binary_search(&attempt.number).is_err())
            .filter(|attempt| attempt.counting().next().is_some() || attempt.begun && !attempt.covered())
    }

    /// How the test stands; `None` when nothing that counts is known of it.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        let (mut last, mut failed, mut standing) = (None, false, None::<Standing>);
        for attempt in self.counting() {
            let standing = standing.get_or_insert(Standing {
                outcome: None,
                flaky: false,
                duration_us: 0,
                finished_at: 0,
                running: false,
                attempts: 0,
            });
            standing.attempts += 1;
            standing.running = attempt.counting().next().is_none();
            if let Some(worst) = attempt.worst() {
                standing.outcome = Some(worst.outcome);
                standing.flaky |= failed && worst.outcome == Outcome::Passed;
                failed |= worst.outcome.fails();
                last = Some((attempt, worst));
            }
        }
        let mut standing = standing?;
        if let Some((attempt, worst)) = last {
            standing.duration_us = attempt.duration_us().unwrap_or(0);
            standing.finished_at = worst.at;
        }
        Some(standing)
    }

    /// Where each ended attempt that counts ran, and how it ended, in order.
    pub fn ended(&self) -> impl Iterator<Item = (Option<&Text>, Outcome)> {
        self.counting().filter_map(|attempt| attempt.worst().map(|worst| (worst.origin.worker.as_ref(), worst.outcome)))
    }

    /// The facts of all ended attempts that count, in order.
    pub fn facts(&self) -> impl Iterator<Item = AttemptFact> {
        let fact = |attempt: &Attempt| {
            attempt.worst().map(|worst| AttemptFact {
                attempt: attempt.number,
                at: worst.at,
                came: worst.tick,
                outcome: worst.outcome,
                duration_us: attempt.duration_us(),
                names: Arc::clone(&self.names),
                origin: Arc::clone(&worst.origin),
                failure: attempt.failure().cloned(),
            })
        };
        self.counting().filter_map(fact)
    }

    /// The last attempt that ended.
    #[must_use]
    pub fn last(&self) -> Option<Last<'_>> {
        let ended = self.counting().filter_map(|attempt| attempt.worst().map(|worst| (attempt, worst))).last();
        ended.map(|(attempt, worst)| Last {
            failure: attempt.failure(),
            origin: &worst.origin,
            duration_us: attempt.duration_us(),
        })
    }
}

impl Said {
    fn covered_by(&self, project: &str, incidents: &Incidents) -> bool {
        incidents.cover(project, self.origin.worker.as_deref(), self.at)
    }
}

impl Attempt {
    fn counting(&self) -> impl Iterator<Item = &Said> {
        self.said.iter().filter(|said| !said.withdrawn && !said.covered)
    }

    /// Whether all that was said of its end, and not taken back, is covered by incidents: then it does not run either.
    fn covered(&self) -> bool {
        self.counting().next().is_none() && self.said.iter().any(|said| said.covered && !said.withdrawn)
    }

    /// The worst that was said; the first of equals.
    fn worst(&self) -> Option<&Said> {
        self.counting().reduce(|worst, said| if said.outcome > worst.outcome { said } else { worst })
    }

    /// What the worst said, or the first that said anything.
    fn duration_us(&self) -> Option<u64> {
        let worst = self.worst()?;
        worst.duration_us.or_else(|| self.counting().find_map(|said| said.duration_us))
    }

    fn failure(&self) -> Option<&Arc<Failure>> {
        let worst = self.worst()?;
        if !worst.outcome.fails() {
            return None;
        }
        let told = |said: &&Said| said.failure.as_ref().is_some_and(|failure| !failure.message.is_empty());
        let best =
            self.counting().filter(told).reduce(|best, said| if said.outcome > best.outcome { said } else { best });
        best.and_then(|said| said.failure.as_ref()).or(worst.failure.as_ref())
    }
}

/// Event ids that were withdrawn in a run, by whoever came first.
pub type WithdrawnEvents = BTreeSet<Id>;
