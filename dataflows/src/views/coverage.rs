//! The views `coverage` and `coverage_summary`: what is covered of each file of a run, and in all, merged over shards.
//!
//! Contract: a line is covered if any session of the run covers it, and counts if any session says so; a session is one attempt of
//! one stream, and stays apart below, so what is taken back, or covered by an incident, is recomputed. An event with mode
//! `replace` takes the place of what its session said before under its flag: that is gone, and does not come back with the
//! event's own withdrawal. Rows move at multiples of the cadence and are exact there.
//!
//! Three layers: [`files`] keeps a file's sessions, by (run, file), so a giant run is not one worker's job; [`summary`] adds up the
//! files of a run and counts its sessions, by run; [`trend`] compares with the last finished run of a main branch, by project.
//!
//! # Invariants
//! Sums travel as differences, so they do not depend on which worker counted what.
//!
//! # Cost
//! A file and flag keeps at most `coverage_said` times what was said of it, shared with the event; one more is put together
//! with those before it. Work: O(ranges) for what is added, O(all ranges of the file) once a second after something left.

mod file;
pub mod files;
pub mod summary;
pub mod trend;

use crate::budget::{Held, Kind, Order, rooms};
use crate::context::Context;
use crate::control::Rule;
use crate::facts::{PhaseChange, RowChange, Rows};
use crate::fork::fork;
use crate::input::{Event, Input};
use crate::keyed::{Collection, keyed};
use crate::runs::{RunFacts, RunOutput};
use files::{FileInput, FileOutput, Files};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use summary::{Summaries, SummaryInput};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Concat as _;
use timely::dataflow::operators::vec::Map as _;
use trend::Trends;
use weir_schemas::control::ControlChange;
use weir_schemas::id::Id;

/// The flag of all flags together.
pub const ALL: &str = "*";

/// One attempt of one stream.
pub type Session = (Id, u32);

/// Lines of some files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Files.
    pub files: i64,
    /// Lines that are covered.
    pub covered: i64,
    /// Lines that count.
    pub total: i64,
}

impl Counts {
    fn add(&mut self, other: Counts, times: i64) {
        self.files += other.files * times;
        self.covered += other.covered * times;
        self.total += other.total * times;
    }
}

/// The session of an event.
fn session(event: &Event) -> Session {
    (event.stream(), event.attempt.unwrap_or(1))
}

/// The event, if it says what is covered. What takes back covers nothing.
#[must_use]
pub fn event_of_coverage(input: &Input) -> Option<Arc<Event>> {
    let Input::Event(event) = input else { return None };
    (event.withdrawal().is_none() && event.coverage().is_some()).then(|| Arc::clone(event))
}

/// Rows of both views, and what the row budget is told.
pub struct CoverageStreams<'s> {
    /// Of `coverage`.
    pub rows: Rows<'s>,
    /// Of `coverage_summary`.
    pub summaries: Rows<'s>,
    /// How many files came and were left out.
    pub held: Collection<'s, Held>,
}

/// The rows of both views. `events`: those of [`event_of_coverage`], and withdrawals by event id that count.
#[must_use]
pub fn render<'s>(
    cx: &Context<'s>,
    events: Collection<'s, Arc<Event>>,
    phases: Collection<'s, PhaseChange>,
    lives: Collection<'s, RunOutput>,
    rules: Collection<'s, Rule>,
    orders: Collection<'s, Order>,
) -> CoverageStreams<'s> {
    let until = cx.config.until;
    let peers = events.scope().peers() as u64;
    let incidents = rules.flat_map(|(rule, time, diff)| {
        matches!(rule.record.change, ControlChange::Incident(_)).then_some((rule, time, diff))
    });

    let said = events.clone().flat_map(move |(event, time, diff)| {
        FileInput::of(&event, peers).into_iter().map(move |input| (input, time, diff))
    });
    let phases = phases.map(|(change, time, diff)| (FileInput::Phase(change), time, diff));
    let of_files = incidents.clone().map(|(rule, time, diff)| (FileInput::Rule(rule), time, diff));
    let by_file = Exchange::new(|(input, _, _): &(FileInput, u64, i64)| input.route());
    let rooms = rooms(orders, Kind::File).map(|(room, time, diff)| (FileInput::Room(room), time, diff));
    let inputs = said.concat(phases).concat(of_files).concat(rooms);
    let told = keyed("Coverage", inputs, by_file, until, Files::new(Arc::clone(&cx.config)));
    let (told, held) = fork("HeldFiles", told, |output| match output {
        FileOutput::Held(held) => Some(held.clone()),
        FileOutput::Row(_) | FileOutput::Delta(_) => None,
    });
    let (told, deltas) = fork("CoverageDeltas", told, |output| match output {
        FileOutput::Delta(delta) => Some(SummaryInput::Delta(delta.clone())),
        FileOutput::Row(_) | FileOutput::Held(_) => None,
    });
    let rows = told.flat_map(|(output, time, diff)| match output {
        FileOutput::Row(row) => Some((row, time, diff)),
        FileOutput::Delta(_) | FileOutput::Held(_) => None,
    });

    let notes = events.map(|(event, time, diff)| (SummaryInput::Event(event), time, diff));
    let facts = lives.flat_map(|(output, time, diff)| match output {
        RunOutput::Facts(facts) => Some((SummaryInput::Facts(facts), time, diff)),
        RunOutput::Phase(_) | RunOutput::Missing(_) => None,
    });
    let of_runs = incidents.map(|(rule, time, diff)| (SummaryInput::Rule(rule), time, diff));
    let by_run = Exchange::new(|(input, _, _): &(SummaryInput, u64, i64)| input.route());
    let inputs = deltas.concat(notes).concat(facts).concat(of_runs);
    let summaries = keyed("CoverageSummary", inputs, by_run, until, Summaries::new(Arc::clone(&cx.config)));

    let by_project =
        Exchange::new(|(summary, _, _): &(summary::Summary, u64, i64)| Id::of(&["project", &summary.project]).route());
    let trends = Trends::new(Arc::clone(&cx.config));
    let summary_rows: Collection<'s, RowChange> = keyed("CoverageTrend", summaries, by_project, until, trends);
    CoverageStreams { rows, summaries: summary_rows, held }
}

/// Whether the run's facts say that it has left.
fn left(facts: &RunFacts) -> bool {
    facts.phase == crate::facts::Phase::Evicted
}
