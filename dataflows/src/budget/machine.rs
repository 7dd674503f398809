//! The machine of the row budget: what each live run holds, and what follows.

use super::{Held, KINDS, Kind, Leave, Order, ROUND_MS, Room, whole_second};
use crate::config::Config;
use crate::facts::{Phase, RowChange};
use crate::input::{Names, Text};
use crate::keyed::{Home, Machine, Step};
use crate::map::Map;
use crate::views::missing;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::Cause;

/// What goes in.
#[derive(Clone, Debug)]
pub(super) enum BudgetInput {
    /// What came of a run.
    Held(Held),
    /// A run's phase.
    Phase(Id, Phase),
}

/// What comes out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum BudgetOutput {
    /// What is decided.
    Order(Order),
    /// A row of `missing`: what was left out.
    Missing(RowChange),
}

/// Numbers by kind.
type Counts = [u64; KINDS];

/// What is held of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct OfRun {
    /// `None`: nothing of it was told yet.
    names: Option<Arc<Names>>,
    held: Counts,
    left_out: [LeftOut; KINDS],
    /// The tick at which it ended, while it is not reopened.
    ended_at: Option<u64>,
}

/// What was left out of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct LeftOut {
    events: u64,
    shown: Option<Row>,
    /// The whole second at which the first of them was told.
    since: u64,
}

/// What is held of a project: derived from its runs, but for who was told to be full.
#[derive(Default)]
struct OfProject {
    runs: usize,
    held: Counts,
    full: [bool; KINDS],
    /// Its runs that have ended, in the order in which they leave.
    ended: BTreeSet<Place>,
}

/// A run in the order in which they leave: when it ended, and itself.
type Place = (u64, Id);

/// What was decided at a whole second.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Told {
    at: u64,
    leaving: BTreeSet<Place>,
    /// Who is full from then on, of what, or is no longer.
    room: Vec<(Kind, Option<Text>, bool)>,
}

impl Told {
    /// Gives the orders; `peers`: all workers.
    fn orders(&self, peers: u64, step: &mut Step<'_, BudgetOutput>) {
        for (ended_at, run) in self.leaving.iter().copied() {
            step.emit(BudgetOutput::Order(Order::Leave(Leave { run, ended_at })), 1);
        }
        for (kind, project, full) in &self.room {
            for peer in 0..peers {
                let room = Room { kind: *kind, project: project.clone(), full: *full, peer };
                step.emit(BudgetOutput::Order(Order::Room(room)), 1);
            }
        }
    }
}

/// See the module.
pub(super) struct Budget {
    /// Tests of all projects.
    budget: u64,
    /// Of each kind a project.
    limits: Counts,
    peers: u64,
    runs: Map<Id, OfRun>,
    projects: BTreeMap<Text, OfProject>,
    /// What is held of all projects, all ended runs, and whether everybody was told to be full of tests.
    held: Counts,
    ended: BTreeSet<Place>,
    full: bool,
    /// The whole second at which to decide; 0: nothing has changed since.
    due: u64,
    /// What was last decided: it takes effect later.
    told: Told,
    writer: RowWriter,
}

impl Budget {
    pub(super) fn new(config: &Config, peers: u64) -> Budget {
        Budget::with(config.row_budget.max(1) as u64, Kind::ALL.map(|kind| kind.limit(config)), peers)
    }

    fn with(budget: u64, limits: Counts, peers: u64) -> Budget {
        let (runs, projects, ended, told, writer) = Default::default();
        Budget { budget, limits, peers, runs, projects, held: [0; KINDS], ended, full: false, due: 0, told, writer }
    }

    /// Takes in what came of a run.
    fn add(&mut self, held: &Held, step: &mut Step<'_, BudgetOutput>) {
        let Held { names, kind, came, left_out } = held;
        let (run, kind) = (names.run_id, *kind as usize);
        let of_run = self.runs.get_or_insert_with(run, OfRun::default);
        let of_project = self.projects.entry(Text::clone(&names.project)).or_default();
        if of_run.names.is_none() {
            of_run.names = Some(Arc::clone(names));
            of_project.runs += 1;
            if let Some(ended_at) = of_run.ended_at {
                of_project.ended.insert((ended_at, run));
                self.ended.insert((ended_at, run));
            }
        }
        of_run.held[kind] += came;
        of_project.held[kind] += came;
        self.held[kind] += came;
        if *left_out > 0 {
            let told = &mut of_run.left_out[kind];
            told.events += left_out;
            told.since = if told.since == 0 { step.now() } else { told.since };
            let kind = Kind::ALL[kind].as_str();
            let row = missing::overflow(&mut self.writer, names, kind, told.events, told.since);
            let cause = Cause::Changed;
            if let Some(row) = told.shown.replace(row.clone()) {
                step.emit(BudgetOutput::Missing(RowChange { row, cause }), -1);
            }
            step.emit(BudgetOutput::Missing(RowChange { row, cause }), 1);
        }
    }

    /// Takes in a run's phase.
    fn phase(&mut self, run: Id, phase: Phase, step: &mut Step<'_, BudgetOutput>) {
        if phase == Phase::Evicted {
            let Some(of_run) = self.runs.remove(&run) else { return };
            self.reopen(run, &of_run);
            let project = of_run.names.as_ref().and_then(|names| self.projects.get_mut(&names.project));
            if let Some(of_project) = project {
                of_project.runs -= 1;
                (0..KINDS).for_each(|kind| of_project.held[kind] -= of_run.held[kind]);
            }
            (0..KINDS).for_each(|kind| self.held[kind] -= of_run.held[kind]);
            for row in of_run.left_out.into_iter().filter_map(|left_out| left_out.shown) {
                step.emit(BudgetOutput::Missing(RowChange { row, cause: Cause::Evicted }), -1);
            }
            return;
        }
        let mut of_run = self.runs.remove(&run).unwrap_or_default();
        self.reopen(run, &of_run);
        of_run.ended_at = (phase != Phase::Running).then_some(step.now());
        self.end(run, &of_run);
        self.runs.insert(run, of_run);
    }

    /// Takes a run out of those that have ended.
    fn reopen(&mut self, run: Id, of_run: &OfRun) {
        let (Some(names), Some(ended_at)) = (&of_run.names, of_run.ended_at) else { return };
        self.ended.remove(&(ended_at, run));
        if let Some(of_project) = self.projects.get_mut(&names.project) {
            of_project.ended.remove(&(ended_at, run));
        }
    }

    /// Puts a run among those that have ended, if it has.
    fn end(&mut self, run: Id, of_run: &OfRun) {
        let (Some(names), Some(ended_at)) = (&of_run.names, of_run.ended_at) else { return };
        self.ended.insert((ended_at, run));
        if let Some(of_project) = self.projects.get_mut(&names.project) {
            of_project.ended.insert((ended_at, run));
        }
    }

    /// What a run holds.
    fn held(&self, run: Id) -> Counts {
        self.runs.get(&run).map(|of_run| of_run.held).unwrap_or_default()
    }

    /// Lets ended runs that hold any of a kind leave, in order, until no more than `limit` of it is left.
    fn let_leave(
        &self,
        ended: &BTreeSet<Place>,
        leaving: &mut BTreeSet<Place>,
        (kind, limit): (usize, u64),
        rest: &mut Counts,
    ) {
        for place in ended {
            if rest[kind] <= limit {
                return;
            }
            let held = self.held(place.1);
            if held[kind] > 0 && leaving.insert(*place) {
                (0..KINDS).for_each(|kind| rest[kind] -= held[kind]);
            }
        }
    }

    /// The ended runs that leave, so that nobody holds too much.
    fn leaving(&self) -> BTreeSet<Place> {
        let mut leaving = BTreeSet::new();
        for of_project in self.projects.values() {
            let mut rest = of_project.held;
            for limit in self.limits.into_iter().enumerate() {
                self.let_leave(&of_project.ended, &mut leaving, limit, &mut rest);
            }
        }
        let mut rest = self.held;
        for (_, run) in &leaving {
            let held = self.held(*run);
            (0..KINDS).for_each(|kind| rest[kind] -= held[kind]);
        }
        self.let_leave(&self.ended, &mut leaving, (Kind::Test as usize, self.budget), &mut rest);
        leaving
    }

    /// Whether what is held of a kind leaves no room below `limit`, once `leaving` has left, and no ended run is left that
    /// could make some.
    fn no_room(
        &self,
        ended: &BTreeSet<Place>,
        leaving: &BTreeSet<Place>,
        held: &Counts,
        (kind, limit): (usize, u64),
    ) -> bool {
        if held[kind] < limit {
            return false;
        }
        let leaves: u64 = ended.intersection(leaving).map(|(_, run)| self.held(*run)[kind]).sum();
        let mut stay = ended.difference(leaving).filter(|(_, run)| self.held(*run)[kind] > 0);
        held[kind] - leaves >= limit && stay.next().is_none()
    }

    /// Decides what leaves and who is full, and says what is news of it.
    fn decide(&mut self, step: &mut Step<'_, BudgetOutput>) {
        let leaving = self.leaving();
        let mut news = Vec::new();
        let full = self.no_room(&self.ended, &leaving, &self.held, (Kind::Test as usize, self.budget));
        if std::mem::replace(&mut self.full, full) != full {
            news.push((Kind::Test, None, full));
        }
        let by_project = self.projects.iter().flat_map(|(name, project)| {
            let limits = Kind::ALL.into_iter().zip(self.limits);
            let full = limits.map(|(kind, limit)| {
                (kind, self.no_room(&project.ended, &leaving, &project.held, (kind as usize, limit)))
            });
            let changed = full.filter(|(kind, full)| project.full[*kind as usize] != *full);
            changed.map(|(kind, full)| (kind, Some(Text::clone(name)), full)).collect::<Vec<_>>()
        });
        news.extend(by_project);
        for (kind, project, full) in &news {
            if let Some(project) = project.as_ref().and_then(|name| self.projects.get_mut(name)) {
                project.full[*kind as usize] = *full;
            }
        }
        self.projects.retain(|_, project| project.runs > 0);
        self.told = Told { at: step.now(), leaving, room: news };
        self.told.orders(self.peers, step);
    }
}

impl Machine for Budget {
    type Input = BudgetInput;
    type Output = BudgetOutput;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Budget::with(self.budget, self.limits, self.peers))
    }

    fn step(&mut self, data: &mut Vec<(BudgetInput, i64)>, step: &mut Step<'_, BudgetOutput>) {
        let (mut held, mut phases) = (Vec::new(), Vec::new());
        for (input, _) in data.drain(..) {
            match input {
                BudgetInput::Held(of_run) => held.push(of_run),
                BudgetInput::Phase(run, phase) => phases.push((run, phase)),
            }
        }
        // What is left out of a run is one row, whatever the workers that tell of it.
        held.sort_unstable_by_key(|held| (held.names.run_id, held.kind));
        for told in held.chunk_by(|a, b| (a.names.run_id, a.kind) == (b.names.run_id, b.kind)) {
            let mut sum = Held { came: 0, left_out: 0, ..told[0].clone() };
            told.iter()
                .for_each(|held| (sum.came, sum.left_out) = (sum.came + held.came, sum.left_out + held.left_out));
            self.add(&sum, step);
        }
        phases.sort_unstable();
        phases.into_iter().for_each(|(run, phase)| self.phase(run, phase, step));
        self.due = whole_second(step.now());
        if self.due > step.now() {
            step.wake_at(self.due);
        } else {
            self.due = 0;
            self.decide(step);
        }
    }

    /// Orders that were on their way come again.
    fn resume(&mut self, step: &mut Step<'_, BudgetOutput>) {
        if self.told.at == step.now() {
            self.told.orders(self.peers, step);
        } else {
            assert!(
                self.told.at + ROUND_MS <= step.now(),
                "what is decided is told again at the whole second at which it was"
            );
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = vec![Entry::Decided { due: self.due, full: self.full }, Entry::Told(self.told.clone())];
        let full = |(name, project): (&Text, &OfProject)| Entry::Project(Text::clone(name), project.full);
        entries.extend(self.projects.iter().map(full));
        entries.extend(self.runs.sorted().into_iter().map(|(id, run)| Entry::Run(*id, Box::new(run.clone()))));
        entries
    }

    fn home(_: &Self::Entry) -> Home {
        Home::Routed(0)
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        for entry in entries {
            match entry {
                // Those of other workers, which were never told anything, say nothing.
                Entry::Told(told) if told.at < self.told.at => {}
                Entry::Told(told) => self.told = told,
                Entry::Decided { due, full } => (self.due, self.full) = (self.due.max(due), self.full || full),
                Entry::Project(name, full) => self.projects.entry(name).or_default().full = full,
                Entry::Run(id, run) => {
                    if let Some(names) = &run.names {
                        let project = self.projects.entry(Text::clone(&names.project)).or_default();
                        project.runs += 1;
                        (0..KINDS).for_each(|kind| project.held[kind] += run.held[kind]);
                    }
                    (0..KINDS).for_each(|kind| self.held[kind] += run.held[kind]);
                    self.end(id, &run);
                    self.runs.insert(id, *run);
                }
            }
        }
        if self.due > 0 { vec![self.due] } else { Vec::new() }
    }
}

/// The state in a snapshot: all of it on one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Entry {
    /// When to decide next, and whether everybody is full.
    Decided { due: u64, full: bool },
    /// What was last decided.
    Told(Told),
    /// A run.
    Run(Id, Box<OfRun>),
    /// Of which kinds a project is full.
    Project(Text, [bool; KINDS]),
}
