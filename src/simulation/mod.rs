//! A simulated CI fleet: what the demo shows and the loads of tests and benches are made of.
//!
//! Contract: [`Fleet::advance`] is given the wall clock as data and returns everything that the fleet reports up to then.
//! The same seed, configuration and times give the same events. Between calls the fleet keeps its own time: after a pause
//! longer than [`STEP_MS_MAX`] (a suspended machine, back-pressure) it goes on where it was instead of catching up.
//! 20 to 40 runs of several projects are under way at a time, in shards, with retries, flaky tests, regressions that come
//! and are mended, failures whose texts vary, skipped tests, failed setups, now and then a broken worker or a shard that
//! vanishes; some events are sent twice, a few arrive a minute late, some results are taken back.
//!
//! # Invariants
//! A stream's events bear the versions 1, 2, 3 … without gap (the late ones fill theirs when they come), each passes
//! `TestEvent::check`, and names of runs never repeat, not even over restarts, as they bear the fleet's first moment.
//!
//! # Cost
//! State O(projects × suites + runs × shards + [`HELD_MAX`]); a call returns at most `batch_events_max` and a few more.
//! About 2 µs an event.

mod catalogue;
mod coverage;
mod dice;
mod failures;
mod run;

use catalogue::Project;
use dice::Dice;
use run::{Moment, Next, Run};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use weir_schemas::event::TestEvent;
use weir_schemas::id::Id;

/// The longest stretch of time that one call makes up for.
pub const STEP_MS_MAX: u64 = 2_000;

/// At most so many events wait to be sent late or again.
pub const HELD_MAX: usize = 256;

/// How large and how busy a fleet is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetConfig {
    /// Events a second, on average over a minute; at least 1.
    pub rate: u32,
    /// Projects; at least 1.
    pub projects: usize,
    /// The fewest runs that are under way at a time.
    pub runs_min: usize,
    /// The most.
    pub runs_max: usize,
    /// About the most events that one call returns; what is due beyond it comes with the next.
    pub batch_events_max: usize,
}

impl Default for FleetConfig {
    fn default() -> Self {
        FleetConfig { rate: 200, projects: 6, runs_min: 20, runs_max: 40, batch_events_max: 10_000 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Hire,
    Step { run: u64, shard: usize },
    End { run: u64 },
    Release { held: u64 },
}

/// A simulated fleet.
pub struct Fleet {
    config: FleetConfig,
    seed: u64,
    /// The wall clock's µs at the fleet's µs 0; none before the first call.
    origin_us: Option<u64>,
    first_ms: u64,
    now_us: u64,
    dice: Dice,
    projects: Vec<Project>,
    runs: BTreeMap<u64, Run>,
    runs_begun: u64,
    open_shards: usize,
    agenda: BinaryHeap<Reverse<(u64, u64, Task)>>,
    tasks_made: u64,
    held: BTreeMap<u64, TestEvent<'static>>,
}

impl Fleet {
    /// A fleet that has not begun: its first call of [`Fleet::advance`] is its first moment.
    #[must_use]
    pub fn new(seed: u64, config: FleetConfig) -> Fleet {
        let mut dice = Dice::new(seed);
        let suites_growth = load(&config).powf(0.75).clamp(1.0, 64.0);
        let projects = (0..config.projects.max(1)).map(|number| Project::new(number, suites_growth, &mut dice));
        let projects = projects.collect();
        let mut fleet = Fleet {
            config,
            seed,
            origin_us: None,
            first_ms: 0,
            now_us: 0,
            dice,
            projects,
            runs: BTreeMap::new(),
            runs_begun: 0,
            open_shards: 0,
            agenda: BinaryHeap::new(),
            tasks_made: 0,
            held: BTreeMap::new(),
        };
        fleet.plan(0, Task::Hire);
        fleet
    }

    /// Everything that the fleet reports up to `now_ms`, in the order in which it arrives.
    #[must_use]
    pub fn advance(&mut self, now_ms: u64) -> Vec<TestEvent<'static>> {
        let until_us = self.until(now_ms);
        let mut out = Vec::new();
        while let Some(Reverse((due_us, _, _))) = self.agenda.peek() {
            if *due_us > until_us {
                break;
            }
            if out.len() >= self.config.batch_events_max.max(1) {
                self.now_us = self.now_us.max(*due_us);
                return out;
            }
            let Some(Reverse((due_us, _, task))) = self.agenda.pop() else { break };
            self.now_us = due_us;
            self.perform(task, &mut out);
        }
        self.now_us = self.now_us.max(until_us);
        out
    }

    /// How many runs are under way.
    #[must_use]
    pub fn runs_open(&self) -> usize {
        self.runs.len()
    }

    /// How many things the fleet remembers: shards under way, what is planned, events held back, regressions.
    #[must_use]
    pub fn state_items(&self) -> usize {
        let shards: usize = self.runs.values().map(|run| run.shards.len()).sum();
        let regressions: usize = self.projects.iter().map(|project| project.regressions.len()).sum();
        shards + self.agenda.len() + self.held.len() + regressions
    }

    /// The fleet's time at a wall time: never more than a step ahead, never back.
    fn until(&mut self, now_ms: u64) -> u64 {
        let wall_us = now_ms.saturating_mul(1_000);
        let step_us = STEP_MS_MAX * 1_000;
        if self.origin_us.is_none() {
            self.first_ms = now_ms;
        }
        let origin_us = self.origin_us.get_or_insert(wall_us);
        let ahead_us = wall_us.saturating_sub(*origin_us);
        if ahead_us > self.now_us + step_us {
            *origin_us = wall_us - (self.now_us + step_us);
        } else if ahead_us + step_us < self.now_us {
            *origin_us = wall_us.saturating_sub(self.now_us);
        }
        wall_us.saturating_sub(*origin_us)
    }

    fn plan(&mut self, due_us: u64, task: Task) {
        self.tasks_made += 1;
        self.agenda.push(Reverse((due_us, self.tasks_made, task)));
    }

    fn perform(&mut self, task: Task, out: &mut Vec<TestEvent<'static>>) {
        match task {
            Task::Hire => self.hire(),
            Task::Step { run, shard } => self.step(run, shard, out),
            Task::End { run } => {
                let now = self.moment();
                if let Some(mut run) = self.runs.remove(&run) {
                    run.end(now, &self.projects[run.project], out);
                }
            }
            Task::Release { held } => out.extend(self.held.remove(&held)),
        }
    }

    fn moment(&self) -> Moment {
        let wall_us = self.origin_us.unwrap_or(0) + self.now_us;
        Moment { fleet_us: self.now_us, wall_ms: wall_us / 1_000 }
    }

    /// Starts runs towards the number that should be under way now, and comes back soon.
    fn hire(&mut self) {
        for _ in 0..4 {
            if self.runs.len() < self.runs_wanted() {
                self.begin_run();
            }
        }
        let pause_us = self.dice.between(300_000, 900_000) as u64;
        self.plan(self.now_us + pause_us, Task::Hire);
    }

    /// The number of runs goes up and down over ten minutes, as a working day does over hours.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "small, ≥ 0"
    )]
    fn runs_wanted(&self) -> usize {
        let (low, high) = (self.config.runs_min.max(1), self.config.runs_max.max(self.config.runs_min).max(1));
        let phase = self.now_us as f64 / 600e6 * std::f64::consts::TAU;
        low + ((high - low) as f64 * (0.5 + 0.4 * phase.sin())) as usize
    }

    fn begin_run(&mut self) {
        let number = self.dice.below(self.projects.len());
        let project = &mut self.projects[number];
        project.live(&mut self.dice);
        self.runs_begun += 1;
        let names = [&*project.name, &self.seed.to_string(), &self.first_ms.to_string(), &self.runs_begun.to_string()];
        let mark = Id::of(&names).route() & 0xffff_ffff;
        let name = format!("{}-{}-{mark:08x}", project.name, self.runs_begun);
        let shards_growth = load(&self.config).powf(0.25).clamp(0.4, 4.0);
        let run = Run::new(number, project, name, shards_growth, &mut self.dice);
        self.open_shards += run.open_shards;
        let key = self.runs_begun;
        for shard in 0..run.open_shards {
            // The lead announces the run before the others begin.
            let wait_us = if shard == 0 { 0 } else { 50_000 + self.dice.below(1_500_000) as u64 };
            self.plan(self.now_us + wait_us, Task::Step { run: key, shard });
        }
        self.runs.insert(key, run);
    }

    fn step(&mut self, key: u64, shard: usize, out: &mut Vec<TestEvent<'static>>) {
        let now = self.moment();
        let Some(run) = self.runs.get_mut(&key) else { return };
        let first = out.len();
        let next = run.step(shard, now, &self.projects[run.project], &mut self.dice, out);
        self.deliver(out, first);
        match next {
            Next::After(units) => self.plan(self.now_us + self.duration_us(units), Task::Step { run: key, shard }),
            Next::Ended | Next::Vanished => self.close_shard(key),
        }
    }

    fn close_shard(&mut self, key: u64) {
        self.open_shards -= 1;
        let Some(run) = self.runs.get_mut(&key) else { return };
        run.open_shards -= 1;
        if run.open_shards > 0 {
            return;
        }
        if run.says_end {
            self.plan(self.now_us + 200_000, Task::End { run: key });
        } else {
            self.runs.remove(&key);
        }
    }

    /// How long a test of `units` takes, so that all shards together report at the configured rate.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "≥ 0, < 2⁵³"
    )]
    fn duration_us(&self, units: f64) -> u64 {
        let shards = self.open_shards.max(self.config.runs_min) as f64;
        (units * EVENTS_A_UNIT * shards / f64::from(self.config.rate.max(1)) * 1e6) as u64
    }

    /// What the network makes of the events from `first` on: some come twice, a few come late.
    fn deliver(&mut self, out: &mut Vec<TestEvent<'static>>, first: usize) {
        let mut at = first;
        while at < out.len() {
            if self.dice.chance(DUPLICATE_PER_MILLION) {
                let (again, wait_us) = (out[at].clone(), self.dice.between(500_000, 5_000_000) as u64);
                self.hold(again, wait_us);
            } else if self.dice.chance(LATE_PER_MILLION) && self.held.len() < HELD_MAX {
                let (late, wait_us) = (out.remove(at), self.dice.between(20_000_000, 100_000_000) as u64);
                self.hold(late, wait_us);
                continue;
            }
            at += 1;
        }
    }

    fn hold(&mut self, event: TestEvent<'static>, wait_us: u64) {
        if self.held.len() < HELD_MAX {
            let held = self.tasks_made;
            self.held.insert(held, event);
            self.plan(self.now_us + wait_us, Task::Release { held });
        }
    }
}

/// Measured: events that a shard reports in the mean duration of a test, pauses and suites included.
const EVENTS_A_UNIT: f64 = 2.2;
const DUPLICATE_PER_MILLION: u32 = 1_000;
const LATE_PER_MILLION: u32 = 50;

/// How much busier than the default a fleet is.
fn load(config: &FleetConfig) -> f64 {
    f64::from(config.rate.max(1)) / f64::from(FleetConfig::default().rate)
}
