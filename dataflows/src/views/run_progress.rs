//! `run_progress`: each live run, what its project still awaits of it, and what of it is missing once it has ended.
//!
//! Contract: takes the runs' facts, their own failures and the sums of all workers, and emits the run's row, the rows of `missing` that are the
//! run's own (announced tests and shards never seen, the run abandoned), and, while the run is running, the streams and tests that
//! are awaited of it, for the completeness of its project's numbers. At whole seconds it says how runs of a user stand that
//! changed since, and, when one leaves, how it stood.
//!
//! # Cost
//! O(workers) a touched run and tick; one message a second and touched run of a user.

use crate::context::Context;
use crate::facts::{Awaited, AwaitedKind, Phase, RowChange, Rows};
use crate::fork::Forks;
use crate::keyed::{Collection, Home, Inlets, Machine, Step};
use crate::map::Map;
use crate::run_failures::OfRun;
use crate::runs::RunFacts;
use crate::sums::{ByWorker, Counts, Part};
use crate::views::missing;
use crate::views::user_activity::{Ended, Ending, RunOfUser};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use timely::dataflow::channels::pact::Exchange;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::timestamp::TIMESTAMP_MS_MAX;
use weir_schemas::update::Cause;
use weir_schemas::view::RUN_PROGRESS;

/// What follows from how runs stand.
pub struct RunProgressStreams<'s> {
    /// Rows of `run_progress`.
    pub rows: Rows<'s>,
    /// Rows of `missing`.
    pub missing: Rows<'s>,
    /// What is awaited of running runs.
    pub awaited: Collection<'s, Awaited>,
    /// How the runs of users stand.
    pub of_users: Collection<'s, Arc<RunOfUser>>,
}

/// A row of this view or of `missing`, or something awaited.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum RunProgressOutput {
    /// Of `run_progress`.
    Row(RowChange),
    /// Of `missing`.
    Missing(RowChange),
    /// Awaited of a running run.
    Awaited(Awaited),
    /// How a run of a user stands.
    OfUser(Arc<RunOfUser>),
}

#[derive(Clone, Debug)]
enum RunProgressInput {
    Facts(Arc<RunFacts>),
    Part(Part),
    /// One more or one less failure of the run itself.
    Failure(OfRun),
}

/// Renders the view from the facts of runs and the parts of whole runs, distributed by run.
pub fn render<'s>(
    cx: &Context<'s>,
    facts: Collection<'s, Arc<RunFacts>>,
    parts: Collection<'s, Part>,
    failures: Collection<'s, OfRun>,
) -> RunProgressStreams<'s> {
    let of_facts = Exchange::new(|(facts, _, _): &(Arc<RunFacts>, u64, i64)| facts.run.route());
    let of_part = Exchange::new(|(part, _, _): &(Part, u64, i64)| part.names.run_id.route());
    let of_failure = Exchange::new(|(failure, _, _): &(OfRun, u64, i64)| failure.run.route());
    let told = Inlets::new("RunProgress", facts.scope())
        .add(facts, of_facts, |facts| Some(RunProgressInput::Facts(facts)))
        .add(parts, of_part, |part| Some(RunProgressInput::Part(part)))
        .add(failures, of_failure, |failure| Some(RunProgressInput::Failure(failure)))
        .keyed(&cx.states, Progress::default());
    let mut kinds = Forks::new("RunProgressKinds", told);
    let of_users = kinds.tap(|output| match output {
        RunProgressOutput::OfUser(run) => Some(Arc::clone(run)),
        _ => None,
    });
    let awaited = kinds.tap(|output| match output {
        RunProgressOutput::Awaited(awaited) => Some(awaited.clone()),
        _ => None,
    });
    let missing = kinds.tap(|output| match output {
        RunProgressOutput::Missing(row) => Some(row.clone()),
        _ => None,
    });
    let rows = kinds.rest(|output| match output {
        RunProgressOutput::Row(row) => Some(row),
        _ => None,
    });
    RunProgressStreams { rows, missing, awaited, of_users }
}

/// One run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Run {
    facts: Option<Arc<RunFacts>>,
    /// Sums, and the most attempts that a failing test has used up, by worker.
    parts: ByWorker<(Counts, Option<u32>)>,
    /// Failures of the run itself that count.
    failures: i64,
    /// The whole second at which it is told how it stands; 0: nothing is to be told.
    due: u64,
    /// Whether anything was withdrawn since that was told.
    withdrawn: bool,
}

/// What is shown of a run.
#[derive(Default)]
struct Shown {
    row: Option<Row>,
    missing: [Option<Row>; 3],
    awaited: [i64; 2],
}

impl Run {
    fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.parts.iter().for_each(|(counts, _)| sum.merge(counts));
        sum
    }

    /// Whether a test or the run itself failed.
    fn fails(&self, counts: &Counts) -> bool {
        counts.fails() || self.failures > 0
    }

    /// How a run of a user stands.
    fn of_user(&self) -> Option<RunOfUser> {
        let facts = self.facts.as_ref()?;
        let ending = ending(facts, self.fails(&self.counts()));
        Some(RunOfUser {
            run: facts.run,
            project: Arc::clone(&facts.project),
            user: Arc::clone(facts.user.as_ref()?),
            name: Arc::clone(&facts.name),
            began_at: facts.began_at,
            last_event_at: facts.last_event_at,
            ended: facts.ended_at.zip(ending).map(|(at, ending)| Ended { at, run: facts.run, ending }),
            left: false,
            withdrawn: self.withdrawn,
        })
    }

    /// Whether the run may still pass; `None` while nobody said how often a failing test is tried.
    fn can_still_pass(&self, facts: &RunFacts) -> Option<bool> {
        let used_up = self.parts.iter().filter_map(|(_, failing_attempts)| *failing_attempts).max();
        facts.max_attempts.map(|max| self.failures == 0 && used_up.is_none_or(|used| used < max))
    }

    fn show(&self, writer: &mut RowWriter) -> Shown {
        let Some(facts) = &self.facts else { return Shown::default() };
        let counts = self.counts();
        let started = u64::try_from(counts.started).unwrap_or(0);
        let not_seen = facts.planned.map_or(0, |planned| planned.saturating_sub(started));
        let unseen_shards = facts.planned_shards.map_or(0, |shards| shards.saturating_sub(facts.streams));
        let awaited = if facts.phase == Phase::Running {
            [facts.open_streams + unseen_shards, not_seen].map(|count| i64::try_from(count).unwrap_or(i64::MAX))
        } else {
            [0, 0]
        };
        let (project, run) = (&facts.project, &facts.name);
        let never = facts
            .ended_at
            .filter(|_| facts.planned_by_run && not_seen > 0)
            .map(|since| missing::not_started(writer, project, run, "", not_seen, since));
        let shards = facts
            .ended_at
            .filter(|_| unseen_shards > 0)
            .map(|since| missing::shard_not_started(writer, project, run, unseen_shards, since));
        let abandoned = facts
            .ended_at
            .filter(|_| facts.phase == Phase::Abandoned)
            .map(|since| missing::abandoned(writer, project, run, since));
        let row = row(writer, facts, &counts, (self.fails(&counts), self.can_still_pass(facts)));
        Shown { row: Some(row), missing: [never, shards, abandoned], awaited }
    }
}

/// When the run will be done if its tests keep finishing as fast as they did on average.
fn eta_at(facts: &RunFacts, counts: &Counts) -> Option<u64> {
    let finished = u128::try_from(counts.finished).ok().filter(|finished| *finished > 0)?;
    let planned = u128::from(facts.planned?);
    if facts.phase != Phase::Running || planned <= finished {
        return None;
    }
    let so_far = u128::from(facts.last_event_at - facts.first_event_at);
    let at = u128::from(facts.last_event_at) + so_far * (planned - finished) / finished;
    Some(u64::try_from(at).map_or(TIMESTAMP_MS_MAX, |at| at.min(TIMESTAMP_MS_MAX)))
}

/// How a run ended; `None` while it is running.
fn ending(facts: &RunFacts, fails: bool) -> Option<Ending> {
    match facts.phase {
        Phase::Running => None,
        Phase::Abandoned => Some(Ending::Abandoned),
        Phase::Finished | Phase::Evicted if fails => Some(Ending::Failed),
        Phase::Finished | Phase::Evicted => Some(Ending::Passed),
    }
}

fn row(
    writer: &mut RowWriter,
    facts: &RunFacts,
    counts: &Counts,
    (fails, can_still_pass): (bool, Option<bool>),
) -> Row {
    let state = ending(facts, fails).map_or("running", Ending::as_str);
    writer.str(&facts.project).str(&facts.name).str(state);
    writer.opt_str(facts.branch.as_deref()).opt_str(facts.commit.as_deref());
    writer.opt_str(facts.user.as_deref()).opt_str(facts.framework.as_deref()).opt_uint(facts.planned);
    writer.int(counts.started).int(counts.finished).int(counts.passed).int(counts.failed);
    writer.int(counts.skipped).int(counts.errored).int(counts.flaky);
    writer.uint(facts.first_event_at).uint(facts.last_event_at);
    writer.uint(facts.streams).uint(facts.open_streams).opt_uint(facts.planned_shards);
    writer.opt_uint(eta_at(facts, counts)).opt_bool(can_still_pass);
    writer.finish(&RUN_PROGRESS)
}

#[derive(Default)]
struct Progress {
    runs: Map<Id, Run>,
    /// Runs of users of which something is to be told at the next whole second.
    due: BTreeSet<Id>,
    /// The time at which parts are told that are known; 0: none is.
    resumed_at: u64,
    writer: RowWriter,
}

impl Progress {
    fn show(&mut self, run: Id) -> Shown {
        self.runs.get(&run).map(|state| state.show(&mut self.writer)).unwrap_or_default()
    }
}

impl Progress {
    /// Takes in a part that is told again; whether it is one.
    fn known(&mut self, input: &RunProgressInput) -> bool {
        let RunProgressInput::Part(part) = input else { return false };
        if let Some(run) = self.runs.get_mut(&part.names.run_id) {
            run.parts.set(part.worker, (part.counts, part.failing_attempts));
        }
        true
    }

    /// Puts a run down for the next whole second, if it is of a user.
    fn put_down(&mut self, run: Id, withdrawn: bool, step: &mut Step<'_, RunProgressOutput>) {
        let Some(state) = self.runs.get_mut(&run) else { return };
        state.withdrawn |= withdrawn;
        if state.due > 0 || state.facts.as_ref().is_none_or(|facts| facts.user.is_none()) {
            return;
        }
        state.due = step.now().next_multiple_of(1_000);
        if state.due > step.now() && self.due.is_empty() {
            step.wake_at(state.due);
        }
        self.due.insert(run);
    }

    /// Tells how the runs stand that were put down.
    fn tell_users(&mut self, step: &mut Step<'_, RunProgressOutput>) {
        for run in std::mem::take(&mut self.due) {
            let Some(state) = self.runs.get_mut(&run) else { continue };
            let of_user = state.of_user();
            (state.due, state.withdrawn) = (0, false);
            of_user.into_iter().for_each(|told| step.emit(RunProgressOutput::OfUser(Arc::new(told)), 1));
        }
    }

    /// The last word on a run that leaves at this tick, of which the tick itself says nothing any more.
    fn tell_last(&self, run: Id, step: &mut Step<'_, RunProgressOutput>) {
        assert!(step.now().is_multiple_of(1_000), "runs leave at whole seconds");
        if let Some(told) = self.runs.get(&run).and_then(Run::of_user) {
            step.emit(RunProgressOutput::OfUser(Arc::new(RunOfUser { left: true, ..told })), 1);
        }
    }
}

impl Machine for Progress {
    type Input = RunProgressInput;
    type Output = RunProgressOutput;
    type Entry = (Id, RunEntry);

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Progress::default())
    }

    fn step(&mut self, data: &mut Vec<(RunProgressInput, i64)>, step: &mut Step<'_, RunProgressOutput>) {
        if self.resumed_at == step.now() {
            data.retain(|(input, _)| !self.known(input));
        }
        let mut withdrawn = BTreeSet::new();
        let key = |input: &RunProgressInput| match input {
            RunProgressInput::Facts(facts) => facts.run,
            RunProgressInput::Part(part) => part.names.run_id,
            RunProgressInput::Failure(failure) => failure.run,
        };
        let touched: BTreeSet<Id> = data.iter().map(|(input, _)| key(input)).collect();
        let leaves = |input: &RunProgressInput| match input {
            RunProgressInput::Facts(facts) if facts.phase == Phase::Evicted => Some(facts.run),
            _ => None,
        };
        let evicted: BTreeSet<Id> = data.iter().filter_map(|(input, _)| leaves(input)).collect();
        evicted.iter().for_each(|run| self.tell_last(*run, step));
        let before: Vec<Shown> = touched.iter().map(|run| self.show(*run)).collect();
        for (input, diff) in data.drain(..) {
            let run = key(&input);
            match input {
                RunProgressInput::Part(part) => {
                    withdrawn.extend(part.withdrawn.then_some(run));
                    let said = (part.counts, part.failing_attempts);
                    self.runs.get_or_insert_with(run, Run::default).parts.set(part.worker, said);
                }
                RunProgressInput::Failure(failure) => {
                    withdrawn.extend(failure.withdrawn.then_some(run));
                    self.runs.get_or_insert_with(run, Run::default).failures += diff;
                }
                RunProgressInput::Facts(facts) => {
                    self.runs.get_or_insert_with(run, Run::default).facts = Some(facts);
                }
            }
        }
        for (run, before) in touched.into_iter().zip(before) {
            let project =
                self.runs.get(&run).and_then(|state| state.facts.as_ref()).map(|facts| Arc::clone(&facts.project));
            let cause = match () {
                () if evicted.contains(&run) => Cause::Evicted,
                () if withdrawn.contains(&run) => Cause::Withdrawn,
                () => Cause::Changed,
            };
            if cause == Cause::Evicted {
                self.runs.remove(&run);
            }
            self.put_down(run, cause == Cause::Withdrawn, step);
            let after = self.show(run);
            for (kind, (was, is)) in
                [AwaitedKind::Stream, AwaitedKind::Test].into_iter().zip(before.awaited.into_iter().zip(after.awaited))
            {
                if let Some(project) = project.as_ref().filter(|_| was != is) {
                    step.emit(
                        RunProgressOutput::Awaited(Awaited { project: Arc::clone(project), what: kind }),
                        is - was,
                    );
                }
            }
            tell(before, after, cause, step);
        }
        if step.now().is_multiple_of(1_000) {
            self.tell_users(step);
        }
    }

    /// Each worker tells again what its tests add up to.
    fn resume(&mut self, step: &mut Step<'_, RunProgressOutput>) {
        for run in self.runs.sorted_keys() {
            self.runs.get_mut(&run).into_iter().for_each(|run| run.parts = ByWorker::default());
        }
        self.resumed_at = step.now();
    }

    fn entries(&self) -> Vec<Self::Entry> {
        self.runs.sorted().into_iter().map(|(id, run)| (*id, RunEntry(run.clone()))).collect()
    }

    fn home((run, _): &Self::Entry) -> Home {
        Home::Routed(run.route())
    }

    fn restore(&mut self, entries: Vec<Self::Entry>) -> Vec<u64> {
        let mut wakes = BTreeSet::new();
        for (id, RunEntry(run)) in entries {
            if run.due > 0 {
                wakes.insert(run.due);
                self.due.insert(id);
            }
            self.runs.insert(id, run);
        }
        wakes.into_iter().collect()
    }
}

fn tell(before: Shown, after: Shown, cause: Cause, step: &mut Step<'_, RunProgressOutput>) {
    let mut change = |before: Option<Row>, after: Option<Row>, kind: fn(RowChange) -> RunProgressOutput| {
        if before != after {
            before.into_iter().for_each(|row| step.emit(kind(RowChange { row, cause }), -1));
            after.into_iter().for_each(|row| step.emit(kind(RowChange { row, cause }), 1));
        }
    };
    change(before.row, after.row, RunProgressOutput::Row);
    for (before, after) in before.missing.into_iter().zip(after.missing) {
        change(before, after, RunProgressOutput::Missing);
    }
}

/// A run in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunEntry(Run);
