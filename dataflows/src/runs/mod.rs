//! The lives of runs: when one begins, ends, is reopened, is abandoned, and leaves.
//!
//! Contract: a run is finished by `run_completed`, or when all its streams (all announced shards, if announced) are
//! complete and it has been quiet for `run_quiet`; silent for `run_timeout` without that, it is abandoned; a later event
//! reopens it; `run_grace` after its end it leaves every view at one and the same tick (`events.md`, when things end), or
//! earlier, where the row budget says so (`crate::budget`).
//! After `run_completed` a reopened run needs only to be quiet again. Phases go to every worker; facts to the run's own.
//!
//! # Invariants
//! Silence is measured on a clock that stands still while Weir itself was away or behind ([`silence::Silence`]): an outage
//! of ours is not an outage of theirs. Deadlines lie at whole seconds. A withdrawal keeps no run alive.
//!
//! # Cost
//! O(log streams) a note plus its suites; state per live run: that of its streams.

mod life;
pub mod silence;
mod streams;

use crate::budget::{self, Leave, Order};
use crate::config::Config;
use crate::context::Context;
use crate::departed::Departed;
use crate::facts::{Phase, PhaseChange, RowChange};
use crate::input::Text;
use crate::keyed::{Collection, Home, Inlets, Machine, Step};
use crate::map::Map;
use crate::notes::Note;
use life::Life;
use serde::{Deserialize, Serialize};
use silence::{Pause, Silence, by_worker};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use timely::dataflow::channels::pact::Exchange;
use weir_schemas::id::Id;
use weir_schemas::row::RowWriter;

/// What is known of a run besides its tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFacts {
    /// The run.
    pub run: Id,
    /// The project.
    pub project: Text,
    /// The run's name.
    pub name: Text,
    /// The first branch named.
    pub branch: Option<Text>,
    /// The first commit named.
    pub commit: Option<Text>,
    /// The first user named.
    pub user: Option<Text>,
    /// The first framework named.
    pub framework: Option<Text>,
    /// Tests announced: by the run, else the sum over its suites.
    pub planned: Option<u64>,
    /// Whether the run itself announced its tests.
    pub planned_by_run: bool,
    /// Shards announced.
    pub planned_shards: Option<u64>,
    /// How often a failing test is tried at most: announced by the run, else the largest that one of its suites announced.
    pub max_attempts: Option<u32>,
    /// Streams seen.
    pub streams: u64,
    /// Streams seen and not complete.
    pub open_streams: u64,
    /// The tick at which it began.
    pub began_at: u64,
    /// The earliest event time.
    pub first_event_at: u64,
    /// The latest event time.
    pub last_event_at: u64,
    /// Where it is in its life.
    pub phase: Phase,
    /// The tick at which it finished or was abandoned.
    pub ended_at: Option<u64>,
}

/// What comes out of the runs' lives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RunOutput {
    /// A change of phase, for one worker.
    Phase(PhaseChange),
    /// The latest facts of a run, replacing earlier ones.
    Facts(Arc<RunFacts>),
    /// A row of `missing`, of one of its streams.
    Missing(RowChange),
}

/// What goes in.
#[derive(Clone, Debug)]
enum RunInput {
    Note(Note),
    /// The row budget lets the run go.
    Leave(Leave),
    /// Whether timers stand still from now on.
    Silence(bool),
}

/// Runs the lives, distributed by run. `silence` says when timers stand still, `orders` who leaves early.
pub fn live<'s>(
    cx: &Context<'s>,
    notes: Collection<'s, Note>,
    silence: Collection<'s, Pause>,
    orders: Collection<'s, Order>,
) -> Collection<'s, RunOutput> {
    let scope = notes.scope();
    let by_run = Exchange::new(|(note, _, _): &(Note, u64, i64)| note.run().route());
    Inlets::new("Runs", scope)
        .add(notes, by_run, |note| Some(RunInput::Note(note)))
        .add(silence, by_worker(), |said| Some(RunInput::Silence(said.paused)))
        .add(orders, budget::by_worker(), |order| match order {
            Order::Leave(leave) => Some(RunInput::Leave(leave)),
            Order::Room(_) => None,
        })
        .keyed(&cx.states, Runs::new(&cx.config, scope.peers() as u64))
}

struct Runs {
    lives: Map<Id, Life>,
    departed: Departed,
    silence: Silence,
    /// When to look at which run again.
    checks: BTreeMap<u64, Vec<Id>>,
    /// Runs whose timers stand still with the silent clock.
    parked: BTreeSet<Id>,
    peers: u64,
    periods: Periods,
    writer: RowWriter,
}

/// How long what takes.
#[derive(Clone, Copy)]
struct Periods {
    quiet_ms: u64,
    timeout_ms: u64,
    grace_ms: u64,
    shard_silent_ms: u64,
    late_memory_ms: u64,
}

impl Runs {
    fn new(config: &Config, peers: u64) -> Self {
        Runs {
            lives: Map::default(),
            departed: Departed::default(),
            silence: Silence::default(),
            checks: BTreeMap::new(),
            parked: BTreeSet::new(),
            peers,
            periods: Periods {
                quiet_ms: config.run_quiet_ms,
                timeout_ms: config.run_timeout_ms,
                grace_ms: config.run_grace_ms,
                shard_silent_ms: config.shard_silent_ms,
                late_memory_ms: config.late_memory_ms,
            },
            writer: RowWriter::default(),
        }
    }

    /// Sets when to look at a run again, unless a look is due before; a parked run waits for the clock instead.
    fn schedule(&mut self, run: Id, now: u64, wakes: &mut Vec<u64>) {
        let Some(life) = self.lives.get_mut(&run) else { return };
        let Some(at) = life.look_at(now, &self.silence, &self.periods) else {
            life.check_at = None;
            self.parked.insert(run);
            return;
        };
        let at = at.max(now + 1).next_multiple_of(1_000);
        if life.check_at.is_none_or(|check| check <= now || at < check) {
            life.check_at = Some(at);
            self.checks.entry(at).or_default().push(run);
            wakes.push(at);
        }
    }

    /// The runs to look at now: those due, and all parked ones when the clock goes on.
    fn due(&mut self, now: u64, resumed: bool) -> Vec<Id> {
        let mut due = if resumed { std::mem::take(&mut self.parked).into_iter().collect() } else { Vec::new() };
        while let Some(entry) = self.checks.first_entry().filter(|entry| *entry.key() <= now) {
            let at = *entry.key();
            let runs = entry.remove();
            due.extend(
                runs.into_iter().filter(|run| self.lives.get(run).is_some_and(|life| life.check_at == Some(at))),
            );
        }
        due
    }

    fn tell(&self, run: Id, phase: Phase, step: &mut Step<'_, RunOutput>) {
        for peer in 0..self.peers {
            step.emit(RunOutput::Phase(PhaseChange { run, phase, peer }), 1);
        }
    }
}

impl Machine for Runs {
    type Input = RunInput;
    type Output = RunOutput;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        let Runs { peers, periods, .. } = *self;
        let (lives, departed, silence, checks, parked) = Default::default();
        Some(Runs { lives, departed, silence, checks, parked, peers, periods, writer: RowWriter::default() })
    }

    fn step(&mut self, data: &mut Vec<(RunInput, i64)>, step: &mut Step<'_, RunOutput>) {
        let now = step.now();
        self.departed.forget(now);
        let (mut notes, mut torn, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
        let was_paused = self.silence.paused();
        for (input, _) in data.drain(..) {
            match input {
                RunInput::Note(Note::Said(note)) => notes.push(note),
                RunInput::Note(Note::Missing { run, stream, missing }) => torn.push((run, stream, missing)),
                RunInput::Leave(leave) => leaves.push(leave),
                RunInput::Silence(paused) => self.silence.set(now, paused),
            }
        }
        let mut touched = self.due(now, was_paused && !self.silence.paused());
        notes.sort_unstable_by_key(|note| (note.run, note.first));
        for group in notes.chunk_by(|a, b| a.run == b.run) {
            let run = group[0].run;
            if self.departed.contains(run) {
                continue; // The gate refuses its events as late.
            }
            let life = self.lives.get_or_insert_with(run, || Life::new(&group[0], now));
            life.hear(group, now, self.silence.at(now));
            touched.push(run);
        }
        for (run, stream, missing) in torn {
            if let Some(life) = self.lives.get_mut(&run) {
                life.tear(stream, missing);
                touched.push(run);
            }
        }
        for Leave { run, ended_at } in leaves {
            if let Some(life) = self.lives.get_mut(&run) {
                life.let_leave(ended_at);
                touched.push(run);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        let mut wakes = Vec::new();
        for run in touched {
            let Some(life) = self.lives.get_mut(&run) else { continue };
            life.advance(now, &self.silence, &self.periods);
            let (phase, told, facts) = (life.phase, life.take_phase(), life.take_change());
            if let Some(facts) = facts {
                step.emit(RunOutput::Facts(facts), 1);
            }
            life.tell_streams(&mut self.writer, |row, diff| step.emit(RunOutput::Missing(row), diff));
            if let Some(phase) = told {
                self.tell(run, phase, step);
            }
            if phase == Phase::Evicted {
                self.lives.remove(&run);
                wakes.push(self.departed.insert(run, now, self.periods.late_memory_ms));
            } else {
                self.schedule(run, now, &mut wakes);
            }
        }
        for at in wakes {
            step.wake_at(at);
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = vec![Entry::Silence(self.silence.clone())];
        entries.extend(self.departed.entries().into_iter().map(|(run, until)| Entry::Departed(run, until)));
        entries.extend(self.lives.sorted().into_iter().map(|(_, life)| Entry::Life(Box::new(life.clone()))));
        entries
    }

    fn home(entry: &Self::Entry) -> Home {
        match entry {
            Entry::Silence(_) => Home::Everywhere,
            Entry::Departed(run, _) => Home::Routed(run.route()),
            Entry::Life(life) => Home::Routed(life.run().route()),
        }
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        let mut wakes = Vec::new();
        for entry in entries {
            match entry {
                Entry::Silence(silence) => self.silence = silence,
                Entry::Departed(run, until) => wakes.push(self.departed.insert_until(run, until)),
                Entry::Life(life) => {
                    match life.check_at {
                        Some(at) => {
                            self.checks.entry(at).or_default().push(life.run());
                            wakes.push(at);
                        }
                        None => {
                            self.parked.insert(life.run());
                        }
                    }
                    self.lives.insert(life.run(), *life);
                }
            }
        }
        wakes
    }
}

/// The state of runs in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Entry {
    Silence(Silence),
    Departed(Id, u64),
    Life(Box<Life>),
}
