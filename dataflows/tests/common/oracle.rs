//! The oracles: plain functions from the list of what came in to the rows at a time, computed from scratch.
//!
//! Written from the design's words (`events.md`, `time.md`, `views.md`), with no timely in them and none of the dataflow's
//! code but its input types and its failure fingerprint.

use super::Tick;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::fingerprint;
use weir_dataflows::input::{ErrorText, Event, Input, Position, RejectKind, Withdraws};
use weir_schemas::event::{EventType, Severity};
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::{MISSING, RUN_PROGRESS, SUITE_PROGRESS, TEST_RESULTS};

const HOUR: u64 = 3_600_000;

/// An event that counts, or one that does not with the reason.
pub type Judged = (u64, Arc<Event>, Option<RejectKind>);

/// Admission, by keeping everything and looking at all of it for each event.
pub fn admission(config: &Config, ticks: &[Tick]) -> Vec<Judged> {
    let mut judged: Vec<Judged> = Vec::new();
    for tick in ticks {
        let mut events: Vec<_> = tick
            .inputs
            .iter()
            .filter_map(|input| match input {
                Input::Event(event) => Some(Arc::clone(event)),
                Input::Refused(_) => None,
            })
            .collect();
        events.sort_by_key(|event| event.position);
        for event in events {
            let mut history: Vec<&Judged> =
                judged.iter().filter(|(_, other, _)| other.stream == event.stream).collect();
            // Whatever came before the last time that the stream was forgotten does not count.
            let forgotten = |from: u64, to: u64| (from + config.stream_memory_ms).next_multiple_of(HOUR) <= to;
            let times: Vec<u64> = history.iter().map(|(at, ..)| *at).chain([tick.at]).collect();
            let start = (1..times.len()).rev().find(|i| forgotten(times[i - 1], times[*i])).unwrap_or(0);
            history.drain(..start);
            let generation = |at: u64| at / config.event_id_memory_ms;
            let accepted: Vec<&&Judged> = history.iter().filter(|(_, _, kind)| kind.is_none()).collect();
            let seen = accepted
                .iter()
                .any(|(at, other, _)| other.id == event.id && generation(*at) + 1 >= generation(tick.at));
            let versions: BTreeSet<u64> = accepted.iter().map(|(_, other, _)| other.version).collect();
            let kind = if seen {
                Some(RejectKind::Duplicate)
            } else {
                (!fits(&versions, event.version, config.stream_gaps)).then_some(RejectKind::Conflict)
            };
            judged.push((tick.at, event, kind));
        }
    }
    judged
}

fn fits(versions: &BTreeSet<u64>, version: u64, gaps_max: usize) -> bool {
    let gaps = |versions: &BTreeSet<u64>| {
        let with_zero: Vec<u64> = std::iter::once(0).chain(versions.iter().copied()).collect();
        with_zero.windows(2).filter(|pair| pair[1] > pair[0] + 1).count()
    };
    let mut with = versions.clone();
    with.insert(version) && (gaps(&with) <= gaps_max || gaps(&with) <= gaps(versions))
}

/// A run at a time: where it is in its life, and the events that count for it.
#[derive(Clone)]
pub struct Run {
    pub phase: &'static str,
    pub ended_at: Option<u64>,
    /// Since the run last began.
    pub events: Vec<(u64, Arc<Event>)>,
}

/// All runs in state at `time`: by going through time second by second.
pub fn runs(config: &Config, ticks: &[Tick], judged: &[Judged], time: u64) -> BTreeMap<Id, Run> {
    let silent = |at: u64| silent_clock(ticks, at);
    let mut runs = BTreeMap::new();
    let ids: BTreeSet<Id> = judged.iter().map(|(_, event, _)| event.run).collect();
    for id in ids {
        let events: Vec<(u64, Arc<Event>)> = judged
            .iter()
            .filter(|(at, event, kind)| event.run == id && kind.is_none() && *at <= time)
            .map(|(at, event, _)| (*at, Arc::clone(event)))
            .collect();
        let Some(first) = events.first().map(|(at, _)| *at) else { continue };
        let mut moments: BTreeSet<u64> = events.iter().map(|(at, _)| *at).collect();
        moments.extend((first / 1_000 + 1..=time / 1_000).map(|second| second * 1_000));
        let (mut run, mut gone_until): (Option<Run>, u64) = (None, 0);
        for now in moments {
            let came: Vec<_> = events.iter().filter(|(at, _)| *at == now).cloned().collect();
            if gone_until > now {
                continue; // Late: it counts for nobody.
            }
            if !came.is_empty() {
                let state = run.get_or_insert_with(|| Run { phase: "running", ended_at: None, events: Vec::new() });
                if came.iter().any(|(_, event)| event.kind != EventType::ResultWithdrawn) {
                    (state.phase, state.ended_at) = ("running", None);
                }
                state.events.extend(came.iter().cloned());
            }
            let Some(state) = &mut run else { continue };
            match state.ended_at {
                None => {
                    if let Some(phase) = ending(config, state, now, silent) {
                        (state.phase, state.ended_at) = (phase, Some(now));
                    }
                }
                Some(ended) if (ended + config.run_grace_ms).next_multiple_of(1_000) <= now => {
                    gone_until = (now + config.late_memory_ms).next_multiple_of(HOUR);
                    run = None;
                }
                Some(_) => {}
            }
        }
        runs.extend(run.map(|run| (id, run)));
    }
    runs
}

/// Ticks less the time for which the silent clock stood still.
fn silent_clock(ticks: &[Tick], at: u64) -> u64 {
    let (mut stopped, mut lost) = (None, 0);
    for tick in ticks.iter().take_while(|tick| tick.at <= at) {
        match (stopped, tick.paused) {
            (None, Some(true)) => stopped = Some(tick.at),
            (Some(since), Some(false)) => {
                lost += tick.at - since;
                stopped = None;
            }
            _ => {}
        }
    }
    stopped.unwrap_or(at) - lost
}

/// Whether a shard says it of its own work; announcements of the run and its end may come from elsewhere.
fn works(event: &Event) -> bool {
    !matches!(event.kind, EventType::ResultWithdrawn | EventType::RunStarted | EventType::RunCompleted)
}

/// The phase in which a running run ends at `now`, if it does.
fn ending(config: &Config, run: &Run, now: u64, silent: impl Fn(u64) -> u64) -> Option<&'static str> {
    let active = |event: &Event| event.kind != EventType::ResultWithdrawn;
    let heard = run.events.iter().filter(|(_, event)| active(event)).map(|(at, _)| *at).max();
    if run.events.iter().any(|(at, event)| *at == now && event.kind == EventType::RunCompleted) {
        return Some("finished");
    }
    let streams: BTreeSet<Id> =
        run.events.iter().filter(|(_, event)| works(event)).map(|(_, event)| event.stream).collect();
    let complete = |stream: &Id| {
        !suites(run, Some(*stream)).is_empty() && suites(run, Some(*stream)).values().all(|s| s.ended || !s.begun)
    };
    let shards = announced(run, |event| event.planned_shards);
    let said = run.events.iter().any(|(_, event)| event.kind == EventType::RunCompleted);
    let all = !streams.is_empty()
        && streams.iter().all(complete)
        && shards.is_none_or(|shards| streams.len() as u64 >= shards);
    // A deadline takes effect at the next whole second of the ticks at which the silent clock has reached it.
    let silent_for = |ms: u64| {
        let reached = |at: u64| silent(at).saturating_sub(heard.map_or(0, &silent)) >= ms;
        if now.is_multiple_of(1_000) {
            reached(now)
        } else {
            reached(now / 1_000 * 1_000) && now / 1_000 * 1_000 > heard.unwrap_or(0)
        }
    };
    if said || all {
        return silent_for(config.run_quiet_ms).then_some("finished");
    }
    silent_for(config.run_timeout_ms).then_some("abandoned")
}

/// The last announcement by `run_started`.
fn announced(run: &Run, of: impl Fn(&Event) -> Option<u32>) -> Option<u64> {
    let mut starts: Vec<(u64, Position, &Event)> = run
        .events
        .iter()
        .filter(|(_, event)| event.kind == EventType::RunStarted)
        .map(|(at, event)| (*at, event.position, &**event))
        .collect();
    starts.sort_by_key(|(at, position, _)| (*at, *position));
    // Of one tick, only the last announcement counts; it may leave a value as it was.
    let mut by_tick: BTreeMap<u64, &Event> = BTreeMap::new();
    for (at, _, event) in starts {
        by_tick.insert(at, event);
    }
    by_tick.values().filter_map(|event| of(event)).last().map(u64::from)
}

#[derive(Default)]
struct Suite {
    begun: bool,
    ended: bool,
    planned: Option<u32>,
}

/// The suites of a run in one stream, or by (stream, suite) in all.
fn suites(run: &Run, stream: Option<Id>) -> BTreeMap<(Id, Id), Suite> {
    let mut suites: BTreeMap<(Id, Id), Suite> = BTreeMap::new();
    for (_, event) in &run.events {
        if stream.is_some_and(|stream| stream != event.stream) {
            continue;
        }
        match event.kind {
            EventType::TestSuiteStarted => {
                let suite = suites.entry((event.stream, event.suite)).or_default();
                suite.begun = true;
                suite.planned = event.planned_tests.or(suite.planned);
            }
            EventType::TestSuiteCompleted => suites.entry((event.stream, event.suite)).or_default().ended = true,
            _ => {}
        }
    }
    suites
}

/// A test of a run, recomputed.
pub struct Test {
    first: Arc<Event>,
    /// By attempt: whether it began, and the events that say how it ended.
    attempts: Vec<(bool, Vec<Arc<Event>>)>,
}

impl Test {
    fn worst(said: &[Arc<Event>]) -> Option<&Arc<Event>> {
        let worst = said.iter().filter_map(|event| event.outcome).max()?;
        said.iter().find(|event| event.outcome == Some(worst))
    }

    fn ended(&self) -> impl DoubleEndedIterator<Item = (&Arc<Event>, &[Arc<Event>])> {
        self.attempts.iter().filter_map(|(_, said)| Test::worst(said).map(|worst| (worst, said.as_slice())))
    }

    fn outcome(&self) -> Option<Outcome> {
        self.ended().last().and_then(|(worst, _)| worst.outcome)
    }

    fn flaky(&self) -> bool {
        let outcomes: Vec<Outcome> = self.ended().filter_map(|(worst, _)| worst.outcome).collect();
        outcomes
            .iter()
            .enumerate()
            .any(|(n, outcome)| *outcome == Outcome::Passed && outcomes[..n].iter().any(|o| o.fails()))
    }

    fn duration_us(&self) -> Option<u64> {
        let (worst, said) = self.ended().last()?;
        worst.duration_us.or_else(|| said.iter().find_map(|event| event.duration_us))
    }
}

/// The stream and stated number of its first event, whether it began, and the events that say how it ended.
type Attempt = ((Id, u32), bool, Vec<Arc<Event>>);

/// All tests of a run that count, by identity.
pub fn tests(run: &Run) -> BTreeMap<Id, Test> {
    let withdrawn: BTreeSet<Id> = run
        .events
        .iter()
        .filter_map(|(_, event)| match event.withdrawal() {
            Some(Withdraws::Event(id)) => Some(id),
            _ => None,
        })
        .collect();
    let ids: BTreeSet<Id> = run.events.iter().filter_map(|(_, event)| event.test).collect();
    let of_test = |id: Id| {
        let mut events: Vec<_> = run.events.iter().filter(|(_, event)| event.test == Some(id)).collect();
        events.sort_by_key(|(at, event)| (*at, event.position));
        let taken_back: Vec<Option<u32>> = events
            .iter()
            .filter_map(|(_, event)| match event.withdrawal() {
                Some(Withdraws::Test { attempt }) => Some(attempt),
                _ => None,
            })
            .collect();
        let mut attempts: BTreeMap<u32, Attempt> = BTreeMap::new();
        let mut first = None;
        for (_, event) in
            events.iter().filter(|(_, event)| event.kind == EventType::TestCaseStarted || event.outcome.is_some())
        {
            first.get_or_insert_with(|| Arc::clone(event));
            let stated = event.attempt.unwrap_or(1);
            let known =
                attempts.iter().find(|(_, (first, ..))| *first == (event.stream, stated)).map(|(number, _)| *number);
            let next = attempts.keys().last().map_or(1, |last| last + 1);
            let number = if event.report { known.unwrap_or(next) } else { stated };
            let (_, begun, said) = attempts.entry(number).or_insert(((event.stream, stated), false, Vec::new()));
            match event.outcome {
                None => *begun = true,
                Some(_) if !withdrawn.contains(&event.id) => said.push(Arc::clone(event)),
                Some(_) => {}
            }
        }
        attempts.retain(|number, (_, begun, said)| {
            !taken_back.contains(&None) && !taken_back.contains(&Some(*number)) && (*begun || !said.is_empty())
        });
        let attempts: Vec<_> = attempts.into_values().map(|(_, begun, said)| (begun, said)).collect();
        first.filter(|_| !attempts.is_empty()).map(|first| (id, Test { first, attempts }))
    };
    ids.into_iter().filter_map(of_test).collect()
}

fn count(tests: &[&Test], of: impl Fn(&Test) -> bool) -> i64 {
    tests.iter().filter(|test| of(test)).count() as i64
}

fn write_counts(writer: &mut RowWriter, tests: &[&Test]) {
    let outcome =
        |wanted: &'static [Outcome]| move |test: &Test| test.outcome().is_some_and(|outcome| wanted.contains(&outcome));
    writer.int(tests.len() as i64).int(count(tests, |test| test.outcome().is_some()));
    writer.int(count(tests, outcome(&[Outcome::Passed]))).int(count(tests, outcome(&[Outcome::Failed])));
    writer
        .int(count(tests, outcome(&[Outcome::Skipped])))
        .int(count(tests, outcome(&[Outcome::Error, Outcome::Timeout])));
    writer.int(count(tests, Test::flaky));
}

fn fails(tests: &[&Test]) -> bool {
    tests.iter().any(|test| test.outcome().is_some_and(Outcome::fails))
}

fn names(run: &Run) -> (Arc<str>, Arc<str>) {
    let event = &run.events[0].1;
    (Arc::clone(&event.origin.project), Arc::clone(&event.names.run))
}

/// The first of a tick and position that has it.
fn first_origin(run: &Run, of: impl Fn(&Event) -> Option<Arc<str>>) -> Option<Arc<str>> {
    run.events.iter().find_map(|(_, event)| of(event))
}

fn planned(run: &Run) -> (Option<u64>, bool) {
    let by_run = announced(run, |event| event.planned_tests);
    let by_suites: Vec<u64> = suites(run, None).values().filter_map(|suite| suite.planned).map(u64::from).collect();
    (by_run.or((!by_suites.is_empty()).then(|| by_suites.iter().sum())), by_run.is_some())
}

/// `run_progress`.
pub fn run_progress(runs: &BTreeMap<Id, Run>) -> Vec<Row> {
    let row = |run: &Run| {
        let (tests, (project, name)) = (tests(run), names(run));
        let tests: Vec<&Test> = tests.values().collect();
        let ids = |kinds: &[EventType]| -> BTreeSet<Id> {
            run.events.iter().filter(|(_, e)| kinds.contains(&e.kind) && e.test.is_none()).map(|(_, e)| e.id).collect()
        };
        let broken = ids(&[EventType::SetupFailed, EventType::TestError, EventType::TimeoutOccurred]);
        let taken_back =
            |id: &Id| run.events.iter().any(|(_, event)| event.withdrawal() == Some(Withdraws::Event(*id)));
        let failed = fails(&tests) || broken.iter().any(|id| !taken_back(id));
        let state = match run.phase {
            "finished" if failed => "failed",
            "finished" => "passed",
            phase => phase,
        };
        let streams: BTreeSet<Id> =
            run.events.iter().filter(|(_, event)| works(event)).map(|(_, event)| event.stream).collect();
        let open = streams.iter().filter(|stream| {
            let suites = suites(run, Some(**stream));
            suites.is_empty() || suites.values().any(|suite| suite.begun && !suite.ended)
        });
        let times = || run.events.iter().map(|(at, event)| event.at.min(*at));
        let mut writer = RowWriter::default();
        writer.str(&project).str(&name).str(state);
        for field in [
            first_origin(run, |event| event.origin.branch.clone()),
            first_origin(run, |event| event.origin.commit.clone()),
            first_origin(run, |event| event.origin.user.clone()),
            first_origin(run, |event| event.origin.framework.clone()),
        ] {
            writer.opt_str(field.as_deref());
        }
        writer.opt_uint(planned(run).0);
        write_counts(&mut writer, &tests);
        writer.opt_uint(times().min()).opt_uint(times().max()).uint(streams.len() as u64).uint(open.count() as u64);
        writer.opt_uint(announced(run, |event| event.planned_shards));
        writer.finish(&RUN_PROGRESS)
    };
    runs.values().map(row).collect()
}

/// `suite_progress`.
pub fn suite_progress(runs: &BTreeMap<Id, Run>) -> Vec<Row> {
    let mut rows = Vec::new();
    for run in runs.values() {
        let (all, (project, name)) = (tests(run), names(run));
        let streams = suites(run, None);
        let mut ids: BTreeSet<Id> = streams.keys().map(|(_, suite)| *suite).collect();
        ids.extend(all.values().map(|test| test.first.suite));
        for id in ids {
            let tests: Vec<&Test> = all.values().filter(|test| test.first.suite == id).collect();
            let here: Vec<&Suite> =
                streams.iter().filter(|((_, suite), _)| *suite == id).map(|(_, suite)| suite).collect();
            let told = run
                .events
                .iter()
                .find(|(_, event)| event.suite == id)
                .map(|(_, event)| Arc::clone(event))
                .expect("named");
            let planned: Vec<u64> = here.iter().filter_map(|suite| suite.planned).map(u64::from).collect();
            let complete = !here.is_empty() && here.iter().all(|suite| suite.ended || !suite.begun);
            let verdict = if fails(&tests) { "failed" } else { "passed" };
            let state = match run.phase {
                _ if complete => verdict,
                "finished" => verdict,
                phase => phase,
            };
            let latest = tests.iter().filter_map(|test| {
                let (worst, _) = test.ended().last()?;
                let tick =
                    run.events.iter().find(|(_, event)| event.id == worst.id && event.position == worst.position)?.0;
                Some((worst.at.min(tick), test.first.test, worst.outcome))
            });
            let mut writer = RowWriter::default();
            writer.str(&project).str(&name).str(&told.names.suite).str(&told.names.suite_name);
            writer.opt_uint((!planned.is_empty()).then(|| planned.iter().sum()));
            write_counts(&mut writer, &tests);
            writer.uint(tests.iter().filter_map(|test| test.duration_us()).sum());
            writer.str(state).opt_str(latest.max().and_then(|(_, _, outcome)| outcome).map(Outcome::as_str));
            rows.push(writer.finish(&SUITE_PROGRESS));
        }
    }
    rows
}

/// `test_results`.
pub fn test_results(runs: &BTreeMap<Id, Run>) -> Vec<Row> {
    let mut rows = Vec::new();
    for run in runs.values() {
        let (project, name) = names(run);
        for test in tests(run).values() {
            let last = test.ended().last();
            let outcome = test.outcome();
            let failure = last.filter(|_| outcome.is_some_and(Outcome::fails)).map(|(worst, said)| {
                let told = |event: &&Arc<Event>| {
                    event.outcome.is_some_and(Outcome::fails)
                        && event.error.as_ref().is_some_and(|e| !e.message.is_empty())
                };
                let best = said.iter().filter(told).map(|event| event.outcome).max();
                let event = said.iter().filter(told).find(|event| Some(event.outcome) == best).unwrap_or(worst);
                let nothing = ErrorText::default();
                fingerprint::failure(event.error.as_deref().unwrap_or(&nothing), event.outcome.expect("told"))
            });
            let origin = last.map_or(&test.first.origin, |(worst, _)| &worst.origin);
            let finished_at = last.and_then(|(worst, _)| {
                let tick = run.events.iter().find(|(_, event)| event.position == worst.position)?.0;
                Some(worst.at.min(tick))
            });
            let severity = if outcome.is_some_and(Outcome::fails) { Severity::Error } else { Severity::Info };
            let mut writer = RowWriter::default();
            writer.str(&project).str(&name).str(&test.first.names.test).str(&test.first.names.test_name);
            writer.str(&test.first.names.suite).str(outcome.map_or("running", Outcome::as_str));
            writer.opt_str(failure.as_ref().map(|failure| &*failure.message));
            writer
                .int(test.attempts.len() as i64)
                .bool(test.flaky())
                .opt_uint(test.duration_us())
                .opt_uint(finished_at);
            writer.opt_str(failure.map(|failure| failure.fingerprint.to_string()).as_deref());
            writer
                .opt_str(origin.framework.as_deref())
                .opt_str(origin.user.as_deref())
                .opt_str(origin.branch.as_deref());
            writer.str(severity.as_str()).list([].into_iter());
            writer.opt_str(origin.worker.as_deref()).opt_str(origin.shard.as_deref());
            rows.push(writer.finish(&TEST_RESULTS));
        }
    }
    rows
}

/// `missing`.
pub fn missing(runs: &BTreeMap<Id, Run>) -> Vec<Row> {
    let mut rows = Vec::new();
    for run in runs.values() {
        let Some(since) = run.ended_at else { continue };
        let (all, (project, name)) = (tests(run), names(run));
        let mut row = |kind: &str, id: &str, count: u64, worker: Option<&str>| {
            let mut writer = RowWriter::default();
            writer.str(&project).str(&name).str(kind).str(id).uint(count).uint(since).opt_str(worker);
            rows.push(writer.finish(&MISSING));
        };
        if run.phase == "abandoned" {
            row("abandoned", "", 1, None);
        }
        for test in all.values().filter(|test| test.outcome().is_none()) {
            row("not_finished", &test.first.names.test, 1, test.first.origin.worker.as_deref());
        }
        if let (Some(planned), true) = planned(run) {
            let never = planned.saturating_sub(all.len() as u64);
            if never > 0 {
                row("not_started", "", never, None);
            }
        }
        let streams = suites(run, None);
        let ids: BTreeSet<Id> = streams.keys().map(|(_, suite)| *suite).collect();
        for id in ids {
            let planned: u64 = streams
                .iter()
                .filter(|((_, suite), _)| *suite == id)
                .filter_map(|(_, s)| s.planned)
                .map(u64::from)
                .sum();
            let started = all.values().filter(|test| test.first.suite == id).count() as u64;
            if planned > started {
                let told =
                    run.events.iter().find(|(_, event)| event.suite == id).map(|(_, event)| event).expect("named");
                row("not_started", &told.names.suite, planned - started, None);
            }
        }
    }
    rows
}
