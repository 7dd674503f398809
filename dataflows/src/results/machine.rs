//! The state machine of the results: all tests of a worker, by run.

use super::attempts::{Standing, Test, WithdrawnEvents};
use super::{Change, ResultInput, ResultOutput};
use crate::facts::{AttemptFact, Phase, RowChange, Running};
use crate::fingerprint;
use crate::input::{ErrorText, Event, Withdraws};
use crate::keyed::{Machine, Step};
use crate::map::Map;
use crate::views::{missing, test_results};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::Cause;

/// The tests of one run on this worker.
#[derive(Default)]
struct RunTests {
    tests: Map<Id, Test>,
    withdrawn: WithdrawnEvents,
    /// Which test an event ended, made when the first withdrawal by event id comes.
    by_event: Option<Map<Id, Id>>,
    /// When the run ended, while it is not reopened.
    ended_at: Option<u64>,
}

impl RunTests {
    fn index(&mut self) -> &Map<Id, Id> {
        self.by_event.get_or_insert_with(|| {
            let mut index = Map::default();
            for (id, test) in self.tests.sorted() {
                for event in test.events() {
                    index.insert(event, *id);
                }
            }
            index
        })
    }
}

/// All results of a worker.
#[derive(Default)]
pub(super) struct Results {
    runs: Map<Id, RunTests>,
    writer: RowWriter,
}

/// What is shown of a test.
#[derive(Default)]
struct Shown {
    standing: Option<Standing>,
    row: Option<Row>,
    missing: Option<Row>,
    facts: Vec<AttemptFact>,
}

impl Shown {
    fn running(&self, ended: bool) -> bool {
        !ended && self.standing.is_some_and(|standing| standing.running)
    }
}

/// What touched a test in a tick.
#[derive(Default)]
struct Touch {
    events: Vec<Arc<Event>>,
    withdrawn_events: Vec<Id>,
}

/// A tick's input by run and test.
type Touches = Vec<(Id, Id, Touch)>;

impl Results {
    fn show(&mut self, run: Id, id: Id) -> Shown {
        let Some((tests, test)) = self.runs.get(&run).and_then(|tests| tests.tests.get(&id).map(|test| (tests, test)))
        else {
            return Shown::default();
        };
        let Some(standing) = test.standing() else { return Shown::default() };
        Shown {
            standing: Some(standing),
            row: Some(test_results::row(&mut self.writer, test, &standing)),
            missing: tests.ended_at.filter(|_| standing.outcome.is_none()).map(|ended_at| {
                missing::not_finished(&mut self.writer, &test.names, ended_at, test.origin.worker.as_deref())
            }),
            facts: test.facts(run, id),
        }
    }

    fn apply(&mut self, run: Id, id: Id, touch: Touch, now: u64) {
        let tests = self.runs.get_or_insert_with(run, RunTests::default);
        let Touch { mut events, withdrawn_events } = touch;
        events.sort_unstable_by_key(|event| event.position);
        for event in &events {
            let test = tests.tests.get_or_insert_with(id, || Test::new(event));
            if let Some(Withdraws::Test { attempt }) = event.withdraws {
                test.withdraw(attempt);
                continue;
            }
            test.introduce(event);
            if let Some(outcome) = event.outcome {
                let failure = outcome.fails().then(|| {
                    let silent = ErrorText::default();
                    Arc::new(fingerprint::failure(event.error.as_deref().unwrap_or(&silent), outcome))
                });
                test.end(event, outcome, failure, now, tests.withdrawn.contains(&event.id));
                if let Some(index) = &mut tests.by_event {
                    index.insert(event.id, id);
                }
            } else {
                test.begin(event);
            }
        }
        if let Some(test) = tests.tests.get_mut(&id) {
            withdrawn_events.into_iter().for_each(|event| test.withdraw_event(event));
        }
    }

    /// Emits what changed of one test.
    fn tell(
        &self,
        key: (Id, Id),
        before: Shown,
        after: Shown,
        cause: Cause,
        ended: (bool, bool),
        step: &mut Step<'_, ResultOutput>,
    ) {
        let (run, id) = key;
        let Some(test) = self.runs.get(&run).and_then(|tests| tests.tests.get(&id)) else { return };
        rows(before.row.as_ref(), after.row.as_ref(), cause, |row, diff| step.emit(ResultOutput::Row(row), diff));
        rows(before.missing.as_ref(), after.missing.as_ref(), cause, |row, diff| {
            step.emit(ResultOutput::Missing(row), diff)
        });
        let (was, is) = (before.running(ended.0), after.running(ended.1));
        if was != is {
            let names = &test.names;
            let running = Running {
                project: Arc::clone(&names.project),
                suite: test.suite,
                suite_name: Arc::clone(&names.suite),
            };
            step.emit(ResultOutput::Running(running), i64::from(is) - i64::from(was));
        }
        if cause == Cause::Evicted {
            return; // What outlives the run keeps its facts; suites and runs leave by themselves.
        }
        for fact in before.facts.iter().filter(|fact| !after.facts.contains(fact)) {
            step.emit(ResultOutput::Fact(fact.clone()), -1);
        }
        for fact in after.facts.iter().filter(|fact| !before.facts.contains(fact)) {
            step.emit(ResultOutput::Fact(fact.clone()), 1);
        }
        if before.standing != after.standing {
            step.emit(
                ResultOutput::Change(Change {
                    run,
                    suite: test.suite,
                    test: id,
                    names: Arc::clone(&test.names),
                    before: before.standing,
                    after: after.standing,
                    withdrawn: cause == Cause::Withdrawn,
                }),
                1,
            );
        }
    }

    /// Applies a run's phase; its unfinished tests change with it, or all of them leave.
    fn phase(&mut self, run: Id, phase: Phase, step: &mut Step<'_, ResultOutput>) {
        let ended_at = (phase != Phase::Running).then_some(step.now());
        if phase == Phase::Evicted {
            let ids = self.runs.get(&run).map(|tests| tests.tests.sorted_keys()).unwrap_or_default();
            let ended = self.runs.get(&run).is_some_and(|tests| tests.ended_at.is_some());
            for id in ids {
                let before = self.show(run, id);
                self.tell((run, id), before, Shown::default(), Cause::Evicted, (ended, true), step);
            }
            self.runs.remove(&run);
            return;
        }
        let Some(tests) = self.runs.get(&run) else {
            // Remembered for tests that are still to come in this tick or later.
            self.runs.get_or_insert_with(run, RunTests::default).ended_at = ended_at;
            return;
        };
        let was_ended = tests.ended_at.is_some();
        let unfinished =
            |test: &Test| test.standing().is_some_and(|standing| standing.running || standing.outcome.is_none());
        let ids: Vec<Id> =
            tests.tests.sorted().into_iter().filter(|(_, test)| unfinished(test)).map(|(id, _)| *id).collect();
        let before: Vec<Shown> = ids.iter().map(|id| self.show(run, *id)).collect();
        if let Some(tests) = self.runs.get_mut(&run) {
            tests.ended_at = ended_at;
        }
        for (id, before) in ids.into_iter().zip(before) {
            let after = self.show(run, id);
            self.tell((run, id), before, after, Cause::Changed, (was_ended, ended_at.is_some()), step);
        }
    }

    /// Remembers withdrawals by event id and finds the tests that they touch.
    fn withdraw(&mut self, withdrawals: Vec<(Id, Id)>) -> Touches {
        let mut touches = Touches::new();
        for (run, event) in withdrawals {
            let tests = self.runs.get_or_insert_with(run, RunTests::default);
            if tests.withdrawn.insert(event)
                && let Some(test) = tests.index().get(&event).copied()
            {
                touches.push((run, test, Touch { events: Vec::new(), withdrawn_events: vec![event] }));
            }
        }
        touches
    }
}

fn rows(before: Option<&Row>, after: Option<&Row>, cause: Cause, mut emit: impl FnMut(RowChange, i64)) {
    if before == after {
        return;
    }
    if let Some(row) = before {
        emit(RowChange { row: row.clone(), cause }, -1);
    }
    if let Some(row) = after {
        emit(RowChange { row: row.clone(), cause }, 1);
    }
}

/// Joins touches of the same test.
fn group(mut touches: Touches) -> Touches {
    touches.sort_by_key(|(run, test, _)| (*run, *test));
    let mut grouped: Touches = Vec::with_capacity(touches.len());
    for (run, test, touch) in touches {
        match grouped.last_mut() {
            Some((last_run, last_test, last)) if (*last_run, *last_test) == (run, test) => {
                last.events.extend(touch.events);
                last.withdrawn_events.extend(touch.withdrawn_events);
            }
            _ => grouped.push((run, test, touch)),
        }
    }
    grouped
}

impl Machine for Results {
    type Input = ResultInput;
    type Output = ResultOutput;
    type Entry = Entry;

    fn step(&mut self, data: &mut Vec<(ResultInput, i64)>, step: &mut Step<'_, ResultOutput>) {
        let (mut touches, mut withdrawals, mut phases) = (Touches::new(), Vec::new(), Vec::new());
        for (input, _) in data.drain(..) {
            match input {
                ResultInput::Event(event) => {
                    let test = event.test.unwrap_or_default();
                    touches.push((event.run, test, Touch { events: vec![event], withdrawn_events: Vec::new() }));
                }
                ResultInput::Withdrawal { run, event, .. } => withdrawals.push((run, event)),
                ResultInput::Phase(change) => phases.push((change.run, change.phase)),
            }
        }
        touches.extend(self.withdraw(withdrawals));
        for (run, id, touch) in group(touches) {
            let withdraws = |event: &Arc<Event>| event.withdraws.is_some();
            let withdrawn = !touch.withdrawn_events.is_empty() || touch.events.iter().any(withdraws);
            let cause = if withdrawn { Cause::Withdrawn } else { Cause::Changed };
            let ended = self.runs.get(&run).is_some_and(|tests| tests.ended_at.is_some());
            let before = self.show(run, id);
            self.apply(run, id, touch, step.now());
            let after = self.show(run, id);
            self.tell((run, id), before, after, cause, (ended, ended), step);
        }
        phases.sort_unstable();
        for (run, phase) in phases {
            self.phase(run, phase, step);
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (run, tests) in self.runs.sorted() {
            entries.push(Entry::Run { run: *run, withdrawn: tests.withdrawn.clone(), ended_at: tests.ended_at });
            entries.extend(tests.tests.sorted().into_iter().map(|(id, test)| Entry::Test {
                run: *run,
                id: *id,
                test: Box::new(test.clone()),
            }));
        }
        entries
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        for entry in entries {
            match entry {
                Entry::Run { run, withdrawn, ended_at } => {
                    let tests = self.runs.get_or_insert_with(run, RunTests::default);
                    (tests.withdrawn, tests.ended_at) = (withdrawn, ended_at);
                }
                Entry::Test { run, id, test } => {
                    self.runs.get_or_insert_with(run, RunTests::default).tests.insert(id, *test);
                }
            }
        }
        Vec::new()
    }
}

/// The state of results in a snapshot. A run's own entry is on every worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Entry {
    Run { run: Id, withdrawn: BTreeSet<Id>, ended_at: Option<u64> },
    Test { run: Id, id: Id, test: Box<Test> },
}
