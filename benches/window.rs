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
use timely::dataflow::InputHandle;
use timely::dataflow::operators::probe::Handle;
use timely::dataflow::operators::{Input as _, Inspect as _, Probe as _};
use timely::worker::Worker;
use weir_dataflows::Config;
use weir_dataflows::context::Context;
use weir_dataflows::facts::{AttemptFact, Awaited, Failure, Running};
use weir_dataflows::input::{Names, Origin, Text};
use weir_dataflows::keyed::{States, Updates};
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
        bench(Shape { workers, events, ticks, tick_ms });
    }
}

/// How much is fed.
#[derive(Clone, Copy)]
struct Shape {
    workers: usize,
    /// A tick and worker.
    events: u64,
    ticks: u64,
    tick_ms: u64,
}

/// What one worker took.
struct Took {
    elapsed: Duration,
    cpu: Duration,
    resident_mb: u64,
    ticks: Vec<Duration>,
}

/// What feeds updates.
type Feed<D> = InputHandle<u64, CapacityContainerBuilder<Updates<D>>>;

/// The view on one worker: what feeds it, and how far its outputs are.
struct Windows {
    facts: Feed<AttemptFact>,
    running: Feed<Running>,
    awaited: Feed<Awaited>,
    rows: Handle<u64>,
    late: Handle<u64>,
}

impl Windows {
    /// The view, of which `counted` counts row changes.
    fn new(worker: &mut Worker, config: Arc<Config>, counted: Arc<AtomicU64>) -> Windows {
        worker.dataflow(|scope| {
            let (facts, fact_stream) = scope.new_input::<Updates<AttemptFact>>();
            let (running, running_stream) = scope.new_input::<Updates<Running>>();
            let (awaited, awaited_stream) = scope.new_input::<Updates<Awaited>>();
            // Nothing is slow, measured or covered: these are closed at once.
            let sources = live_metrics::Sources {
                facts: fact_stream,
                slow: scope.new_input::<Updates<AttemptFact>>().1,
                measured: scope.new_input::<Updates<Measurement>>().1,
                running: running_stream,
                awaited: awaited_stream,
                covered: scope.new_input::<Updates<Covered>>().1,
            };
            let states = States::new((scope.index(), scope.peers()), config.until, None);
            let (rows, late, _suites) = live_metrics::render(&Context { scope, config, states }, sources);
            let count = move |_: &(_, u64, i64)| {
                counted.fetch_add(1, Ordering::Relaxed);
            };
            let ((rows, _), (late, _)) = (rows.inspect(count).probe(), late.probe());
            Windows { facts, running, awaited, rows, late }
        })
    }

    /// Feeds a tick, and waits until all of it is done.
    fn tick(&mut self, worker: &mut Worker, now: u64, facts: impl Iterator<Item = AttemptFact>) {
        self.facts.advance_to(now);
        facts.for_each(|fact| self.facts.send((fact, now, 1)));
        self.facts.advance_to(now + 1);
        self.running.advance_to(now + 1);
        self.awaited.advance_to(now + 1);
        self.facts.flush();
        worker.step_while(|| self.rows.less_than(&(now + 1)) || self.late.less_than(&(now + 1)));
    }
}

/// Makes attempts of `templates`, most of now, some up to two seconds late; `number` goes on from call to call.
fn attempts(
    templates: &[AttemptFact],
    number: &mut u64,
    Shape { events, .. }: Shape,
    now: u64,
) -> impl Iterator<Item = AttemptFact> {
    (0..events).map(move |_| {
        *number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let template = usize::try_from((*number >> 33) % SUITES).expect("few");
        let age = if (*number >> 50).is_multiple_of(8) { (*number >> 20) % 2_000 } else { (*number >> 20) % 100 };
        let duration_us = Some((*number >> 24) % 300_000);
        AttemptFact { at: now - age, came: now, duration_us, ..templates[template].clone() }
    })
}

/// Feeds all, and prints what it took.
fn bench(shape: Shape) {
    let rows = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&rows);
    let guards = timely::execute(timely::Config::process(shape.workers), move |worker| {
        let config = Config { until: BASE + shape.ticks * shape.tick_ms + 1, ..Config::default() };
        let mut windows = Windows::new(worker, Arc::new(config), Arc::clone(&counted));
        let (templates, mut number) = (templates(), worker.index() as u64);
        let (begin, cpu_begin, mut ticks) = (Instant::now(), thread_cpu_time(), Vec::new());
        for now in (0..shape.ticks).map(|tick| BASE + tick * shape.tick_ms) {
            let tick_begin = Instant::now();
            windows.tick(worker, now, attempts(&templates, &mut number, shape, now));
            ticks.push(tick_begin.elapsed());
        }
        let (elapsed, cpu) = (begin.elapsed(), thread_cpu_time() - cpu_begin);
        Took { elapsed, cpu, resident_mb: resident_bytes() / 1_000_000, ticks }
    })
    .expect("timely starts");
    let took: Vec<Took> = guards.join().into_iter().map(|result| result.expect("no panic")).collect();
    say(shape, took, rows.load(Ordering::Relaxed));
}

fn say(Shape { workers, events, ticks, tick_ms }: Shape, took: Vec<Took>, rows: u64) {
    let elapsed = took.iter().map(|took| took.elapsed).max().expect("a worker");
    let cpu: Duration = took.iter().map(|took| took.cpu).sum();
    let resident_mb = took.iter().map(|took| took.resident_mb).max().expect("a worker");
    let mut each: Vec<Duration> = took.into_iter().flat_map(|took| took.ticks).collect();
    each.sort_unstable();
    let cpu_ns = cpu.as_nanos() as f64 / (events * ticks * workers as u64) as f64;
    println!(
        "{workers} workers × {events:6} events a tick of {tick_ms} ms: {:.2} M events/s a worker by the clock, {:.2} M by processor time \
         ({cpu_ns:.0} ns an event); a tick p50 {:.2?} p99 {:.2?}; {rows} row changes; {resident_mb} MB resident",
        (events * ticks) as f64 / elapsed.as_secs_f64() / 1e6,
        1e3 / cpu_ns,
        each[each.len() / 2],
        each[each.len() * 99 / 100],
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
                branch: Some(if number % 3 == 0 { "main" } else { "topic" }.into()),
                ..Origin::default()
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
