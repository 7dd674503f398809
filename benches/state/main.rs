//! How many bytes each operator keeps: a key of a fleet, and day by day of a life.
//!
//! `cargo bench --bench state`: the fleet of `benches/dataflow` for ten simulated seconds, and what is in use when the last frame
//! has left, by operator and a key of its state. `-- life [DAYS EVENTS TICK_MS MEMORY_HOURS]`: the fleet of `benches/soak`, what is in use
//! after each day, those operators first that grew most from the middle of the days to the last: what leaks, shows. Memory is
//! counted as it was asked for, by an allocator that keeps a ledger; it is slower, so no time is measured here.

#![expect(clippy::cast_possible_truncation, reason = "numbers of this size fit every type here")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../dataflows/tests/common/life/mod.rs"]
mod life;

use common::drive::{Course, Tick, drive};
use common::fleet::Fleet;
use common::ledger::{Ledger, held};
use life::{Life, Plan, memories};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use weir_dataflows::Config;
use weir_dataflows::input::{Event, Input, Interner, Position};
use weir_schemas::id::Id;
use weir_schemas::limits::Limits;

const START: u64 = 1_700_000_000_000;
const TICK_MS: u64 = 50;
const EVENTS_A_TICK: usize = 10_000;
const DAY_MS: u64 = 86_400_000;

#[global_allocator]
static ALLOCATOR: Ledger = Ledger;

/// What is in use by operator.
type Held = BTreeMap<Option<usize>, i64>;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let asked: Vec<u64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    if words.iter().any(|word| word == "life") {
        let [days, events, tick_ms, memory_hours] =
            [(0, 12), (1, 5_000_000), (2, 10_000), (3, 72)].map(|(n, usual)| *asked.get(n).unwrap_or(&usual));
        return of_life(days, events, tick_ms, memory_hours * 3_600_000);
    }
    of_fleet();
}

/// How many there are of what operators keep.
#[derive(Default)]
struct Keys {
    events: u64,
    streams: BTreeSet<Id>,
    runs: BTreeSet<Id>,
    suites_of_runs: BTreeSet<(Id, Id)>,
    tests_of_runs: BTreeSet<(Id, Id)>,
    suites: BTreeSet<Id>,
    tests: BTreeSet<Id>,
    files_of_runs: BTreeSet<(Id, Id)>,
    failed: BTreeSet<Id>,
    failures: u64,
}

impl Keys {
    fn add(&mut self, event: &Event) {
        self.events += 1;
        self.streams.insert(event.stream());
        self.runs.insert(event.run());
        self.suites_of_runs.insert((event.run(), event.suite()));
        self.suites.insert(event.suite());
        self.tests_of_runs.extend(event.test().map(|test| (event.run(), test)));
        self.tests.extend(event.test());
        let files = event.coverage().into_iter().flat_map(|coverage| &coverage.files);
        self.files_of_runs.extend(files.map(|file| (event.run(), file.id)));
        if event.outcome.is_some_and(weir_schemas::outcome::Outcome::fails) {
            self.failures += 1;
            self.failed.extend(event.test());
        }
    }

    /// What each operator keeps something a piece of, and how many of those there are.
    fn of_operators(&self) -> Vec<(&'static str, &'static str, u64)> {
        let tests_of_runs = self.tests_of_runs.len() as u64;
        let [runs, suites] = [self.runs.len(), self.suites.len()].map(|count| count as u64);
        vec![
            ("Admission", "event id", self.events),
            ("Runs", "stream", self.streams.len() as u64),
            ("Results", "test of a run", tests_of_runs),
            ("Sums", "suite of a run", self.suites_of_runs.len() as u64),
            ("SuiteProgress", "suite of a run", self.suites_of_runs.len() as u64),
            ("RunProgress", "run", runs),
            ("LiveMetricsPanes", "suite", suites),
            ("LiveMetrics", "suite", suites),
            ("Performance", "suite", suites),
            ("Coverage", "file of a run", self.files_of_runs.len() as u64),
            ("CoverageSummary", "run", runs),
            ("FailurePatterns", "failure", self.failures),
            ("FlakyTests", "failed test", self.failed.len() as u64),
            ("Durations", "test", self.tests.len() as u64),
            ("UserActivity", "run", runs),
            ("Alerts", "suite of a run", self.suites_of_runs.len() as u64),
        ]
    }
}

fn of_fleet() {
    let (ticks, keys) = generate();
    let last = ticks.last().map_or(0, |tick| tick.at);
    let config = Config { until: last + 1, ..Config::default() };
    let course = Course { workers: 1, config, first: START, ahead_ms: 0, watched: true };
    let ticks = Mutex::new(Some(ticks));
    let at_end = Arc::new(Mutex::new(Held::new()));
    let seen = Arc::clone(&at_end);
    let worked = drive(
        &course,
        move |_| ticks.lock().expect("unpoisoned").take().expect("one worker").into_iter(),
        move |released| {
            if released.frame.upper == last {
                *seen.lock().expect("unpoisoned") = held();
            }
        },
    );
    let by_name = named(&at_end.lock().expect("unpoisoned"), &worked[0].operators.names());
    println!("{} events of {} tests in {} runs, one worker", keys.events, keys.tests_of_runs.len(), keys.runs.len());
    let of_operators = keys.of_operators();
    let mut sorted: Vec<_> = by_name.iter().collect();
    sorted.sort_by_key(|(_, bytes)| -**bytes);
    for (name, bytes) in sorted.into_iter().filter(|(_, bytes)| **bytes > 100_000) {
        let key = of_operators.iter().find(|(operator, ..)| operator == name);
        let share = key.map_or_else(String::new, |(_, key, count)| {
            format!("{:9.1} bytes a {key} ({count})", *bytes as f64 / (*count).max(1) as f64)
        });
        println!("{:10.1} MB {name:34}{share}", *bytes as f64 / 1e6);
    }
}

fn of_life(days: u64, events: u64, tick_ms: u64, memory_ms: u64) {
    let first = START / DAY_MS * DAY_MS;
    let plan = Plan { first, last: first + days * DAY_MS - tick_ms, tick_ms, events, workers: 1 };
    let config = Config { until: plan.last + 1, ..memories(memory_ms) };
    let course = Course { workers: 1, config, first, ahead_ms: 0, watched: true };
    let by_day = Arc::new(Mutex::new(Vec::<Held>::new()));
    let seen = Arc::clone(&by_day);
    let worked = drive(
        &course,
        move |worker| Life::new(plan, worker as u64),
        move |released| {
            if (released.frame.upper + tick_ms - first).is_multiple_of(DAY_MS) {
                seen.lock().expect("unpoisoned").push(held());
            }
        },
    );
    let names = worked[0].operators.names();
    let days: Vec<_> = by_day.lock().expect("unpoisoned").iter().map(|held| named(held, &names)).collect();
    let of_day = |name: &String, day: usize| days.get(day).and_then(|day| day.get(name)).copied().unwrap_or(0);
    let (middle, end) = (days.len() / 2, days.len() - 1);
    let mut all: Vec<&String> = days.iter().flat_map(BTreeMap::keys).collect::<BTreeSet<_>>().into_iter().collect();
    all.sort_by_key(|name| of_day(name, middle) - of_day(name, end));
    println!("KB in use at the end of each day, those that grew most from day {} on first", middle + 1);
    for name in all {
        let line: String = (0..days.len()).map(|day| format!("{:9}", of_day(name, day) >> 10)).collect();
        println!("{name:34}{line}");
    }
}

/// By name; what no operator asked for is `(input)`.
fn named(held: &Held, names: &BTreeMap<usize, String>) -> BTreeMap<String, i64> {
    let mut named = BTreeMap::new();
    for (id, bytes) in held {
        let name = id.map_or_else(|| "(input)".to_owned(), |id| names.get(&id).cloned().unwrap_or_default());
        *named.entry(name).or_default() += bytes;
    }
    named
}

/// Ten simulated seconds of a fleet, decoded, and what is in them.
fn generate() -> (Vec<Tick>, Keys) {
    let (limits, mut interner) = (Limits::default(), Interner::default());
    let (mut fleet, mut keys, mut ticks) = (Fleet::new(), Keys::default(), Vec::new());
    for at in (START..START + 10_000).step_by(TICK_MS as usize) {
        let mut tick = Tick { at, ..Tick::default() };
        while tick.inputs.len() < EVENTS_A_TICK {
            for event in fleet.test(at).1 {
                let position = Position { offset: keys.events, ..Position::default() };
                let event = Event::new(&event, position, &limits, &mut interner);
                keys.add(&event);
                tick.inputs.push(Input::Event(Arc::new(event)));
            }
        }
        ticks.push(tick);
    }
    (ticks, keys)
}
