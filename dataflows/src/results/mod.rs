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
mod tested;

use crate::budget::{Held, Kind, Order, Room, rooms};
use crate::config::Config;
use crate::control::Rule;
use crate::facts::{AttemptFact, PhaseChange, RowChange, Running, Tested};
use crate::fork::Port;
use crate::input::{Event, Input, Names, Refusal, Withdraws};
use crate::keyed::{Collection, keyed};
use attempts::Standing;
use machine::Results;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::Map as _;
use timely::progress::operate::FrontierInterest;
use weir_schemas::control::ControlChange;
use weir_schemas::event::EventType;

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
#[derive(Clone, Debug, Serialize, Deserialize)]
enum ResultInput {
    Event(Arc<Event>),
    /// A withdrawal by event id, for one worker.
    Withdrawal {
        event: Arc<Event>,
        peer: u64,
    },
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

/// Keeps the results, distributed by (run, test).
pub fn results<'s>(
    config: &Config,
    events: Collection<'s, Input>,
    withdrawals: Collection<'s, Arc<Event>>,
    (phases, rules, orders): (Collection<'s, PhaseChange>, Collection<'s, Rule>, Collection<'s, Order>),
) -> ResultStreams<'s> {
    let peers = events.scope().peers() as u64;
    let events = events.flat_map(|(input, time, diff)| match input {
        Input::Event(event) => {
            let begins = event.kind == EventType::TestCaseStarted;
            let ours = event.withdrawal().is_none() && event.test().is_some() && (begins || event.outcome.is_some());
            ours.then_some((ResultInput::Event(event), time, diff))
        }
        Input::Refused(_) => None,
    });
    let withdrawals = withdrawals.flat_map(move |(event, time, diff)| {
        let everywhere = matches!(event.withdrawal(), Some(Withdraws::Event(_)));
        (0..if everywhere { peers } else { 1 }).map(move |peer| {
            let event = Arc::clone(&event);
            let input = if everywhere { ResultInput::Withdrawal { event, peer } } else { ResultInput::Event(event) };
            (input, time, diff)
        })
    });
    let phases = phases.map(|(change, time, diff)| (ResultInput::Phase(Box::new(change)), time, diff));
    let pact = Exchange::new(|(input, _, _): &(ResultInput, u64, i64)| match input {
        ResultInput::Event(event) => event.run().route() ^ event.names.test_or_zero().route().rotate_left(32),
        ResultInput::Withdrawal { peer, .. } => *peer,
        ResultInput::Phase(change) => change.peer,
        ResultInput::Rule(rule) => rule.peer,
        ResultInput::Room(room) => room.peer,
    });
    let rules = rules.flat_map(|(rule, time, diff)| {
        let ours = matches!(rule.record.change, ControlChange::Incident(_) | ControlChange::Mask(_));
        ours.then_some((ResultInput::Rule(rule), time, diff))
    });
    let rooms = rooms(orders, Kind::Test).map(|(room, time, diff)| (ResultInput::Room(Box::new(room)), time, diff));
    let input = events.concat(withdrawals).concat(phases).concat(rules).concat(rooms);
    let output = keyed("Results", input, pact, config.until, Results::default());
    split(output)
}

/// Gives each kind of output its own stream.
fn split(output: Collection<'_, ResultOutput>) -> ResultStreams<'_> {
    let mut builder = OperatorBuilder::new("ResultKinds".to_owned(), output.scope());
    let mut input = builder.new_input(output, Pipeline);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (rows, row_stream) = builder.new_output();
    let (missing, missing_stream) = builder.new_output();
    let (facts, fact_stream) = builder.new_output();
    let (tested, tested_stream) = builder.new_output();
    let (running, running_stream) = builder.new_output();
    let (changes, change_stream) = builder.new_output();
    let (refusals, refusal_stream) = builder.new_output();
    let (held, held_stream) = builder.new_output();
    let mut held = Port::<Held>::from(held);
    let (mut rows, mut missing) = (Port::<RowChange>::from(rows), Port::<RowChange>::from(missing));
    let (mut facts, mut running) = (Port::<AttemptFact>::from(facts), Port::<Running>::from(running));
    let mut tested = Port::<Tested>::from(tested);
    let (mut changes, mut refusals) = (Port::<Change>::from(changes), Port::<Arc<Refusal>>::from(refusals));
    builder.build(move |_capabilities| {
        move |_frontiers| {
            let (mut rows, mut missing) = (rows.activate(), missing.activate());
            let (mut facts, mut running, mut tested) = (facts.activate(), running.activate(), tested.activate());
            let (mut changes, mut refusals, mut held) = (changes.activate(), refusals.activate(), held.activate());
            input.for_each(|capability, data| {
                let (mut rows, mut missing) = (rows.session(&capability), missing.session(&capability));
                let (mut facts, mut running) = (facts.session(&capability), running.session(&capability));
                let mut tested = tested.session(&capability);
                let (mut changes, mut refusals) = (changes.session(&capability), refusals.session(&capability));
                let mut held = held.session(&capability);
                for (output, time, diff) in data.drain(..) {
                    match output {
                        ResultOutput::Row(row) => rows.give((row, time, diff)),
                        ResultOutput::Missing(row) => missing.give((row, time, diff)),
                        ResultOutput::Fact(fact) => facts.give((fact, time, diff)),
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
        tested: tested_stream,
        running: running_stream,
        changes: change_stream,
        refusals: refusal_stream,
        held: held_stream,
    }
}
