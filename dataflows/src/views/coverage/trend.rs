//! The third layer of coverage: a run's summary compared with the last finished run of a main branch.
//!
//! Contract: the percentage of the run of a main branch that finished last is remembered by (branch, flag); a run takes one of them
//! to be compared with when it first says something under the flag, and again when its branch becomes known: that of its own
//! branch if it is a main one, else of the first main branch that has one. Runs that finish at the same tick are not yet seen.
//!
//! # Cost
//! A map of runs with coverage and one of (branch, flag), for as long as `coverage_memory_ms` after the last news.

use super::summary::Summary;
use crate::config::Config;
use crate::facts::{Phase, RowChange};
use crate::input::Text;
use crate::keyed::{Home, Machine, Step};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::Cause;
use weir_schemas::view::COVERAGE_SUMMARY;

const HOUR_MS: u64 = 3_600_000;

/// What runs are compared with: project, branch, flag.
type BaseName = (Text, Text, Text);

/// The last finished run of a branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    finished_at: u64,
    run: Id,
    percent: i64,
    forget_at: u64,
}

/// A summary that is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    branch: Option<Text>,
    /// The branch that it is compared with, and its percentage.
    base: Option<(Text, i64)>,
    row: Row,
}

/// The word for a run's place in its life. A run that leaves has no row.
const fn state(phase: Phase) -> &'static str {
    match phase {
        Phase::Running => "running",
        Phase::Finished => "finished",
        Phase::Abandoned | Phase::Evicted => "abandoned",
    }
}

/// All comparisons of a worker.
pub struct Trends {
    config: Arc<Config>,
    bases: BTreeMap<BaseName, Base>,
    shown: BTreeMap<(Id, Text), Shown>,
    writer: RowWriter,
}

impl Trends {
    /// None yet.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Trends {
        let (bases, shown, writer) = Default::default();
        Trends { config, bases, shown, writer }
    }

    fn main<'a>(&self, branch: Option<&'a Text>) -> Option<&'a Text> {
        branch.filter(|branch| self.config.main_branches.iter().any(|main| **main == ***branch))
    }

    fn base(&self, summary: &Summary) -> Option<(Text, i64)> {
        let of = |branch: Text| {
            let name = (Arc::clone(&summary.project), branch, Arc::clone(&summary.flag));
            self.bases.get(&name).map(|base| (name.1, base.percent))
        };
        match self.main(summary.branch.as_ref()) {
            Some(branch) => of(Arc::clone(branch)),
            None => self.config.main_branches.iter().find_map(|branch| of(Text::from(&**branch))),
        }
    }

    fn row(&mut self, summary: &Summary, base: Option<&(Text, i64)>) -> Row {
        let writer = &mut self.writer;
        writer.str(&summary.project).str(&summary.name).str(&summary.flag);
        writer.int(summary.covered).int(summary.total).opt_int(summary.percent).int(summary.files);
        writer.uint(summary.reported).opt_uint(summary.expected).bool(summary.inexact);
        writer.opt_int(summary.percent.zip(base).map(|(percent, (_, base))| percent - base));
        writer.opt_str(base.map(|(branch, _)| &**branch)).opt_str(summary.branch.as_deref());
        writer.str(state(summary.phase)).bool(summary.complete());
        writer.finish(&COVERAGE_SUMMARY)
    }

    fn show(&mut self, summary: &Summary, cause: Option<Cause>, step: &mut Step<'_, RowChange>) {
        let key = (summary.run, Arc::clone(&summary.flag));
        let was = self.shown.remove(&key);
        let base = match &was {
            Some(was) if was.branch == summary.branch => was.base.clone(),
            _ => self.base(summary),
        };
        let row = self.row(summary, base.as_ref());
        if was.as_ref().is_none_or(|was| was.row != row) {
            let cause = cause.unwrap_or(Cause::Changed);
            was.into_iter().for_each(|was| step.emit(RowChange { row: was.row, cause }, -1));
            step.emit(RowChange { row: row.clone(), cause }, 1);
        }
        self.shown.insert(key, Shown { branch: summary.branch.clone(), base, row });
    }

    /// Remembers a finished run of a main branch, if none has finished after it.
    fn remember(&mut self, summary: &Summary, step: &mut Step<'_, RowChange>) {
        let (Some(finished_at), Some(percent)) = (summary.finished_at, summary.percent) else { return };
        let Some(branch) = self.main(summary.branch.as_ref()).cloned() else { return };
        let name = (Arc::clone(&summary.project), branch, Arc::clone(&summary.flag));
        if self.bases.get(&name).is_some_and(|base| (base.finished_at, base.run) > (finished_at, summary.run)) {
            return;
        }
        let forget_at = (step.now() + self.config.coverage_memory_ms.max(1)).next_multiple_of(HOUR_MS);
        self.bases.insert(name, Base { finished_at, run: summary.run, percent, forget_at });
        step.wake_at(forget_at);
    }
}

impl Machine for Trends {
    type Input = Summary;
    type Output = RowChange;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Trends::new(Arc::clone(&self.config)))
    }

    fn step(&mut self, data: &mut Vec<(Summary, i64)>, step: &mut Step<'_, RowChange>) {
        let now = step.now();
        self.bases.retain(|_, base| base.forget_at > now);
        let mut changes: BTreeMap<(Id, Text), (Option<Cause>, Option<Summary>)> = BTreeMap::new();
        for (summary, diff) in data.drain(..) {
            let change = changes.entry((summary.run, Arc::clone(&summary.flag))).or_default();
            match diff > 0 {
                true => change.1 = Some(summary),
                false => change.0 = Some(summary.cause),
            }
        }
        for (key, (cause, summary)) in &changes {
            match summary {
                Some(summary) => self.show(summary, *cause, step),
                None => {
                    let (was, cause) = (self.shown.remove(key), cause.unwrap_or(Cause::Changed));
                    was.into_iter().for_each(|was| step.emit(RowChange { row: was.row, cause }, -1));
                }
            }
        }
        for summary in changes.into_values().filter_map(|(_, summary)| summary) {
            self.remember(&summary, step);
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let bases = self.bases.iter().map(|(name, base)| Entry::Base(name.clone(), base.clone()));
        let shown = self.shown.iter().map(|(key, shown)| Entry::Shown(key.clone(), shown.clone()));
        bases.chain(shown).collect()
    }

    fn home(entry: &Self::Entry) -> Home {
        let project = match entry {
            Entry::Base((project, ..), _) => project,
            Entry::Shown(_, shown) => shown.row.text(0).unwrap_or_default(),
        };
        Home::Routed(Id::of(&["project", project]).route())
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        for entry in entries {
            match entry {
                Entry::Base(name, base) => drop(self.bases.insert(name, base)),
                Entry::Shown(key, shown) => drop(self.shown.insert(key, shown)),
            }
        }
        self.bases.values().map(|base| base.forget_at).collect()
    }
}

/// The state in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Entry {
    /// What runs are compared with.
    Base(BaseName, Base),
    /// What is shown of a run and flag.
    Shown((Id, Text), Shown),
}
