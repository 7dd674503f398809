//! What each operator of a dataflow costs, by timely's own log of when each was scheduled.
//!
//! Contract: [`watch`] before the dataflow is built; then [`Operators`] holds, of one worker, how long each operator ran by the
//! clock, what ran inside of it taken off, and how many records came to it. An operator without a name of its own (`FlatMap`,
//! `OkErr`, `Concatenate`) is named after what it follows if that is one operator, else after what follows it.
//!
//! # Cost
//! Two readings of the clock each time an operator is scheduled, and a record a message.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use timely::logging::{ChannelsEvent, MessagesEvent, ScheduleEvent, StartStop, TimelyEvent, TimelyEventBuilder};
use timely::worker::Worker;

/// Names that operators have of their kind and not of their purpose.
const KINDS: [&str; 7] = ["FlatMap", "Map", "OkErr", "Concatenate", "Filter", "Exchange", "Rows"];

/// One operator of one worker.
#[derive(Clone, Default)]
pub(crate) struct Operator {
    name: String,
    address: Vec<usize>,
    /// How long it ran.
    pub(crate) busy: Duration,
    /// How often.
    pub(crate) runs: u64,
    /// How many records came to it.
    pub(crate) records: u64,
}

/// The operators of one worker.
#[derive(Default)]
pub(crate) struct Operators {
    by_id: BTreeMap<usize, Operator>,
    channels: BTreeMap<usize, ChannelsEvent>,
    records: BTreeMap<usize, u64>,
    /// What runs now, outermost first: since when, and how much of that was what ran inside.
    running: Vec<(usize, Duration, Duration)>,
}

/// Has timely tell `operators` what happens on this worker.
pub(crate) fn watch(worker: &Worker, operators: &Rc<RefCell<Operators>>) {
    let operators = Rc::clone(operators);
    let mut log = worker.log_register().expect("timely keeps a log");
    log.insert::<TimelyEventBuilder, _>("timely", move |_, data| {
        let mut operators = operators.borrow_mut();
        data.iter_mut().flat_map(|data| data.drain(..)).for_each(|(time, event)| operators.take_down(time, event));
    });
}

impl Operators {
    fn take_down(&mut self, time: Duration, event: TimelyEvent) {
        match event {
            TimelyEvent::Operates(made) => {
                let operator = self.by_id.entry(made.id).or_default();
                (operator.name, operator.address) = (made.name, made.addr);
            }
            TimelyEvent::Channels(made) => {
                self.channels.insert(made.id, made);
            }
            TimelyEvent::Messages(MessagesEvent { is_send: false, channel, record_count, .. }) => {
                *self.records.entry(channel).or_default() += record_count.unsigned_abs();
            }
            TimelyEvent::Schedule(ScheduleEvent { id, start_stop: StartStop::Start }) => {
                self.running.push((id, time, Duration::ZERO));
            }
            TimelyEvent::Schedule(ScheduleEvent { .. }) => self.stopped(time),
            _ => {}
        }
    }

    fn stopped(&mut self, time: Duration) {
        let Some((id, begin, inside)) = self.running.pop() else { return };
        let took = time.saturating_sub(begin);
        let operator = self.by_id.entry(id).or_default();
        operator.busy += took.saturating_sub(inside);
        operator.runs += 1;
        if let Some((.., inside)) = self.running.last_mut() {
            *inside += took;
        }
    }

    /// The names, by timely's numbers.
    pub(crate) fn names(&self) -> BTreeMap<usize, String> {
        self.by_id.iter().map(|(id, operator)| (*id, self.name(operator))).collect()
    }

    /// All of them by name, those of one name together.
    pub(crate) fn by_name(&self) -> BTreeMap<String, Operator> {
        let mut named = BTreeMap::<String, Operator>::new();
        for operator in self.by_id.values() {
            let sum = named.entry(self.name(operator)).or_default();
            sum.busy += operator.busy;
            sum.runs += operator.runs;
            sum.records +=
                self.channels_of(operator, false).map(|(id, _)| self.records.get(&id).unwrap_or(&0)).sum::<u64>();
        }
        named
    }

    /// The channels that come to an operator, or go from it, each with the address of the operator at its other end.
    fn channels_of(&self, operator: &Operator, from: bool) -> impl Iterator<Item = (usize, Vec<usize>)> {
        self.channels.values().filter_map(move |channel| {
            let address = |index: usize| [&channel.scope_addr[..], &[index]].concat();
            let (source, target) = (address(channel.source.0), address(channel.target.0));
            let (own, other) = if from { (source, target) } else { (target, source) };
            (own == operator.address).then_some((channel.id, other))
        })
    }

    /// Its own name; or its kind with the nearest operator that has one: before it, if nothing else comes in between, or behind it.
    fn name(&self, operator: &Operator) -> String {
        let own = |operator: &Operator| !KINDS.contains(&operator.name.as_str());
        let mut before = Some(operator);
        while let Some(unnamed) = before.filter(|operator| !own(operator)) {
            let sources: Vec<_> = self.channels_of(unnamed, false).collect();
            before = if let [(_, source)] = &sources[..] { self.at(source) } else { None };
        }
        let mut behind = Some(operator);
        while let Some(unnamed) = behind.filter(|operator| !own(operator)) {
            behind = self.channels_of(unnamed, true).next().and_then(|(_, target)| self.at(&target));
        }
        match (own(operator), before, behind) {
            (false, Some(before), _) => format!("{} of {}", operator.name, before.name),
            (false, None, Some(behind)) => format!("{} to {}", operator.name, behind.name),
            _ => operator.name.clone(),
        }
    }

    fn at(&self, address: &[usize]) -> Option<&Operator> {
        self.by_id.values().find(|operator| operator.address == address)
    }
}
