//! The life of one run: its streams, what was announced, and the phase that follows from them.

use super::silence::Silence;
use super::streams::{Of, Streams};
use super::{Periods, RunFacts};
use crate::facts::{Phase, RowChange};
use crate::notes::{Announced, RunNote};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::row::RowWriter;

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
    /// Whether the row budget lets it go at the running tick.
    #[serde(skip)]
    leaves: bool,
    streams: Streams,
    /// What the run itself announced.
    announced: Announced,
    /// The largest `maxAttempts` that a suite announced.
    max_attempts_by_suites: Option<u32>,
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
            began_at: now,
            first_event_at: note.first_at.min(now),
            last_event_at: note.last_at.min(now),
            phase: Phase::Running,
            ended_at: None,
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
            leaves: false,
            streams: Streams::default(),
            announced: Announced::default(),
            max_attempts_by_suites: None,
        }
    }

    pub(super) fn run(&self) -> Id {
        self.facts.run
    }

    /// Takes a tick's notes in, in order of position.
    pub(super) fn hear(&mut self, notes: &[Arc<RunNote>], now: u64, clock: u64) {
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
            self.heard = clock;
            self.ended_by_word = false;
            self.phase = Phase::Running;
            self.facts.ended_at = None;
        }
        for note in notes {
            self.facts.first_event_at = self.facts.first_event_at.min(note.first_at);
            self.facts.last_event_at = self.facts.last_event_at.max(note.last_at);
            self.completed |= note.completed;
            self.measured |= note.measures;
            self.ended_by_word |= note.completed;
            self.max_attempts_by_suites = self.max_attempts_by_suites.max(note.max_attempts);
            self.streams.hear(note, now, clock);
        }
        self.sum_up();
    }

    /// Takes in how many versions of a stream are missing.
    pub(super) fn tear(&mut self, stream: Id, missing: u64) {
        self.streams.tear(stream, missing);
    }

    /// The row budget lets it go, if it has been over since then.
    pub(super) fn let_leave(&mut self, ended_at: u64) {
        self.leaves = self.facts.ended_at == Some(ended_at);
    }

    fn sum_up(&mut self) {
        let Announced { tests, shards, max_attempts } = self.announced;
        self.facts.planned = tests.map(u64::from).or(self.streams.planned());
        self.facts.planned_by_run = tests.is_some();
        self.facts.planned_shards = shards.map(u64::from);
        self.facts.max_attempts = max_attempts.or(self.max_attempts_by_suites);
        self.facts.streams = self.streams.shards();
        self.facts.open_streams = self.streams.open();
    }

    /// Whether only silence is missing for the run to be finished.
    fn complete(&self) -> bool {
        let shards_seen = self.facts.planned_shards.is_none_or(|shards| self.facts.streams >= shards);
        let begun = self.facts.streams > 0 || self.measured;
        self.completed || (begun && self.facts.open_streams == 0 && shards_seen)
    }

    /// The tick of the end of its phase; `None` while the silent clock stands still.
    fn deadline(&self, now: u64, silence: &Silence, periods: &Periods) -> Option<u64> {
        match self.phase {
            Phase::Running if self.complete() => silence.reaches(self.heard + periods.quiet_ms),
            Phase::Running => silence.reaches(self.heard + periods.timeout_ms),
            _ => Some(self.facts.ended_at.unwrap_or(now) + periods.grace_ms),
        }
    }

    /// When to look at the run again: when its phase ends or one of its shards falls silent; `None` as for those.
    pub(super) fn look_at(&self, now: u64, silence: &Silence, periods: &Periods) -> Option<u64> {
        let shard = || self.streams.deadline(silence, periods.shard_silent_ms);
        let shard = if self.phase == Phase::Running { shard() } else { None };
        self.deadline(now, silence, periods).into_iter().chain(shard).min()
    }

    /// Moves the phase to where it belongs at `now`: deadlines take effect at the next whole second.
    pub(super) fn advance(&mut self, now: u64, silence: &Silence, periods: &Periods) {
        let deadline = self.deadline(now, silence, periods);
        let due = deadline.is_some_and(|at| at.next_multiple_of(1_000) <= now) || std::mem::take(&mut self.leaves);
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
        if self.phase == Phase::Running && now.is_multiple_of(1_000) {
            self.streams.listen(silence.at(now), periods.shard_silent_ms);
        }
    }

    fn end(&mut self, phase: Phase, now: u64) {
        self.phase = phase;
        self.facts.ended_at = Some(now);
        self.changed = true;
        self.streams.end();
    }

    /// Emits what changed of its streams' rows in `missing`.
    pub(super) fn tell_streams(&mut self, writer: &mut RowWriter, emit: impl FnMut(RowChange, i64)) {
        if self.phase == Phase::Evicted {
            return self.streams.leave(emit);
        }
        let RunFacts { project, name, ended_at, .. } = &self.facts;
        self.streams.tell(&Of { project, run: name, ended_at: *ended_at }, writer, emit);
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
