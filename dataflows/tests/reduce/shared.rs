//! What several forms ask of a life's events, and how what is in a window leaves it: as a retraction of the future.

use super::of::{Datum, Of};
use super::tests::Test;
use super::told::Told;
use std::collections::{BTreeMap, BTreeSet};
use weir_dataflows::input::Event;
use weir_schemas::event::EventType;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::RowWriter;

/// Lets each datum count from the multiple of `cadence` at or after its tick until `left` says.
pub(crate) fn within<'s, D: Datum, E: Datum + Clone>(
    data: Of<'s, D>,
    cadence: u64,
    left: impl Fn(&D) -> u64 + 'static,
    to: impl Fn(D) -> E + 'static,
) -> Of<'s, E> {
    data.change(move |datum, at, diff| {
        let (from, left) = (at.next_multiple_of(cadence), left(&datum));
        let datum = (from < left).then(|| to(datum));
        datum.into_iter().flat_map(move |datum| [(datum.clone(), from, diff), (datum, left, -diff)])
    })
}

/// The last value that the run announced; of one tick only its last announcement counts.
pub(crate) fn announced(told: &[&Told], of: impl Fn(&Event) -> Option<u32>) -> Option<u64> {
    let starts: Vec<&&Told> = told.iter().filter(|told| told.event.kind == EventType::RunStarted).collect();
    let last = starts.chunk_by(|a, b| a.tick == b.tick).filter_map(|tick| of(&tick.last()?.event)).last();
    last.map(u64::from)
}

/// Of a suite in one stream: whether it has begun and ended, and how many tests it planned.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Suite {
    pub(crate) begun: bool,
    pub(crate) ended: bool,
    pub(crate) planned: Option<u64>,
}

impl Suite {
    pub(crate) fn complete(&self) -> bool {
        self.ended || !self.begun
    }
}

/// By stream and suite.
pub(crate) fn suites<'a>(told: impl IntoIterator<Item = &'a &'a Told>) -> BTreeMap<(Id, Id), Suite> {
    let mut suites = BTreeMap::<(Id, Id), Suite>::new();
    for event in told.into_iter().map(|told| &told.event) {
        let key = (event.stream(), event.suite());
        if event.kind == EventType::TestSuiteStarted {
            let suite = suites.entry(key).or_default();
            (suite.begun, suite.planned) = (true, event.planned_tests().map(u64::from).or(suite.planned));
        } else if event.kind == EventType::TestSuiteCompleted {
            suites.entry(key).or_default().ended = true;
        }
    }
    suites
}

/// Whether a stream's suites are all complete, and there are any.
pub(crate) fn complete(suites: &BTreeMap<(Id, Id), Suite>, stream: Id) -> bool {
    let mut of_stream = suites.iter().filter(|((of, _), _)| *of == stream).peekable();
    of_stream.peek().is_some() && of_stream.all(|(_, suite)| suite.complete())
}

/// The shards of a run: how many there are, and how many of them are not complete.
pub(crate) fn shards(told: &[&Told]) -> (u64, u64) {
    let no_work = [
        EventType::ResultWithdrawn,
        EventType::RunStarted,
        EventType::RunCompleted,
        EventType::CoverageUpdated,
        EventType::PerformanceMeasured,
    ];
    let works = told.iter().filter(|told| !no_work.contains(&told.event.kind));
    let streams: BTreeSet<Id> = works.map(|told| told.event.stream()).collect();
    let suites = suites(told);
    (streams.len() as u64, streams.iter().filter(|stream| !complete(&suites, **stream)).count() as u64)
}

/// The tests that the run announced, or its suites did.
pub(crate) fn planned(told: &[&Told]) -> Option<u64> {
    let planned: Vec<u64> = suites(told).values().filter_map(|suite| suite.planned).collect();
    let by_suites = (!planned.is_empty()).then(|| planned.iter().sum());
    announced(told, Event::planned_tests).or(by_suites)
}

/// The columns from `started` to `flaky`.
pub(crate) fn write_counts<'a>(writer: &mut RowWriter, tests: impl Iterator<Item = &'a Test> + Clone) {
    let count = |of: &dyn Fn(&Test) -> bool| tests.clone().filter(|test| of(test)).count() as u64;
    let ended =
        |wanted: &'static [Outcome]| move |test: &Test| test.last().is_some_and(|last| wanted.contains(&last.outcome));
    writer.uint(count(&|_| true)).uint(count(&ended(&Outcome::ALL))).uint(count(&ended(&[Outcome::Passed])));
    writer.uint(count(&ended(&[Outcome::Failed]))).uint(count(&ended(&[Outcome::Skipped])));
    writer.uint(count(&ended(&[Outcome::Error, Outcome::Timeout]))).uint(count(&Test::flaky));
}

/// Null instead of nothing.
pub(crate) fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Of data [`within`] an interval: each from its end on, if it was still there.
pub(crate) fn only_ends<'s, D: Datum>(data: Of<'s, D>, end: impl Fn(&D) -> u64 + 'static) -> Of<'s, D> {
    data.change(move |datum, at, diff| {
        let ends = end(&datum) == at;
        ends.then_some((datum, at, -diff))
    })
}
