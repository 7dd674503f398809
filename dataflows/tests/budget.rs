//! The row budget under a fleet far over it: what is held stays near it, and who leaves is exactly who ended first.

mod common;

use common::history::START;
use common::{Feeding, Folded, Tick, run};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use weir_dataflows::Config;
use weir_dataflows::graph::build;
use weir_dataflows::input::{Event, Input, Interner, Position};
use weir_dataflows::output::Released;
use weir_schemas::event::TestEvent;
use weir_schemas::limits::Limits;
use weir_schemas::update::Cause;
use weir_schemas::view::{view, view_index};

const BUDGET: u64 = 60;
const TESTS: u64 = 7;
const ROUNDS: u64 = 60;

/// Grace and timeout are too long to be met: whoever leaves does so for the budget.
fn config() -> Config {
    Config { row_budget: 60, run_grace_ms: 86_400_000, ..Config::default() }
}

#[derive(Default)]
struct Fleet {
    ticks: Vec<Tick>,
    offset: u64,
    versions: BTreeMap<u64, u64>,
    interner: Interner,
}

impl Fleet {
    fn say(&mut self, at: u64, run: u64, kind: &str, test: &str) {
        let version = self.versions.entry(run).or_default();
        (*version, self.offset) = (*version + 1, self.offset + 1);
        let json = format!(
            r#"{{"eventId":"{run}-{version}","eventType":"{kind}","streamId":"s{run}","version":{version},"timestamp":{at},
            "correlationId":"r{run}","data":{{{test}"testSuiteId":"suite{run}"}},"metadata":{{"project":"web"}}}}"#
        );
        let event: TestEvent<'_> = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{json}: {error}"));
        let position = Position { offset: self.offset, ..Position::default() };
        let event = Event::new(&event, position, &Limits::default(), &mut self.interner);
        let tick = match self.ticks.iter().position(|tick| tick.at == at) {
            Some(index) => &mut self.ticks[index],
            None => {
                self.ticks.push(Tick { at, ..Tick::default() });
                self.ticks.last_mut().expect("just pushed")
            }
        };
        tick.inputs.push(Input::Event(Arc::new(event)));
    }

    fn ticks(mut self, until: u64) -> Vec<Tick> {
        self.ticks.push(Tick { at: until, ..Tick::default() });
        self.ticks.sort_by_key(|tick| tick.at);
        self.ticks
    }
}

/// A run a second, each with some tests at several ticks; they end in another order than that in which they began, and every
/// tenth never does.
fn rounds() -> (Vec<Tick>, BTreeMap<String, u64>) {
    let (mut fleet, mut ended) = (Fleet::default(), BTreeMap::new());
    for round in 0..ROUNDS {
        let second = START + 1_000 * (round + 1);
        for test in 0..TESTS {
            fleet.say(second + 100 * (test + 1), round, "test_passed", &format!(r#""testId":"t{test}","#));
        }
        if round % 10 != 9 || round < 45 {
            let end = second + 1_000 * (2 + round % 3) + 10 * (round % 7);
            fleet.say(end, round, "run_completed", "");
            ended.insert(format!("r{round}"), end);
        }
    }
    (fleet.ticks(START + 1_000 * (ROUNDS + 10)), ended)
}

fn names(folded: &Folded, name: &str) -> BTreeSet<String> {
    let of = |row: String| serde_json::from_str::<serde_json::Value>(&row).expect("a row")[1].clone();
    folded.json(view(name).expect("a view")).into_iter().filter_map(|row| of(row).as_str().map(str::to_owned)).collect()
}

/// When each run leaves, by the rule: at each whole second those that ended first, until no more than the budget is held, to be
/// gone a second later.
fn expected(ended: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let begun = |round: u64| START + 1_000 * (round + 1);
    let mut left: BTreeMap<String, u64> = BTreeMap::new();
    for second in (0..ROUNDS + 10).map(|second| START + 1_000 * second) {
        let held = |round: u64| (0..TESTS).filter(|test| begun(round) + 100 * (test + 1) <= second).count() as u64;
        let there = (0..ROUNDS).filter(|round| left.get(&format!("r{round}")).is_none_or(|at| *at > second));
        let there: Vec<u64> = there.collect();
        let mut rest: u64 = there.iter().map(|round| held(*round)).sum();
        let mut over: Vec<(u64, u64)> = there
            .iter()
            .filter_map(|round| Some((*ended.get(&format!("r{round}"))?, *round)))
            .filter(|(end, _)| *end <= second)
            .collect();
        over.sort_unstable();
        for (_, round) in over {
            if rest > BUDGET {
                rest -= held(round);
                left.insert(format!("r{round}"), second + 1_000);
            }
        }
    }
    left
}

#[test]
fn who_leaves_is_who_ended_first_and_what_is_held_stays_near_the_budget() {
    let (ticks, ended) = rounds();
    let released = run(&config(), &ticks, Feeding { ticks_a_step: 5, ..Feeding::SIMPLE });
    let (mut folded, mut left, mut most) = (Folded::new(), BTreeMap::new(), 0);
    for released in &released {
        let before = names(&folded, "run_progress");
        folded.apply(released);
        let (after, rows) =
            (names(&folded, "run_progress"), folded.rows(view("test_results").expect("a view")).len() as u64);
        left.extend(before.difference(&after).map(|run| (run.clone(), folded.time)));
        most = most.max(rows);
        // What came since the count by which it was decided, and until that took effect: two seconds' worth.
        assert!(rows <= BUDGET + 2 * TESTS, "{rows} rows at {}", folded.time);
        for of_runs in ["suite_progress", "test_results"] {
            assert_eq!(names(&folded, of_runs).difference(&after).count(), 0, "{of_runs} at {}", folded.time);
        }
    }
    assert_eq!(left, expected(&ended));
    assert!(left.len() > 30 && most > BUDGET, "{} left, {most} rows at most", left.len());
    for of_runs in ["run_progress", "suite_progress", "test_results"] {
        let index = view_index(of_runs).expect("a view");
        let updates = released.iter().flat_map(|released| &released.frame.views[index].updates);
        assert!(updates.filter(|update| update.cause == Cause::Evicted).count() >= left.len(), "{of_runs}");
    }
}

#[test]
fn workers_and_batching_do_not_decide_who_leaves() {
    let (ticks, _) = rounds();
    let plain = run(&config(), &ticks, Feeding::SIMPLE);
    for (workers, ticks_a_step) in [(2, 40), (4, 3), (1, 1_000)] {
        let other = run(&config(), &ticks, Feeding { workers, ticks_a_step, seed: 7 });
        assert!(plain == other, "{workers} workers, {ticks_a_step} ticks a step");
    }
}

/// Tests a second of the run without an end, at most.
const MOST: u64 = 8;

/// What comes of a run without an end, and how many tests it has.
fn endless(config: &Config) -> (Vec<Released>, u64) {
    let (mut fleet, mut sent) = (Fleet::default(), 0);
    for second in 0..40 {
        let tests = MOST - second % 4;
        for test in 0..tests {
            fleet.say(
                START + 1_000 * second + 100 * (test + 1),
                0,
                "test_passed",
                &format!(r#""testId":"{second}-{test}","#),
            );
        }
        sent += tests;
    }
    let released = run(config, &fleet.ticks(START + 60_000), Feeding { workers: 2, ..Feeding::SIMPLE });
    (released, sent)
}

#[test]
fn with_nobody_left_to_go_new_tests_are_counted_and_not_kept() {
    for config in [config(), Config { row_budget: 1_000, project_tests: 60, ..config() }] {
        let (released, sent) = endless(&config);
        let mut folded = Folded::new();
        for released in &released {
            folded.apply(released);
            let rows = folded.rows(view("test_results").expect("a view")).len() as u64;
            assert!(rows <= BUDGET + 2 * MOST, "{rows} rows at {}", folded.time);
        }
        let rows = folded.rows(view("test_results").expect("a view")).len() as u64;
        let missing = folded.json(view("missing").expect("a view"));
        let overflow: Vec<serde_json::Value> =
            missing.iter().map(|row| serde_json::from_str(row).expect("a row")).collect();
        let overflow: Vec<_> = overflow.iter().filter(|row| row[2] == "overflow").collect();
        assert_eq!(overflow.len(), 1, "{missing:?}");
        assert_eq!((&overflow[0][1], &overflow[0][3]), (&"r0".into(), &"tests".into()));
        assert_eq!(overflow[0][4].as_u64(), Some(sent - rows), "{rows} rows of {sent}");
    }
}

/// Frames that are out once a worker was stepped `steps` times after each tick, with the inputs no further than that tick.
fn out_after(ticks: &[Tick], steps: usize) -> Vec<u64> {
    let out: Arc<Mutex<Vec<u64>>> = Arc::default();
    let last = ticks.last().map_or(0, |tick| tick.at);
    let (config, ticks, uppers) = (Config { until: last + 1, ..config() }, ticks.to_vec(), Arc::clone(&out));
    timely::execute_directly(move |worker| {
        let frames = Arc::clone(&uppers);
        let sink = move |released: Released| frames.lock().expect("unpoisoned").push(released.frame.upper);
        let mut inputs = build(worker, &config, Box::new(sink));
        for tick in &ticks {
            inputs.events.advance_to(tick.at);
            inputs.commits.advance_to(tick.at);
            tick.inputs.iter().for_each(|input| inputs.events.send((input.clone(), tick.at, 1)));
            inputs.commits.send(tick.at);
            inputs.events.advance_to(tick.at + 10);
            inputs.silence.advance_to(tick.at + 10);
            inputs.control.advance_to(tick.at + 10);
            inputs.questions.advance_to(tick.at + 10);
            inputs.commits.advance_to(tick.at + 10);
            for _ in 0..steps {
                worker.step();
            }
            let out = uppers.lock().expect("unpoisoned").last().copied();
            assert_eq!(out, Some(tick.at), "the frame of a tick waits for what comes after it");
        }
    });
    let out = out.lock().expect("unpoisoned");
    out.clone()
}

#[test]
fn the_loop_keeps_no_frame_back_and_takes_a_jump_of_time_at_once() {
    let mut fleet = Fleet::default();
    for (n, at) in [0, 10, 500, 1_000, 1_010, 40_000, 40_010, 30 * 86_400_000].into_iter().enumerate() {
        fleet.say(START + at, n as u64 % 2, "test_passed", &format!(r#""testId":"t{n}","#));
    }
    let ticks = fleet.ticks(START + 30 * 86_400_000 + 500);
    let out = out_after(&ticks, 2_000);
    assert!(ticks.iter().all(|tick| out.contains(&tick.at)), "{out:?}");
}
