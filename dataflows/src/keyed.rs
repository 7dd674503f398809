//! The keyed operator: a state machine per key, run once for each complete time.
//!
//! Contract: updates of a time are held until the frontier has passed it; then [`Machine::step`] runs once for that time,
//! times ascending, over data and due wake-ups together. So neither batching nor order of arrival shows through: a
//! machine sees, for each time, the multiset of its updates. What it emits carries that time. A machine that depends on
//! order within a time sorts what it is given by position.
//!
//! What comes from several collections comes by several inputs of the one operator ([`Inlets`]), each with its own type and
//! pact. Which of them an update came by shows only in what it was made into.
//!
//! # Invariants
//! One capability is held, at the earliest pending time, never behind the frontier of all inputs: an idle machine delays
//! nobody. An update counts at its own time, not at its message's capability (D6). Nothing at or past `until` is run.
//!
//! # Cost
//! Two B-tree operations a time and worker; nothing a key. Buffers are kept from one time to the next, and what leaves
//! does so in containers of 32 KiB: the updates of a time touch no fresh memory. Measured in `differential.md`: 10 to 29
//! times cheaper than a `reduce` for last-value state.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::progress::frontier::MutableAntichain;

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

    /// Writes the first of its entries as they are now; whether that is all of them. A machine that has many remembers how they are
    /// now, and goes on in [`Machine::write_on`] between its steps.
    fn freeze(&mut self, parts: &mut Parts) -> bool {
        self.entries().iter().for_each(|entry| parts.entry(entry));
        true
    }

    /// Writes more of the entries as they were then; whether that was all.
    fn write_on(&mut self, parts: &mut Parts) -> bool {
        let _ = parts;
        true
    }

    /// Which worker an entry belongs to.
    fn home(entry: &Self::Entry) -> Home;

    /// Takes entries in, of any worker of any number of workers that are now this one's, and says when to be woken first. Called
    /// again and again, until all are there.
    fn restore(&mut self, entries: Vec<Self::Entry>) -> Vec<u64>;

    /// All entries are there, and the time is that of the cut, which has been run: tells again what was told ahead of time, and what
    /// others derive their state from; forgets what others will tell again.
    fn resume(&mut self, step: &mut Step<'_, Self::Output>) {
        let _ = step;
    }

    /// An empty machine of the same configuration, to restore into; `None`: it has no state of its own to write down.
    #[cfg(test)]
    fn fresh(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }
}

/// Runs `machine` over one input, distributed by `pact`; one with several is made of [`Inlets`].
pub fn keyed<'s, M, P>(
    name: &str,
    input: Collection<'s, M::Input>,
    pact: P,
    states: &States,
    machine: M,
) -> Collection<'s, M::Output>
where
    M: Machine,
    P: ParallelizationContract<u64, Updates<M::Input>>,
{
    Inlets::new(name, input.scope()).add(input, pact, Some).keyed(states, machine)
}

impl<'s, I: 'static> Inlets<'s, I> {
    /// Runs `machine` over all of them.
    pub fn keyed<M: Machine<Input = I>>(self, states: &States, machine: M) -> Collection<'s, M::Output> {
        let Inlets { name, mut builder, mut drains } = self;
        let (output, results) = builder.new_output::<Updates<M::Output>>();
        let mut output: OutputBuilder<u64, CapacityContainerBuilder<Updates<M::Output>>> = OutputBuilder::from(output);
        builder.build(move |mut capabilities| {
            let running = Running::new(&name, machine, states, capabilities.swap_remove(0));
            move |frontiers| {
                let running = &mut *running.borrow_mut();
                running.take(&mut drains);
                let mut output = output.activate();
                running.run(upper(frontiers), |held, container| output.session(held).give_container(container));
            }
        });
        results
    }
}

/// The earliest time that may still come by any input; `None`: all are closed.
fn upper(frontiers: &[MutableAntichain<u64>]) -> Option<u64> {
    frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min()
}

/// A machine at work.
struct Running<M: Machine> {
    machine: M,
    until: u64,
    pending: Pending<M::Input>,
    wake: BTreeSet<u64>,
    /// The cut at which it goes on, until it has.
    resumes: Option<u64>,
    /// What of its state is being written.
    parts: Parts,
    out: Updates<M::Output>,
    container: Updates<M::Output>,
}

impl<M: Machine> Running<M> {
    /// `initial`: the operator's, of its first output.
    fn new(name: &str, machine: M, states: &States, initial: Capability<u64>) -> Rc<RefCell<Self>> {
        let (mut pending, wake, out, container) = <(Pending<M::Input>, _, _, _)>::default();
        // What is to be restored may have something to say at once, and wake-ups.
        pending.held = states.restores().map(|_| initial);
        let running = Running {
            machine,
            until: states.until(),
            pending,
            wake,
            resumes: None,
            parts: Parts::default(),
            out,
            container,
        };
        let running = Rc::new(RefCell::new(running));
        states.keep(name, Rc::clone(&running) as Rc<dyn states::Kept>);
        running
    }

    /// Puts by what came.
    fn take(&mut self, inlets: &mut [Drain<M::Input>]) {
        inlets.iter_mut().for_each(|drain| drain(&mut self.pending));
    }

    /// Runs every time before `upper`, all of them where there is none, and sends what comes out of it.
    fn run(&mut self, upper: Option<u64>, mut send: impl FnMut(&Capability<u64>, &mut Updates<M::Output>)) {
        if let Some(cut) = self.resumes.take() {
            let held = self.pending.held.as_mut().expect("what is restored holds its first capability");
            held.downgrade(&cut);
            self.machine.resume(&mut Step { now: cut, out: &mut self.out, wake: &mut self.wake });
            give(&mut self.out, &mut self.container, held, &mut send);
        }
        let Pending { times, spare, held } = &mut self.pending;
        while let Some(next) = earliest(times, &self.wake) {
            if next >= self.until {
                times.clear();
                self.wake.clear();
                break;
            }
            let held = held.as_mut().expect("whatever is pending came with a capability that is still held");
            if held.time() < &next {
                held.downgrade(&next);
            }
            if upper.is_some_and(|upper| upper <= next) {
                return;
            }
            let mut data = times.remove(&next).unwrap_or_else(|| std::mem::take(spare));
            #[cfg(test)]
            restarts::restart(&mut self.machine, next, &mut self.wake);
            self.wake.remove(&next);
            let came = data.len();
            self.machine.step(&mut data, &mut Step { now: next, out: &mut self.out, wake: &mut self.wake });
            reuse(&mut data, came);
            *spare = data;
            give(&mut self.out, &mut self.container, held, &mut send);
        }
        *held = None; // Nothing is pending: hold nothing.
    }
}

/// Sends what came out, container by container, and leaves the buffer for the next time.
fn give<O>(
    out: &mut Updates<O>,
    container: &mut Updates<O>,
    held: &Capability<u64>,
    send: &mut impl FnMut(&Capability<u64>, &mut Updates<O>),
) {
    let container_updates = (CONTAINER_BYTES / size_of::<(O, u64, i64)>()).max(1);
    let (made, mut updates) = (out.len(), out.drain(..));
    while updates.len() > 0 {
        container.extend(updates.by_ref().take(container_updates));
        send(held, container);
        container.clear();
    }
    drop(updates);
    reuse(out, made);
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
mod inlets;
#[cfg(test)]
mod restarts;
mod states;

pub use asked::Asked;
pub use inlets::Inlets;
pub(crate) use inlets::put_by;
use inlets::{Drain, Pending};
pub use states::{FORMAT, Home, Parts, StateError, States};
