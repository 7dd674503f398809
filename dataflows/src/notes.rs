//! Notes: what a tick's admitted events say about the life of their runs, summed up where they are admitted.
//!
//! Contract: one [`RunNote`] per (run, stream) and tick goes to the run's worker, however many events there were: so a giant
//! run is not one worker's job, and the lives of runs cost next to nothing an event. A note does not depend on the order
//! of the tick's events but by their positions.
//!
//! # Invariants
//! No state between ticks, only the memory for it.
//!
//! # Cost
//! At most one look-up an event, none while events of one stream follow each other.

use crate::input::{Event, Position, Text};
use crate::map::Map;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_schemas::event::EventType;
use weir_schemas::id::Id;

/// What the lives of runs are told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Note {
    /// What a stream said.
    Said(Arc<RunNote>),
    /// How many versions of a stream a run misses now, where no event of the run's says it: another run's event filled the
    /// gap, or the stream was forgotten.
    Missing {
        /// The run.
        run: Id,
        /// The stream.
        stream: Id,
        /// How many.
        missing: u64,
    },
}

impl Note {
    /// The run.
    #[must_use]
    pub fn run(&self) -> Id {
        match self {
            Note::Said(note) => note.run,
            Note::Missing { run, .. } => *run,
        }
    }
}

/// What one stream said about one run in one tick.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunNote {
    /// The run.
    pub run: Id,
    /// The run's name.
    pub name: Text,
    /// The stream.
    pub stream: Id,
    /// The stream's name.
    pub stream_name: Text,
    /// The first machine that its events name.
    pub worker: Option<Text>,
    /// How many versions of the stream are missing before the run's events, after the tick.
    pub missing: u64,
    /// Where its first event of the tick stands.
    pub first: Position,
    /// The project.
    pub project: Text,
    /// The first branch, commit, user and framework that its events name, each with where.
    pub named: [Option<(Position, Text)>; 4],
    /// The earliest event time, clamped to the tick.
    pub first_at: u64,
    /// The latest event time, clamped to the tick.
    pub last_at: u64,
    /// Whether anything but withdrawals came: what keeps a run alive.
    pub active: bool,
    /// Whether anything came that a shard says of its own work: a stream that only announces the run or its end, or only
    /// tells what was measured, is no shard of it.
    pub works: bool,
    /// Whether coverage or resource use was told.
    pub measures: bool,
    /// Whether `run_completed` came.
    pub completed: bool,
    /// What `run_started` announced, with where it stands.
    pub announced: Option<(Position, Announced)>,
    /// The largest `maxAttempts` that `test_suite_started` announced.
    pub max_attempts: Option<u32>,
    /// Suites begun and ended, in order of position.
    pub suites: Vec<SuiteMark>,
}

/// What a run says that it will be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// Tests.
    pub tests: Option<u32>,
    /// Streams.
    pub shards: Option<u32>,
    /// How often a failing test is tried at most.
    pub max_attempts: Option<u32>,
}

impl Announced {
    /// Takes over what a later announcement says; what it leaves out stays.
    pub fn update(&mut self, later: Announced) {
        self.tests = later.tests.or(self.tests);
        self.shards = later.shards.or(self.shards);
        self.max_attempts = later.max_attempts.or(self.max_attempts);
    }
}

/// A suite begun or ended in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SuiteMark {
    /// Where the event stands.
    pub position: Position,
    /// The suite.
    pub suite: Id,
    /// Whether it ended; else it began.
    pub ended: bool,
    /// Tests announced.
    pub planned: Option<u32>,
}

/// The notes of a tick while they are taken; empty between ticks.
#[derive(Default)]
pub struct Notes {
    index: Map<(Id, Id), usize>,
    notes: Vec<RunNote>,
    last: usize,
}

impl Notes {
    /// Takes down what an admitted event of tick `now` says, after which so many versions are `missing`; events come in order
    /// of their positions.
    pub fn add(&mut self, event: &Event, now: u64, missing: u64) {
        let same = |note: &RunNote| (note.run, note.stream) == (event.run(), event.stream());
        if !self.notes.get(self.last).is_some_and(same) {
            let notes = &mut self.notes;
            self.last = *self.index.get_or_insert_with((event.run(), event.stream()), || {
                notes.push(RunNote::new(event, now));
                notes.len() - 1
            });
        }
        let note = &mut self.notes[self.last];
        note.add(event, now);
        note.missing = missing;
    }

    /// Takes the tick's notes out.
    pub fn drain(&mut self) -> impl Iterator<Item = Arc<RunNote>> {
        self.index.clear();
        self.last = 0;
        self.notes.drain(..).map(|mut note| {
            note.suites.sort_unstable();
            Arc::new(note)
        })
    }
}

impl RunNote {
    fn new(event: &Event, now: u64) -> Self {
        RunNote {
            run: event.run(),
            name: Arc::clone(&event.names.run),
            stream: event.stream(),
            stream_name: Arc::clone(&event.origin.stream_name),
            worker: None,
            missing: 0,
            first: event.position,
            project: Arc::clone(&event.origin.project),
            named: Default::default(),
            first_at: event.at.min(now),
            last_at: event.at.min(now),
            active: false,
            works: false,
            measures: false,
            completed: false,
            announced: None,
            max_attempts: None,
            suites: Vec::new(),
        }
    }

    fn add(&mut self, event: &Event, now: u64) {
        self.first = self.first.min(event.position);
        for (first, named) in self.named.iter_mut().zip(event.origin.of_run()) {
            // Events come in order of their positions.
            if let (None, Some(named)) = (&first, named) {
                *first = Some((event.position, Arc::clone(named)));
            }
        }
        if self.worker.is_none() {
            self.worker.clone_from(&event.origin.worker);
        }
        self.first_at = self.first_at.min(event.at.min(now));
        self.last_at = self.last_at.max(event.at.min(now));
        self.active |= event.kind != EventType::ResultWithdrawn;
        let measures = matches!(event.kind, EventType::CoverageUpdated | EventType::PerformanceMeasured);
        let announces = matches!(event.kind, EventType::RunStarted | EventType::RunCompleted);
        self.measures |= measures;
        self.works |= !measures && !announces && event.kind != EventType::ResultWithdrawn;
        match event.kind {
            EventType::RunCompleted => self.completed = true,
            EventType::RunStarted if self.announced.is_none_or(|(position, _)| position < event.position) => {
                let (tests, shards) = (event.planned_tests(), event.planned_shards());
                let announced = Announced { tests, shards, max_attempts: event.max_attempts() };
                self.announced = Some((event.position, announced));
            }
            EventType::TestSuiteStarted | EventType::TestSuiteCompleted => {
                let ended = event.kind == EventType::TestSuiteCompleted;
                self.suites.push(SuiteMark {
                    position: event.position,
                    suite: event.suite(),
                    ended,
                    planned: event.planned_tests(),
                });
                if !ended {
                    self.max_attempts = self.max_attempts.max(event.max_attempts());
                }
            }
            _ => {}
        }
    }
}
