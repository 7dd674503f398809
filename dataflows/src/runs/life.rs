//! The life of one run: its streams, what was announced, and the phase that follows from them.

use super::RunFacts;
use super::silence::Silence;
use crate::facts::Phase;
use crate::notes::{Announced, RunNote, SuiteMark};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_schemas::id::Id;

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Life {
    facts: RunFacts,
    /// Whether `facts` changed since they were last told.
    changed: bool,
    pub(super) phase: Phase,
    /// The phase that the workers know, and since when: ended, reopened and ended again within a tick is news.
    told: (Phase, Option<u64>),
    /// When the run is looked at next; `None` while the silent clock stands still.
    pub(super) check_at: Option<u64>,
    /// The silent clock at its last event.
    heard: u64,
    /// Whether `run_completed` was ever said.
    completed: bool,
    /// Whether coverage or resource use was ever told.
    measured: bool,
    /// Whether it was said since the run last began or was reopened.
    ended_by_word: bool,
    streams: BTreeMap<Id, StreamLife>,
    /// How many of the streams are not complete.
    open_streams: u64,
    /// The sum of what the suites announced, when any did.
    planned_by_suites: Option<u64>,
    /// What the run itself announced.
    announced: Announced,
    /// The largest `maxAttempts` that a suite announced.
    max_attempts_by_suites: Option<u32>,
    broken: BTreeSet<Id>,
    withdrawn: BTreeSet<Id>,
}

/// The suites of one stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct StreamLife {
    suites: BTreeMap<Id, SuiteLife>,
    open: u32,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct SuiteLife {
    begun: bool,
    ended: bool,
    planned: Option<u32>,
}

impl StreamLife {
    /// Takes a begin or an end in; gives what its suite announced before and announces now.
    fn mark(&mut self, mark: &SuiteMark) -> (Option<u32>, Option<u32>) {
        let suite = self.suites.entry(mark.suite).or_default();
        let (was_open, was_planned) = (suite.begun && !suite.ended, suite.planned);
        if mark.ended {
            suite.ended = true;
        } else {
            suite.begun = true;
            suite.planned = mark.planned.or(suite.planned);
        }
        let open = suite.begun && !suite.ended;
        self.open = self.open + u32::from(open) - u32::from(was_open);
        (was_planned, suite.planned)
    }

    /// Complete: its begun suites have ended, and there was one at all.
    fn complete(&self) -> bool {
        self.open == 0 && !self.suites.is_empty()
    }
}

impl Life {
    pub(super) fn new(note: &RunNote, now: u64) -> Life {
        let facts = RunFacts {
            run: note.run,
            project: Arc::clone(&note.project),
            name: Arc::clone(&note.name),
            branch: None,
            commit: None,
            user: None,
            framework: None,
            planned: None,
            planned_by_run: false,
            planned_shards: None,
            max_attempts: None,
            streams: 0,
            open_streams: 0,
            first_event_at: note.first_at.min(now),
            last_event_at: note.last_at.min(now),
            broken: false,
            phase: Phase::Running,
            ended_at: None,
            withdrawn: false,
        };
        Life {
            facts,
            changed: true,
            phase: Phase::Running,
            told: (Phase::Running, None),
            check_at: None,
            heard: 0,
            completed: false,
            measured: false,
            ended_by_word: false,
            streams: BTreeMap::new(),
            open_streams: 0,
            planned_by_suites: None,
            announced: Announced::default(),
            max_attempts_by_suites: None,
            broken: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
        }
    }

    pub(super) fn run(&self) -> Id {
        self.facts.run
    }

    /// Takes a tick's notes in, in order of position.
    pub(super) fn hear(&mut self, notes: &[Arc<RunNote>], silent_now: u64) {
        self.changed = true;
        let RunFacts { branch, commit, user, framework, .. } = &mut self.facts;
        for (index, field) in [branch, commit, user, framework].into_iter().enumerate().filter(|(_, it)| it.is_none()) {
            *field =
                notes.iter().filter_map(|note| note.named[index].as_ref()).min().map(|(_, named)| Arc::clone(named));
        }
        let announced = notes.iter().filter_map(|note| note.announced).max_by_key(|(position, _)| *position);
        if let Some((_, announced)) = announced {
            self.announced.update(announced);
        }
        let active = notes.iter().any(|note| note.active);
        if active {
            self.heard = silent_now;
            self.ended_by_word = false;
            self.phase = Phase::Running;
            self.facts.ended_at = None;
        }
        self.facts.withdrawn = false;
        for note in notes {
            self.facts.first_event_at = self.facts.first_event_at.min(note.first_at);
            self.facts.last_event_at = self.facts.last_event_at.max(note.last_at);
            self.completed |= note.completed;
            self.measured |= note.measures;
            self.ended_by_word |= note.completed;
            self.max_attempts_by_suites = self.max_attempts_by_suites.max(note.max_attempts);
            if note.works {
                self.work(note);
            }
            self.facts.withdrawn |= note.withdrawn.iter().any(|id| self.broken.contains(id));
            self.broken.extend(&note.broken);
            self.withdrawn.extend(&note.withdrawn);
        }
        self.sum_up();
    }

    /// Takes in what a stream says of its suites.
    fn work(&mut self, note: &RunNote) {
        let open = &mut self.open_streams;
        let stream = self.streams.entry(note.stream).or_insert_with(|| {
            *open += 1;
            StreamLife::default()
        });
        let was_complete = stream.complete();
        for mark in &note.suites {
            let (was, is) = stream.mark(mark);
            if let Some(is) = is {
                let others = self.planned_by_suites.unwrap_or(0) - u64::from(was.unwrap_or(0));
                self.planned_by_suites = Some(others + u64::from(is));
            }
        }
        *open = *open + u64::from(was_complete) - u64::from(stream.complete());
    }

    fn sum_up(&mut self) {
        let Announced { tests, shards, max_attempts } = self.announced;
        self.facts.planned = tests.map(u64::from).or(self.planned_by_suites);
        self.facts.planned_by_run = tests.is_some();
        self.facts.planned_shards = shards.map(u64::from);
        self.facts.max_attempts = max_attempts.or(self.max_attempts_by_suites);
        self.facts.streams = self.streams.len() as u64;
        self.facts.open_streams = self.open_streams;
        self.facts.broken = self.broken.iter().any(|id| !self.withdrawn.contains(id));
    }

    /// Whether only silence is missing for the run to be finished.
    fn complete(&self) -> bool {
        let shards_seen = self.facts.planned_shards.is_none_or(|shards| self.facts.streams >= shards);
        let begun = self.facts.streams > 0 || self.measured;
        self.completed || (begun && self.facts.open_streams == 0 && shards_seen)
    }

    /// When to look at the run again: the tick of its next deadline; `None` while the silent clock stands still.
    pub(super) fn deadline(&self, now: u64, silence: &Silence, quiet: u64, timeout: u64, grace: u64) -> Option<u64> {
        match self.phase {
            Phase::Running if self.complete() => silence.reaches(self.heard + quiet),
            Phase::Running => silence.reaches(self.heard + timeout),
            _ => Some(self.facts.ended_at.unwrap_or(now) + grace),
        }
    }

    /// Moves the phase to where it belongs at `now`: deadlines take effect at the next whole second.
    pub(super) fn advance(&mut self, now: u64, silence: &Silence, quiet: u64, timeout: u64, grace: u64) {
        let deadline = self.deadline(now, silence, quiet, timeout, grace);
        let due = deadline.is_some_and(|at| at.next_multiple_of(1_000) <= now);
        match self.phase {
            Phase::Running if self.ended_by_word => self.end(Phase::Finished, now),
            Phase::Running if due && self.complete() => self.end(Phase::Finished, now),
            Phase::Running if due => self.end(Phase::Abandoned, now),
            Phase::Finished | Phase::Abandoned if due => {
                self.phase = Phase::Evicted;
                self.changed = true;
            }
            _ => {}
        }
    }

    fn end(&mut self, phase: Phase, now: u64) {
        self.phase = phase;
        self.facts.ended_at = Some(now);
        self.changed = true;
    }

    /// The phase, if it is another than the workers know.
    pub(super) fn take_phase(&mut self) -> Option<Phase> {
        let now = (self.phase, self.facts.ended_at);
        (std::mem::replace(&mut self.told, now) != now).then_some(self.phase)
    }

    /// The facts, if they changed since this was last asked.
    pub(super) fn take_change(&mut self) -> Option<Arc<RunFacts>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.facts.phase = self.phase;
        Some(Arc::new(self.facts.clone()))
    }
}
