//! The inputs of a keyed operator: several collections, each with its own type and its own pact.
//!
//! Contract: [`Inlets::add`] makes a collection an input. What comes is made into the machine's input when it has arrived on its
//! worker, at its time and with its difference; what makes none is dropped, as if it had never come. So what depends on the rest
//! of the cluster, such as a copy for every worker, is made before.
//!
//! # Invariants
//! A time of which everything was dropped is not run. No input goes before another: a machine sees the updates of all of them
//! together. Whatever is pending is held by a capability, so an operator without one need not know how far its inputs are: it is run
//! when a message comes.
//!
//! # Cost
//! A frontier and a call an input each time the operator runs. There is no operator for the conversion and none for the union: each
//! would cost its part of timely's progress at every tick, and move each update once more.

use super::{Collection, Updates};
use std::collections::BTreeMap;
use timely::dataflow::Scope;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

/// The inputs of an operator that is yet to be built: each makes what comes into `I`.
pub struct Inlets<'s, I> {
    pub(super) name: String,
    pub(super) builder: OperatorBuilder<'s, u64>,
    pub(super) drains: Vec<Drain<I>>,
}

/// Puts by what came by one input.
pub(super) type Drain<I> = Box<dyn FnMut(&mut Pending<I>)>;

impl<'s, I: 'static> Inlets<'s, I> {
    /// None yet, of the operator `name`.
    #[must_use]
    pub fn new(name: &str, scope: Scope<'s, u64>) -> Self {
        Inlets { name: name.to_owned(), builder: OperatorBuilder::new(name.to_owned(), scope), drains: Vec::new() }
    }

    /// One more: `collection`, distributed by `pact`, of which `convert` takes what it has a use for.
    #[must_use]
    pub fn add<D, P>(
        mut self,
        collection: Collection<'s, D>,
        pact: P,
        mut convert: impl FnMut(D) -> Option<I> + 'static,
    ) -> Self
    where
        D: Clone + 'static,
        P: ParallelizationContract<u64, Updates<D>>,
    {
        let mut input = self.builder.new_input(collection, pact);
        self.builder.set_notify_for(self.drains.len(), FrontierInterest::IfCapability);
        self.drains.push(Box::new(move |pending| {
            input.for_each(|capability, data| {
                let least = capability.least().copied();
                put_by(data, &mut pending.times, &mut pending.spare, &mut convert);
                pending.hold(least, || capability.retain_least(0));
            });
        }));
        self
    }
}

/// What has come and was not run yet.
pub(super) struct Pending<I> {
    pub(super) times: BTreeMap<u64, Vec<(I, i64)>>,
    /// The buffer of a time that was run is the buffer of the next one to come.
    pub(super) spare: Vec<(I, i64)>,
    /// Good for all of it.
    pub(super) held: Option<Capability<u64>>,
}

impl<I> Default for Pending<I> {
    fn default() -> Self {
        Pending { times: BTreeMap::new(), spare: Vec::new(), held: None }
    }
}

impl<I> Pending<I> {
    /// Holds the capability of a message, which `retain` gives, if `least`, the earliest time that it is good for, is before what is held.
    fn hold(&mut self, least: Option<u64>, retain: impl FnOnce() -> Option<Capability<u64>>) {
        let Some(least) = least else { return };
        if self.held.as_ref().is_none_or(|held| held.time() > &least) {
            self.held = retain();
        }
    }
}

/// Puts by, for its time, what `convert` makes of updates; the first time that is new takes the spare buffer.
pub(crate) fn put_by<D, I>(
    data: &mut Updates<D>,
    pending: &mut BTreeMap<u64, Vec<(I, i64)>>,
    spare: &mut Vec<(I, i64)>,
    mut convert: impl FnMut(D) -> Option<I>,
) {
    let converted = data.drain(..).filter_map(|(datum, time, diff)| Some((convert(datum)?, time, diff)));
    let mut converted = converted.peekable();
    while let Some((datum, time, diff)) = converted.next() {
        let same = pending.entry(time).or_insert_with(|| std::mem::take(spare));
        same.push((datum, diff));
        while let Some((datum, _, diff)) = converted.next_if(|(_, next, _)| *next == time) {
            same.push((datum, diff));
        }
    }
}
