//! The second layer of coverage: a run's sums by flag, and who has reported.
//!
//! Contract: takes how the sums changed, the coverage events themselves for their sessions and bare percentages, and the run's
//! facts; at cadence points it emits the changed [`Summary`] of each flag, the old one as −1. A run's summaries leave with it.

use super::files::Delta;
use super::{ALL, Counts, Session, left, session};
use crate::config::Config;
use crate::control::{Incidents, Rule};
use crate::facts::Phase;
use crate::input::{Event, Names, Origin, Text, Withdraws};
use crate::keyed::{Home, Machine, Step};
use crate::map::Map;
use crate::runs::RunFacts;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::row::ratio;
use weir_schemas::update::Cause;
use weir_schemas::view::COVERAGE_SUMMARY;

/// What goes in.
#[derive(Clone, Debug)]
pub enum SummaryInput {
    /// How the sums changed.
    Delta(Delta),
    /// A coverage event, or a withdrawal by event id.
    Event(Arc<Event>),
    /// The latest facts of a run.
    Facts(Arc<RunFacts>),
    /// An incident.
    Rule(Rule),
}

impl Summary {
    /// Whether its percentage is the last word: the run has finished, and all have reported that were announced.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.phase == Phase::Finished && self.expected.is_none_or(|expected| self.reported >= expected)
    }
}

/// What is covered of a run under a flag, before it is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Summary {
    /// The run.
    pub run: Id,
    /// Its project.
    pub project: Text,
    /// Its name.
    pub name: Text,
    /// Its branch.
    pub branch: Option<Text>,
    /// Where it is in its life.
    pub phase: Phase,
    /// When it finished, if it has.
    pub finished_at: Option<u64>,
    /// The flag, or [`ALL`].
    pub flag: Text,
    /// Lines that are covered.
    pub covered: i64,
    /// Lines that count.
    pub total: i64,
    /// Files.
    pub files: i64,
    /// × 10⁶.
    pub percent: Option<i64>,
    /// Sessions that have said something.
    pub reported: u64,
    /// Sessions that are expected.
    pub expected: Option<u64>,
    /// Whether a bare percentage is in it.
    pub inexact: bool,
    /// Why the one before leaves.
    pub cause: Cause,
}

/// What one event said.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Said {
    event: Id,
    at: u64,
    origin: Arc<Origin>,
    percentage: Option<i64>,
    withdrawn: bool,
    covered: bool,
}

/// What a session said under a flag.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Spoken {
    said: Vec<Said>,
    /// Whether more was said than is kept.
    folded: bool,
}

impl Spoken {
    fn counting(&self) -> impl DoubleEndedIterator<Item = &Said> {
        self.said.iter().filter(|said| !said.withdrawn && !said.covered)
    }

    fn reported(&self) -> bool {
        self.folded || self.counting().next().is_some()
    }
}

/// A run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Run {
    facts: Option<Arc<RunFacts>>,
    names: Arc<Names>,
    sums: BTreeMap<Text, Counts>,
    #[serde(with = "crate::pairs")]
    sessions: BTreeMap<Text, BTreeMap<Session, Spoken>>,
    withdrawals: BTreeSet<Id>,
    shown: BTreeMap<Text, Summary>,
    /// The cadence point for which it is put down; 0: nothing changed.
    due: u64,
    withdrawn: bool,
}

impl Run {
    fn spoken(&mut self) -> impl Iterator<Item = &mut Said> {
        self.sessions.values_mut().flat_map(BTreeMap::values_mut).flat_map(|spoken| &mut spoken.said)
    }

    fn hear(&mut self, event: &Event, covered: bool, now: u64, limit: usize) {
        let Some(coverage) = event.coverage() else { return };
        let withdrawn = self.withdrawals.contains(&event.id);
        let sessions = self.sessions.entry(Arc::clone(&coverage.flag)).or_default();
        let spoken = sessions.entry(session(event)).or_default();
        if coverage.replace && !withdrawn {
            spoken.said.clear();
        }
        let (percentage, at) = (coverage.percentage, event.at.min(now));
        if spoken.said.len() < limit {
            let origin = Arc::clone(&event.origin);
            spoken.said.push(Said { event: event.id, at, origin, percentage, withdrawn, covered });
        } else if !withdrawn && !covered {
            spoken.folded = true;
        }
    }

    fn summaries(&self) -> BTreeMap<Text, Summary> {
        let mut summaries: BTreeMap<Text, Summary> =
            self.sessions.keys().filter_map(|flag| Some((Arc::clone(flag), self.summary(flag)?))).collect();
        if let Some(all) = self.summary(ALL) {
            summaries.insert(Text::from(ALL), all);
        }
        summaries
    }

    fn summary(&self, flag: &str) -> Option<Summary> {
        let of_flag = |(name, _): &(&Text, _)| flag == ALL || ***name == *flag;
        let spoken = || self.sessions.iter().filter(of_flag).flat_map(|(_, sessions)| sessions);
        let reported: BTreeSet<Session> =
            spoken().filter(|(_, spoken)| spoken.reported()).map(|(session, _)| *session).collect();
        if reported.is_empty() {
            return None;
        }
        let Counts { files, covered, total } = self.sums.get(flag).copied().unwrap_or_default();
        // Of each session the last word.
        let bare: Vec<i64> =
            spoken().filter_map(|(_, spoken)| spoken.counting().rev().find_map(|said| said.percentage)).collect();
        // Half up.
        let (sum, count) = (bare.iter().sum::<i64>(), (bare.len() as u64).cast_signed());
        let mean = || (count > 0).then(|| (2 * sum + count).div_euclid(2 * count));
        let facts = self.facts.as_deref();
        Some(Summary {
            run: self.names.run_id,
            project: Arc::clone(&self.names.project),
            name: Arc::clone(&self.names.run),
            branch: facts.and_then(|facts| facts.branch.clone()),
            phase: facts.map_or(Phase::Running, |facts| facts.phase),
            finished_at: facts.filter(|facts| facts.phase == Phase::Finished).and_then(|facts| facts.ended_at),
            flag: flag.into(),
            covered,
            total,
            files,
            percent: if files > 0 { ratio(covered, 100, total) } else { mean() },
            reported: reported.len() as u64,
            expected: facts.and_then(|facts| facts.planned_shards),
            inexact: !bare.is_empty(),
            cause: Cause::Changed,
        })
    }
}

/// All runs of a worker.
pub struct Summaries {
    config: Arc<Config>,
    runs: Map<Id, Run>,
    incidents: Incidents,
    due: Vec<Id>,
}

impl Summaries {
    /// None yet.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Summaries {
        Summaries { config, runs: Map::default(), incidents: Incidents::default(), due: Vec::new() }
    }

    /// A run that changes at `now`, and is looked at at the next cadence point.
    fn touch(&mut self, id: Id, now: u64) -> &mut Run {
        let run = self.runs.get_or_insert_with(id, Run::default);
        if run.due == 0 {
            run.due = now.next_multiple_of(COVERAGE_SUMMARY.cadence_ms);
            self.due.push(id);
        }
        run
    }

    fn hear(&mut self, event: &Event, now: u64) {
        let covered = self.incidents.cover(&event.origin.project, event.origin.worker.as_deref(), event.at.min(now));
        let limit = self.config.coverage_said;
        let run = self.touch(event.run(), now);
        run.names = Arc::clone(&event.names);
        run.hear(event, covered, now, limit);
    }

    fn withdraw(&mut self, event: &Event, now: u64) {
        let Some(Withdraws::Event(id)) = event.withdrawal() else { return };
        let run = self.runs.get_or_insert_with(event.run(), Run::default);
        run.withdrawals.insert(id);
        let mut hit = false;
        for said in run.spoken().filter(|said| said.event == id) {
            (said.withdrawn, hit) = (true, true);
        }
        if hit {
            self.touch(event.run(), now).withdrawn = true;
        }
    }

    fn cover(&mut self, projects: &BTreeSet<Text>, now: u64) {
        let incidents = std::mem::take(&mut self.incidents);
        for id in self.runs.sorted_keys() {
            let Some(run) = self.runs.get_mut(&id).filter(|run| projects.contains(&run.names.project)) else {
                continue;
            };
            let (project, mut changed) = (Arc::clone(&run.names.project), false);
            for said in run.spoken() {
                let covered = incidents.cover(&project, said.origin.worker.as_deref(), said.at);
                changed |= std::mem::replace(&mut said.covered, covered) != covered;
            }
            if changed {
                self.touch(id, now).withdrawn = true;
            }
        }
        self.incidents = incidents;
    }

    fn learn(&mut self, facts: Arc<RunFacts>, step: &mut Step<'_, Summary>) {
        let id = facts.run;
        if left(&facts) {
            for (_, summary) in self.runs.remove(&id).map(|run| run.shown).unwrap_or_default() {
                step.emit(Summary { cause: Cause::Evicted, ..summary }, -1);
            }
            return;
        }
        let run = self.runs.get_or_insert_with(id, Run::default);
        run.facts = Some(facts);
        // Of most changes of a run's facts a summary shows nothing; a run without coverage has none at all.
        if !run.sessions.is_empty() {
            self.touch(id, step.now());
        }
    }

    fn show(&mut self, id: Id, step: &mut Step<'_, Summary>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let cause = if run.withdrawn { Cause::Withdrawn } else { Cause::Changed };
        let is = run.summaries();
        let was = std::mem::replace(&mut run.shown, is.clone());
        (run.due, run.withdrawn) = (0, false);
        for (flag, summary) in &was {
            if is.get(flag) != Some(summary) {
                step.emit(Summary { cause, ..summary.clone() }, -1);
            }
        }
        for (flag, summary) in is {
            if was.get(&flag) != Some(&summary) {
                step.emit(summary, 1);
            }
        }
    }
}

impl Machine for Summaries {
    type Input = SummaryInput;
    type Output = Summary;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Summaries::new(Arc::clone(&self.config)))
    }

    fn step(&mut self, data: &mut Vec<(SummaryInput, i64)>, step: &mut Step<'_, Summary>) {
        let now = step.now();
        let (mut events, mut facts, mut projects) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (input, diff) in data.drain(..) {
            match input {
                SummaryInput::Delta(delta) => {
                    self.touch(delta.run, now).sums.entry(delta.flag).or_default().add(delta.counts, diff);
                }
                SummaryInput::Event(event) if event.withdrawal().is_some() => self.withdraw(&event, now),
                SummaryInput::Event(event) => events.push(event),
                SummaryInput::Facts(of_run) => facts.push(of_run),
                SummaryInput::Rule(rule) => projects.extend(self.incidents.apply(&rule, diff)),
            }
        }
        self.cover(&projects, now);
        events.sort_unstable_by_key(|event| event.position);
        events.iter().for_each(|event| self.hear(event, now));
        facts.into_iter().for_each(|facts| self.learn(facts, step));
        if now.is_multiple_of(COVERAGE_SUMMARY.cadence_ms) {
            let due = std::mem::take(&mut self.due);
            due.into_iter().for_each(|run| self.show(run, step));
        } else if !self.due.is_empty() {
            step.wake_at(now.next_multiple_of(COVERAGE_SUMMARY.cadence_ms));
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = vec![Entry::Incidents(self.incidents.clone())];
        let run = |(id, run): (&Id, &Run)| Entry::Run(*id, Box::new(RunEntry(run.clone())));
        entries.extend(self.runs.sorted().into_iter().map(run));
        entries
    }

    fn home(entry: &Self::Entry) -> Home {
        match entry {
            Entry::Incidents(_) => Home::Everywhere,
            Entry::Run(run, _) => Home::Routed(run.route()),
        }
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        let mut wakes = Vec::new();
        for entry in entries {
            match entry {
                Entry::Incidents(incidents) => self.incidents = incidents,
                Entry::Run(id, run) => {
                    if run.0.due > 0 {
                        self.due.push(id);
                        wakes.push(run.0.due);
                    }
                    self.runs.insert(id, run.0);
                }
            }
        }
        wakes
    }
}

/// The state in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Entry {
    /// The incidents that hold; on every worker.
    Incidents(Incidents),
    /// A run.
    Run(Id, Box<RunEntry>),
}

/// A run in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunEntry(Run);
