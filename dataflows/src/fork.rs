//! Forks: further streams of what a stream's data say, beside the stream itself.
//!
//! Contract: [`Forks`] gives what each `pick` takes from a stream's data to a stream of its own, at the same times and with the same
//! differences; then the data go on as they came, or as what is made of them. A clone of a stream copies every datum; this copies only
//! what is picked. All of it is one operator, without exchange. [`fork`] is that with one stream beside the first.

use crate::keyed::{Collection, Updates};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::InputCapability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

/// An output of an operator with several of them.
pub type Port<D> = OutputBuilder<u64, CapacityContainerBuilder<Updates<D>>>;

/// What has come, container by container.
type Came<D> = Vec<(InputCapability<u64>, Updates<D>)>;

/// Gives to its own stream what it takes of what has come.
type Tap<D> = Box<dyn FnMut(&Came<D>)>;

/// A stream that is being forked.
pub struct Forks<'s, D> {
    builder: OperatorBuilder<'s, u64>,
    stream: Collection<'s, D>,
    taps: Vec<Tap<D>>,
}

impl<'s, D: Clone + 'static> Forks<'s, D> {
    /// No fork yet.
    #[must_use]
    pub fn new(name: &str, stream: Collection<'s, D>) -> Self {
        let builder = OperatorBuilder::new(name.to_owned(), stream.scope());
        Forks { builder, stream, taps: Vec::new() }
    }

    /// What `pick` takes from the stream.
    #[must_use]
    pub fn tap<E: Clone + 'static>(&mut self, mut pick: impl FnMut(&D) -> Option<E> + 'static) -> Collection<'s, E> {
        let (port, picked) = self.builder.new_output();
        let mut port = Port::<E>::from(port);
        self.taps.push(Box::new(move |came| {
            let mut port = port.activate();
            for (capability, data) in came {
                let found = data.iter().filter_map(|(datum, time, diff)| Some((pick(datum)?, *time, *diff)));
                port.session(capability).give_iterator(found);
            }
        }));
        picked
    }

    /// The stream itself, container by container as it came.
    #[must_use]
    pub fn all(mut self) -> Collection<'s, D> {
        let (port, all) = self.builder.new_output();
        let mut port = Port::<D>::from(port);
        self.build(move |came| {
            let mut port = port.activate();
            for (capability, mut data) in came.drain(..) {
                port.session(&capability).give_container(&mut data);
            }
        });
        all
    }

    /// What `take` makes of the stream.
    #[must_use]
    pub fn rest<E: Clone + 'static>(mut self, mut take: impl FnMut(D) -> Option<E> + 'static) -> Collection<'s, E> {
        let (port, rest) = self.builder.new_output();
        let mut port = Port::<E>::from(port);
        self.build(move |came| {
            let mut port = port.activate();
            for (capability, mut data) in came.drain(..) {
                let taken = data.drain(..).filter_map(|(datum, time, diff)| Some((take(datum)?, time, diff)));
                port.session(&capability).give_iterator(taken);
            }
        });
        rest
    }

    /// Builds the operator; `last` gets what has come when all taps have seen it.
    fn build(self, mut last: impl FnMut(&mut Came<D>) + 'static) {
        let Forks { mut builder, stream, mut taps } = self;
        let mut input = builder.new_input(stream, Pipeline);
        builder.set_notify_for(0, FrontierInterest::Never);
        builder.build(move |_capabilities| {
            let mut came = Came::new();
            move |_frontiers| {
                input.for_each(|capability, data| came.push((capability, std::mem::take(data))));
                if !came.is_empty() {
                    taps.iter_mut().for_each(|tap| tap(&came));
                    last(&mut came);
                }
            }
        });
    }
}

/// The stream itself, and what `pick` takes from it.
pub fn fork<'s, D: Clone + 'static, E: Clone + 'static>(
    name: &str,
    stream: Collection<'s, D>,
    pick: impl FnMut(&D) -> Option<E> + 'static,
) -> (Collection<'s, D>, Collection<'s, E>) {
    let mut forks = Forks::new(name, stream);
    let picked = forks.tap(pick);
    (forks.all(), picked)
}
