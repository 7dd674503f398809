//! All views, with digests and frames: decoded events a second, and CPU an event.
//!
//! A fleet of 400 runs of 8 shards: 200,000 tests in 4,800 suites, 3 % failures, a tenth of them retried. Events are decoded
//! before the clock starts; the clock stops when the last frame has left. `cargo bench --bench dataflow`, or with
//! `-- WORKERS TICK_MS` one configuration alone.

#![expect(clippy::cast_possible_truncation, reason = "numbers of this size fit every type here")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use weir_dataflows::Config;
use weir_dataflows::context::build;
use weir_dataflows::input::{Event, Input, Interner, Position};
use weir_schemas::event::{EventData, EventType, Metadata, TestErrorData, TestEvent};
use weir_schemas::limits::Limits;
use weir_schemas::outcome::Outcome;
use weir_schemas::text::Text;
use weir_schemas::timestamp::Timestamp;

const RUNS: u64 = 400;
const SHARDS: u64 = 8;
const TESTS_A_RUN: u64 = 500;
const SUITES_A_RUN: u64 = 12;
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
            inputs.commits.advance_to(at);
            data.into_iter().for_each(|input| inputs.events.send((input, at, 1)));
            if worker.index() == 0 {
                inputs.commits.send(at);
            }
            inputs.events.advance_to(at + 10);
            inputs.silence.advance_to(at + 10);
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
        resident_mb(),
    );
}

/// Ten simulated seconds of a fleet, decoded.
fn generate(tick_ms: u64) -> Vec<(u64, Vec<Input>)> {
    let (limits, mut interner) = (Limits::default(), Interner::default());
    let mut versions = vec![0u64; (RUNS * SHARDS) as usize];
    let mut ticks = Vec::new();
    let (mut n, mut offset, mut newest) = (0u64, 0u64, 0u64);
    let (mut at, per_tick) = (START, EVENTS_A_SECOND * tick_ms / 1000);
    while at < START + 10_000 {
        let mut inputs = Vec::with_capacity(per_tick as usize);
        while (inputs.len() as u64) < per_tick {
            if generation(n) > newest {
                // New streams on the same shards.
                newest = generation(n);
                versions.fill(0);
            }
            for event in events_of(n, at) {
                let stream = (n % (RUNS * SHARDS)) as usize;
                versions[stream] += 1;
                let event =
                    TestEvent { version: versions[stream], event_id: Text::from(format!("e{offset}")), ..event };
                let position = Position { partition: (stream % 4) as u32, offset, ..Position::default() };
                inputs.push(Input::Event(Arc::new(Event::new(&event, position, &limits, &mut interner))));
                offset += 1;
            }
            n += 1;
        }
        ticks.push((at, inputs));
        at += tick_ms;
    }
    ticks
}

/// After all tests have run, the next round is a new run on the same shards.
fn generation(n: u64) -> u64 {
    n / (RUNS * SHARDS) * SHARDS / TESTS_A_RUN
}

/// The begin and end of the `n`th test execution.
fn events_of(n: u64, at: u64) -> Vec<TestEvent<'static>> {
    let stream = n % (RUNS * SHARDS);
    let (run, shard) = (stream % RUNS, stream / RUNS);
    let round = n / (RUNS * SHARDS);
    let test = (round * SHARDS + shard) % TESTS_A_RUN;
    let generation = generation(n);
    let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let fails = hash % 100 < 3;
    let metadata = Metadata {
        project: Text::from(format!("project-{}", run % 20)),
        framework: Some(Text::from("pytest")),
        branch: Some(Text::from(format!("branch-{}", run % 40))),
        worker: Some(Text::from(format!("worker-{stream}"))),
        user_id: Some(Text::from(format!("user-{}", run % 100))),
        ..Metadata::default()
    };
    let data = EventData {
        test_id: Some(Text::from(format!("tests/module_{}/test_case_{test}", test % SUITES_A_RUN))),
        test_name: Some(Text::from(format!("test_case_{test}"))),
        test_suite_id: Some(Text::from(format!("suite-{}-{}", run % 400, test % SUITES_A_RUN))),
        ..EventData::default()
    };
    let begin = TestEvent {
        event_id: Text::default(),
        event_type: EventType::TestCaseStarted,
        stream_id: Text::from(format!("run-{run}/{generation}/{shard}")),
        version: 0,
        timestamp: Timestamp(at),
        causation_id: None,
        correlation_id: Some(Text::from(format!("run-{run}/{generation}"))),
        data: data.clone(),
        metadata,
    };
    let error = fails.then(|| TestErrorData {
        message: Text::from(format!(
            "expected status 200 but got {} after {} ms at /tmp/run-{n}/x",
            500 + hash % 4,
            hash
        )),
        kind: Some(Text::from(format!("AssertionError{}", hash % 50))),
        stack: Some(Text::from("  File \"tests/module.py\", line 14, in test_case\n    check(response)\n")),
        ..TestErrorData::default()
    });
    let end = TestEvent {
        event_type: EventType::TestCaseCompleted,
        data: EventData {
            result: Some(if fails { Outcome::Failed } else { Outcome::Passed }),
            duration: Some((hash % 2_000) as f64 / 7.0),
            error,
            ..data
        },
        ..begin.clone()
    };
    vec![begin, end]
}

fn cpu_time() -> Duration {
    // In clock ticks of 10 ms.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|index| fields.get(*index)?.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn resident_mb() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4 / 1024
}
