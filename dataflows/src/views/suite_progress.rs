//! `suite_progress`: each suite of each live run, and the tests that it announced and that never began.
//!
//! Contract: takes the sums of all workers, the suites' begins and ends by stream, and the phases of runs. A suite is
//! `running` until its run has ended or every stream that began it has ended it; then `passed` or `failed` by its tests, or
//! `abandoned` with its run. What was announced is the sum over streams of the last announcement of each. Rows of the view move
//! at multiples of its cadence and are exact there; those of `missing` move at every tick.
//!
//! A suite of which nothing but begins and ends is known that come while its project is full of suites (`crate::budget`) is not
//! kept; those events are counted. One with a test is, so there are no more of these than tests.
//!
//! # Cost
//! O(workers + streams of the suite) a touched suite and tick; a row a touched suite and cadence point.

use crate::budget::{self, Full, Grown, Held, Kind, Order, Room, Untold};
use crate::context::Context;
use crate::facts::{Phase, PhaseChange, RowChange, Rows};
use crate::fork::Forks;
use crate::input::{Event, Input, Names, Text};
use crate::keyed::{Collection, Home, Inlets, Machine, Step, reuse};
use crate::map::Map;
use crate::sums::{ByWorker, Counts, Latest, Part};
use crate::views::missing;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use weir_schemas::event::EventType;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::Cause;
use weir_schemas::view::SUITE_PROGRESS;

/// What comes out.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum SuiteOutput {
    /// Of `suite_progress`.
    Row(RowChange),
    /// Of `missing`.
    Missing(RowChange),
    /// How many suites came and were left out, for the row budget.
    Held(Held),
}

#[derive(Clone, Debug)]
enum SuiteInput {
    Part(Part),
    Event(Arc<Event>),
    Phase(PhaseChange),
    Room(Room),
}

/// The begin or end of a suite.
#[must_use]
pub fn event_of_suite(input: &Input) -> Option<Arc<Event>> {
    match input {
        Input::Event(event) if matches!(event.kind, EventType::TestSuiteStarted | EventType::TestSuiteCompleted) => {
            Some(Arc::clone(event))
        }
        _ => None,
    }
}

/// Rows of this view and of `missing`, and what the row budget is told.
pub struct SuiteStreams<'s> {
    /// Of `suite_progress`.
    pub rows: Rows<'s>,
    /// Of `missing`.
    pub missing: Rows<'s>,
    /// How many suites came and were left out.
    pub held: Collection<'s, Held>,
}

/// Renders the view from the parts, which are of suites, and the begins and ends of these, distributed by (run, suite). `phases`: on the
/// worker that is told.
pub fn render<'s>(
    cx: &Context<'s>,
    parts: Collection<'s, Part>,
    events: Collection<'s, Arc<Event>>,
    phases: Collection<'s, PhaseChange>,
    orders: Collection<'s, Order>,
) -> SuiteStreams<'s> {
    let of_part = Exchange::new(|(part, _, _): &(Part, u64, i64)| route(part.names.run_id, part.names.suite_id));
    let of_event = Exchange::new(|(event, _, _): &(Arc<Event>, u64, i64)| route(event.run(), event.suite()));
    let told = Inlets::new("SuiteProgress", parts.scope())
        .add(parts, of_part, |part| Some(SuiteInput::Part(part)))
        .add(events, of_event, |event| Some(SuiteInput::Event(event)))
        .add(phases, Pipeline, |change| Some(SuiteInput::Phase(change)))
        .add(orders, budget::by_worker(), |order| order.room(Kind::Suite).map(SuiteInput::Room))
        .keyed(&cx.states, Suites::default());
    let mut kinds = Forks::new("SuiteKinds", told);
    let held = kinds.tap(|output| match output {
        SuiteOutput::Held(held) => Some(held.clone()),
        _ => None,
    });
    let missing = kinds.tap(|output| match output {
        SuiteOutput::Missing(row) => Some(row.clone()),
        _ => None,
    });
    let rows = kinds.rest(|output| match output {
        SuiteOutput::Row(row) => Some(row),
        _ => None,
    });
    SuiteStreams { rows, missing, held }
}

/// The worker of a suite in a run.
fn route(run: Id, suite: Id) -> u64 {
    run.route() ^ suite.route().rotate_left(32)
}

/// One suite of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Suite {
    project: Text,
    run: Text,
    suite: Text,
    name: Text,
    /// Sums and the latest result, by worker.
    parts: ByWorker<(Counts, Option<Latest>)>,
    streams: BTreeMap<Id, InStream>,
    /// The row that was last told.
    shown: Option<Row>,
    /// Whether it is looked at at the next cadence point.
    due: bool,
    /// Whether anything was withdrawn since the last one.
    withdrawn: bool,
}

/// A suite in one stream.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct InStream {
    begun: bool,
    ended: bool,
    planned: Option<u32>,
}

impl Suite {
    fn new(names: &Names) -> Suite {
        Suite {
            project: Arc::clone(&names.project),
            run: Arc::clone(&names.run),
            suite: Arc::clone(&names.suite),
            name: Arc::clone(&names.suite),
            parts: ByWorker::default(),
            streams: BTreeMap::new(),
            shown: None,
            due: false,
            withdrawn: false,
        }
    }

    fn event(&mut self, event: &Event) {
        if self.streams.is_empty() {
            self.name = Arc::clone(&event.names.suite_name);
        }
        let stream = self.streams.entry(event.stream()).or_default();
        if event.kind == EventType::TestSuiteCompleted {
            stream.ended = true;
        } else {
            stream.begun = true;
            stream.planned = event.planned_tests().or(stream.planned);
        }
    }

    fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.parts.iter().for_each(|(counts, _)| sum.merge(counts));
        sum
    }

    fn planned(&self) -> Option<u64> {
        let planned = self.streams.values().filter_map(|stream| stream.planned);
        planned.fold(None, |sum, planned| Some(sum.unwrap_or(0) + u64::from(planned)))
    }

    fn state(&self, counts: &Counts, ended: Option<(Phase, u64)>) -> &'static str {
        let complete = !self.streams.is_empty() && self.streams.values().all(|stream| stream.ended || !stream.begun);
        match ended {
            _ if complete && counts.fails() => "failed",
            _ if complete => "passed",
            Some((Phase::Abandoned, _)) => "abandoned",
            Some(_) if counts.fails() => "failed",
            Some(_) => "passed",
            None => "running",
        }
    }

    fn row(&self, writer: &mut RowWriter, ended: Option<(Phase, u64)>) -> Option<Row> {
        let counts = self.counts();
        if self.streams.is_empty() && counts.started == 0 {
            return None; // Its only tests were taken back.
        }
        let latest = self.parts.iter().filter_map(|(_, latest)| *latest).max();
        writer.str(&self.project).str(&self.run).str(&self.suite).str(&self.name).opt_uint(self.planned());
        writer.int(counts.started).int(counts.finished).int(counts.passed).int(counts.failed);
        writer
            .int(counts.skipped)
            .int(counts.errored)
            .int(counts.flaky)
            .int(i64::try_from(counts.duration_us).unwrap_or(i64::MAX));
        writer.str(self.state(&counts, ended)).opt_str(latest.map(|(_, _, outcome)| outcome.as_str()));
        Some(writer.finish(&SUITE_PROGRESS))
    }

    fn missing(&self, writer: &mut RowWriter, ended: Option<(Phase, u64)>) -> Option<Row> {
        let (_, since) = ended?;
        let never = self.planned()?.saturating_sub(u64::try_from(self.counts().started).unwrap_or(0));
        (never > 0).then(|| missing::not_started(writer, &self.project, &self.run, &self.suite, never, since))
    }
}

#[derive(Default)]
struct RunSuites {
    ended: Option<(Phase, u64)>,
    suites: Map<Id, Suite>,
    /// What the row budget was not told yet.
    untold: Option<Box<Untold>>,
}

#[derive(Default)]
struct Suites {
    runs: Map<Id, RunSuites>,
    /// Run and suite of what is looked at at the next cadence point, each once.
    due: Vec<(Id, Id)>,
    /// That point, while anything is due.
    due_at: u64,
    /// The time at which parts are told that are known; 0: none is.
    resumed_at: u64,
    /// Who has no room for new suites.
    full: Full,
    grown: Grown,
    writer: RowWriter,
    /// The parts of a tick, and what it says of which suite; empty between ticks.
    parts: Vec<Part>,
    said: Vec<(Id, Id, Said)>,
}

/// What a tick says of a suite. In order: a phase is last only where nothing else is said, and events stand by position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    /// Its run's phase changes.
    Phase,
    /// Index of a begin or end, in order of position.
    Event(usize),
    /// Index of a part.
    Part(usize),
}

impl Suites {
    /// Takes in what a tick says of one run: `said` by suite, and its phase where that changes.
    fn run(
        &mut self,
        (run, phase): (Id, Option<Phase>),
        said: &[(Id, Id, Said)],
        (events, parts): (&[Arc<Event>], &[Part]),
        step: &mut Step<'_, SuiteOutput>,
    ) {
        let RunSuites { ended, suites, untold } = self.runs.get_or_insert_with(run, RunSuites::default);
        let was_ended = *ended;
        if let Some(phase) = phase {
            *ended = (phase != Phase::Running).then_some((phase, step.now()));
        }
        for of_suite in said.chunk_by(|a, b| a.1 == b.1) {
            let id = of_suite[0].1;
            let names = || match of_suite[of_suite.len() - 1].2 {
                Said::Part(part) => &parts[part].names,
                Said::Event(event) => &events[event].names,
                Said::Phase => unreachable!("a suite that only its run's phase touches is there"),
            };
            let only_events = matches!(of_suite[of_suite.len() - 1].2, Said::Event(_));
            if only_events && self.full.leaves_out(&names().project) && !suites.contains(&id) {
                self.grown.of(untold, names(), step.now()).left_out += of_suite.len() as u64;
                continue;
            }
            let suite = suites.get_or_insert_with(id, || {
                self.grown.of(untold, names(), step.now()).came += 1;
                Suite::new(names())
            });
            let (before, mut taken) = (suite.missing(&mut self.writer, was_ended), false);
            for (.., what) in of_suite {
                match *what {
                    Said::Phase => {}
                    Said::Event(event) => suite.event(&events[event]),
                    Said::Part(part) => {
                        let Part { worker, counts, latest, withdrawn, .. } = parts[part];
                        suite.parts.set(worker, (counts, latest));
                        taken |= withdrawn;
                    }
                }
            }
            if phase == Some(Phase::Evicted) {
                tell(before, None, Cause::Evicted, SuiteOutput::Missing, step);
                tell(suite.shown.take(), None, Cause::Evicted, SuiteOutput::Row, step);
                continue;
            }
            suite.withdrawn |= taken;
            let cause = if taken { Cause::Withdrawn } else { Cause::Changed };
            tell(before, suite.missing(&mut self.writer, *ended), cause, SuiteOutput::Missing, step);
            if !std::mem::replace(&mut suite.due, true) {
                self.due.push((run, id));
            }
        }
        if phase == Some(Phase::Evicted) {
            self.runs.remove(&run);
        }
    }

    /// Takes in a part that is told again.
    fn known(&mut self, part: &Part) {
        let suites = self.runs.get_mut(&part.names.run_id).map(|run| &mut run.suites);
        if let Some(suite) = suites.and_then(|suites| suites.get_mut(&part.names.suite_id)) {
            suite.parts.set(part.worker, (part.counts, part.latest));
        }
    }

    /// Tells the rows of what changed since the last cadence point.
    fn show(&mut self, step: &mut Step<'_, SuiteOutput>) {
        let came = self.due.len();
        for (run, id) in self.due.drain(..) {
            // What has left meanwhile told so itself.
            let Some(RunSuites { ended, suites, .. }) = self.runs.get_mut(&run) else { continue };
            let Some(suite) = suites.get_mut(&id) else { continue };
            let row = suite.row(&mut self.writer, *ended);
            let cause = if suite.withdrawn { Cause::Withdrawn } else { Cause::Changed };
            (suite.due, suite.withdrawn) = (false, false);
            let before = std::mem::replace(&mut suite.shown, row.clone());
            tell(before, row, cause, SuiteOutput::Row, step);
        }
        reuse(&mut self.due, came);
    }
}

fn tell(
    before: Option<Row>,
    after: Option<Row>,
    cause: Cause,
    kind: fn(RowChange) -> SuiteOutput,
    step: &mut Step<'_, SuiteOutput>,
) {
    if before != after {
        before.into_iter().for_each(|row| step.emit(kind(RowChange { row, cause }), -1));
        after.into_iter().for_each(|row| step.emit(kind(RowChange { row, cause }), 1));
    }
}

impl Machine for Suites {
    type Input = SuiteInput;
    type Output = SuiteOutput;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Suites::default())
    }

    fn step(&mut self, data: &mut Vec<(SuiteInput, i64)>, step: &mut Step<'_, SuiteOutput>) {
        let (mut events, mut phases) = (Vec::new(), BTreeMap::new());
        let (mut parts, mut said) = (std::mem::take(&mut self.parts), std::mem::take(&mut self.said));
        for (input, _) in data.drain(..) {
            match input {
                SuiteInput::Event(event) => events.push(event),
                SuiteInput::Part(part) if self.resumed_at == step.now() => self.known(&part),
                SuiteInput::Part(part) => parts.push(part),
                SuiteInput::Room(room) => self.full.apply(&room),
                SuiteInput::Phase(change) => {
                    let other = phases.insert(change.run, change.phase);
                    assert!(other.is_none(), "a run has one phase a tick");
                }
            }
        }
        events.sort_unstable_by_key(|event| event.position);
        // All that touches a suite stands together, so that each suite is looked up once.
        said.extend(events.iter().enumerate().map(|(index, event)| (event.run(), event.suite(), Said::Event(index))));
        let by_index = parts.iter().enumerate();
        said.extend(by_index.map(|(index, Part { names, .. })| (names.run_id, names.suite_id, Said::Part(index))));
        for run in phases.keys() {
            let suites = self.runs.get(run).map(|run| run.suites.sorted_keys()).unwrap_or_default();
            said.extend(suites.into_iter().map(|suite| (*run, suite, Said::Phase)));
        }
        said.sort_unstable();
        for of_run in said.chunk_by(|a, b| a.0 == b.0) {
            let run = of_run[0].0;
            self.run((run, phases.remove(&run)), of_run, (&events, &parts), step);
        }
        // Remembered even when no suite is there yet: for those that are still to come.
        for (run, phase) in phases {
            self.run((run, Some(phase)), &[], (&events, &parts), step);
        }
        let (of_parts, of_suites) = (parts.len(), said.len());
        reuse(&mut parts, of_parts);
        reuse(&mut said, of_suites);
        (self.parts, self.said) = (parts, said);
        for run in self.grown.due(step) {
            if let Some(untold) = self.runs.get_mut(&run).and_then(|suites| suites.untold.take()) {
                step.emit(SuiteOutput::Held(untold.held(Kind::Suite)), 1);
            }
        }
        self.due_at = step.now().next_multiple_of(SUITE_PROGRESS.cadence_ms);
        if self.due_at == step.now() {
            self.show(step);
        } else if !self.due.is_empty() {
            step.wake_at(self.due_at);
        }
    }

    /// Each worker tells again what its tests add up to.
    fn resume(&mut self, step: &mut Step<'_, SuiteOutput>) {
        for run in self.runs.sorted_keys() {
            let Some(RunSuites { suites, .. }) = self.runs.get_mut(&run) else { continue };
            for suite in suites.sorted_keys() {
                suites.get_mut(&suite).into_iter().for_each(|suite| suite.parts = ByWorker::default());
            }
        }
        self.resumed_at = step.now();
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = vec![Entry::Due(self.due_at), Entry::Full(self.full.clone())];
        for (run, suites) in self.runs.sorted() {
            entries.push(Entry::Run(*run, suites.ended));
            entries.extend(suites.untold.clone().map(|untold| Entry::Untold(*run, untold)));
            let suites = suites.suites.sorted().into_iter();
            entries.extend(suites.map(|(id, suite)| Entry::Suite(*run, *id, Box::new(suite.clone()))));
        }
        entries
    }

    fn home(entry: &Self::Entry) -> Home {
        match entry {
            Entry::Due(_) | Entry::Full(_) | Entry::Run(..) => Home::Everywhere,
            Entry::Untold(..) => Home::Anywhere,
            Entry::Suite(run, suite, _) => Home::Routed(route(*run, *suite)),
        }
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        let mut wakes = Vec::new();
        for entry in entries {
            match entry {
                Entry::Full(full) => self.full = full,
                Entry::Untold(run, untold) => {
                    wakes.push(untold.due);
                    untold.join(&mut self.runs.get_or_insert_with(run, RunSuites::default).untold);
                    self.grown.restore(run);
                }
                Entry::Run(run, ended) => self.runs.get_or_insert_with(run, RunSuites::default).ended = ended,
                Entry::Due(at) => self.due_at = self.due_at.max(at),
                Entry::Suite(run, id, suite) => {
                    self.due.extend(suite.due.then_some((run, id)));
                    self.runs.get_or_insert_with(run, RunSuites::default).suites.insert(id, *suite);
                }
            }
        }
        wakes.extend((!self.due.is_empty()).then_some(self.due_at));
        wakes
    }
}

/// The state of suites in a snapshot. Who is full and a run's own entry are on every worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Entry {
    /// The next cadence point.
    Due(u64),
    Full(Full),
    Untold(Id, Box<Untold>),
    Run(Id, Option<(Phase, u64)>),
    Suite(Id, Id, Box<Suite>),
}
