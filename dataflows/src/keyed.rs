//! The keyed operator: a state machine per key, run once for each complete time.
//!
//! Contract: updates of a time are held until the frontier has passed it; then [`Machine::step`] runs once for that time,
//! times ascending, over data and due wake-ups together. So neither batching nor order of arrival shows through: a
//! machine sees, for each time, the multiset of its updates. What it emits carries that time. A machine that depends on
//! order within a time sorts what it is given by position.
//!
//! # Invariants
//! One capability is held, at the earliest pending time, never behind the input's frontier: an idle machine delays
//! nobody. An update counts at its own time, not at its message's capability (D6). Nothing at or past `until` is run.
//!
//! # Cost
//! Two B-tree operations a time and worker; nothing a key. Buffers are kept from one time to the next, and what leaves
//! does so in containers of 32 KiB: the updates of a time touch no fresh memory. Measured in `differential.md`: 10 to 29
//! times cheaper than a `reduce` for last-value state.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// A container of updates: differential's `(datum, time, diff)`.
pub type Updates<D> = Vec<(D, u64, i64)>;

/// A stream of updates.
pub type Collection<'s, D> = Stream<'s, u64, Updates<D>>;

/// How long a container of updates becomes, at least one update.
const CONTAINER_BYTES: usize = 1 << 15;

/// What a step may do besides changing its state: emit updates and ask to be woken.
pub struct Step<'a, O> {
    now: u64,
    out: &'a mut Updates<O>,
    wake: &'a mut BTreeSet<u64>,
}

impl<'a, O> Step<'a, O> {
    /// A step outside a dataflow, for tests and second implementations.
    pub fn new(now: u64, out: &'a mut Updates<O>, wake: &'a mut BTreeSet<u64>) -> Self {
        Step { now, out, wake }
    }

    /// The time that is run.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Emits an update at the running time.
    pub fn emit(&mut self, datum: O, diff: i64) {
        self.out.push((datum, self.now, diff));
    }

    /// Asks to be run at `time`, whether data comes or not.
    ///
    /// # Panics
    /// When `time` is not after the running time: it would never come.
    pub fn wake_at(&mut self, time: u64) {
        assert!(time > self.now, "a wake-up at {time} is not after the running time {}", self.now);
        self.wake.insert(time);
    }
}

/// State machines for all keys of one worker.
pub trait Machine: 'static {
    /// What comes in.
    type Input: Clone + 'static;
    /// What goes out.
    type Output: Clone + 'static;
    /// An entry of the state, for snapshots: its key first.
    type Entry: Serialize + DeserializeOwned;

    /// Runs one complete time: `data` are all its updates, in no order that may matter; empty when only a wake-up is due.
    fn step(&mut self, data: &mut Vec<(Self::Input, i64)>, step: &mut Step<'_, Self::Output>);

    /// The whole state in key order, such that [`Machine::restore`] of it behaves as this machine does.
    fn entries(&self) -> Vec<Self::Entry>;

    /// Takes entries in, of any worker of any number of workers that are now this one's, and says when to be woken first.
    fn restore(&mut self, entries: Vec<Self::Entry>) -> Vec<u64>;

    /// An empty machine of the same configuration, to restore into; `None`: it has no state of its own to write down.
    #[cfg(test)]
    fn fresh(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }
}

/// Runs `machine` over `input`, distributed by `pact`.
pub fn keyed<'s, M, P>(
    name: &str,
    input: Collection<'s, M::Input>,
    pact: P,
    until: u64,
    machine: M,
) -> Collection<'s, M::Output>
where
    M: Machine,
    P: ParallelizationContract<u64, Updates<M::Input>>,
{
    let mut builder = OperatorBuilder::new(name.to_owned(), input.scope());
    let mut input = builder.new_input(input, pact);
    let (output, results) = builder.new_output::<Updates<M::Output>>();
    let mut output: OutputBuilder<u64, CapacityContainerBuilder<Updates<M::Output>>> = OutputBuilder::from(output);
    builder.build(move |_capabilities| {
        let mut running = Running::new(machine, until);
        move |frontiers| {
            input.for_each(|capability, data| {
                let least = capability.least().copied();
                running.take(data, least, || capability.retain_least(0));
            });
            let upper = frontiers[0].frontier().first().copied(); // None: the input is closed.
            let mut output = output.activate();
            running.run(upper, |held, container| output.session(held).give_container(container));
        }
    });
    results
}

/// A machine at work.
struct Running<M: Machine> {
    machine: M,
    until: u64,
    pending: BTreeMap<u64, Vec<(M::Input, i64)>>,
    wake: BTreeSet<u64>,
    held: Option<Capability<u64>>,
    /// The buffer of a time that was run is the buffer of the next one to come.
    spare: Vec<(M::Input, i64)>,
    out: Updates<M::Output>,
    container: Updates<M::Output>,
}

impl<M: Machine> Running<M> {
    fn new(machine: M, until: u64) -> Self {
        let (pending, wake, spare, out, container) = Default::default();
        Running { machine, until, pending, wake, held: None, spare, out, container }
    }

    /// Puts by what came; `least` is the earliest time that its capability, which `retain` gives, is good for.
    fn take(
        &mut self,
        data: &mut Updates<M::Input>,
        least: Option<u64>,
        retain: impl FnOnce() -> Option<Capability<u64>>,
    ) {
        put_by(data, &mut self.pending, &mut self.spare);
        let Some(least) = least else { return };
        if self.held.as_ref().is_none_or(|held| held.time() > &least) {
            self.held = retain();
        }
    }

    /// Runs every time before `upper`, all of them where there is none, and sends what comes out of it.
    fn run(&mut self, upper: Option<u64>, mut send: impl FnMut(&Capability<u64>, &mut Updates<M::Output>)) {
        let container_updates = (CONTAINER_BYTES / size_of::<(M::Output, u64, i64)>()).max(1);
        while let Some(next) = earliest(&self.pending, &self.wake) {
            if next >= self.until {
                self.pending.clear();
                self.wake.clear();
                break;
            }
            let held = self.held.as_mut().expect("whatever is pending came with a capability that is still held");
            if held.time() < &next {
                held.downgrade(&next);
            }
            if upper.is_some_and(|upper| upper <= next) {
                return;
            }
            let mut data = self.pending.remove(&next).unwrap_or_else(|| std::mem::take(&mut self.spare));
            #[cfg(test)]
            restarts::restart(&mut self.machine, next, &mut self.wake);
            self.wake.remove(&next);
            let came = data.len();
            self.machine.step(&mut data, &mut Step { now: next, out: &mut self.out, wake: &mut self.wake });
            reuse(&mut data, came);
            self.spare = data;
            let (made, mut updates) = (self.out.len(), self.out.drain(..));
            while updates.len() > 0 {
                self.container.extend(updates.by_ref().take(container_updates));
                send(held, &mut self.container);
                self.container.clear();
            }
            drop(updates);
            reuse(&mut self.out, made);
        }
        self.held = None; // Nothing is pending: hold nothing.
    }
}

/// Puts updates by for their times; the first time that is new takes the spare buffer.
pub(crate) fn put_by<D>(data: &mut Updates<D>, pending: &mut BTreeMap<u64, Vec<(D, i64)>>, spare: &mut Vec<(D, i64)>) {
    let mut data = data.drain(..).peekable();
    while let Some((datum, time, diff)) = data.next() {
        let same = pending.entry(time).or_insert_with(|| std::mem::take(spare));
        same.push((datum, diff));
        while let Some((datum, _, diff)) = data.next_if(|(_, next, _)| *next == time) {
            same.push((datum, diff));
        }
    }
}

/// Empties a buffer for its next use; one that was nearly empty gives half of its memory back.
pub(crate) fn reuse<T>(buffer: &mut Vec<T>, used: usize) {
    buffer.clear();
    if buffer.capacity() > 4096 && used < buffer.capacity() / 8 {
        buffer.shrink_to(buffer.capacity() / 2);
    }
}

fn earliest<T>(pending: &BTreeMap<u64, T>, wake: &BTreeSet<u64>) -> Option<u64> {
    match (pending.keys().next(), wake.first()) {
        (Some(data), Some(wake)) => Some(*data.min(wake)),
        (Some(time), None) | (None, Some(time)) => Some(*time),
        (None, None) => None,
    }
}

mod asked;
#[cfg(test)]
mod restarts;

pub use asked::{Asked, keyed_asked};
