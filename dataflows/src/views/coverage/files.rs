//! The first layer of coverage: each file of each run, with what its sessions say of it.
//!
//! Contract: takes the files of coverage events, distributed by (run, file); what replaces or takes back, phases and incidents
//! come to every worker. At cadence points it emits the changed rows of `coverage`, and by (run, flag) how the sums changed.
//!
//! A flag of a file that comes while its project is full of files (`crate::budget`) is not kept; what is said of it is counted.
//!
//! # Invariants
//! Within a tick, incidents and withdrawals are applied first, then what was said in the order of positions. What is added is merged
//! at once; a file of which something left is merged anew from its sessions at the next cadence point.

use super::file::{File, Flagged, Merged, Said, row};
use super::{ALL, Counts, session};
use crate::budget::{Full, Grown, Held, Kind, Room, Untold};
use crate::config::Config;
use crate::control::{Incidents, Rule};
use crate::facts::RowChange;
use crate::input::{Event, Names, Text, Withdraws};
use crate::keyed::{Home, Machine, Step};
use crate::map::Map;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::row::RowWriter;
use weir_schemas::update::Cause;
use weir_schemas::view::COVERAGE;

/// What goes in.
#[derive(Clone, Debug)]
pub enum FileInput {
    /// What an event says.
    Piece(Piece),
    /// A run leaves.
    Evicted(Id),
    /// An incident.
    Rule(Rule),
    /// There is room for new files, or none.
    Room(Room),
}

/// What an event says, for one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Piece {
    /// What an event says of one of its files.
    File {
        /// The event.
        event: Arc<Event>,
        /// Which of its files.
        index: usize,
    },
    /// The event replaces what its session said before; for one worker.
    Replace {
        /// The event.
        event: Arc<Event>,
        /// The worker.
        peer: u64,
    },
    /// A withdrawal by event id, for one worker.
    Withdrawal {
        /// The withdrawal.
        event: Arc<Event>,
        /// The worker.
        peer: u64,
    },
}

impl Piece {
    /// What an event says, in pieces by worker.
    pub(super) fn of(event: &Arc<Event>, peers: u64) -> Vec<Piece> {
        let every = |make: fn(Arc<Event>, u64) -> Piece| {
            (0..peers).map(|peer| make(Arc::clone(event), peer)).collect::<Vec<_>>()
        };
        let Some(coverage) = event.coverage().filter(|_| event.withdrawal().is_none()) else {
            return every(|event, peer| Piece::Withdrawal { event, peer });
        };
        let mut pieces =
            if coverage.replace { every(|event, peer| Piece::Replace { event, peer }) } else { Vec::new() };
        pieces.extend((0..coverage.files.len()).map(|index| Piece::File { event: Arc::clone(event), index }));
        pieces
    }

    fn event(&self) -> &Event {
        match self {
            Piece::File { event, .. } | Piece::Replace { event, .. } | Piece::Withdrawal { event, .. } => event,
        }
    }

    /// The worker.
    pub(super) fn route(&self) -> u64 {
        match self {
            Piece::File { event, index } => {
                let file = event.coverage().map_or(Id::default(), |coverage| coverage.files[*index].id);
                route(event.run(), file)
            }
            Piece::Replace { peer, .. } | Piece::Withdrawal { peer, .. } => *peer,
        }
    }
}

/// The worker of a file in a run.
fn route(run: Id, file: Id) -> u64 {
    run.route() ^ file.route().rotate_left(32)
}

/// What comes out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FileOutput {
    /// Of the view.
    Row(RowChange),
    /// How the sums of a run and flag changed.
    Delta(Delta),
    /// How many files came and were left out, for the row budget.
    Held(Held),
}

/// How the sums of a run and flag changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// The run.
    pub run: Id,
    /// The flag, or [`ALL`].
    pub flag: Text,
    /// By how much.
    pub counts: Counts,
}

/// The files of a run on this worker.
struct RunFiles {
    names: Arc<Names>,
    withdrawn: BTreeSet<Id>,
    files: Map<Id, File>,
    /// What the row budget was not told yet.
    untold: Option<Box<Untold>>,
}

/// All files of a worker.
pub struct Files {
    config: Arc<Config>,
    runs: Map<Id, RunFiles>,
    incidents: Incidents,
    /// The files that are to be looked at at the next cadence point.
    due: Vec<(Id, Id)>,
    /// Who has no room for new files.
    full: Full,
    grown: Grown,
    writer: RowWriter,
}

impl Files {
    /// None yet.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Files {
        let (runs, incidents, due, full, grown, writer) = Default::default();
        Files { config, runs, incidents, due, full, grown, writer }
    }

    fn run(&mut self, event: &Event) -> &mut RunFiles {
        self.runs.get_or_insert_with(event.run(), || RunFiles {
            names: Arc::clone(&event.names),
            withdrawn: BTreeSet::new(),
            files: Map::default(),
            untold: None,
        })
    }

    /// Takes what left out of the files of a run: `leaves` says of what was said whether anything of it changed.
    fn revise(&mut self, run: Id, now: u64, withdrawn: bool, mut leaves: impl FnMut(&mut Flagged, &Text) -> bool) {
        let Some(files) = self.runs.get_mut(&run) else { return };
        for id in files.files.sorted_keys() {
            let Some(file) = files.files.get_mut(&id) else { continue };
            let mut changed = false;
            for (flag, flagged) in &mut file.flags {
                let left = leaves(flagged, flag);
                flagged.stale |= left;
                changed |= left;
            }
            if changed {
                file.withdrawn |= withdrawn;
                if file.due == 0 {
                    file.due = now.next_multiple_of(COVERAGE.cadence_ms);
                    self.due.push((run, id));
                }
            }
        }
    }

    fn cover(&mut self, projects: &BTreeSet<Text>, now: u64) {
        let incidents = std::mem::take(&mut self.incidents);
        for run in self.runs.sorted_keys() {
            let Some(project) = self.runs.get(&run).map(|files| Arc::clone(&files.names.project)) else { continue };
            if projects.contains(&project) {
                self.revise(run, now, true, |flagged, _| {
                    flagged.said.iter_mut().fold(false, |changed, said| {
                        let covered = incidents.cover(&project, said.origin.worker.as_deref(), said.at);
                        std::mem::replace(&mut said.covered, covered) != covered || changed
                    })
                });
            }
        }
        self.incidents = incidents;
    }

    fn withdraw(&mut self, event: &Event, now: u64) {
        let Some(Withdraws::Event(id)) = event.withdrawal() else { return };
        if self.run(event).withdrawn.insert(id) {
            self.revise(event.run(), now, true, |flagged, _| {
                flagged.said.iter_mut().fold(false, |changed, said| {
                    let hit = said.event == id && !said.withdrawn;
                    said.withdrawn |= hit;
                    hit || changed
                })
            });
        }
    }

    fn replace(&mut self, event: &Event, now: u64) {
        let Some(coverage) = event.coverage() else { return };
        if self.run(event).withdrawn.contains(&event.id) {
            return;
        }
        let session = session(event);
        self.revise(event.run(), now, false, |flagged, flag| {
            let before = flagged.said.len();
            if *flag == coverage.flag {
                flagged.said.retain(|said| said.session != session);
            }
            flagged.said.len() < before
        });
    }

    fn add(&mut self, event: &Event, index: usize, now: u64) {
        let (Some(coverage), limit) = (event.coverage(), self.config.coverage_said) else { return };
        let at = event.at.min(now);
        let covered = self.incidents.cover(&event.origin.project, event.origin.worker.as_deref(), at);
        let full = self.full.leaves_out(&event.names.project);
        self.run(event);
        let Some(run) = self.runs.get_mut(&event.run()) else { return };
        let said = Said {
            event: event.id,
            session: session(event),
            at,
            origin: Arc::clone(&event.origin),
            coverage: Arc::clone(coverage),
            index,
            withdrawn: run.withdrawn.contains(&event.id),
            covered,
        };
        let id = said.file().id;
        let known = run.files.get(&id).is_some_and(|file| file.flags.contains_key(&coverage.flag));
        if !known {
            let untold = self.grown.of(&mut run.untold, &event.names, now);
            if full {
                untold.left_out += 1;
                return;
            }
            untold.came += 1;
        }
        let file = run.files.get_or_insert_with(id, || File {
            path: Arc::clone(&said.file().path),
            flags: BTreeMap::new(),
            told: Counts::default(),
            due: 0,
            withdrawn: false,
        });
        file.flags.entry(Arc::clone(&coverage.flag)).or_default().add(said, limit);
        if file.due == 0 {
            file.due = now.next_multiple_of(COVERAGE.cadence_ms);
            self.due.push((event.run(), id));
        }
    }

    /// Everything of a run leaves; the sums leave by themselves.
    fn evict(&mut self, run: Id, step: &mut Step<'_, FileOutput>) {
        let Some(files) = self.runs.remove(&run) else { return };
        for (_, file) in files.files.sorted() {
            for row in file.flags.values().filter_map(|flagged| flagged.shown.clone()) {
                step.emit(FileOutput::Row(RowChange { row, cause: Cause::Evicted }), -1);
            }
        }
    }

    /// Emits what changed of a file since it was last looked at, and adds up how the sums did.
    fn show(&mut self, (run, id): (Id, Id), sums: &mut BTreeMap<(Id, Text), Counts>, step: &mut Step<'_, FileOutput>) {
        let Some(files) = self.runs.get_mut(&run) else { return };
        let Some(file) = files.files.get_mut(&id) else { return };
        let cause = if file.withdrawn { Cause::Withdrawn } else { Cause::Changed };
        let mut sum = |flag: Text, told: &mut Counts, is: Counts| {
            if *told != is {
                let counts = sums.entry((run, flag)).or_default();
                counts.add(is, 1);
                counts.add(*told, -1);
                *told = is;
            }
        };
        let mut all = Merged::default();
        let flags = file.flags.len();
        for (flag, flagged) in &mut file.flags {
            flagged.settle();
            let counts = flagged.merged.counts();
            let row = (counts.files > 0)
                .then(|| row(&mut self.writer, &files.names, flag, &file.path, counts, &flagged.merged));
            if row != flagged.shown {
                let before = std::mem::replace(&mut flagged.shown, row.clone());
                before.into_iter().for_each(|row| step.emit(FileOutput::Row(RowChange { row, cause }), -1));
                row.into_iter().for_each(|row| step.emit(FileOutput::Row(RowChange { row, cause }), 1));
            }
            sum(Arc::clone(flag), &mut flagged.told, counts);
            if flags > 1 {
                all.covered = all.covered.union(&flagged.merged.covered);
                all.instrumented = all.instrumented.union(&flagged.merged.instrumented);
                all.sessions.extend(&flagged.merged.sessions);
            } else {
                sum(Text::from(ALL), &mut file.told, counts);
            }
        }
        if flags > 1 {
            sum(Text::from(ALL), &mut file.told, all.counts());
        }
        (file.due, file.withdrawn) = (0, false);
    }
}

impl Machine for Files {
    type Input = FileInput;
    type Output = FileOutput;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Files::new(Arc::clone(&self.config)))
    }

    fn step(&mut self, data: &mut Vec<(FileInput, i64)>, step: &mut Step<'_, FileOutput>) {
        let now = step.now();
        let (mut said, mut evicted, mut projects) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (input, diff) in data.drain(..) {
            match input {
                FileInput::Room(room) => self.full.apply(&room),
                FileInput::Rule(rule) => projects.extend(self.incidents.apply(&rule, diff)),
                FileInput::Evicted(run) => evicted.push(run),
                FileInput::Piece(Piece::Withdrawal { event, .. }) => self.withdraw(&event, now),
                FileInput::Piece(piece) => said.push((piece.event().position, piece)),
            }
        }
        self.cover(&projects, now);
        // What replaces comes before the event's own files.
        said.sort_by_key(|(position, piece)| (*position, matches!(piece, Piece::File { .. })));
        for (_, piece) in said {
            match piece {
                Piece::Replace { event, .. } => self.replace(&event, now),
                Piece::File { event, index } => self.add(&event, index, now),
                Piece::Withdrawal { .. } => {}
            }
        }
        evicted.into_iter().for_each(|run| self.evict(run, step));
        for run in self.grown.due(step) {
            if let Some(untold) = self.runs.get_mut(&run).and_then(|files| files.untold.take()) {
                step.emit(FileOutput::Held(untold.held(Kind::File)), 1);
            }
        }
        if !now.is_multiple_of(COVERAGE.cadence_ms) {
            if !self.due.is_empty() {
                step.wake_at(now.next_multiple_of(COVERAGE.cadence_ms));
            }
            return;
        }
        let mut sums = BTreeMap::new();
        for file in std::mem::take(&mut self.due) {
            self.show(file, &mut sums, step);
        }
        for ((run, flag), counts) in sums {
            if counts != Counts::default() {
                step.emit(FileOutput::Delta(Delta { run, flag, counts }), 1);
            }
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = vec![Entry::Incidents(self.incidents.clone()), Entry::Full(self.full.clone())];
        for (run, files) in self.runs.sorted() {
            entries.push(Entry::Run(*run, Arc::clone(&files.names), files.withdrawn.clone()));
            entries.extend(files.untold.clone().map(|untold| Entry::Untold(*run, untold)));
            let file = |(id, file): (&Id, &File)| Entry::File(*run, *id, Box::new(FileEntry(file.clone())));
            entries.extend(files.files.sorted().into_iter().map(file));
        }
        entries
    }

    fn home(entry: &Self::Entry) -> Home {
        match entry {
            Entry::Incidents(_) | Entry::Full(_) | Entry::Run(..) => Home::Everywhere,
            Entry::Untold(..) => Home::Anywhere,
            Entry::File(run, file, _) => Home::Routed(route(*run, *file)),
        }
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        let mut wakes = Vec::new();
        for entry in entries {
            match entry {
                Entry::Incidents(incidents) => self.incidents = incidents,
                Entry::Full(full) => self.full = full,
                Entry::Untold(run, untold) => {
                    wakes.push(untold.due);
                    self.grown.restore(run);
                    if let Some(files) = self.runs.get_mut(&run) {
                        untold.join(&mut files.untold);
                    }
                }
                Entry::Run(run, names, withdrawn) => {
                    let new = || RunFiles { names, withdrawn, files: Map::default(), untold: None };
                    self.runs.get_or_insert_with(run, new);
                }
                Entry::File(run, id, file) => {
                    if file.0.due > 0 {
                        self.due.push((run, id));
                        wakes.push(file.0.due);
                    }
                    if let Some(files) = self.runs.get_mut(&run) {
                        files.files.insert(id, file.0);
                    }
                }
            }
        }
        wakes
    }
}

/// The state in a snapshot. Incidents, who is full and a run's own entry are on every worker; its entry stands before its files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Entry {
    /// The incidents that hold.
    Incidents(Incidents),
    /// Who is full.
    Full(Full),
    /// What of a run the row budget was not told yet.
    Untold(Id, Box<Untold>),
    /// A run: its names, and the events that were taken back.
    Run(Id, Arc<Names>, BTreeSet<Id>),
    /// A file of a run.
    File(Id, Id, Box<FileEntry>),
}

/// A file in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileEntry(File);
