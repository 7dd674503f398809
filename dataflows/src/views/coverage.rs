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

use crate::budget::{self, Held, Kind, Order};
use crate::context::Context;
use crate::control::Rule;
use crate::facts::{Phase, PhaseChange, RowChange, Rows};
use crate::fork::Forks;
use crate::input::{Event, Input};
use crate::keyed::{Collection, Inlets, keyed};
use crate::runs::RunFacts;
use files::{Delta, FileInput, FileOutput, Files, Piece};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use summary::{Summaries, SummaryInput};
use timely::dataflow::channels::pact::{Exchange, Pipeline};
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

/// The rows of both views. `events`: those of [`event_of_coverage`], and withdrawals by event id that count; `phases` and `rules`: on
/// the worker that is told.
#[must_use]
pub fn render<'s>(
    cx: &Context<'s>,
    events: Collection<'s, Arc<Event>>,
    phases: Collection<'s, PhaseChange>,
    facts: Collection<'s, Arc<RunFacts>>,
    rules: Collection<'s, Rule>,
    orders: Collection<'s, Order>,
) -> CoverageStreams<'s> {
    let states = &cx.states;
    let peers = cx.scope.peers() as u64;
    let pieces = events.clone().flat_map(move |(event, time, diff)| {
        Piece::of(&event, peers).into_iter().map(move |piece| (piece, time, diff))
    });
    let by_file = Exchange::new(|(piece, _, _): &(Piece, u64, i64)| piece.route());
    let told = Inlets::new("Coverage", cx.scope)
        .add(pieces, by_file, |piece| Some(FileInput::Piece(piece)))
        .add(phases, Pipeline, |change| (change.phase == Phase::Evicted).then_some(FileInput::Evicted(change.run)))
        .add(rules.clone(), Pipeline, |rule| incident(&rule).then_some(FileInput::Rule(rule)))
        .add(orders, budget::by_worker(), |order| order.room(Kind::File).map(FileInput::Room))
        .keyed(states, Files::new(Arc::clone(&cx.config)));
    let mut kinds = Forks::new("CoverageKinds", told);
    let held = kinds.tap(|output| match output {
        FileOutput::Held(held) => Some(held.clone()),
        FileOutput::Row(_) | FileOutput::Delta(_) => None,
    });
    let deltas = kinds.tap(|output| match output {
        FileOutput::Delta(delta) => Some(delta.clone()),
        FileOutput::Row(_) | FileOutput::Held(_) => None,
    });
    let rows = kinds.rest(|output| match output {
        FileOutput::Row(row) => Some(row),
        FileOutput::Delta(_) | FileOutput::Held(_) => None,
    });

    let summaries = Inlets::new("CoverageSummary", cx.scope)
        .add(deltas, Exchange::new(|(delta, _, _): &(Delta, u64, i64)| delta.run.route()), |delta| {
            Some(SummaryInput::Delta(delta))
        })
        .add(events, Exchange::new(|(event, _, _): &(Arc<Event>, u64, i64)| event.run().route()), |event| {
            Some(SummaryInput::Event(event))
        })
        .add(facts, Exchange::new(|(facts, _, _): &(Arc<RunFacts>, u64, i64)| facts.run.route()), |facts| {
            Some(SummaryInput::Facts(facts))
        })
        .add(rules, Pipeline, |rule| incident(&rule).then_some(SummaryInput::Rule(rule)))
        .keyed(states, Summaries::new(Arc::clone(&cx.config)));

    let by_project =
        Exchange::new(|(summary, _, _): &(summary::Summary, u64, i64)| Id::of(&["project", &summary.project]).route());
    let trends = Trends::new(Arc::clone(&cx.config));
    let summary_rows: Collection<'s, RowChange> = keyed("CoverageTrend", summaries, by_project, states, trends);
    CoverageStreams { rows, summaries: summary_rows, held }
}

fn incident(rule: &Rule) -> bool {
    matches!(rule.record.change, ControlChange::Incident(_))
}

/// Whether the run's facts say that it has left.
fn left(facts: &RunFacts) -> bool {
    facts.phase == Phase::Evicted
}
