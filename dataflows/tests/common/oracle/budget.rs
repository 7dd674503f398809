//! The row budget: which ended runs leave early, and who has no room for new keys.

use super::runs::{Run, names};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::input::{Event, Text, Withdraws};
use weir_schemas::event::EventType;
use weir_schemas::id::Id;

/// What is decided takes effect so much later.
const ROUND: u64 = 1_000;

/// What is counted of a run, by kind.
pub type Counts = [u64; 3];

/// The kinds' words.
pub const KINDS: [&str; 3] = ["tests", "suites", "files"];

/// Which kind is full: of a project, or of all.
type Full = BTreeSet<(usize, Option<Text>)>;

/// All that was decided, by the whole second of whose state.
#[derive(Default)]
pub struct Budget(BTreeMap<u64, (BTreeMap<Id, u64>, Full)>);

impl Budget {
    /// Whether a run that ended at `ended_at` leaves at `now`.
    pub fn lets_leave(&self, run: Id, ended_at: u64, now: u64) -> bool {
        let decided = now.checked_sub(ROUND).and_then(|second| self.0.get(&second));
        decided.is_some_and(|(leaving, _)| leaving.get(&run) == Some(&ended_at))
    }

    /// Whether new keys of a kind find no room at `now`.
    pub fn full(&self, kind: usize, project: &Text, now: u64) -> bool {
        let holds = self.0.range(..=now.saturating_sub(ROUND)).next_back();
        holds.is_some_and(|(_, (_, full))| {
            full.contains(&(kind, None)) || full.contains(&(kind, Some(Arc::clone(project))))
        })
    }

    /// Decides upon the runs in state after the whole second `now`.
    pub fn decide<'a>(&mut self, config: &Config, runs: impl Iterator<Item = (Id, &'a Run)>, now: u64) {
        let runs: Vec<(Option<u64>, Id, Text, Counts)> =
            runs.map(|(id, run)| (run.ended_at, id, names(run).0, run.held())).collect();
        let projects: BTreeSet<&Text> = runs.iter().map(|(_, _, project, _)| project).collect();
        let of_projects = projects.into_iter().flat_map(|project| {
            let limits = [config.project_tests, config.project_suites, config.project_files].into_iter().enumerate();
            limits.map(move |(kind, limit)| (kind, Some(Arc::clone(project)), limit as u64))
        });
        let limits: Vec<_> = of_projects.chain([(0, None, config.row_budget as u64)]).collect();
        let mut leaving: BTreeMap<Id, u64> = BTreeMap::new();
        let stay = |leaving: &BTreeMap<Id, u64>, kind: usize, project: &Option<Text>| {
            let of = runs.iter().filter(|(_, id, of, counts)| {
                project.as_ref().is_none_or(|project| project == of) && counts[kind] > 0 && !leaving.contains_key(id)
            });
            let ended = of.clone().filter_map(|(ended, id, ..)| Some(((*ended)?, *id))).min();
            (of.map(|(_, _, _, counts)| counts[kind]).sum::<u64>(), ended)
        };
        for (kind, project, limit) in &limits {
            while let (held, Some((ended, id))) = stay(&leaving, *kind, project)
                && held > *limit
            {
                leaving.insert(id, ended);
            }
        }
        let is_full = |(kind, project, limit): &(usize, Option<Text>, u64)| {
            let (held, ended) = stay(&leaving, *kind, project);
            (held >= *limit && ended.is_none()).then(|| (*kind, project.clone()))
        };
        let full = limits.iter().filter_map(is_full).collect();
        self.0.insert(now, (leaving, full));
    }
}

/// The test whose result an event is, or takes back.
pub fn test_of(event: &Event) -> Option<Id> {
    let ours = match event.kind {
        EventType::ResultWithdrawn => !matches!(event.withdrawal(), Some(Withdraws::Event(_))),
        EventType::TestCaseStarted => true,
        _ => event.outcome.is_some(),
    };
    event.test().filter(|_| ours)
}
