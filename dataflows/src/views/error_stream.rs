//! The view `error_stream`: the last errors of each project, one row an event that tells of one.
//!
//! Contract: a failed attempt, or a failure of a run itself, is one row, by the event whose message is shown; the newest `errors` of a project are shown, in order
//! of (event time, stream, event). Twice as many are kept, so that what is taken back makes room for older ones; what does not
//! get among these is dropped for good. A run's eviction takes nothing back. An incident also reaches errors whose runs have left,
//! while they are kept. Rows move at multiples of the cadence and are exact there. What a mask rule would make of the errors that are
//! shown is answered by [`asked`].
//!
//! # Invariants
//! Within a tick, what is taken back goes first, then what came is added, then what is too much is dropped: so a project's
//! errors depend on its ticks alone. Of two errors under one name (an event id that came again after its memory) the later holds.
//!
//! # Cost
//! State O(projects × 2 × errors), each about 200 bytes and its texts; an error is kept for at most `error_memory_ms`. Work
//! O(log errors) an error; a row an error that comes or leaves, and a walk over the places of those shown a project and cadence point.

use crate::config::Config;
use crate::context::Context;
use crate::control::{Incidents, Rule};
use crate::dry_run::{Answer, Question};
use crate::facts::{AttemptFact, Failure, RowChange, Rows};
use crate::fingerprint::rules::Unmade;
use crate::input::Text;
use crate::keyed::{Collection, Home, Inlets, Machine, Step};
use crate::views::live_metrics::local::project_scope;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use weir_schemas::control::ControlChange;
use weir_schemas::event::Severity;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::Cause;
use weir_schemas::view::ERROR_STREAM;

mod asked;

const HOUR_MS: u64 = 3_600_000;

#[derive(Clone, Debug)]
enum Input {
    Fact(AttemptFact),
    Rule(Rule),
}

/// The view's rows, from attempts that failed, and what mask rules that are asked about would make of these errors. `rules`: on
/// the worker that is told.
#[must_use]
pub fn render<'s>(
    cx: &Context<'s>,
    failures: Collection<'s, AttemptFact>,
    rules: Collection<'s, Rule>,
    questions: Collection<'s, Question>,
) -> (Rows<'s>, Collection<'s, Answer>) {
    let by_project = Exchange::new(|(fact, _, _): &(AttemptFact, u64, i64)| project_scope(&fact.names.project).route());
    let (questions, errors) = ((questions, ERROR_STREAM.cadence_ms), Errors::new(Arc::clone(&cx.config)));
    Inlets::new("ErrorStream", cx.scope)
        .add(failures, by_project, |fact| Some(Input::Fact(fact)))
        .add(rules, Pipeline, |rule| {
            let ours = matches!(rule.record.change, ControlChange::Incident(_) | ControlChange::Mask(_));
            ours.then_some(Input::Rule(rule))
        })
        .keyed_asked(questions, &cx.states, errors)
}

/// An error's place in the order of its project: event time, stream, event.
type Place = (u64, Text, Text);

/// One error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Error {
    fact: AttemptFact,
    covered: bool,
    /// The tick at which it came here.
    told: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Project {
    errors: BTreeMap<Place, Error>,
    /// Where the error of a stream's event stands.
    places: BTreeMap<(Text, Text), u64>,
    shown: BTreeMap<Place, Row>,
    /// Places that came, changed or left since the last cadence point, of what is kept or shown.
    touched: BTreeSet<Place>,
    /// Places of what was taken back since the last cadence point.
    taken: BTreeSet<Place>,
    /// The cadence point for which it is put down; 0: nothing changed.
    due: u64,
    /// When the oldest news are forgotten, as far as that was asked for.
    forget_at: u64,
}

impl Project {
    fn remove(&mut self, place: &Place) {
        if self.errors.remove(place).is_some() {
            // What was never shown leaves without a trace.
            if self.shown.contains_key(place) {
                self.touched.insert(place.clone());
            } else {
                self.touched.remove(place);
            }
            self.places.remove(&(Arc::clone(&place.1), Arc::clone(&place.2)));
        }
    }

    fn add(&mut self, error: Error) {
        let Some(place) = place(&error.fact) else { return };
        let name = (Arc::clone(&place.1), Arc::clone(&place.2));
        if let Some(at) = self.places.get(&name).copied() {
            let held = (at, Arc::clone(&place.1), Arc::clone(&place.2));
            if self.errors.get(&held).is_some_and(|other| order(&other.fact) > order(&error.fact)) {
                return;
            }
            self.remove(&held);
        }
        self.places.insert(name, place.0);
        self.touched.insert(place.clone());
        self.errors.insert(place, error);
    }

    /// Drops what is older than the newest `keep`.
    fn truncate(&mut self, keep: usize) {
        while self.errors.len() > keep {
            let Some(oldest) = self.errors.keys().next().cloned() else { return };
            self.remove(&oldest);
        }
    }
}

/// Of errors of one name the last in this order holds.
fn order(fact: &AttemptFact) -> (u64, u64, Id, Id, u32) {
    (fact.came, fact.at, fact.names.run_id, fact.names.test_or_zero(), fact.attempt)
}

fn place(fact: &AttemptFact) -> Option<Place> {
    let Failure { stream, event, .. } = &**fact.failure.as_ref()?;
    Some((fact.at, Arc::clone(stream), Arc::clone(event)))
}

/// All projects of a worker.
struct Errors {
    config: Arc<Config>,
    projects: BTreeMap<Text, Project>,
    incidents: Incidents,
    masks: Unmade,
    due: Vec<Text>,
    writer: RowWriter,
}

impl Errors {
    fn new(config: Arc<Config>) -> Errors {
        let (projects, incidents, masks, due, writer) = Default::default();
        Errors { config, projects, incidents, masks, due, writer }
    }

    fn touch(&mut self, name: &Text, now: u64) -> &mut Project {
        let project = self.projects.entry(Arc::clone(name)).or_default();
        if project.due == 0 {
            project.due = now.next_multiple_of(ERROR_STREAM.cadence_ms);
            self.due.push(Arc::clone(name));
        }
        project
    }

    fn cover(&mut self, name: &Text, now: u64) {
        let Some(project) = self.projects.get_mut(name) else { return };
        let mut changed = BTreeSet::new();
        for (place, error) in &mut project.errors {
            let covered = self.incidents.cover(name, error.fact.origin.worker.as_deref(), error.fact.at);
            if std::mem::replace(&mut error.covered, covered) != covered {
                changed.insert(place.clone());
            }
        }
        if !changed.is_empty() {
            let project = self.touch(name, now);
            project.touched.extend(changed.iter().cloned());
            project.taken.append(&mut changed);
        }
    }

    fn take_back(&mut self, fact: &AttemptFact, now: u64) {
        let Some(place) = place(fact) else { return };
        let Some(project) = self.projects.get(&fact.names.project) else { return };
        if project.errors.get(&place).is_some_and(|error| order(&error.fact) == order(fact)) {
            let project = self.touch(&fact.names.project, now);
            project.remove(&place);
            project.taken.insert(place);
        }
    }

    fn add(&mut self, fact: AttemptFact, now: u64) {
        let covered = self.incidents.cover(&fact.names.project, fact.origin.worker.as_deref(), fact.at);
        let name = Arc::clone(&fact.names.project);
        self.touch(&name, now).add(Error { fact, covered, told: now });
    }

    /// Drops what is too old, and asks to be woken for the next.
    fn forget(&mut self, step: &mut Step<'_, RowChange>) {
        let (now, memory_ms) = (step.now(), self.config.error_memory_ms.max(1));
        let due = self.projects.iter().filter(|(_, project)| project.forget_at > 0 && project.forget_at <= now);
        for name in due.map(|(name, _)| Arc::clone(name)).collect::<Vec<_>>() {
            let project = self.touch(&name, now);
            project.forget_at = 0;
            let old = |error: &Error| (error.told + memory_ms).next_multiple_of(HOUR_MS) <= now;
            let gone: Vec<Place> =
                project.errors.iter().filter(|(_, error)| old(error)).map(|(place, _)| place.clone()).collect();
            gone.iter().for_each(|place| project.remove(place));
        }
    }

    fn plan(&mut self, name: &Text, step: &mut Step<'_, RowChange>) {
        let Some(project) = self.projects.get_mut(name).filter(|project| project.forget_at == 0) else { return };
        let Some(oldest) = project.errors.values().map(|error| error.told).min() else { return };
        project.forget_at = (oldest + self.config.error_memory_ms.max(1)).next_multiple_of(HOUR_MS);
        step.wake_at(project.forget_at);
    }

    fn show(&mut self, name: &Text, step: &mut Step<'_, RowChange>) {
        let Some(project) = self.projects.get_mut(name) else { return };
        let Project { errors, shown, touched, taken, .. } = &mut *project;
        let newest = || errors.iter().rev().filter(|(_, error)| !error.covered).take(self.config.errors);
        let oldest = newest().last().map(|(place, _)| place);
        // What was pushed out, and what may have become another one or be gone: the others stay as they are.
        let pushed_out = shown.keys().take_while(|place| oldest.is_none_or(|oldest| *place < oldest)).cloned();
        let mut leaving: BTreeMap<Place, Row> = BTreeMap::new();
        for place in pushed_out.chain(std::mem::take(touched)).collect::<Vec<_>>() {
            leaving.extend(shown.remove_entry(&place));
        }
        for (place, error) in newest() {
            if shown.contains_key(place) {
                continue;
            }
            let row = row(&mut self.writer, &error.fact);
            let before = leaving.remove(place);
            if before.as_ref() != Some(&row) {
                let cause = if taken.contains(place) { Cause::Withdrawn } else { Cause::Changed };
                before.into_iter().for_each(|row| step.emit(RowChange { row, cause }, -1));
                step.emit(RowChange { row: row.clone(), cause: Cause::Changed }, 1);
            }
            shown.insert(place.clone(), row);
        }
        for (place, row) in leaving {
            let cause = if taken.contains(&place) { Cause::Withdrawn } else { Cause::Evicted };
            step.emit(RowChange { row, cause }, -1);
        }
        project.taken.clear();
        project.due = 0;
        if project.errors.is_empty() {
            self.projects.remove(name);
        }
    }
}

fn row(writer: &mut RowWriter, fact: &AttemptFact) -> Row {
    let (names, origin) = (&fact.names, &fact.origin);
    let failure = fact.failure.as_deref().expect("only failures come here");
    let some = |text: &Text| (!text.is_empty()).then(|| Arc::clone(text));
    writer.str(&names.project).str(&failure.stream).str(&failure.event).uint(fact.at);
    writer.str(origin.severity.unwrap_or(Severity::Error).as_str()).str(fact.outcome.as_str());
    writer.opt_str(some(&failure.kind).as_deref()).str(&failure.message).str(&failure.fingerprint.to_string());
    writer.opt_str(some(&names.test).as_deref()).opt_str(some(&names.test_name).as_deref());
    writer.opt_str(some(&names.suite).as_deref()).str(&names.run);
    writer.opt_uint((fact.attempt > 0).then(|| u64::from(fact.attempt)));
    writer.opt_str(origin.framework.as_deref()).opt_str(origin.branch.as_deref()).opt_str(origin.user.as_deref());
    writer.opt_str(origin.worker.as_deref()).list(origin.tags.iter().map(Arc::as_ref));
    writer.finish(&ERROR_STREAM)
}

impl Machine for Errors {
    type Input = Input;
    type Output = RowChange;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Errors::new(Arc::clone(&self.config)))
    }

    fn step(&mut self, data: &mut Vec<(Input, i64)>, step: &mut Step<'_, RowChange>) {
        let now = step.now();
        self.forget(step);
        let (mut rules, mut facts, mut touched) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (input, diff) in data.drain(..) {
            match input {
                Input::Rule(rule) => rules.push((rule, diff)),
                Input::Fact(fact) => facts.push((fact, diff)),
            }
        }
        let changed: BTreeSet<Text> =
            rules.iter().filter_map(|(rule, diff)| self.incidents.apply(rule, *diff)).collect();
        self.masks.apply(rules);
        changed.iter().for_each(|project| self.cover(project, now));
        facts.sort_by_key(|(fact, diff)| (*diff > 0, order(fact)));
        for (fact, diff) in facts {
            touched.insert(Arc::clone(&fact.names.project));
            match diff > 0 {
                true => self.add(fact, now),
                false => self.take_back(&fact, now),
            }
        }
        for name in touched {
            let keep = 2 * self.config.errors;
            self.projects.entry(Arc::clone(&name)).and_modify(|project| project.truncate(keep));
            self.plan(&name, step);
        }
        if now.is_multiple_of(ERROR_STREAM.cadence_ms) {
            for name in std::mem::take(&mut self.due) {
                self.show(&name, step);
                self.plan(&name, step);
            }
        } else if !self.due.is_empty() {
            step.wake_at(now.next_multiple_of(ERROR_STREAM.cadence_ms));
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let projects = self.projects.iter().map(|(name, project)| {
            let errors = project.errors.values().cloned().collect();
            let shown = project.shown.iter().map(|(place, row)| (place.clone(), row.clone())).collect();
            let (touched, taken) = (project.touched.iter().cloned().collect(), project.taken.iter().cloned().collect());
            let of = ProjectEntry { errors, shown, touched, taken, due: project.due, forget_at: project.forget_at };
            Entry::Project(Arc::clone(name), Box::new(of))
        });
        let rules = [Entry::Incidents(self.incidents.clone()), Entry::Masks(self.masks.clone())];
        rules.into_iter().chain(projects).collect()
    }

    fn home(entry: &Self::Entry) -> Home {
        match entry {
            Entry::Incidents(_) | Entry::Masks(_) => Home::Everywhere,
            Entry::Project(project, _) => Home::Routed(project_scope(project).route()),
        }
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        let mut wakes = Vec::new();
        for entry in entries {
            match entry {
                Entry::Incidents(incidents) => self.incidents = incidents,
                Entry::Masks(masks) => self.masks = masks,
                Entry::Project(name, of) => {
                    let mut project = Project { due: of.due, forget_at: of.forget_at, ..Project::default() };
                    of.errors.into_iter().for_each(|error| project.add(error));
                    project.shown = of.shown.into_iter().collect();
                    project.touched = of.touched.into_iter().collect();
                    project.taken = of.taken.into_iter().collect();
                    wakes.extend([of.due, of.forget_at].into_iter().filter(|time| *time > 0));
                    self.due.extend((of.due > 0).then(|| Arc::clone(&name)));
                    self.projects.insert(name, project);
                }
            }
        }
        wakes
    }
}

/// The state in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Entry {
    /// The incidents that hold; on every worker.
    Incidents(Incidents),
    /// The masks that hold; on every worker.
    Masks(Unmade),
    /// The errors of a project.
    Project(Text, Box<ProjectEntry>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ProjectEntry {
    errors: Vec<Error>,
    shown: Vec<(Place, Row)>,
    touched: Vec<Place>,
    taken: Vec<Place>,
    due: u64,
    forget_at: u64,
}
