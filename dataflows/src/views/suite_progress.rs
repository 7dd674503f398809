//! `suite_progress`: each suite of each live run, and the tests that it announced and that never began.
//!
//! Contract: takes the sums of all workers, the suites' begins and ends by stream, and the phases of runs. A suite is
//! `running` until its run has ended or every stream that began it has ended it; then `passed` or `failed` by its tests, or
//! `abandoned` with its run. What was announced is the sum over streams of the last announcement of each.
//!
//! # Cost
//! O(workers + streams of the suite) a touched suite and tick.

use crate::config::Config;
use crate::facts::{Phase, PhaseChange, RowChange};
use crate::input::{Event, Input, Text};
use crate::keyed::{Collection, Machine, Step, keyed};
use crate::map::Map;
use crate::sums::{ByWorker, Counts, Latest, Part};
use crate::views::missing;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::Map as _;
use weir_schemas::event::EventType;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::Cause;
use weir_schemas::view::SUITE_PROGRESS;

/// A row of this view, or of `missing`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum SuiteOutput {
    /// Of `suite_progress`.
    Row(RowChange),
    /// Of `missing`.
    Missing(RowChange),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum SuiteInput {
    Part(Part),
    Event(Arc<Event>),
    Phase(PhaseChange),
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

/// Renders the view from the parts and the begins and ends of suites, distributed by (run, suite).
pub fn render<'s>(
    config: &Config,
    parts: Collection<'s, Part>,
    events: Collection<'s, Arc<Event>>,
    phases: Collection<'s, PhaseChange>,
) -> Collection<'s, SuiteOutput> {
    let parts =
        parts.flat_map(|(part, time, diff)| part.suite.is_some().then_some((SuiteInput::Part(part), time, diff)));
    let events = events.map(|(event, time, diff)| (SuiteInput::Event(event), time, diff));
    let phases = phases.map(|(change, time, diff)| (SuiteInput::Phase(change), time, diff));
    let pact = Exchange::new(|(input, _, _): &(SuiteInput, u64, i64)| match input {
        SuiteInput::Part(part) => part.run.route() ^ part.suite.unwrap_or_default().route().rotate_left(32),
        SuiteInput::Event(event) => event.run.route() ^ event.suite.route().rotate_left(32),
        SuiteInput::Phase(change) => change.peer,
    });
    keyed("SuiteProgress", parts.concat(events).concat(phases), pact, config.until, Suites::default())
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
    /// What was last told of it; `None` after a restore.
    #[serde(skip)]
    shown: Option<Shown>,
}

/// A suite in one stream.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct InStream {
    begun: bool,
    ended: bool,
    planned: Option<u32>,
}

impl Suite {
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
}

#[derive(Default)]
struct Suites {
    runs: Map<Id, RunSuites>,
    writer: RowWriter,
}

type Shown = (Option<Row>, Option<Row>);

impl Suites {
    fn show(&mut self, run: Id, suite: Id) -> Shown {
        let Some(suites) = self.runs.get(&run) else { return (None, None) };
        let Some(suite) = suites.suites.get(&suite) else { return (None, None) };
        (suite.row(&mut self.writer, suites.ended), suite.missing(&mut self.writer, suites.ended))
    }

    /// What was last told of a suite: as it is before anything changes.
    fn shown(&mut self, run: Id, suite: Id) -> Shown {
        let told = self.runs.get_mut(&run).and_then(|suites| suites.suites.get_mut(&suite)?.shown.take());
        told.unwrap_or_else(|| self.show(run, suite))
    }

    fn event(&mut self, event: &Event) {
        let suites = self.runs.get_or_insert_with(event.run, RunSuites::default);
        let suite = suites.suites.get_or_insert_with(event.suite, || Suite {
            project: Arc::clone(&event.origin.project),
            run: Arc::clone(&event.names.run),
            suite: Arc::clone(&event.names.suite),
            name: Arc::clone(&event.names.suite_name),
            parts: ByWorker::default(),
            streams: BTreeMap::new(),
            shown: None,
        });
        if suite.streams.is_empty() {
            suite.name = Arc::clone(&event.names.suite_name);
        }
        let stream = suite.streams.entry(event.stream).or_default();
        if event.kind == EventType::TestSuiteCompleted {
            stream.ended = true;
        } else {
            stream.begun = true;
            stream.planned = event.planned_tests.or(stream.planned);
        }
    }

    fn part(&mut self, part: Part) {
        let suites = self.runs.get_or_insert_with(part.run, RunSuites::default);
        let suite = suites.suites.get_or_insert_with(part.suite.unwrap_or_default(), || Suite {
            project: Arc::clone(&part.names.project),
            run: Arc::clone(&part.names.run),
            suite: Arc::clone(&part.names.suite),
            name: Arc::clone(&part.names.suite),
            parts: ByWorker::default(),
            streams: BTreeMap::new(),
            shown: None,
        });
        suite.parts.set(part.worker, (part.counts, part.latest));
    }

    fn phase(&mut self, change: &PhaseChange, now: u64) {
        let suites = self.runs.get_or_insert_with(change.run, RunSuites::default);
        suites.ended = (change.phase != Phase::Running).then_some((change.phase, now));
    }
}

fn tell(before: Shown, after: Shown, cause: Cause, step: &mut Step<'_, SuiteOutput>) {
    let mut change = |before: Option<Row>, after: Option<Row>, kind: fn(RowChange) -> SuiteOutput| {
        if before != after {
            before.into_iter().for_each(|row| step.emit(kind(RowChange { row, cause }), -1));
            after.into_iter().for_each(|row| step.emit(kind(RowChange { row, cause }), 1));
        }
    };
    change(before.0, after.0, SuiteOutput::Row);
    change(before.1, after.1, SuiteOutput::Missing);
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
        let (mut events, mut parts, mut phases) = (Vec::new(), Vec::new(), Vec::new());
        let (mut touched, mut withdrawn) = (Vec::new(), BTreeSet::new());
        for (input, _) in data.drain(..) {
            match input {
                SuiteInput::Event(event) => events.push(event),
                SuiteInput::Part(part) => parts.push(part),
                SuiteInput::Phase(change) => phases.push(change),
            }
        }
        touched.extend(events.iter().map(|event| (event.run, event.suite)));
        touched.extend(parts.iter().map(|part| (part.run, part.suite.unwrap_or_default())));
        withdrawn
            .extend(parts.iter().filter(|part| part.withdrawn).map(|part| (part.run, part.suite.unwrap_or_default())));
        for change in &phases {
            let suites = self.runs.get(&change.run).map(|run| run.suites.sorted_keys()).unwrap_or_default();
            touched.extend(suites.into_iter().map(|suite| (change.run, suite)));
        }
        touched.sort_unstable();
        touched.dedup();
        let before: Vec<_> = touched.iter().map(|(run, suite)| self.shown(*run, *suite)).collect();
        events.sort_unstable_by_key(|event| event.position);
        events.iter().for_each(|event| self.event(event));
        parts.into_iter().for_each(|part| self.part(part));
        let mut evicted = BTreeSet::new();
        for change in &phases {
            self.phase(change, step.now());
            if change.phase == Phase::Evicted {
                self.runs.remove(&change.run);
                evicted.insert(change.run);
            }
        }
        for ((run, suite), before) in touched.into_iter().zip(before) {
            let after = self.show(run, suite);
            let cause = match () {
                () if evicted.contains(&run) => Cause::Evicted,
                () if withdrawn.contains(&(run, suite)) => Cause::Withdrawn,
                () => Cause::Changed,
            };
            if let Some(suite) = self.runs.get_mut(&run).and_then(|suites| suites.suites.get_mut(&suite)) {
                suite.shown = Some(after.clone());
            }
            tell(before, after, cause, step);
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (run, suites) in self.runs.sorted() {
            entries.push(Entry::Run(*run, suites.ended));
            let suites = suites.suites.sorted().into_iter();
            entries.extend(suites.map(|(id, suite)| Entry::Suite(*run, *id, Box::new(suite.clone()))));
        }
        entries
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        for entry in entries {
            match entry {
                Entry::Run(run, ended) => self.runs.get_or_insert_with(run, RunSuites::default).ended = ended,
                Entry::Suite(run, id, suite) => {
                    self.runs.get_or_insert_with(run, RunSuites::default).suites.insert(id, *suite);
                }
            }
        }
        Vec::new()
    }
}

/// The state of suites in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Entry {
    Run(Id, Option<(Phase, u64)>),
    Suite(Id, Id, Box<Suite>),
}
