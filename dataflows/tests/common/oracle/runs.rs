//! The lives of runs: by going through time event by event and second by second.

use super::super::Tick;
use super::Runs;
use super::admission::{HOUR, Judged};
use super::attempts::{Test, tests};
use super::control::incidents;
use super::run_failures::run_failures;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::facts::AttemptFact;
use weir_dataflows::input::{Event, Position, Withdraws};
use weir_schemas::event::EventType;
use weir_schemas::id::Id;

/// A run at a time: where it is in its life, and the events that count for it.
#[derive(Clone)]
pub struct Run {
    pub phase: &'static str,
    pub ended_at: Option<u64>,
    /// Its shards that have fallen silent.
    pub silent: BTreeSet<Id>,
    /// Since the run last began, each with its tick.
    pub events: Vec<(u64, Arc<Event>)>,
    /// Those withdrawals among them that were too many: they take nothing back.
    pub refused: Vec<(u64, Arc<Event>)>,
    /// What these say of tests, by identity.
    pub tests: BTreeMap<Id, Test>,
    /// And of failures of the run itself.
    pub failures: Vec<AttemptFact>,
}

impl Run {
    /// Its events without the withdrawals that were too many.
    pub fn counting(&self) -> Vec<(u64, Arc<Event>)> {
        let refused = |event: &Event| self.refused.iter().any(|(_, other)| other.position == event.position);
        self.events.iter().filter(|(_, event)| !refused(event)).cloned().collect()
    }
}

/// The withdrawals of something new after so many others.
fn refused(config: &Config, events: &[(u64, Arc<Event>)]) -> Vec<(u64, Arc<Event>)> {
    let mut events: Vec<_> = events.iter().filter(|(_, event)| event.withdrawal().is_some()).cloned().collect();
    events.sort_by_key(|(tick, event)| (*tick, event.position));
    let mut taken_back: Vec<(Withdraws, Option<Id>)> = Vec::new();
    events.retain(|(_, event)| {
        let what = match event.withdrawal().expect("filtered") {
            Withdraws::Event(id) => (Withdraws::Event(id), None),
            Withdraws::Test { attempt } => (Withdraws::Test { attempt }, event.test()),
        };
        if what.1.is_none() && matches!(what.0, Withdraws::Test { .. }) || taken_back.contains(&what) {
            return false;
        }
        let room = taken_back.len() < config.withdrawn;
        taken_back.extend(room.then_some(what));
        !room
    });
    events
}

/// A time at which a run changed, came or left.
pub struct Moment {
    pub at: u64,
    /// `None`: it is not, or no longer, in state.
    pub run: Option<Run>,
    /// Events that came after it had left.
    pub late: Vec<Arc<Event>>,
}

/// All moments of each run, in order.
pub type Lives = BTreeMap<Id, Vec<Moment>>;

/// The lives of all runs up to the last tick.
pub fn lives(config: &Config, ticks: &[Tick], judged: &[Judged]) -> Lives {
    let end = ticks.last().map_or(0, |tick| tick.at);
    let ids: BTreeSet<Id> = judged.iter().map(|judged| judged.event.run()).collect();
    let life_of = |id: Id| {
        let counts = |judged: &&Judged| judged.event.run() == id && judged.refused.is_none();
        let events: Vec<(u64, Arc<Event>)> =
            judged.iter().filter(counts).map(|judged| (judged.at, Arc::clone(&judged.event))).collect();
        (id, life(config, ticks, &events, end))
    };
    ids.into_iter().map(life_of).collect()
}

/// The runs that are in state at `time`.
pub fn at(lives: &Lives, time: u64) -> Runs<'_> {
    let last = |moments: &'_ [Moment]| moments.partition_point(|moment| moment.at <= time).checked_sub(1);
    lives.iter().filter_map(|(id, moments)| Some((*id, moments[last(moments)?].run.as_ref()?))).collect()
}

fn life(config: &Config, ticks: &[Tick], events: &[(u64, Arc<Event>)], end: u64) -> Vec<Moment> {
    let silent = |at: u64| silent_clock(ticks, at);
    let mut moments = Vec::new();
    let (mut run, mut gone_until, mut now) = (None::<Run>, 0, 0);
    loop {
        let rest = &events[events.partition_point(|(at, _)| *at <= now)..];
        let second = run.is_some().then(|| (now / 1_000 + 1) * 1_000);
        let said = ticks.iter().find(|tick| run.is_some() && tick.at > now && !tick.control.is_empty());
        let next = rest.first().map(|(at, _)| *at).into_iter().chain(second).chain(said.map(|tick| tick.at)).min();
        let Some(next) = next.filter(|next| *next <= end) else { return moments };
        now = next;
        let came: Vec<_> = rest.iter().take_while(|(at, _)| *at == now).cloned().collect();
        let late = |came: Vec<(u64, Arc<Event>)>| came.into_iter().map(|(_, event)| event).collect();
        if gone_until > now {
            moments.push(Moment { at: now, run: None, late: late(came) });
            continue;
        }
        let mut news = !came.is_empty();
        if news {
            let begin = || Run {
                phase: "running",
                ended_at: None,
                silent: BTreeSet::new(),
                events: Vec::new(),
                refused: Vec::new(),
                tests: BTreeMap::new(),
                failures: Vec::new(),
            };
            let state = run.get_or_insert_with(begin);
            if came.iter().any(|(_, event)| event.kind != EventType::ResultWithdrawn) {
                (state.phase, state.ended_at) = ("running", None);
            }
            state.events.extend(came.iter().cloned());
            state.refused = refused(config, &state.events);
        }
        if let Some(state) = run.as_mut().filter(|_| news || said.is_some_and(|tick| tick.at == now)) {
            let incidents = incidents(ticks, &names(state).0, now);
            state.tests = tests(&state.counting(), &incidents, ticks);
            state.failures = run_failures(&state.counting(), &incidents, ticks);
            news = true;
        }
        let Some(state) = &mut run else { continue };
        match state.ended_at {
            None => {
                if let Some(phase) = ending(config, state, now, silent) {
                    (state.phase, state.ended_at, news) = (phase, Some(now), true);
                }
            }
            Some(ended) if (ended + config.run_grace_ms).next_multiple_of(1_000) <= now => {
                if said.is_some_and(|tick| tick.at == now) {
                    // An incident of this very tick still reaches it; what came for it does not.
                    state.events.retain(|(at, _)| *at < now);
                    state.refused = refused(config, &state.events);
                    let incidents = incidents(ticks, &names(state).0, now);
                    state.tests = tests(&state.counting(), &incidents, ticks);
                    state.failures = run_failures(&state.counting(), &incidents, ticks);
                    moments.push(Moment { at: now, run: run.clone(), late: Vec::new() });
                }
                gone_until = (now + config.late_memory_ms).next_multiple_of(HOUR);
                run = None;
                moments.push(Moment { at: now, run: None, late: late(came) });
                continue;
            }
            Some(_) => {}
        }
        let silent = silent_shards(config, state, now, silent);
        news |= silent != state.silent;
        state.silent = silent;
        if news {
            moments.push(Moment { at: now, run: run.clone(), late: Vec::new() });
        }
    }
}

/// Ticks less the time for which the silent clock stood still.
pub fn silent_clock(ticks: &[Tick], at: u64) -> u64 {
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

/// The shards that are silent after `now`: they fall silent at whole seconds, and stay so until they speak or the run ends.
fn silent_shards(config: &Config, run: &Run, now: u64, silent: impl Fn(u64) -> u64) -> BTreeSet<Id> {
    if run.ended_at.is_some() {
        return BTreeSet::new();
    }
    let open = open_streams(run).into_iter();
    let quiet = |stream: &Id| {
        let heard = heard_at(run, *stream);
        let long = now.is_multiple_of(1_000) && silent(now) - silent(heard) >= config.shard_silent_ms;
        long || heard < now && run.silent.contains(stream)
    };
    open.filter(quiet).collect()
}

/// The tick at which a stream last said anything but withdrawals.
pub fn heard_at(run: &Run, stream: Id) -> u64 {
    let mut of_stream = run.events.iter().filter(|(_, event)| event.stream() == stream);
    of_stream.rfind(|(_, event)| event.kind != EventType::ResultWithdrawn).expect("a shard has said something").0
}

/// Whether a shard says it of its own work; announcements of the run and its end may come from elsewhere, and so may what
/// was measured.
pub fn works(event: &Event) -> bool {
    let announces = matches!(event.kind, EventType::ResultWithdrawn | EventType::RunStarted | EventType::RunCompleted);
    !announces && !measures(event)
}

fn measures(event: &Event) -> bool {
    matches!(event.kind, EventType::CoverageUpdated | EventType::PerformanceMeasured)
}

/// The phase in which a running run ends at `now`, if it does.
fn ending(config: &Config, run: &Run, now: u64, silent: impl Fn(u64) -> u64) -> Option<&'static str> {
    let active = |event: &Event| event.kind != EventType::ResultWithdrawn;
    let heard = run.events.iter().filter(|(_, event)| active(event)).map(|(at, _)| *at).max();
    if run.events.iter().any(|(at, event)| *at == now && event.kind == EventType::RunCompleted) {
        return Some("finished");
    }
    let streams: BTreeSet<Id> =
        run.events.iter().filter(|(_, event)| works(event)).map(|(_, event)| event.stream()).collect();
    let complete = |stream: &Id| {
        !suites(run, Some(*stream)).is_empty() && suites(run, Some(*stream)).values().all(|s| s.ended || !s.begun)
    };
    let shards = announced(run, |event| event.planned_shards());
    let said = run.events.iter().any(|(_, event)| event.kind == EventType::RunCompleted);
    let all = (!streams.is_empty() || run.events.iter().any(|(_, event)| measures(event)))
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
pub fn announced(run: &Run, of: impl Fn(&Event) -> Option<u32>) -> Option<u64> {
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
pub struct Suite {
    pub begun: bool,
    pub ended: bool,
    pub planned: Option<u32>,
}

/// The suites of a run in one stream, or by (stream, suite) in all.
pub fn suites(run: &Run, stream: Option<Id>) -> BTreeMap<(Id, Id), Suite> {
    let mut suites: BTreeMap<(Id, Id), Suite> = BTreeMap::new();
    for (_, event) in &run.events {
        if stream.is_some_and(|stream| stream != event.stream()) {
            continue;
        }
        match event.kind {
            EventType::TestSuiteStarted => {
                let suite = suites.entry((event.stream(), event.suite())).or_default();
                suite.begun = true;
                suite.planned = event.planned_tests().or(suite.planned);
            }
            EventType::TestSuiteCompleted => suites.entry((event.stream(), event.suite())).or_default().ended = true,
            _ => {}
        }
    }
    suites
}

/// Its project and its name.
pub fn names(run: &Run) -> (Arc<str>, Arc<str>) {
    let event = &run.events[0].1;
    (Arc::clone(&event.origin.project), Arc::clone(&event.names.run))
}

/// The tests announced, and whether by the run itself.
pub fn planned(run: &Run) -> (Option<u64>, bool) {
    let by_run = announced(run, |event| event.planned_tests());
    let by_suites: Vec<u64> = suites(run, None).values().filter_map(|suite| suite.planned).map(u64::from).collect();
    (by_run.or((!by_suites.is_empty()).then(|| by_suites.iter().sum())), by_run.is_some())
}

/// Since which tick a stream is complete, if it is.
pub fn complete_at(run: &Run, stream: Id) -> Option<u64> {
    let times: BTreeSet<u64> = run.events.iter().map(|(at, _)| *at).collect();
    let by = |at: u64| run.events.iter().filter(move |(came, _)| *came <= at);
    times.into_iter().rev().take_while(|at| complete(by(*at), stream)).last()
}

fn complete<'a>(events: impl Iterator<Item = &'a (u64, Arc<Event>)>, stream: Id) -> bool {
    let mut suites: BTreeMap<Id, [bool; 2]> = BTreeMap::new();
    for (_, event) in events.filter(|(_, event)| event.stream() == stream) {
        match event.kind {
            EventType::TestSuiteStarted => suites.entry(event.suite()).or_default()[0] = true,
            EventType::TestSuiteCompleted => suites.entry(event.suite()).or_default()[1] = true,
            _ => {}
        }
    }
    !suites.is_empty() && suites.values().all(|[begun, ended]| *ended || !begun)
}

fn open_streams(run: &Run) -> BTreeSet<Id> {
    let mut streams: BTreeSet<Id> =
        run.events.iter().filter(|(_, event)| works(event)).map(|(_, event)| event.stream()).collect();
    streams.retain(|stream| !complete(run.events.iter(), *stream));
    streams
}

/// The streams seen, and how many of them are not complete.
pub fn streams(run: &Run) -> (u64, u64) {
    let streams: BTreeSet<Id> =
        run.events.iter().filter(|(_, event)| works(event)).map(|(_, event)| event.stream()).collect();
    (streams.len() as u64, open_streams(run).len() as u64)
}
