//! Twelve days of a fleet in simulated time, with every long memory at three days: does memory grow, or the time of a tick?
//!
//! `cargo bench --bench soak`, or `-- DAYS EVENTS TICK_MS`; the default is 12 days, 200 million events and ticks of 1 s. One
//! worker: with two, most of a tick with few events is timely's progress between them, which holds no state of ours.
//! A tick is fed when the frame of the last one has left. Prints a line a simulated day and the verdict: the mean
//! of days 10 to 12 against days 7 to 9, of resident memory (within 5 %) and of CPU a tick (not above by more than the run's own
//! spread, which [`hours`] defines). Writes `target/soak.csv` and `docs/soak.svg`, by simulated hour. Ends with 1 when
//! something grew.

#![expect(clippy::cast_possible_truncation, reason = "numbers of this size fit every type here")]

#[path = "../common/mod.rs"]
mod common;
mod hours;
#[path = "../../dataflows/tests/common/life/mod.rs"]
mod life;

use common::chart::{Chart, Panel, Series};
use common::drive::{Course, Tick, drive};
use common::process::{cpu_time, resident_bytes, thread_cpu_time};
use hours::{Hours, Verdict};
use life::{Life, Plan, memories};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use weir_dataflows::Config;

const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;
const MEMORY_MS: u64 = 3 * DAY_MS;
const WORKERS: u64 = 1;
/// A whole number of memories after the epoch, so that generations of event ids begin with the soak.
const FIRST: u64 = 1_700_000_000_000 / MEMORY_MS * MEMORY_MS;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let asked: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let [days, events, tick_ms] =
        [(0, 12), (1, 200_000_000), (2, 1_000)].map(|(n, usual)| *asked.get(n).unwrap_or(&usual));
    let plan = Plan { first: FIRST, last: FIRST + days * DAY_MS - tick_ms, tick_ms, events, workers: WORKERS };
    println!("{days} days of {events} events in ticks of {tick_ms} ms, {WORKERS} worker, memories of 3 days");
    let hours = soak(plan);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    std::fs::write(target.join("soak.csv"), hours.csv()).expect("target/ can be written");
    let verdict = hours.verdict();
    // A shorter soak is for looking for what grows, and no picture of the whole.
    let picture = if asked.is_empty() { root.join("docs/soak.svg") } else { target.join("soak.svg") };
    std::fs::create_dir_all(picture.parent().unwrap_or(root)).expect("the folder can be made");
    std::fs::write(&picture, chart(&hours).svg()).expect("the folder can be written");
    println!("{} and {}", target.join("soak.csv").display(), picture.display());
    verdict.map_or(ExitCode::SUCCESS, |verdict| say(&verdict))
}

/// Runs it.
fn soak(plan: Plan) -> Hours {
    let config = Config { until: plan.last + 1, ..memories(MEMORY_MS) };
    let course = Course { workers: WORKERS as usize, config, first: plan.first, ahead_ms: 0, watched: false };
    let hours = Arc::new(Mutex::new(Hours::default()));
    let (fed, making_ns) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let begin = (Instant::now(), cpu_time());
    let (seen, counted, making) = (Arc::clone(&hours), Arc::clone(&fed), Arc::clone(&making_ns));
    let (mut last_cpu, mut last_fed) = (begin.1, 0);
    drive(
        &course,
        move |worker| {
            let (counted, making) = (Arc::clone(&counted), Arc::clone(&making));
            let mut life = Life::new(plan, worker as u64);
            std::iter::from_fn(move || {
                let begin = thread_cpu_time();
                let tick = life.next()?;
                making.fetch_add((thread_cpu_time() - begin).as_nanos() as u64, Ordering::Relaxed);
                counted.fetch_add(tick.inputs.len() as u64, Ordering::Relaxed);
                Some(tick)
            })
        },
        {
            let fed = Arc::clone(&fed);
            move |released| {
                if !(released.frame.upper - plan.first).is_multiple_of(plan.tick_ms) {
                    return; // A frame of a whole second between two ticks.
                }
                let mut hours = seen.lock().expect("unpoisoned");
                let (cpu, fed) = (cpu_time(), fed.load(Ordering::Relaxed));
                hours.sample(resident_bytes(), (cpu - last_cpu).as_nanos() as u64, fed - last_fed);
                (last_cpu, last_fed) = (cpu, fed);
                let next = released.frame.upper + plan.tick_ms - plan.first;
                if next.is_multiple_of(HOUR_MS) {
                    hours.close();
                    (next.is_multiple_of(DAY_MS)).then(|| say_day(next / DAY_MS, &hours, begin.0));
                }
            }
        },
    );
    let (took, cpu, events) = (begin.0.elapsed(), cpu_time() - begin.1, fed.load(Ordering::Relaxed));
    let making = Duration::from_nanos(making_ns.load(Ordering::Relaxed));
    let us = |time: Duration| time.as_secs_f64() * 1e6 / events as f64;
    println!("{events} events in {took:.0?}: {:.2} µs CPU an event, {:.2} of them to make it", us(cpu), us(making));
    std::mem::take(&mut *hours.lock().expect("unpoisoned"))
}

fn say_day(day: u64, hours: &Hours, begin: Instant) {
    let of_day = &hours.hours[hours.hours.len() - 24..];
    let mean = |values: Vec<u64>| values.iter().sum::<u64>() / values.len() as u64;
    println!(
        "day {day:>2}: {:>9} events, {:>5} MB resident, {:>6} µs CPU a tick, after {:.0?}",
        of_day.iter().map(|hour| hour.events).sum::<u64>(),
        mean(of_day.iter().map(|hour| hour.resident[0]).collect()) >> 20,
        mean(of_day.iter().map(|hour| hour.cpu_ns[0]).collect()) / 1_000,
        begin.elapsed(),
    );
}

fn say(verdict: &Verdict) -> ExitCode {
    let Verdict { resident: [memory_before, memory_after], cpu_ns: [cpu_before, cpu_after], spread } = verdict;
    let [memory, cpu] = verdict.ratios();
    println!(
        "the last three days against the three before: resident {:.0} MB against {:.0} MB ({memory:.3}, within 0.95 and 1.05 \
         wanted); CPU a tick {:.0} µs against {:.0} µs ({cpu:.3}, at most {:.3} wanted: what the same hours of the three days \
         before differ by): {}",
        memory_after / 1_048_576.0,
        memory_before / 1_048_576.0,
        cpu_after / 1e3,
        cpu_before / 1e3,
        1.0 + spread,
        if verdict.flat() { "flat" } else { "NOT flat" },
    );
    if verdict.flat() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn chart(hours: &Hours) -> Chart {
    let series = |name: &str, of: &dyn Fn(&hours::Hour) -> f64| Series {
        name: name.to_owned(),
        values: hours.hours.iter().map(of).collect(),
    };
    let days = hours.hours.len() / 24;
    let band = |first: usize, name: String| (first * 24, (first + 3) * 24, name);
    let bands = match days.checked_sub(6) {
        Some(first) => vec![
            band(first, format!("days {} to {}", first + 1, first + 3)),
            band(first + 3, format!("days {} to {days}", first + 4)),
        ],
        None => Vec::new(),
    };
    Chart {
        title: "A soak in simulated time: every long memory is three days".to_owned(),
        across: "days of simulated time".to_owned(),
        marks: (0..=days).map(|day| (day * 24, day.to_string())).collect(),
        bands,
        panels: vec![
            Panel {
                title: "resident memory, MB".to_owned(),
                series: vec![
                    series("median of the hour's ticks", &|hour| hour.resident[0] as f64 / 1_048_576.0),
                    series("95th percentile", &|hour| hour.resident[1] as f64 / 1_048_576.0),
                ],
            },
            Panel {
                title: "CPU a tick, ms".to_owned(),
                series: vec![
                    series("median of the hour's ticks", &|hour| hour.cpu_ns[0] as f64 / 1e6),
                    series("95th percentile", &|hour| hour.cpu_ns[1] as f64 / 1e6),
                ],
            },
        ],
    }
}
