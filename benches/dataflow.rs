//! All views, with digests and frames: decoded events a second, and CPU an event.
//!
//! A fleet of 400 runs of 8 shards: 200,000 tests in 4,800 suites, 3 % failures, a tenth of them retried. Events are decoded
//! before the clock starts; the clock stops when the last frame has left. `cargo bench --bench dataflow`, or with
//! `-- WORKERS TICK_MS` one configuration alone.

#![expect(clippy::cast_possible_truncation, reason = "numbers of this size fit every type here")]

mod common;

use common::fleet::{Fleet, RUNS, SHARDS, TESTS_A_RUN};
use common::process::{cpu_time, resident_bytes};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use weir_dataflows::Config;
use weir_dataflows::graph::build;
use weir_dataflows::input::{Event, Input, Interner, Position};
use weir_schemas::limits::Limits;

const EVENTS_A_SECOND: u64 = 200_000;
const START: u64 = 1_700_000_000_000;

/// Ticks with their input.
type Ticks = Vec<(u64, Vec<Input>)>;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    println!(
        "all views: {RUNS} runs x {SHARDS} shards, {} tests, {EVENTS_A_SECOND} events a simulated second",
        RUNS * TESTS_A_RUN
    );
    let asked: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    if let [workers, tick_ms] = asked[..] {
        return measure(workers as usize, tick_ms);
    }
    for (workers, tick_ms) in [(1, 50), (2, 20), (2, 50), (2, 100)] {
        measure(workers, tick_ms);
    }
}

fn measure(workers: usize, tick_ms: u64) {
    let ticks = Arc::new(generate(tick_ms));
    let events: u64 = ticks.iter().map(|(_, inputs)| inputs.len() as u64).sum();
    let (updates, frames) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let worker_ticks: Vec<Mutex<Ticks>> = (0..workers).map(|_| Mutex::default()).collect();
    for (at, inputs) in Arc::try_unwrap(ticks).expect("held once") {
        let mut parts: Vec<Vec<Input>> = (0..workers).map(|_| Vec::new()).collect();
        inputs.into_iter().enumerate().for_each(|(n, input)| parts[n % workers].push(input));
        parts
            .into_iter()
            .zip(&worker_ticks)
            .for_each(|(part, ticks)| ticks.lock().expect("unpoisoned").push((at, part)));
    }
    let worker_ticks = Arc::new(worker_ticks);
    let end = Arc::new(Mutex::new(None));
    let (cpu, clock) = (cpu_time(), Instant::now());
    let (counted, framed, ended) = (Arc::clone(&updates), Arc::clone(&frames), Arc::clone(&end));
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let ticks = std::mem::take(&mut *worker_ticks[worker.index()].lock().expect("unpoisoned"));
        let (updates, frames) = (Arc::clone(&counted), Arc::clone(&framed));
        let last = ticks.last().map_or(0, |(at, _)| *at);
        let config = Config { until: last + 1, ..Config::default() };
        let (done, ended) = (Arc::clone(&framed), Arc::clone(&ended));
        let mut inputs = build(
            worker,
            &config,
            Box::new(move |released| {
                updates.fetch_add(
                    released.frame.views.iter().map(|view| view.updates.len() as u64).sum(),
                    Ordering::Relaxed,
                );
                frames.store(released.frame.upper, Ordering::Release);
                if released.frame.upper == last {
                    *ended.lock().expect("unpoisoned") = Some((clock.elapsed(), cpu_time() - cpu));
                }
            }),
        );
        for (at, data) in ticks {
            inputs.events.advance_to(at);
            inputs.silence.advance_to(at);
            inputs.control.advance_to(at);
            inputs.questions.advance_to(at);
            inputs.commits.advance_to(at);
            data.into_iter().for_each(|input| inputs.events.send((input, at, 1)));
            if worker.index() == 0 {
                inputs.commits.send(at);
            }
            inputs.events.advance_to(at + 10);
            inputs.silence.advance_to(at + 10);
            inputs.control.advance_to(at + 10);
            inputs.questions.advance_to(at + 10);
            inputs.commits.advance_to(at + 10);
            // At most four ticks are in flight, as the engine's back-pressure would have it.
            while done.load(Ordering::Acquire) + 4 * 100 < at && at > START + 1_000 {
                worker.step_or_park(Some(Duration::from_micros(200)));
            }
            worker.step();
        }
    })
    .expect("timely starts");
    drop(guards);
    let (time, cpu) = end.lock().expect("unpoisoned").expect("the last tick's frame was released");
    let updates = updates.load(Ordering::Relaxed);
    println!(
        "{workers} worker(s), {tick_ms:>3} ms ticks: {:>9.0} events/s, {:.2} µs CPU an event, {:.1} updates an event, {} MB resident",
        events as f64 / time.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / events as f64,
        updates as f64 / events as f64,
        resident_bytes() >> 20,
    );
}

/// Ten simulated seconds of a fleet, decoded.
fn generate(tick_ms: u64) -> Vec<(u64, Vec<Input>)> {
    let (limits, mut interner) = (Limits::default(), Interner::default());
    let mut fleet = Fleet::new();
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
