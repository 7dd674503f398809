//! The work of `failure_patterns` by Weir and by Feldera's `dbsp`: three windows, the first 100 of each project, distinct counts.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml`, or `-- FAILURES` a tick. The fleet: 5,000 patterns in 20
//! projects, 100,000 tests, 50,000 runs, 400 users; ticks of 10 s for 26 hours of simulated time, so that all three windows
//! (10 min, 1 h, 24 h) let go of what came first. What both give for a pattern: its counts in the three windows, its distinct
//! tests, runs and users of a day, and when it was last seen; first are those with most in 10 minutes.
//!
//! Prints for each engine the processor time of the process and the time by the clock, a failure and a tick, and how many changes of
//! rows came out; and the ratio of the two. Ends with 1 when their rows differ after any tick: when their last rows do, or what changed at
//! which tick. Making the failures is not counted. Each engine has one worker, and takes what it is fed in the form that it likes best: Weir its facts,
//! which say more (messages, branches, workers; its rows say what they have in common), `dbsp` five integers.

mod feldera;
#[path = "../../common/process.rs"]
#[expect(dead_code, reason = "other benches ask for more")]
mod process;
mod weir;
mod work;

use process::cpu_time;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use work::{Pattern, Seen, Work};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What an engine gave and what it took for it.
#[derive(Default)]
struct Took {
    cpu: Duration,
    elapsed: Duration,
    changes: u64,
    /// The sum of hashes of all changes, each with its tick.
    digest: u64,
    rows: BTreeMap<Pattern, Seen>,
}

impl Took {
    /// What `work` takes is counted.
    fn measure<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let (begin, cpu) = (Instant::now(), cpu_time());
        let result = work();
        self.elapsed += begin.elapsed();
        self.cpu += cpu_time() - cpu;
        result
    }

    /// A row came or left at `now`.
    fn change(&mut self, now: u64, pattern: Pattern, seen: Seen, diff: i64) {
        let mut hasher = DefaultHasher::new();
        (now, pattern, seen, diff).hash(&mut hasher);
        self.digest = self.digest.wrapping_add(hasher.finish());
        self.changes += 1;
        if diff > 0 {
            self.rows.insert(pattern, seen);
        } else if self.rows.get(&pattern) == Some(&seen) {
            self.rows.remove(&pattern);
        }
    }
}

fn main() -> ExitCode {
    let asked = std::env::args().nth(1);
    let Ok(failures) = asked.as_deref().unwrap_or("250").parse::<u64>() else {
        eprintln!("weir-peers [FAILURES]: how many a tick, a number; not {}", asked.unwrap_or_default());
        return ExitCode::FAILURE;
    };
    let work = Work::new(failures);
    println!(
        "{} failures of {} patterns in {} projects, {} ticks of {} s, one worker each",
        work.occurrences(),
        work::PATTERNS,
        work::PROJECTS,
        work::TICKS,
        work::TICK_MS / 1_000,
    );
    let weir = weir::run(&work);
    say("weir", &work, &weir);
    let feldera = feldera::run(&work);
    say("dbsp 0.349", &work, &feldera);
    println!(
        "dbsp takes {:.1} times the processor time and {:.1} times the time by the clock",
        feldera.cpu.as_secs_f64() / weir.cpu.as_secs_f64(),
        feldera.elapsed.as_secs_f64() / weir.elapsed.as_secs_f64(),
    );
    if (weir.digest, &weir.rows) == (feldera.digest, &feldera.rows) {
        println!("both have the same rows after each tick, {} after the last", weir.rows.len());
        return ExitCode::SUCCESS;
    }
    let only = |one: &Took, other: &Took| {
        one.rows.iter().find(|(pattern, seen)| other.rows.get(*pattern) != Some(*seen)).map(|row| format!("{row:?}"))
    };
    let changes = (weir.changes, feldera.changes);
    eprintln!(
        "changes {changes:?}, rows that differ: {:?} of weir, {:?} of dbsp",
        only(&weir, &feldera),
        only(&feldera, &weir)
    );
    ExitCode::FAILURE
}

fn say(name: &str, work: &Work, took: &Took) {
    let each = |time: Duration, of: u64| time.as_secs_f64() * 1e6 / of as f64;
    println!(
        "{name:10} {:6.2} µs CPU and {:6.2} µs by the clock a failure, {:8.0} µs CPU a tick, {:9} row changes",
        each(took.cpu, work.occurrences()),
        each(took.elapsed, work.occurrences()),
        each(took.cpu, work::TICKS),
        took.changes,
    );
}
