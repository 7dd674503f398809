//! What happens to a simulated fleet over days, tick by tick; nothing of the past is kept.
//!
//! Contract: [`Life`] gives a worker's share of what comes in, in ticks at the times of [`Plan`]. Runs begin, more by day than by
//! night, so that what has come is what the plan wants; their four shards run a hundred tests each, one after the other, retry
//! what failed, measure and cover; then the run completes, or falls quiet, or is cut off and abandoned. Names of tests and suites,
//! branches, commits, users, machines and failures come and go. Some events come twice, late, out of order, never, or after
//! their run has left; some results are withdrawn.
//!
//! # Cost
//! About 0.3 µs an event: events that only begin or end a test are made without a decoder.

mod catalogue;
mod control;

use super::Tick;
use catalogue::{Catalogue, PLACES, PLACES_A_SUITE, PROJECTS};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::input::{Event, Input, Interner, Names, Origin, Position, Text};
use weir_schemas::event::{
    CoverageData, CoverageFile, EventData, EventType, Metadata, PerformanceData, TestErrorData, TestEvent,
};
use weir_schemas::id::{Id, run_id};
use weir_schemas::limits::Limits;
use weir_schemas::outcome::Outcome;
use weir_schemas::text::Text as Word;
use weir_schemas::timestamp::Timestamp;

const HOUR_MS: u64 = 3_600_000;
/// Tests of a shard, and the ticks that a test takes at most.
const TESTS: u64 = 100;
const SHARDS: u64 = 4;
const TICKS_A_TEST: u64 = 2;
/// How busy each hour of a day is, in tenths of the mean.
const RHYTHM: [u64; 24] = [5, 4, 4, 4, 4, 5, 6, 8, 11, 14, 16, 17, 16, 16, 17, 17, 16, 14, 11, 9, 8, 7, 6, 5];

/// How much happens, and when.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) tick_ms: u64,
    /// In all, of all workers.
    pub(crate) events: u64,
    pub(crate) workers: u64,
}

/// The configuration that forgets everything after the same time, but for what ends with a run.
pub(crate) fn memories(memory_ms: u64) -> Config {
    Config {
        stream_memory_ms: memory_ms,
        event_id_memory_ms: memory_ms,
        late_memory_ms: memory_ms,
        pattern_memory_ms: memory_ms,
        error_memory_ms: memory_ms,
        coverage_memory_ms: memory_ms,
        user_memory_ms: memory_ms,
        flaky_memory_ms: memory_ms,
        duration_memory_ms: memory_ms,
        ..Config::default()
    }
}

/// What comes in on one worker.
pub(crate) struct Life {
    plan: Plan,
    worker: u64,
    at: u64,
    dice: Dice,
    catalogue: Catalogue,
    /// One stream a project that begins and ends its runs, and withdraws results: it lives as long as the fleet.
    observers: Vec<Stream>,
    /// Shards by the tick at which something happens in them, around a ring.
    due: Vec<Vec<Shard>>,
    /// What comes later, and was decided already.
    later: BTreeMap<u64, Vec<Event>>,
    /// Events that the plan wants by now, that came, and that the shards under way will about send.
    owed: f64,
    came: u64,
    open: u64,
    runs: u64,
    made: u64,
    inputs: Vec<Input>,
    plain: Event,
    interner: Interner,
}

struct Stream {
    origin: Arc<Origin>,
    version: u64,
}

/// How a run ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Completes,
    FallsQuiet,
    CutOff,
}

struct Run {
    project: u64,
    id: Id,
    name: Text,
    fate: Fate,
}

struct Shard {
    run: Rc<Run>,
    stream: Stream,
    /// The place of its first test, how many it has begun, and the test under way with the attempt.
    place: u64,
    begun: u64,
    under_way: Option<(Arc<Names>, u32)>,
}

impl Life {
    pub(crate) fn new(plan: Plan, worker: u64) -> Life {
        let catalogue = Catalogue::new();
        let mut interner = Interner::with_capacity(16);
        let observers = (0..PROJECTS)
            .map(|project| {
                let named = [None, None, None, None];
                Stream::new(format!("observer-{worker}-{project}"), catalogue.project(project), named, 0)
            })
            .collect();
        let event = test_event(EventType::TestCaseStarted, String::new(), 0, EventData::default());
        let plain = Event::new(&event, Position::default(), &Limits::default(), &mut interner);
        Life {
            plan,
            worker,
            at: plan.first,
            dice: Dice(worker + 1),
            catalogue,
            observers,
            due: (0..=TICKS_A_TEST).map(|_| Vec::new()).collect(),
            later: BTreeMap::new(),
            owed: 0.0,
            came: 0,
            open: 0,
            runs: 0,
            made: 0,
            inputs: Vec::new(),
            plain,
            interner,
        }
    }

    fn hour(&self) -> u64 {
        (self.at - self.plan.first) / HOUR_MS
    }

    fn turn(&self) -> u64 {
        (self.at - self.plan.first) / self.plan.tick_ms
    }

    fn live(&mut self) {
        let ticks = (self.plan.last - self.plan.first) / self.plan.tick_ms + 1;
        let share = self.plan.events as f64 * 1.002 / (ticks * self.plan.workers) as f64;
        self.owed += share * RHYTHM[(self.hour() % 24) as usize] as f64 / 10.0;
        while ((self.came + self.open) as f64) < self.owed {
            self.begin_run();
        }
        while let Some(entry) = self.later.first_entry().filter(|entry| *entry.key() <= self.at) {
            entry.remove().into_iter().for_each(|event| self.put(event));
        }
        let now = (self.turn() % self.due.len() as u64) as usize;
        for shard in std::mem::take(&mut self.due[now]) {
            self.go_on(shard);
        }
    }

    fn begin_run(&mut self) {
        let (number, hour) = (self.runs * self.plan.workers + self.worker, self.hour());
        self.runs += 1;
        let project = number % PROJECTS;
        let fate = match self.dice.below(100) {
            0..=3 => Fate::CutOff,
            4..=15 => Fate::FallsQuiet,
            _ => Fate::Completes,
        };
        let name = Text::from(format!("run-{number}"));
        let run = Rc::new(Run { project, id: run_id(self.catalogue.project(project), &name), name, fate });
        let branch = match number / PROJECTS % 3 {
            0 => "main".to_owned(),
            _ => format!("topic-{}", number / 600),
        };
        let user = format!("user-{}", hour / 6 + self.dice.below(30));
        let data = EventData {
            planned_tests: Some((SHARDS * TESTS) as u32),
            planned_shards: Some(SHARDS as u32),
            max_attempts: Some(3),
            ..EventData::default()
        };
        let names = self.names_of_run(&run);
        self.said_by_agent(&run, EventType::RunStarted, names, data);
        let band = self.dice.below(PLACES / (SHARDS * TESTS)) * SHARDS * TESTS;
        for shard in 0..SHARDS {
            let machine = format!("machine-{}", hour / 24 * 3 + self.dice.below(40));
            let named = [Some(branch.clone()), Some(format!("{number:040x}")), Some(user.clone()), Some(machine)];
            let stream = Stream::new(format!("{}/{shard}", run.name), self.catalogue.project(project), named, 0);
            let place = band + shard * TESTS;
            self.open += 2 * TESTS;
            self.put_down(Shard { run: Rc::clone(&run), stream, place, begun: 0, under_way: None });
        }
    }

    fn put_down(&mut self, shard: Shard) {
        let turn = self.turn() + 1 + self.dice.below(TICKS_A_TEST);
        let index = (turn % self.due.len() as u64) as usize;
        self.due[index].push(shard);
    }

    /// The test under way ends; it is tried again, or the next one begins, or the shard ends.
    fn go_on(&mut self, mut shard: Shard) {
        if let Some((names, attempt)) = shard.under_way.take() {
            let passed = self.end_test(&mut shard, &names, attempt);
            if !passed && attempt < 3 {
                self.begin_test(&mut shard, names, attempt + 1);
                return self.put_down(shard);
            }
            self.open -= 2;
        }
        let cut_off = shard.run.fate == Fate::CutOff && self.dice.below(TESTS) == 0;
        if cut_off || shard.begun == TESTS {
            self.open -= 2 * (TESTS - shard.begun);
            return self.end_shard(shard, cut_off);
        }
        let place = (shard.run.project, shard.place + shard.begun);
        let names = self.catalogue.test(place, self.hour(), (shard.run.id, &shard.run.name));
        if place.1.is_multiple_of(PLACES_A_SUITE) {
            self.between_suites(&mut shard, &names);
        }
        shard.begun += 1;
        self.begin_test(&mut shard, names, 1);
        self.put_down(shard);
    }

    fn begin_test(&mut self, shard: &mut Shard, names: Arc<Names>, attempt: u32) {
        let mut event = self.simple(&mut shard.stream, EventType::TestCaseStarted, Arc::clone(&names));
        event.attempt = Some(attempt);
        self.put(event);
        shard.under_way = Some((names, attempt));
    }

    /// Whether it passed.
    fn end_test(&mut self, shard: &mut Shard, names: &Arc<Names>, attempt: u32) -> bool {
        let chance = self.dice.below(1_000);
        let place = shard.place + shard.begun - 1;
        let flaky = place.is_multiple_of(50);
        let fails = chance < if flaky { 250 } else { 15 };
        let duration_us = (1 + place % 700) * (500 + self.dice.below(1_000)) * if chance == 999 { 5 } else { 1 };
        let mut event = match fails {
            true => self.failure(&mut shard.stream, Arc::clone(names)),
            false => self.simple(&mut shard.stream, EventType::TestCaseCompleted, Arc::clone(names)),
        };
        let outcome = if fails { Outcome::Failed } else { Outcome::Passed };
        event.outcome = Some(if chance > 990 { Outcome::Skipped } else { outcome });
        (event.attempt, event.duration_us) = (Some(attempt), Some(duration_us));
        if place % 16 == 3 {
            self.measure(&mut shard.stream, Arc::clone(names));
        }
        self.troubles(shard, names, &event, attempt);
        self.put(event);
        !fails
    }

    /// What goes wrong on the way, now and then.
    fn troubles(&mut self, shard: &mut Shard, names: &Arc<Names>, event: &Event, attempt: u32) {
        let soon = self.at + (1 + self.dice.below(20)) * self.plan.tick_ms;
        match self.dice.below(2_000) {
            // Sent again.
            0 => self.later.entry(soon).or_default().push(event.clone()),
            // After the run has left.
            1 => {
                let mut event = self.simple(&mut shard.stream, EventType::AssertionEvaluated, Arc::clone(names));
                event.version += 1_000;
                self.later.entry(self.at + 5 * HOUR_MS).or_default().push(event);
            }
            // Comes late, and leaves a gap until then.
            2 => {
                let event = self.simple(&mut shard.stream, EventType::AssertionEvaluated, Arc::clone(names));
                self.later.entry(soon).or_default().push(event);
            }
            // Never comes.
            3 => shard.stream.version += 1,
            // A version that is taken.
            4 => {
                let mut event = self.simple(&mut shard.stream, EventType::AssertionEvaluated, Arc::clone(names));
                shard.stream.version -= 1;
                event.version = 1;
                self.put(event);
            }
            5 | 6 => {
                let data = EventData { attempt: Some(attempt), ..EventData::default() };
                self.said_by_agent(&Rc::clone(&shard.run), EventType::ResultWithdrawn, Arc::clone(names), data);
            }
            _ => {}
        }
    }

    /// One suite ends and the next begins; what the first covered is told.
    fn between_suites(&mut self, shard: &mut Shard, names: &Arc<Names>) {
        if shard.begun > 0 {
            self.end_suite(shard);
        }
        let names =
            Arc::new(Names { test_id: None, test: Text::default(), test_name: Text::default(), ..(**names).clone() });
        let data = EventData { planned_tests: Some(PLACES_A_SUITE as u32), ..EventData::default() };
        let event = self.rare(&mut shard.stream, EventType::TestSuiteStarted, names, data);
        self.put(event);
    }

    fn end_suite(&mut self, shard: &mut Shard) {
        let place = (shard.run.project, shard.place + shard.begun - 1);
        let names = self.catalogue.test(place, self.hour(), (shard.run.id, &shard.run.name));
        let covered = self.coverage(place.1);
        let data = EventData { coverage: Some(covered), ..EventData::default() };
        let of_run = self.names_of_run(&shard.run);
        let event = self.rare(&mut shard.stream, EventType::CoverageUpdated, of_run, data);
        self.put(event);
        let names =
            Arc::new(Names { test_id: None, test: Text::default(), test_name: Text::default(), ..(*names).clone() });
        let event = self.simple(&mut shard.stream, EventType::TestSuiteCompleted, names);
        self.put(event);
    }

    fn end_shard(&mut self, mut shard: Shard, cut_off: bool) {
        if cut_off {
            return;
        }
        self.end_suite(&mut shard);
        let names = self.names_of_run(&shard.run);
        if self.dice.below(50) == 0 {
            let error = Some(self.error());
            let data = EventData { error, ..EventData::default() };
            let event = self.rare(&mut shard.stream, EventType::TestError, Arc::clone(&names), data);
            self.put(event);
        }
        // The last shard of a run that completes.
        if shard.run.fate == Fate::Completes && Rc::strong_count(&shard.run) == 1 {
            self.said_by_agent(&Rc::clone(&shard.run), EventType::RunCompleted, names, EventData::default());
        }
    }

    fn measure(&mut self, stream: &mut Stream, names: Arc<Names>) {
        let memory = Some(1e6 * (10 + self.dice.below(500)) as f64);
        let cpu = Some(self.dice.below(400) as f64 / 100.0);
        let metrics = BTreeMap::from([(Word::from("queries"), self.dice.below(90) as f64)]);
        let performance = Some(PerformanceData { memory, cpu, metrics });
        let event =
            self.rare(stream, EventType::PerformanceMeasured, names, EventData { performance, ..EventData::default() });
        self.put(event);
    }

    fn coverage(&mut self, place: u64) -> CoverageData<'static> {
        let from = 1 + self.dice.below(60);
        let file = |file: u64| CoverageFile {
            path: Word::from(format!("src/area_{}/module_{file}.py", place / PLACES_A_SUITE)),
            covered: Word::from(format!("{from}-{},200-240", from + 50)),
            instrumented: Word::from("1-120,200-300"),
        };
        CoverageData { files: vec![file(0), file(1)], ..CoverageData::default() }
    }

    /// One of a few that are always there, or of those of these hours.
    fn error(&mut self) -> TestErrorData<'static> {
        let number =
            if self.dice.below(3) == 0 { self.dice.below(9) } else { 9 + self.hour() * 2 + self.dice.below(60) };
        let message = format!("cannot settle {} of order {} in time", letters(number), self.dice.below(1_000_000));
        TestErrorData {
            message: Word::from(message),
            kind: Some(Word::from("LedgerError")),
            ..TestErrorData::default()
        }
    }

    fn failure(&mut self, stream: &mut Stream, names: Arc<Names>) -> Event {
        let error = Some(self.error());
        let data = EventData { error, result: Some(Outcome::Failed), ..EventData::default() };
        self.rare(stream, EventType::TestCaseCompleted, names, data)
    }

    fn names_of_run(&self, run: &Run) -> Arc<Names> {
        let project = Arc::clone(self.catalogue.project(run.project));
        Arc::new(Names { run_id: run.id, run: Arc::clone(&run.name), project, ..Names::default() })
    }

    fn said_by_agent(&mut self, run: &Run, kind: EventType, names: Arc<Names>, data: EventData<'static>) {
        let nobody = Stream { origin: Arc::clone(&self.plain.origin), version: 0 };
        let mut observer = std::mem::replace(&mut self.observers[run.project as usize], nobody);
        let event = self.rare(&mut observer, kind, names, data);
        self.observers[run.project as usize] = observer;
        self.put(event);
    }

    /// An event that says no more than what happened to whom.
    fn simple(&mut self, stream: &mut Stream, kind: EventType, names: Arc<Names>) -> Event {
        (self.made, stream.version) = (self.made + 1, stream.version + 1);
        let mut event = self.plain.clone();
        event.id = id(self.worker, self.made);
        (event.version, event.kind, event.at) = (stream.version, kind, self.at - self.dice.below(400));
        (event.names, event.origin) = (names, Arc::clone(&stream.origin));
        event
    }

    /// An event that says more.
    fn rare(&mut self, stream: &mut Stream, kind: EventType, names: Arc<Names>, data: EventData<'static>) -> Event {
        (self.made, stream.version) = (self.made + 1, stream.version + 1);
        let event = test_event(kind, format!("{}-{}", self.worker, self.made), self.at - self.dice.below(400), data);
        let mut event = Event::new(&event, Position::default(), &Limits::default(), &mut self.interner);
        event.version = stream.version;
        (event.names, event.origin) = (names, Arc::clone(&stream.origin));
        event
    }

    fn put(&mut self, mut event: Event) {
        event.position = Position { partition: self.worker as u32, offset: self.came, ..Position::default() };
        self.came += 1;
        self.inputs.push(Input::Event(Arc::new(event)));
    }
}

impl Iterator for Life {
    type Item = Tick;

    fn next(&mut self) -> Option<Tick> {
        if self.at > self.plan.last {
            return None;
        }
        self.live();
        let control = match self.worker {
            0 if (self.at - self.plan.first).is_multiple_of(HOUR_MS) => control::said(self.hour(), self.at),
            _ => Vec::new(),
        };
        let room = self.inputs.len();
        let inputs = std::mem::replace(&mut self.inputs, Vec::with_capacity(room));
        let tick = Tick { at: self.at, inputs, control };
        self.at += self.plan.tick_ms;
        Some(tick)
    }
}

impl Stream {
    /// A stream of a branch, commit, user and machine.
    fn new(name: String, project: &Text, named: [Option<String>; 4], version: u64) -> Stream {
        let [branch, commit, user, worker] = named.map(|name| name.map(Text::from));
        let origin = Origin {
            stream: Id::of(&["stream", &name]),
            stream_name: Text::from(name),
            project: Arc::clone(project),
            framework: Some(Text::from("pytest")),
            user,
            branch,
            commit,
            worker,
            ..Origin::default()
        };
        Stream { origin: Arc::new(origin), version }
    }
}

fn test_event(kind: EventType, id: String, at: u64, data: EventData<'static>) -> TestEvent<'static> {
    TestEvent {
        event_id: Word::from(id),
        event_type: kind,
        stream_id: Word::from("any"),
        version: 1,
        timestamp: Timestamp(at),
        causation_id: None,
        correlation_id: None,
        data,
        metadata: Metadata { project: Word::from("any"), ..Metadata::default() },
    }
}

/// The identity of the `number`th event of a worker.
fn id(worker: u64, number: u64) -> Id {
    let half = |salt: u64| u128::from(mixed(number.wrapping_mul(2) + salt) ^ worker);
    Id(half(0) << 64 | half(1))
}

/// A number as a word: digits are masked in failures.
fn letters(mut number: u64) -> String {
    let mut word = String::from("account");
    while number > 0 {
        word.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    word
}

/// Numbers that look random, and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0) % sides
    }
}

fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}
