//! The view `flaky_tests`: which tests fail now and then, on which branch, and by what evidence.
//!
//! Contract: takes all attempts, those of a test on one worker; a [`Ring`] keeps the last outcomes of each (test, branch) from the
//! tick at which it first failed, and [`verdict::judge`] says what follows from them under the project's rule. A ring leaves
//! `flaky_memory_ms` after the last failure, or when no failing outcome is left in it. A run's eviction takes nothing back; an
//! incident also reaches outcomes of runs that have left. Rows move at whole seconds and are exact there.
//!
//! A project has at most `flaky_tests` rings, a 256th of it a bucket of tests. A ring that comes to a full bucket takes the place
//! of the one that is neither flaky nor broken and failed longest ago; where there is none, it does not begin, and its failing
//! attempts of that tick are counted in the project's row without a test's name ([`unjudged`]).
//!
//! # Invariants
//! Within a tick: what is too old leaves, then rules, incidents and guards change, then what is taken back goes, what came is added
//! to the rings there are, the oldest above [`ring::RING`] are dropped; then rings begin, in order of (test, branch), with all that came of
//! them in this tick; then runs leave. So the state depends on ticks alone. An entry keeps its guard when its run has left.
//!
//! # Cost
//! One look-up a passed attempt of a test without a ring. State: 300 bytes a ring and its row, 88 an entry and at most 64 of
//! them; an index by run of the rings that runs in state are in.

mod asked;
mod came;
mod guard;
pub mod ring;
mod rings;
mod row;
mod rules;
mod unjudged;
pub mod verdict;

use crate::context::Context;
use crate::control::Rule;
use crate::dry_run::{Answer, Question};
use crate::facts::{AttemptFact, Phase, PhaseChange, RowChange, Rows, Tested};
use crate::fork::Forks;
use crate::keyed::{Collection, Inlets, keyed};
use crate::views::live_metrics::delta::project_scope;
use guard::GuardChange;
use rings::Rings;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Concat as _;
use unjudged::{TurnedAway, Unjudged};
use weir_schemas::control::ControlChange;
use weir_schemas::id::Id;
use weir_schemas::view::FLAKY_TESTS;

#[derive(Clone, Debug)]
enum Input {
    Fact(AttemptFact),
    Rule(Rule),
    Guard(GuardChange),
    Evicted(Id),
}

/// What comes out of the rings.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Output {
    Row(RowChange),
    TurnedAway(TurnedAway),
}

/// What the view is made of.
pub struct Of<'s> {
    /// As [`crate::by_test::by_test`] gives them.
    pub facts: Collection<'s, AttemptFact>,
    /// Tests as they finish, for the guard.
    pub tested: Collection<'s, Tested>,
    /// Phases of runs, on the worker that is told.
    pub phases: Collection<'s, PhaseChange>,
    /// Rules, on the worker that is told; of them, flaky rules and incidents count.
    pub rules: Collection<'s, Rule>,
}

/// The view's rows, and what flaky rules that are asked about would change of them.
#[must_use]
pub fn render<'s>(
    cx: &Context<'s>,
    of: Of<'s>,
    questions: Collection<'s, Question>,
) -> (Rows<'s>, Collection<'s, Answer>) {
    let Of { facts, tested, phases, rules } = of;
    let guards = guard::guards(cx, tested, phases.clone());
    let by_worker = Exchange::new(|(change, _, _): &(GuardChange, u64, i64)| change.peer);
    let (questions, rings) = ((questions, FLAKY_TESTS.cadence_ms), Rings::new(Arc::clone(&cx.config)));
    let (told, answers) = Inlets::new("FlakyTests", cx.scope)
        .add(facts, Pipeline, |fact| Some(Input::Fact(fact)))
        .add(guards, by_worker, |change| Some(Input::Guard(change)))
        .add(phases, Pipeline, |change| (change.phase == Phase::Evicted).then_some(Input::Evicted(change.run)))
        .add(rules, Pipeline, |rule| {
            let ours = matches!(rule.record.change, ControlChange::Incident(_) | ControlChange::Flaky(_));
            ours.then_some(Input::Rule(rule))
        })
        .keyed_asked(questions, &cx.states, rings);
    let mut kinds = Forks::new("FlakyKinds", told);
    let turned_away = kinds.tap(|output| match output {
        Output::TurnedAway(turned_away) => Some(turned_away.clone()),
        Output::Row(_) => None,
    });
    let rows = kinds.rest(|output| match output {
        Output::Row(row) => Some(row),
        Output::TurnedAway(_) => None,
    });
    let by_project =
        Exchange::new(|(turned_away, _, _): &(TurnedAway, u64, i64)| project_scope(&turned_away.project).route());
    let unjudged = Unjudged::new(cx.config.flaky_memory_ms);
    (rows.concat(keyed("FlakyUnjudged", turned_away, by_project, &cx.states, unjudged)), answers)
}
