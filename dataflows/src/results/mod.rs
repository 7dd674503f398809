//! The results: each test of each live run, kept by (run, test), and everything that follows from a change of one.
//!
//! Contract: takes events that passed the gate, withdrawals that count (`withdrawals`) and phases of runs. For each test touched in a tick, once: the
//! change of its row in `test_results`, its row in `missing`, the facts of its attempts, whether it is running, and how
//! it stands for the sums of suites and runs. A run's tests are spread over the workers: a giant run is nobody's own job.
//!
//! # Invariants
//! What the run's eviction takes away has the cause `evicted` and takes no attempt fact back. A withdrawal by event id goes
//! to all workers and is remembered while the run is. A test that comes while its project is full (`crate::budget`) is not kept;
//! its events are counted. What an incident covers does not count while the incident holds. A failure is
//! recognised by the masks that hold at its tick, and stays as it was recognised.
//!
//! # Cost
//! One look-up of the run and one of the test an event; a row is encoded before and after a change. State: about 400 bytes
//! a test.

pub mod attempts;
mod machine;
mod shown;
mod snapshot;
mod tested;

use crate::budget::{self, Held, Kind, Order, Room};
use crate::context::Context;
use crate::control::Rule;
use crate::facts::{AttemptFact, PhaseChange, RowChange, Running, Tested};
use crate::fork::Port;
use crate::input::{Event, Input, Names, Refusal, Withdraws};
use crate::keyed::{Collection, Inlets};
use attempts::Standing;
use machine::Results;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::Map as _;
use timely::progress::operate::FrontierInterest;
use weir_schemas::control::ControlChange;
use weir_schemas::event::EventType;
use weir_schemas::id::Id;

/// How a test's part in the sums changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The test, its suite and its run.
    pub names: Arc<Names>,
    /// How it stood.
    pub before: Option<Standing>,
    /// How it stands.
    pub after: Option<Standing>,
    /// Whether a withdrawal was part of the change.
    pub withdrawn: bool,
}

/// Everything that follows from a change of a test.
pub struct ResultStreams<'s> {
    /// Rows of `test_results`.
    pub rows: Collection<'s, RowChange>,
    /// Rows of `missing`: tests begun and not ended when their run ended.
    pub missing: Collection<'s, RowChange>,
    /// Attempts that ended.
    pub facts: Collection<'s, AttemptFact>,
    /// Those of them that failed.
    pub failures: Collection<'s, AttemptFact>,
    /// Tests that finished, by run and machine.
    pub tested: Collection<'s, Tested>,
    /// Tests that are running.
    pub running: Collection<'s, Running>,
    /// Changes of the sums.
    pub changes: Collection<'s, Change>,
    /// What was one too many for an attempt.
    pub refusals: Collection<'s, Arc<Refusal>>,
    /// How many tests came and were left out, for the row budget.
    pub held: Collection<'s, Held>,
}

/// What goes in.
#[derive(Clone, Debug)]
enum ResultInput {
    /// An event of a test, or a withdrawal of it.
    Event(Arc<Event>),
    /// A withdrawal by event id.
    Withdrawal(Arc<Event>),
    /// Boxed: rare, and larger than the others.
    Phase(Box<PhaseChange>),
    /// An incident or a mask comes to hold, or ceases to.
    Rule(Rule),
    /// There is room for new tests, or none.
    Room(Box<Room>),
}

/// What comes out.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum ResultOutput {
    Row(RowChange),
    Missing(RowChange),
    Fact(AttemptFact),
    Tested(Tested),
    Running(Running),
    Change(Change),
    Refused(Arc<Refusal>),
    Held(Held),
}

/// The event, if it begins or ends an attempt of a test.
#[must_use]
pub fn event_of_result(input: Input) -> Option<Arc<Event>> {
    let Input::Event(event) = input else { return None };
    let begins = event.kind == EventType::TestCaseStarted;
    let ours = event.withdrawal().is_none() && event.test().is_some() && (begins || event.outcome.is_some());
    ours.then_some(event)
}

/// Keeps the results, distributed by (run, test). `events`: those of [`event_of_result`]; `withdrawals`: those that count; `phases` and
/// `rules`: on the worker that is told.
pub fn results<'s>(
    cx: &Context<'s>,
    events: Collection<'s, Arc<Event>>,
    withdrawals: Collection<'s, Arc<Event>>,
    (phases, rules, orders): (Collection<'s, PhaseChange>, Collection<'s, Rule>, Collection<'s, Order>),
) -> ResultStreams<'s> {
    let scope = events.scope();
    let peers = scope.peers() as u64;
    let by_test = Exchange::new(|(event, _, _): &(Arc<Event>, u64, i64)| owner(event));
    // Those by event id go to every worker.
    let withdrawals = withdrawals.flat_map(move |(event, time, diff)| {
        let workers = if by_event_id(&event) { 0..=peers - 1 } else { owner(&event)..=owner(&event) };
        workers.map(move |worker| ((worker, Arc::clone(&event)), time, diff))
    });
    let by_worker = Exchange::new(|((worker, _), _, _): &((u64, Arc<Event>), u64, i64)| *worker);
    let output = Inlets::new("Results", scope)
        .add(events, by_test, |event| Some(ResultInput::Event(event)))
        .add(withdrawals, by_worker, |(_, event)| {
            let input = if by_event_id(&event) { ResultInput::Withdrawal } else { ResultInput::Event };
            Some(input(event))
        })
        .add(phases, Pipeline, |change| Some(ResultInput::Phase(Box::new(change))))
        .add(rules, Pipeline, |rule| {
            let ours = matches!(rule.record.change, ControlChange::Incident(_) | ControlChange::Mask(_));
            ours.then_some(ResultInput::Rule(rule))
        })
        .add(orders, budget::by_worker(), |order| Some(ResultInput::Room(Box::new(order.room(Kind::Test)?))))
        .keyed(&cx.states, Results::default());
    split(output)
}

/// The worker of an event's test.
fn owner(event: &Event) -> u64 {
    route(event.run(), event.names.test_or_zero())
}

/// The worker of a test in a run.
fn route(run: Id, test: Id) -> u64 {
    run.route() ^ test.route().rotate_left(32)
}

fn by_event_id(withdrawal: &Event) -> bool {
    matches!(withdrawal.withdrawal(), Some(Withdraws::Event(_)))
}

/// Gives each kind of output its own stream.
fn split(output: Collection<'_, ResultOutput>) -> ResultStreams<'_> {
    let mut builder = OperatorBuilder::new("ResultKinds".to_owned(), output.scope());
    let mut input = builder.new_input(output, Pipeline);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (rows, row_stream) = builder.new_output();
    let (missing, missing_stream) = builder.new_output();
    let (facts, fact_stream) = builder.new_output();
    let (failures, failure_stream) = builder.new_output();
    let (tested, tested_stream) = builder.new_output();
    let (running, running_stream) = builder.new_output();
    let (changes, change_stream) = builder.new_output();
    let (refusals, refusal_stream) = builder.new_output();
    let (held, held_stream) = builder.new_output();
    let mut held = Port::<Held>::from(held);
    let (mut rows, mut missing) = (Port::<RowChange>::from(rows), Port::<RowChange>::from(missing));
    let (mut facts, mut running) = (Port::<AttemptFact>::from(facts), Port::<Running>::from(running));
    let (mut failures, mut tested) = (Port::<AttemptFact>::from(failures), Port::<Tested>::from(tested));
    let (mut changes, mut refusals) = (Port::<Change>::from(changes), Port::<Arc<Refusal>>::from(refusals));
    builder.build(move |_capabilities| {
        move |_frontiers| {
            let (mut rows, mut missing) = (rows.activate(), missing.activate());
            let (mut facts, mut running, mut tested) = (facts.activate(), running.activate(), tested.activate());
            let mut failures = failures.activate();
            let (mut changes, mut refusals, mut held) = (changes.activate(), refusals.activate(), held.activate());
            input.for_each(|capability, data| {
                let (mut rows, mut missing) = (rows.session(&capability), missing.session(&capability));
                let (mut facts, mut running) = (facts.session(&capability), running.session(&capability));
                let (mut failures, mut tested) = (failures.session(&capability), tested.session(&capability));
                let (mut changes, mut refusals) = (changes.session(&capability), refusals.session(&capability));
                let mut held = held.session(&capability);
                for (output, time, diff) in data.drain(..) {
                    match output {
                        ResultOutput::Row(row) => rows.give((row, time, diff)),
                        ResultOutput::Missing(row) => missing.give((row, time, diff)),
                        ResultOutput::Fact(fact) => {
                            if fact.failure.is_some() {
                                failures.give((fact.clone(), time, diff));
                            }
                            facts.give((fact, time, diff));
                        }
                        ResultOutput::Tested(test) => tested.give((test, time, diff)),
                        ResultOutput::Running(test) => running.give((test, time, diff)),
                        ResultOutput::Change(change) => changes.give((change, time, diff)),
                        ResultOutput::Refused(refusal) => refusals.give((refusal, time, diff)),
                        ResultOutput::Held(of_run) => held.give((of_run, time, diff)),
                    }
                }
            });
        }
    });
    ResultStreams {
        rows: row_stream,
        missing: missing_stream,
        facts: fact_stream,
        failures: failure_stream,
        tested: tested_stream,
        running: running_stream,
        changes: change_stream,
        refusals: refusal_stream,
        held: held_stream,
    }
}
