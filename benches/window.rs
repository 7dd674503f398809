//! The windows of `live_metrics` alone: 5,000 suites in 50 projects of 2 branches, rows every 250 ms.
//!
//! Prints, a worker: events a second by the clock and by the processor time of its thread (what a busy machine cannot
//! blur), the time of a tick, and resident memory. The shapes: 1 M events a second of simulated time, on one worker and on
//! two; a tenth of that; one where summing before the exchange gains nothing (500 events a tick over 5,000 suites) and
//! rows cost more than events; and 66 minutes of 10,000 events a second, after which all windows are full. The input is
//! drained before the clock stops; making the events is part of the cost.

mod common;

use common::process::{resident_bytes, thread_cpu_time};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::{Input as _, Inspect as _, Probe as _};
use weir_dataflows::Config;
use weir_dataflows::context::Context;
use weir_dataflows::facts::{AttemptFact, Awaited, Failure, Running};
use weir_dataflows::input::{Names, Origin, Text};
use weir_dataflows::keyed::Updates;
use weir_dataflows::views::live_metrics::{self, gauges::Covered};
use weir_dataflows::views::performance::measures::Measurement;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;

const SUITES: u64 = 5_000;
const PROJECTS: u64 = 50;
const BASE: u64 = 1_800_000_000_000;

fn main() {
    println!("{SUITES} suites in {PROJECTS} projects, three windows, rows every 250 ms");
    let shapes = [(1, 100_000, 700, 100), (2, 50_000, 700, 100), (1, 10_000, 700, 100), (1, 500, 700, 100)];
    for (workers, events, ticks, tick_ms) in shapes.into_iter().chain([(1, 10_000, 3_960, 1_000)]) {
        bench(workers, events, ticks, tick_ms);
    }
}

/// Feeds `events` a tick and worker for `ticks` ticks.
fn bench(workers: usize, events: u64, ticks: u64, tick_ms: u64) {
    let rows = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&rows);
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let counted = Arc::clone(&counted);
        let config = Arc::new(Config { until: BASE + ticks * tick_ms + 1, ..Config::default() });
        let templates = templates();
        let (mut facts, mut running, mut awaited, probe) = worker.dataflow(|scope| {
            let (facts, fact_stream) = scope.new_input_with_builder::<CapacityContainerBuilder<Updates<AttemptFact>>>();
            let (running, running_stream) =
                scope.new_input_with_builder::<CapacityContainerBuilder<Updates<Running>>>();
            let (awaited, awaited_stream) =
                scope.new_input_with_builder::<CapacityContainerBuilder<Updates<Awaited>>>();
            let cx = Context { scope, config };
            let (_slow, slow_stream) = scope.new_input_with_builder::<CapacityContainerBuilder<Updates<AttemptFact>>>();
            let (_measured, measured) =
                scope.new_input_with_builder::<CapacityContainerBuilder<Updates<Measurement>>>();
            let (_covered, covered) = scope.new_input_with_builder::<CapacityContainerBuilder<Updates<Covered>>>();
            let (rows, late, _suites) = live_metrics::render(
                &cx,
                live_metrics::Sources {
                    facts: fact_stream,
                    slow: slow_stream,
                    measured,
                    running: running_stream,
                    awaited: awaited_stream,
                    covered,
                },
            );
            let count = move |_: &(_, u64, i64)| {
                counted.fetch_add(1, Ordering::Relaxed);
            };
            let (rows_probe, _rows) = rows.inspect(count).probe();
            let (late_probe, _late) = late.probe();
            (facts, running, awaited, (rows_probe, late_probe))
        });
        let (mut number, mut took) = (worker.index() as u64, Vec::new());
        let (begin, cpu_begin) = (Instant::now(), thread_cpu_time());
        for tick in 0..ticks {
            let now = BASE + tick * tick_ms;
            let tick_begin = Instant::now();
            facts.advance_to(now);
            for _ in 0..events {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let template = usize::try_from((number >> 33) % SUITES).expect("few");
                // Most come at once, some up to two seconds late.
                let age = if (number >> 50).is_multiple_of(8) { (number >> 20) % 2_000 } else { (number >> 20) % 100 };
                let fact = AttemptFact {
                    at: now - age,
                    came: now,
                    duration_us: Some((number >> 24) % 300_000),
                    ..templates[template].clone()
                };
                facts.send((fact, now, 1));
            }
            facts.advance_to(now + 1);
            running.advance_to(now + 1);
            awaited.advance_to(now + 1);
            facts.flush();
            worker.step_while(|| probe.0.less_than(&(now + 1)) || probe.1.less_than(&(now + 1)));
            took.push(tick_begin.elapsed());
        }
        (begin.elapsed(), thread_cpu_time() - cpu_begin, resident_bytes() / 1_000_000, took)
    })
    .expect("timely starts");
    let results: Vec<_> = guards.join().into_iter().map(|result| result.expect("no panic")).collect();
    let elapsed = results.iter().map(|(elapsed, ..)| *elapsed).max().expect("a worker");
    let cpu: Duration = results.iter().map(|(_, cpu, ..)| *cpu).sum();
    let resident_mb = results.iter().map(|(_, _, resident_mb, _)| *resident_mb).max().expect("a worker");
    let mut took: Vec<Duration> = results.into_iter().flat_map(|(.., took)| took).collect();
    took.sort_unstable();
    let cpu_ns = cpu.as_nanos() as f64 / (events * ticks * workers as u64) as f64;
    println!(
        "{workers} workers × {events:6} events a tick of {tick_ms} ms: {:.2} M events/s a worker by the clock, {:.2} M by processor time \
         ({cpu_ns:.0} ns an event); a tick p50 {:.2?} p99 {:.2?}; {} row changes; {resident_mb} MB resident",
        (events * ticks) as f64 / elapsed.as_secs_f64() / 1e6,
        1e3 / cpu_ns,
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        rows.load(Ordering::Relaxed),
    );
}

/// One attempt of each suite: nine pass, one fails, in every ten.
fn templates() -> Vec<AttemptFact> {
    (0..SUITES)
        .map(|number| {
            let (project, suite) =
                (Text::from(format!("project-{}", number % PROJECTS)), Text::from(format!("suite-{number}")));
            let outcome = if number % 10 == 0 { Outcome::Failed } else { Outcome::Passed };
            let failure = outcome.fails().then(|| {
                let pattern = Text::from(format!("pattern {}", number % 70));
                let message = Arc::clone(&pattern);
                Arc::new(Failure {
                    fingerprint: Id::of(&[&pattern]),
                    pattern,
                    kind: Text::from("Error"),
                    message,
                    ..Failure::default()
                })
            });
            let names = Names {
                run_id: Id::of(&["run"]),
                suite_id: Id::of(&["suite", &project, &suite]),
                test_id: Some(Id::of(&["test", &suite])),
                project: Arc::clone(&project),
                suite: Arc::clone(&suite),
                ..Names::default()
            };
            let origin = Origin {
                stream: Id::of(&["stream", &suite]),
                stream_name: "stream".into(),
                project: Arc::clone(&project),
                framework: Some("pytest".into()),
                user: None,
                branch: Some(if number % 3 == 0 { "main" } else { "topic" }.into()),
                commit: None,
                worker: None,
                shard: None,
                severity: None,
                tags: Vec::new(),
            };
            AttemptFact {
                attempt: 1,
                at: BASE,
                came: BASE,
                outcome,
                duration_us: Some(200 + number),
                names: Arc::new(names),
                origin: Arc::new(origin),
                failure,
            }
        })
        .collect()
}
