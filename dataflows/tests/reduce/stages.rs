//! What the plain forms are made of: what the oracle's early stages decided, as collections, each change at its tick.
//!
//! Contract: which events count, for which of them there is room, in which life of their run, when that begins, ends and leaves,
//! and what outlives it (facts, failures, measurements) is taken from the oracle; what views say of all this is the forms' own.

use super::bytes::Bytes;
use super::common::Tick;
use super::common::oracle::admission::{HOUR, missing};
use super::common::oracle::attempts::recognised;
use super::common::oracle::control::{holding, masks};
use super::common::oracle::rejects;
use super::common::oracle::run_progress::{last_event_at, state};
use super::common::oracle::runs::{Lives, Run, at};
use super::early::Early;
use super::of::{Datum, Fed, Of, write};
use super::tests::{Marked, Test, marked, tests};
use super::told::{Course, Fact, Life, Told, Without};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use timely::dataflow::Scope;
use weir_dataflows::Config;
use weir_dataflows::facts::{AttemptFact, Failure};
use weir_dataflows::input::{Event, Position, Refusal, Text};
use weir_schemas::control::{ControlChange, ControlRecord, Incident};
use weir_schemas::event::EventType;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::Row;

/// What a form gives.
pub(crate) type Rows<'s> = Of<'s, Row>;

/// Updates of a collection.
pub(crate) type Updates<D> = Vec<(D, u64, isize)>;

/// All that forms are made of.
pub(crate) struct Stages<'s> {
    /// Events, while their run is in state.
    pub(crate) events: Of<'s, (Life, Told)>,
    /// The same, never taken back.
    pub(crate) said: Of<'s, (Life, Told)>,
    /// Events with what was taken back of them: plain differential, from here on.
    pub(crate) marked: Of<'s, (Life, Marked)>,
    /// What events in state say of tests.
    pub(crate) tests: Of<'s, ((Life, Id), Test)>,
    /// Courses, while their run is in state.
    pub(crate) courses: Of<'s, (Life, Course)>,
    /// The last course of each life.
    pub(crate) outcomes: Of<'s, (Life, Course)>,
    /// Shards that have fallen silent.
    pub(crate) silent: Of<'s, (Life, Id)>,
    /// How many versions of a stream a life misses.
    pub(crate) gaps: Of<'s, (Life, (Id, u64))>,
    /// Events for which a life had no room: each with its number, tick, and of what there were too many.
    pub(crate) left_out: Of<'s, (Life, (usize, u64, usize))>,
    /// Attempts that ended.
    pub(crate) facts: Of<'s, Fact>,
    /// Those that failed, and failures of runs.
    pub(crate) failures: Of<'s, Fact>,
    /// Attempts that were slow for their test.
    pub(crate) slow: Of<'s, Fact>,
    /// Events that measured something.
    pub(crate) measured: Of<'s, Told>,
    /// What was not taken, with its tick.
    pub(crate) refused: Of<'s, (u64, Refusal)>,
    /// Incidents that hold, by project.
    pub(crate) incidents: Of<'s, (Text, Incident)>,
    /// Everything that people ever said, with tick and place.
    pub(crate) control: Of<'s, (u64, Position, String)>,
}

/// The updates of all stages.
#[derive(Clone)]
pub(crate) struct History {
    events: Fed<(Life, Told)>,
    said: Fed<(Life, Told)>,
    courses: Fed<(Life, Course)>,
    outcomes: Fed<(Life, Course)>,
    silent: Fed<(Life, Id)>,
    gaps: Fed<(Life, (Id, u64))>,
    left_out: Fed<(Life, (usize, u64, usize))>,
    facts: Fed<Fact>,
    failures: Fed<Fact>,
    slow: Fed<Fact>,
    measured: Fed<Told>,
    refused: Fed<(u64, Refusal)>,
    incidents: Fed<(Text, Incident)>,
    control: Fed<(u64, Position, String)>,
}

impl History {
    pub(crate) fn new(config: &Config, ticks: &[Tick], early: &Early) -> History {
        let lives = &early.lives;
        let told = recognise(ticks, early);
        let events = |life: Life, run: &Run| {
            let told = |event: &Event| Told { without: without(run, event), ..told[&event.position].clone() };
            run.events.iter().map(|(_, event)| (life, told(event))).collect::<Vec<_>>()
        };
        let course = |life: Life, run: &Run| {
            let (phase, state) = (run.phase.to_owned(), state(run).to_owned());
            let course = Course { phase, ended_at: run.ended_at, state, last_event_at: last_event_at(run) };
            vec![(life, course)]
        };
        let silent = |life: Life, run: &Run| run.silent.iter().map(|stream| (life, *stream)).collect();
        let left_out = |life: Life, run: &Run| {
            run.left_out.iter().enumerate().map(|(number, (at, kind))| (life, (number, *at, *kind))).collect()
        };
        let measured = early.measured.iter().map(|((tick, _, event), at, diff)| {
            let (event, without) = (Arc::clone(event), Without::default());
            (Told { tick: *tick, event, failure: None, without }, *at, *diff)
        });
        History {
            events: changes(lives, true, events),
            said: changes(lives, false, events),
            courses: changes(lives, true, course),
            outcomes: changes(lives, false, course),
            silent: changes(lives, true, silent),
            gaps: gaps(config, ticks, early),
            left_out: changes(lives, true, left_out),
            facts: facts(&early.facts),
            failures: facts(&early.failures),
            slow: facts(&early.slow),
            measured: signed(measured),
            refused: signed(early.rejected.iter().filter_map(refused)),
            incidents: incidents(ticks),
            control: control(ticks),
        }
    }

    /// The collections, on one of the workers.
    pub(crate) fn feed<'s>(&self, scope: Scope<'s, u64>) -> Stages<'s> {
        let (events, incidents) = (self.events.feed(scope), self.incidents.feed(scope));
        let marked = marked(events.clone(), incidents.clone());
        Stages {
            tests: tests(marked.clone()),
            marked,
            events,
            said: self.said.feed(scope),
            courses: self.courses.feed(scope),
            outcomes: self.outcomes.feed(scope),
            silent: self.silent.feed(scope),
            gaps: self.gaps.feed(scope),
            left_out: self.left_out.feed(scope),
            facts: self.facts.feed(scope),
            failures: self.failures.feed(scope),
            slow: self.slow.feed(scope),
            measured: self.measured.feed(scope),
            refused: self.refused.feed(scope),
            incidents,
            control: self.control.feed(scope),
        }
    }
}

fn signed<D: Datum>(updates: impl Iterator<Item = (D, u64, i64)>) -> Fed<D> {
    Fed::new(updates.map(|(datum, at, diff)| (datum, at, isize::try_from(diff).expect("small"))))
}

fn facts(updates: &[(AttemptFact, u64, i64)]) -> Fed<Fact> {
    signed(updates.iter().map(|(fact, at, diff)| (Fact(fact.clone()), *at, *diff)))
}

/// What of an event of a run there was no room for.
fn without(run: &Run, event: &Event) -> Without {
    let among = |events: &[(u64, Arc<Event>)]| events.iter().any(|(_, other)| other.position == event.position);
    let of_suite = matches!(event.kind, EventType::TestSuiteStarted | EventType::TestSuiteCompleted);
    let (tick, _) = run.events.iter().find(|(_, other)| other.position == event.position).expect("it is of the run");
    let files = event.coverage().into_iter().flat_map(|coverage| {
        let held = |path: &Text| run.files_held.get(&(Arc::clone(&coverage.flag), Arc::clone(path)));
        let files = coverage.files.iter().enumerate();
        files.filter(move |(_, file)| held(&file.path).is_none_or(|since| since > tick)).map(|(number, _)| number)
    });
    Without {
        withdrawal: among(&run.refused),
        test: !among(&run.kept),
        suite: of_suite && !among(&run.of_suites),
        files: files.collect(),
    }
}

/// All events with what they are recognised as.
fn recognise(ticks: &[Tick], early: &Early) -> BTreeMap<Position, Told> {
    let told = early.judged.iter().map(|judged| {
        let event = Arc::clone(&judged.event);
        let failure = event.outcome.filter(|outcome| outcome.fails()).map(|outcome: Outcome| {
            let masks = masks(ticks, &event.origin.project, judged.at);
            let (stream, name) = (Arc::clone(&event.origin.stream_name), Arc::clone(event.name().expect("it fails")));
            Failure { event: name, stream, ..recognised(&event, outcome, &masks) }
        });
        (event.position, Told { tick: judged.at, event, failure, without: Without::default() })
    });
    told.collect()
}

/// How what `of` says of runs changes; what has left is taken back or stays as it was.
fn changes<D: Datum>(lives: &Lives, leaves: bool, of: impl Fn(Life, &Run) -> Vec<D>) -> Fed<D> {
    let of = |life: Life, run: &Run| of(life, run).iter().map(write).collect();
    Fed::written(changes_of(lives, leaves, &of))
}

fn changes_of(lives: &Lives, leaves: bool, of: &dyn Fn(Life, &Run) -> BTreeSet<Bytes>) -> Updates<Bytes> {
    let mut updates = Vec::new();
    for (id, moments) in lives {
        let (mut known, mut number) = (BTreeSet::new(), 0);
        for moment in moments {
            let now = moment.run.as_ref().map(|run| of((*id, number), run));
            if leaves || now.is_some() {
                differ(&known, now.as_ref().unwrap_or(&BTreeSet::new()), moment.at, &mut updates);
            }
            number += usize::from(now.is_none());
            known = now.unwrap_or_default();
        }
    }
    updates
}

/// What one has to do to the one for the other.
fn differ(known: &BTreeSet<Bytes>, now: &BTreeSet<Bytes>, at: u64, updates: &mut Updates<Bytes>) {
    updates.extend(known.difference(now).map(|datum| (datum.clone(), at, -1)));
    updates.extend(now.difference(known).map(|datum| (datum.clone(), at, 1)));
}

fn refused((rejected, at, diff): &(rejects::Rejected, u64, i64)) -> Option<((u64, Refusal), u64, i64)> {
    match rejected {
        rejects::Rejected::Refusal(refusal) => Some(((*at, Refusal::clone(refusal)), *at, *diff)),
        rejects::Rejected::Late(_) => None,
    }
}

/// What each life misses, looked at whenever that may change: streams are forgotten at whole hours.
fn gaps(config: &Config, ticks: &[Tick], early: &Early) -> Fed<(Life, (Id, u64))> {
    let end = ticks.last().map_or(0, |tick| tick.at);
    let forgotten = early.judged.iter().map(|judged| (judged.at + config.stream_memory_ms).next_multiple_of(HOUR));
    let moments = early.lives.values().flatten().map(|moment| moment.at);
    let times: BTreeSet<u64> = ticks.iter().map(|tick| tick.at).chain(forgotten).chain(moments).collect();
    let (mut updates, mut known) = (Vec::new(), BTreeSet::new());
    for time in times.into_iter().filter(|time| *time <= end) {
        let mut now = BTreeSet::new();
        for (id, run) in at(&early.lives, time) {
            let left = early.lives[&id].iter().filter(|moment| moment.at <= time && moment.run.is_none()).count();
            let streams: BTreeSet<Id> = run.events.iter().map(|(_, event)| event.stream()).collect();
            let missed = |stream| missing(config, &early.judged, stream, id, time);
            let gaps = streams.into_iter().map(|stream| ((id, left), (stream, missed(stream))));
            now.extend(gaps.filter(|(_, (_, count))| *count > 0).map(|gap| write(&gap)));
        }
        differ(&known, &now, time, &mut updates);
        known = now;
    }
    Fed::written(updates)
}

fn incidents(ticks: &[Tick]) -> Fed<(Text, Incident)> {
    let (mut updates, mut known) = (Vec::new(), BTreeSet::new());
    for tick in ticks.iter().filter(|tick| !tick.control.is_empty()) {
        let of = |(record, _): (&ControlRecord, u64)| match &record.change {
            ControlChange::Incident(incident) => Some((Text::from(&*record.project), incident.clone())),
            _ => None,
        };
        let now = holding(ticks, tick.at).into_values().filter_map(of).map(|incident| write(&incident)).collect();
        differ(&known, &now, tick.at, &mut updates);
        known = now;
    }
    Fed::written(updates)
}

/// As JSON, since records have no order.
fn control(ticks: &[Tick]) -> Fed<(u64, Position, String)> {
    let said = ticks.iter().flat_map(|tick| tick.control.iter().map(move |said| (tick.at, said)));
    let text = |record: &ControlRecord| serde_json::to_string(record).expect("can be written");
    Fed::new(said.map(|(at, said)| ((at, said.position, text(&said.record)), at, 1)))
}
