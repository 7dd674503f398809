//! All views, with digests and frames: decoded events a second, and CPU an event.
//!
//! A fleet of 400 runs of 8 shards: 200,000 tests in 4,800 suites, 3 % failures. Events are decoded before the clock starts; the
//! clock stops when the last frame has left. `cargo bench --bench dataflow`: one and two workers, ticks of 20, 50 and 100 ms,
//! and two shapes that could be one worker's job: a run of 500,000 tests, and a suite that has all tests of all runs. With
//! `-- WORKERS TICK_MS` one configuration alone; `-- operators [WORKERS TICK_MS]` shows what each operator and view costs.

#![expect(clippy::cast_possible_truncation, reason = "numbers of this size fit every type here")]

#[path = "../common/mod.rs"]
mod common;
mod operators;

use common::drive::{Course, Tick, Worked, drive};
use common::fleet::{Fleet, RUNS, SHARDS, Shape, TESTS_A_RUN};
use common::process::{cpu_time, resident_bytes};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::time::{Duration, Instant};
use weir_dataflows::Config;
use weir_dataflows::input::{Event, Input, Interner, Position};
use weir_schemas::limits::Limits;

const EVENTS_A_SECOND: u64 = 200_000;
const START: u64 = 1_700_000_000_000;
const SIMULATED_MS: u64 = 10_000;
/// Events that a worker is dealt at a time, as by the engine.
const DEAL: usize = 256;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let asked: Vec<u64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let one = if let [workers, tick_ms] = asked[..] { Some((workers as usize, tick_ms)) } else { None };
    println!(
        "all views: {RUNS} runs x {SHARDS} shards, {} tests, {EVENTS_A_SECOND} events a simulated second",
        RUNS * TESTS_A_RUN
    );
    if words.iter().any(|word| word == "operators") {
        let (workers, tick_ms) = one.unwrap_or((1, 50));
        return operators::show(&measure(Shape::USUAL, workers, tick_ms, true));
    }
    if let Some((workers, tick_ms)) = one {
        measure(Shape::USUAL, workers, tick_ms, false);
        return;
    }
    for (workers, tick_ms) in [(1, 20), (1, 50), (1, 100), (2, 20), (2, 50), (2, 100)] {
        measure(Shape::USUAL, workers, tick_ms, false);
    }
    for (name, shape) in [("a run of 500,000 tests", Shape::GIANT_RUN), ("one suite of all tests", Shape::HOT_SUITE)] {
        println!("{name}:");
        (1..=2).for_each(|workers| drop(measure(shape, workers, 50, false)));
    }
}

/// What came of feeding some events.
struct Measured {
    events: u64,
    workers: Vec<Worked>,
}

fn measure(shape: Shape, workers: usize, tick_ms: u64, watched: bool) -> Measured {
    let last = START + SIMULATED_MS - tick_ms;
    let (events, updates) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let end = Arc::new(Mutex::new((Duration::ZERO, Duration::ZERO)));
    let config = Config { until: last + 1, ..Config::default() };
    // At most four ticks of 100 ms are in flight.
    let course = Course { workers, config, first: START, ahead_ms: 400, watched };
    let (ready, begin) = (Barrier::new(workers), Arc::new(OnceLock::new()));
    let (fed, counted, begun, ended) =
        (Arc::clone(&events), Arc::clone(&updates), Arc::clone(&begin), Arc::clone(&end));
    let worked = drive(
        &course,
        move |worker| {
            let ticks = generate(shape, tick_ms, workers, worker);
            fed.fetch_add(ticks.iter().map(|tick| tick.inputs.len() as u64).sum(), Ordering::Relaxed);
            ready.wait();
            begin.get_or_init(|| (cpu_time(), Instant::now()));
            ticks.into_iter()
        },
        move |released| {
            let changes = released.frame.views.iter().map(|view| view.updates.len() as u64).sum();
            counted.fetch_add(changes, Ordering::Relaxed);
            if released.frame.upper == last {
                let (cpu, clock) = begun.get().expect("the last tick is not the first");
                *ended.lock().expect("unpoisoned") = (clock.elapsed(), cpu_time() - *cpu);
            }
        },
    );
    let events = events.load(Ordering::Relaxed);
    let (time, cpu) = *end.lock().expect("unpoisoned");
    let share = |worked: &Worked| format!("{:.0} %", 100.0 * worked.cpu.as_secs_f64() / cpu.as_secs_f64());
    println!(
        "{workers} worker(s), {tick_ms:>3} ms ticks: {:>9.0} events/s, {:.2} µs CPU an event ({} a worker), {:.1} updates an \
         event, {} MB resident",
        events as f64 / time.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / events as f64,
        worked.iter().map(share).collect::<Vec<_>>().join(" and "),
        updates.load(Ordering::Relaxed) as f64 / events as f64,
        resident_bytes() >> 20,
    );
    Measured { events, workers: worked }
}

/// A worker's part of some simulated seconds of a fleet: dealt as the engine deals, and decoded on the worker's own thread.
fn generate(shape: Shape, tick_ms: u64, workers: usize, worker: usize) -> Vec<Tick> {
    let (limits, mut interner) = (Limits::default(), Interner::default());
    let mut fleet = Fleet::of(shape);
    let (mut offset, per_tick) = (0, EVENTS_A_SECOND * tick_ms / 1000);
    let ticks = (START..START + SIMULATED_MS).step_by(tick_ms as usize).enumerate();
    let tick = |(tick, at)| {
        let mut inputs = Vec::with_capacity(per_tick as usize / workers + DEAL);
        while (offset as u64) < (tick as u64 + 1) * per_tick {
            let (shard, events) = fleet.test(at);
            for event in events {
                if offset / DEAL % workers == worker {
                    let position =
                        Position { partition: (shard % 4) as u32, offset: offset as u64, ..Position::default() };
                    inputs.push(Input::Event(Arc::new(Event::new(&event, position, &limits, &mut interner))));
                }
                offset += 1;
            }
        }
        Tick { at, inputs, ..Tick::default() }
    };
    ticks.map(tick).collect()
}
