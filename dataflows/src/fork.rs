//! Forks: a second stream of what a few of a stream's data say, beside the stream itself.
//!
//! Contract: [`fork`] passes every container on as it came and gives what `pick` takes from its data to the second
//! stream, at the same times and with the same differences. A clone of a stream copies every datum; this copies only
//! what is picked. No exchange.

use crate::keyed::{Collection, Updates};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

/// An output of an operator with several of them.
pub type Port<D> = OutputBuilder<u64, CapacityContainerBuilder<Updates<D>>>;

/// The stream itself, and what `pick` takes from it.
pub fn fork<'s, D: Clone + 'static, E: Clone + 'static>(
    name: &str,
    stream: Collection<'s, D>,
    mut pick: impl FnMut(&D) -> Option<E> + 'static,
) -> (Collection<'s, D>, Collection<'s, E>) {
    let mut builder = OperatorBuilder::new(name.to_owned(), stream.scope());
    let mut input = builder.new_input(stream, Pipeline);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (all, all_stream) = builder.new_output();
    let (picked, picked_stream) = builder.new_output();
    let (mut all, mut picked) = (Port::<D>::from(all), Port::<E>::from(picked));
    builder.build(move |_capabilities| {
        move |_frontiers| {
            let (mut all, mut picked) = (all.activate(), picked.activate());
            input.for_each(|capability, data| {
                let found = data.iter().filter_map(|(datum, time, diff)| Some((pick(datum)?, *time, *diff)));
                picked.session(&capability).give_iterator(found);
                all.session(&capability).give_container(data);
            });
        }
    });
    (all_stream, picked_stream)
}
