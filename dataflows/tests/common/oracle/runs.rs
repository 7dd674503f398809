//! The lives of runs: by going through time event by event and second by second.

use super::super::Tick;
use super::Runs;
use super::admission::{HOUR, Judged};
use super::attempts::{At, Test, tests};
use super::budget::{Budget, Counts, test_of};
use super::control::incidents;
use super::run_failures::run_failures;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::facts::AttemptFact;
use weir_dataflows::input::{Event, Position, Text, Withdraws};
use weir_schemas::event::EventType;
use weir_schemas::id::Id;

/// A run at a time: where it is in its life, and the events that count for it.
#[derive(Clone, Default)]
pub struct Run {
    pub phase: &'static str,
    pub ended_at: Option<u64>,
    /// Its shards that have fallen silent.
    pub silent: BTreeSet<Id>,
    /// Since the run last began, each with its tick.
    pub events: Vec<(u64, Arc<Event>)>,
    /// Those withdrawals among them that were too many: they take nothing back.
    pub refused: Vec<(u64, Arc<Event>)>,
    /// But for those of tests that were left out, and for withdrawals that were too many or said again.
    pub kept: Vec<(u64, Arc<Event>)>,
    /// The begins and ends of suites, but for those that were left out.
    pub of_suites: Vec<(u64, Arc<Event>)>,
    /// What these say of tests, by identity.
    pub tests: BTreeMap<Id, Test>,
    /// And of failures of the run itself.
    pub failures: Vec<AttemptFact>,
    /// The tests that are held of it, whether they count or not.
    held: BTreeSet<Id>,
    suites_held: BTreeSet<Id>,
    /// By flag and path.
    pub files_held: BTreeMap<(Text, Text), u64>,
    /// The events that were left out, each with what there was no room for.
    pub left_out: Vec<(u64, usize)>,
}

impl Run {
    /// Its events without the withdrawals that were too many.
    pub fn counting(&self) -> Vec<(u64, Arc<Event>)> {
        self.events.iter().filter(|(_, event)| !among(&self.refused, event)).cloned().collect()
    }
}

fn among(events: &[(u64, Arc<Event>)], event: &Event) -> bool {
    events.iter().any(|(_, other)| other.position == event.position)
}

/// The withdrawals of something new after so many others, and those of what was taken back before.
fn refused(config: &Config, events: &[(u64, Arc<Event>)]) -> [Vec<(u64, Arc<Event>)>; 2] {
    let mut events: Vec<_> = events.iter().filter(|(_, event)| event.withdrawal().is_some()).cloned().collect();
    events.sort_by_key(|(tick, event)| (*tick, event.position));
    let mut taken_back: Vec<(Withdraws, Option<Id>)> = Vec::new();
    let [mut refused, mut repeated] = [Vec::new(), Vec::new()];
    for (tick, event) in events {
        let what = match event.withdrawal().expect("filtered") {
            Withdraws::Event(id) => (Withdraws::Event(id), None),
            Withdraws::Test { attempt } => (Withdraws::Test { attempt }, event.test()),
        };
        if what.1.is_none() && matches!(what.0, Withdraws::Test { .. }) {
            continue;
        }
        match () {
            () if taken_back.contains(&what) => repeated.push((tick, event)),
            () if taken_back.len() < config.withdrawn => taken_back.push(what),
            () => refused.push((tick, event)),
        }
    }
    [refused, repeated]
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
        let events: Vec<At> =
            judged.iter().filter(counts).map(|judged| (judged.at, Arc::clone(&judged.event))).collect();
        Life { id, events, moments: Vec::new(), run: None, gone_until: 0, now: 0 }
    };
    let (mut lives, mut budget): (Vec<Life>, _) = (ids.into_iter().map(life_of).collect(), Budget::default());
    let mut changed = false;
    loop {
        let nexts: Vec<Option<u64>> = lives.iter().map(|life| life.next(ticks)).collect();
        let Some(now) = nexts.iter().flatten().copied().min().filter(|next| *next <= end) else { break };
        for (life, _) in lives.iter_mut().zip(nexts).filter(|(_, next)| *next == Some(now)) {
            let before = life.moments.len();
            life.step(config, ticks, &budget, now);
            changed |= life.moments.len() > before;
        }
        // Of a state that has not changed nothing else would be decided.
        if now.is_multiple_of(1_000) && std::mem::take(&mut changed) {
            let in_state = lives.iter().filter_map(|life| Some((life.id, life.run.as_ref()?)));
            budget.decide(config, in_state, now);
        }
    }
    lives.into_iter().map(|life| (life.id, life.moments)).collect()
}

/// The runs that are in state at `time`.
pub fn at(lives: &Lives, time: u64) -> Runs<'_> {
    let last = |moments: &'_ [Moment]| moments.partition_point(|moment| moment.at <= time).checked_sub(1);
    lives.iter().filter_map(|(id, moments)| Some((*id, moments[last(moments)?].run.as_ref()?))).collect()
}

/// A run, or rather an identity of runs, as far as its life is known.
struct Life {
    id: Id,
    /// All that were admitted, with their ticks.
    events: Vec<At>,
    moments: Vec<Moment>,
    run: Option<Run>,
    gone_until: u64,
    now: u64,
}

impl Life {
    fn rest(&self) -> &[At] {
        &self.events[self.events.partition_point(|(at, _)| *at <= self.now)..]
    }

    /// When it has to be looked at again.
    fn next(&self, ticks: &[Tick]) -> Option<u64> {
        let in_state = self.run.is_some();
        let second = in_state.then(|| (self.now / 1_000 + 1) * 1_000);
        let said = ticks.iter().find(|tick| in_state && tick.at > self.now && !tick.control.is_empty());
        let rest = self.rest().first().map(|(at, _)| *at);
        rest.into_iter().chain(second).chain(said.map(|tick| tick.at)).min()
    }

    /// Goes on to `now`, when it has to be looked at.
    fn step(&mut self, config: &Config, ticks: &[Tick], budget: &Budget, now: u64) {
        let came: Vec<At> = self.rest().iter().take_while(|(at, _)| *at == now).cloned().collect();
        self.now = now;
        let late = |came: Vec<At>| came.into_iter().map(|(_, event)| event).collect();
        if self.gone_until > now {
            self.moments.push(Moment { at: now, run: None, late: late(came) });
            return;
        }
        let said = ticks.iter().any(|tick| tick.at == now && !tick.control.is_empty());
        let mut news = !came.is_empty();
        if news {
            self.run.get_or_insert_with(Run::new).hear(config, &came, budget);
        }
        let Some(state) = &mut self.run else { return };
        if news || said {
            state.recompute(ticks, now);
            state.hear_suites(&came, budget, now);
            news = true;
        }
        let silent = |at: u64| silent_clock(ticks, at);
        match state.ended_at {
            None => {
                if let Some(phase) = ending(config, state, now, silent) {
                    (state.phase, state.ended_at, news) = (phase, Some(now), true);
                }
            }
            Some(ended)
                if (ended + config.run_grace_ms).next_multiple_of(1_000) <= now
                    || budget.lets_leave(self.id, ended, now) =>
            {
                if said {
                    // An incident of this very tick still reaches it; what came for it does not.
                    state.events.retain(|(at, _)| *at < now);
                    state.kept.retain(|(at, _)| *at < now);
                    state.refused.retain(|(at, _)| *at < now);
                    state.recompute(ticks, now);
                    self.moments.push(Moment { at: now, run: self.run.clone(), late: Vec::new() });
                }
                self.gone_until = (now + config.late_memory_ms).next_multiple_of(HOUR);
                self.run = None;
                self.moments.push(Moment { at: now, run: None, late: late(came) });
                return;
            }
            Some(_) => {}
        }
        let silent = silent_shards(config, state, now, silent);
        news |= silent != state.silent;
        state.silent = silent;
        if news {
            self.moments.push(Moment { at: now, run: self.run.clone(), late: Vec::new() });
        }
    }
}

impl Run {
    fn new() -> Run {
        Run { phase: "running", ..Run::default() }
    }

    /// Takes in what came at one tick.
    fn hear(&mut self, config: &Config, came: &[At], budget: &Budget) {
        if came.iter().any(|(_, event)| event.kind != EventType::ResultWithdrawn) {
            (self.phase, self.ended_at) = ("running", None);
        }
        self.events.extend(came.iter().cloned());
        let [refused, repeated] = refused(config, &self.events);
        self.refused = refused;
        for (at, event) in came {
            if among(&self.refused, event) || among(&repeated, event) {
                continue;
            }
            if let Some(test) = test_of(event) {
                if !self.held.contains(&test) && budget.full(0, &event.origin.project, *at) {
                    self.left_out.push((*at, 0));
                    continue;
                }
                self.held.insert(test);
            }
            self.kept.push((*at, Arc::clone(event)));
            for file in event.coverage().iter().flat_map(|coverage| &coverage.files) {
                let key = (Arc::clone(&event.coverage().expect("it has").flag), Arc::clone(&file.path));
                if !self.files_held.contains_key(&key) && budget.full(2, &event.origin.project, *at) {
                    self.left_out.push((*at, 2));
                } else {
                    self.files_held.entry(key).or_insert(*at);
                }
            }
        }
    }

    /// Takes in the suites of what came at `now`, once it is known which tests there are.
    fn hear_suites(&mut self, came: &[At], budget: &Budget, now: u64) {
        self.suites_held.extend(self.tests.values().map(|test| test.first.suite()));
        let kinds = [EventType::TestSuiteStarted, EventType::TestSuiteCompleted];
        for (_, event) in came.iter().filter(|(_, event)| kinds.contains(&event.kind)) {
            if !self.suites_held.contains(&event.suite()) && budget.full(1, &event.origin.project, now) {
                self.left_out.push((now, 1));
            } else {
                self.suites_held.insert(event.suite());
                self.of_suites.push((now, Arc::clone(event)));
            }
        }
    }

    fn recompute(&mut self, ticks: &[Tick], now: u64) {
        let incidents = incidents(ticks, &names(self).0, now);
        self.tests = tests(&self.kept, &incidents, ticks);
        self.failures = run_failures(&self.counting(), &incidents, ticks);
    }

    /// How much of it is held, by kind.
    pub fn held(&self) -> Counts {
        [self.held.len() as u64, self.suites_held.len() as u64, self.files_held.len() as u64]
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
    suites_of(&run.events, stream)
}

/// The suites of which these events say something.
pub fn suites_of(events: &[At], stream: Option<Id>) -> BTreeMap<(Id, Id), Suite> {
    let mut suites: BTreeMap<(Id, Id), Suite> = BTreeMap::new();
    for (_, event) in events {
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
