//! A keyed operator that can be asked what a rule would change.
//!
//! Contract: [`Inlets::keyed_asked`] is [`Inlets::keyed`] with one more input, of questions, and a second output, of answers. A question of a
//! time is answered as of the first multiple of `cadence_ms` not before it, when all of that time has been run and nothing
//! of a later one: so an answer is exact for its time, as a row is.
//!
//! # Invariants
//! Questions are no part of the bound log, and no row, digest or frame depends on one: [`Asked::answer`] sees the machine and
//! cannot change it, no time is run because of a question, and the first output holds no capability for one.
//!
//! # Cost
//! Nothing without a question but one more frontier, which moves with the others.

use super::{Collection, Inlets, Machine, Running, States, Updates, upper};
use crate::dry_run::{Answer, Question};
use std::collections::BTreeMap;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::progress::operate::FrontierInterest;

/// A machine that can be asked what a rule would change.
pub trait Asked: Machine {
    /// What of this machine's keys the rule would change if it held from `now` on. All of `now` has been run.
    fn answer(&self, question: &Question, now: u64) -> Answer;
}

/// The questions to be answered as of one time.
struct Due {
    held: Capability<u64>,
    questions: Vec<Question>,
}

impl<'s, I: 'static> Inlets<'s, I> {
    /// Runs `machine` over all of them, and answers `questions`, each of which names the worker it is for.
    pub fn keyed_asked<M: Asked<Input = I>>(
        self,
        (questions, cadence_ms): (Collection<'s, Question>, u64),
        states: &States,
        machine: M,
    ) -> (Collection<'s, M::Output>, Collection<'s, Answer>) {
        let Inlets { name, mut builder, mut drains } = self;
        let by_peer = Exchange::new(|(question, _, _): &(Question, u64, i64)| question.peer);
        let mut questions = builder.new_input(questions, by_peer);
        builder.set_notify_for(drains.len(), FrontierInterest::IfCapability);
        let (output, results) = builder.new_output::<Updates<M::Output>>();
        let (answers, answer_stream) = builder.new_output::<Updates<Answer>>();
        let mut output: OutputBuilder<u64, CapacityContainerBuilder<Updates<M::Output>>> = OutputBuilder::from(output);
        let mut answers: OutputBuilder<u64, CapacityContainerBuilder<Updates<Answer>>> = OutputBuilder::from(answers);
        let until = states.until();
        builder.build(move |mut capabilities| {
            let running = Running::new(&name, machine, states, capabilities.swap_remove(0));
            let mut asked: BTreeMap<u64, Due> = BTreeMap::new();
            move |frontiers| {
                let running = &mut *running.borrow_mut();
                running.take(&mut drains);
                questions.for_each(|capability, data| {
                    for (question, time, _) in data.drain(..) {
                        let at = time.next_multiple_of(cadence_ms.max(1));
                        let due = || Due { held: capability.delayed(&at, 1), questions: Vec::new() };
                        asked.entry(at).or_insert_with(due).questions.push(question);
                    }
                });
                // A question may still be on its way when the input has passed its time.
                let upper = upper(frontiers);
                let (mut output, mut answers) = (output.activate(), answers.activate());
                let complete = |at: &u64| upper.is_none_or(|upper| *at < upper);
                while let Some((at, due)) =
                    asked.first_key_value().map(|(at, _)| *at).filter(complete).and_then(|at| asked.remove_entry(&at))
                {
                    running.run(Some(at + 1), |held, container| output.session(held).give_container(container));
                    if at < until {
                        let answered =
                            due.questions.iter().map(|question| (running.machine.answer(question, at), at, 1));
                        answers.session(&due.held).give_iterator(answered);
                    }
                }
                running.run(upper, |held, container| output.session(held).give_container(container));
            }
        });
        (results, answer_stream)
    }
}
