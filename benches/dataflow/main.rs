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
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use weir_dataflows::Config;
use weir_dataflows::input::{Event, Input, Interner, Position};
use weir_schemas::limits::Limits;

const EVENTS_A_SECOND: u64 = 200_000;
const START: u64 = 1_700_000_000_000;

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
    let ticks = generate(shape, tick_ms);
    let events: u64 = ticks.iter().map(|(_, inputs)| inputs.len() as u64).sum();
    let last = ticks.last().map_or(0, |(at, _)| *at);
    let parts: Vec<_> = deal(ticks, workers).into_iter().map(|part| Mutex::new(Some(part))).collect();
    let updates = Arc::new(AtomicU64::new(0));
    let end = Arc::new(Mutex::new((Duration::ZERO, Duration::ZERO)));
    let config = Config { until: last + 1, ..Config::default() };
    // At most four ticks of 100 ms are in flight.
    let course = Course { workers, config, first: START, ahead_ms: 400, watched };
    let (cpu, clock) = (cpu_time(), Instant::now());
    let (counted, ended) = (Arc::clone(&updates), Arc::clone(&end));
    let worked = drive(
        &course,
        move |worker| parts[worker].lock().expect("unpoisoned").take().expect("taken once").into_iter(),
        move |released| {
            let changes = released.frame.views.iter().map(|view| view.updates.len() as u64).sum();
            counted.fetch_add(changes, Ordering::Relaxed);
            if released.frame.upper == last {
                *ended.lock().expect("unpoisoned") = (clock.elapsed(), cpu_time() - cpu);
            }
        },
    );
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

/// Deals each tick's input out to the workers.
fn deal(ticks: Vec<(u64, Vec<Input>)>, workers: usize) -> Vec<Vec<Tick>> {
    let mut dealt: Vec<Vec<Tick>> = (0..workers).map(|_| Vec::new()).collect();
    for (at, inputs) in ticks {
        dealt.iter_mut().for_each(|ticks| ticks.push(Tick { at, ..Tick::default() }));
        for (n, input) in inputs.into_iter().enumerate() {
            dealt[n % workers].last_mut().expect("pushed above").inputs.push(input);
        }
    }
    dealt
}

/// Ten simulated seconds of a fleet, decoded.
fn generate(shape: Shape, tick_ms: u64) -> Vec<(u64, Vec<Input>)> {
    let (limits, mut interner) = (Limits::default(), Interner::default());
    let mut fleet = Fleet::of(shape);
    let mut ticks = Vec::new();
    let (mut offset, mut at, per_tick) = (0, START, EVENTS_A_SECOND * tick_ms / 1000);
    while at < START + 10_000 {
        let mut inputs = Vec::with_capacity(per_tick as usize);
        while (inputs.len() as u64) < per_tick {
            let (shard, events) = fleet.test(at);
            for event in events {
                let position = Position { partition: (shard % 4) as u32, offset, ..Position::default() };
                inputs.push(Input::Event(Arc::new(Event::new(&event, position, &limits, &mut interner))));
                offset += 1;
            }
        }
        ticks.push((at, inputs));
        at += tick_ms;
    }
    ticks
}
