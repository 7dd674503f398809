//! Collections with types: thin clothes for [`bytes`](super::bytes).
//!
//! Contract: a method is the differential operator of its name. A `reduce` sees its values in their own order, not in that of their
//! bytes, and says what there is once each.

use super::bytes::{self, Bytes, Raw};
use super::stages::Updates;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use timely::dataflow::Scope;

/// What can be in a collection.
pub(crate) trait Datum: Serialize + DeserializeOwned + 'static {}

impl<D: Serialize + DeserializeOwned + 'static> Datum for D {}

pub(crate) fn write<D: Serialize>(datum: &D) -> Bytes {
    serde_json::to_vec(datum).expect("can be written")
}

pub(crate) fn read<D: DeserializeOwned>(bytes: &[u8]) -> D {
    serde_json::from_slice(bytes).expect("it was written")
}

/// Updates that are fed.
#[derive(Clone)]
pub(crate) struct Fed<D>(Updates<Bytes>, PhantomData<fn() -> D>);

impl<D: Datum> Fed<D> {
    pub(crate) fn new(updates: impl IntoIterator<Item = (D, u64, isize)>) -> Fed<D> {
        Fed::written(updates.into_iter().map(|(datum, at, diff)| (write(&datum), at, diff)).collect())
    }

    pub(crate) fn written(updates: Updates<Bytes>) -> Fed<D> {
        Fed(updates, PhantomData)
    }

    pub(crate) fn feed<'s>(&self, scope: Scope<'s, u64>) -> Of<'s, D> {
        Of(bytes::feed(scope, &self.0), PhantomData)
    }
}

/// A collection.
pub(crate) struct Of<'s, D>(Raw<'s>, PhantomData<fn() -> D>);

impl<D> Clone for Of<'_, D> {
    fn clone(&self) -> Self {
        Of(self.0.clone(), PhantomData)
    }
}

impl<'s, D: Datum> Of<'s, D> {
    pub(crate) fn raw(self) -> Raw<'s> {
        self.0
    }

    /// Anything, at any time not before an update's own, in the place of each update.
    pub(crate) fn change<E: Datum, I: IntoIterator<Item = (E, u64, isize)>>(
        self,
        to: impl Fn(D, u64, isize) -> I + 'static,
    ) -> Of<'s, E> {
        let to = move |datum: Bytes, at, diff, changed: &mut Updates<Bytes>| {
            for (datum, at, diff) in to(read(&datum), at, diff) {
                changed.push((write(&datum), at, diff));
            }
        };
        Of(bytes::change(self.0, Box::new(to)), PhantomData)
    }

    pub(crate) fn flat_map<E: Datum, I: IntoIterator<Item = E>>(self, to: impl Fn(D) -> I + 'static) -> Of<'s, E> {
        let to = move |datum: Bytes, at, diff, changed: &mut Updates<Bytes>| {
            for datum in to(read(&datum)) {
                changed.push((write(&datum), at, diff));
            }
        };
        Of(bytes::change(self.0, Box::new(to)), PhantomData)
    }

    pub(crate) fn map<E: Datum>(self, to: impl Fn(D) -> E + 'static) -> Of<'s, E> {
        let to = move |datum: Bytes, at, diff, changed: &mut Updates<Bytes>| {
            changed.push((write(&to(read(&datum))), at, diff));
        };
        Of(bytes::change(self.0, Box::new(to)), PhantomData)
    }

    pub(crate) fn filter(self, stays: impl Fn(&D) -> bool + 'static) -> Of<'s, D> {
        let to = move |datum: Bytes, at, diff, changed: &mut Updates<Bytes>| {
            if stays(&read(&datum)) {
                changed.push((datum, at, diff));
            }
        };
        Of(bytes::change(self.0, Box::new(to)), PhantomData)
    }

    pub(crate) fn concat(self, other: Of<'s, D>) -> Of<'s, D> {
        Of(self.0.concat(other.0), PhantomData)
    }

    pub(crate) fn negate(self) -> Of<'s, D> {
        Of(self.0.negate(), PhantomData)
    }

    /// Each with how often it is there.
    pub(crate) fn count(self) -> Of<'s, (D, i64)> {
        let logic = |_: &[u8], values: &[(&Bytes, isize)], found: &mut Vec<Bytes>| found.push(write(&values[0].1));
        Of(bytes::reduce(bytes::alone(self.0), Box::new(logic)), PhantomData)
    }

    pub(crate) fn distinct(self) -> Of<'s, D> {
        self.count().flat_map(|(datum, count)| (count > 0).then_some(datum))
    }
}

impl<'s, K: Datum, V: Datum> Of<'s, (K, V)> {
    pub(crate) fn reduce<E: Datum>(self, logic: impl Fn(&K, &[(V, isize)]) -> Vec<E> + 'static) -> Of<'s, (K, E)>
    where
        V: Ord,
    {
        let logic = move |key: &[u8], values: &[(&Bytes, isize)], found: &mut Vec<Bytes>| {
            let read_one = |(value, count): &(&Bytes, isize)| Some((read::<V>(value), *count));
            let mut values: Vec<Option<(V, isize)>> = values.iter().map(read_one).collect();
            let order = bytes::in_order(values.len(), &|one, other| values[one].cmp(&values[other]));
            let sorted: Vec<(V, isize)> = order.into_iter().filter_map(|place| values[place].take()).collect();
            for datum in logic(&read(key), &sorted) {
                found.push(write(&datum));
            }
        };
        Of(bytes::reduce(self.0, Box::new(logic)), PhantomData)
    }

    pub(crate) fn join<W: Datum>(self, other: Of<'s, (K, W)>) -> Of<'s, (K, (V, W))> {
        Of(bytes::join(self.0, other.0), PhantomData)
    }

    pub(crate) fn semijoin(self, keys: Of<'s, K>) -> Of<'s, (K, V)> {
        Of(bytes::semijoin(self.0, keys.0), PhantomData)
    }

    pub(crate) fn antijoin(self, keys: Of<'s, K>) -> Of<'s, (K, V)> {
        self.clone().concat(self.semijoin(keys).negate())
    }
}
