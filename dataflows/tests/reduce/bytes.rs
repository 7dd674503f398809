//! Differential dataflow over bytes: each operator is compiled once, whatever runs through it.
//!
//! Contract: a datum is its JSON; of a pair `[key,value]` the parts are taken as they stand, so equal keys are equal bytes. All
//! that depends on types is behind a `dyn Fn`: an operator with types of its own would bring its own batcher, spine and cursor,
//! which takes the compiler seconds each.

use super::stages::Updates;
use differential_dataflow::VecCollection;
use serde_json::value::RawValue;
use std::cmp::Ordering;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Scope;
use timely::dataflow::operators::generic::source;
use timely::dataflow::operators::vec::Map as _;

/// A datum as JSON.
pub(crate) type Bytes = Vec<u8>;

/// A collection of anything.
pub(crate) type Raw<'s> = VecCollection<'s, u64, Bytes, isize>;

type Keyed<'s> = VecCollection<'s, u64, (Bytes, Bytes), isize>;

/// What becomes of one update.
pub(crate) type Change = Box<dyn Fn(Bytes, u64, isize, &mut Updates<Bytes>)>;

/// What becomes of a key and the values that it has.
pub(crate) type Logic = Box<dyn Fn(&[u8], &[(&Bytes, isize)], &mut Vec<Bytes>)>;

fn pair(key: &[u8], value: &[u8]) -> Bytes {
    [b"[", key, b",", value, b"]"].concat()
}

/// The parts of `[key,value]`.
fn parts(pair: &[u8]) -> (&[u8], &[u8]) {
    let (key, value): (&RawValue, &RawValue) = serde_json::from_slice(pair).expect("a pair");
    (key.get().as_bytes(), value.get().as_bytes())
}

fn keyed(pairs: Raw<'_>) -> Keyed<'_> {
    pairs.map(|pair| {
        let (key, value) = parts(&pair);
        (key.to_vec(), value.to_vec())
    })
}

/// Each datum with nothing as its value.
pub(crate) fn alone(data: Raw<'_>) -> Raw<'_> {
    change(data, Box::new(|datum, at, diff, changed| changed.push((pair(&datum, b"null"), at, diff))))
}

#[inline(never)]
pub(crate) fn change(data: Raw<'_>, to: Change) -> Raw<'_> {
    Raw::new(data.inner.flat_map(move |(datum, at, diff)| {
        let mut changed = Vec::new();
        to(datum, at, diff, &mut changed);
        changed
    }))
}

#[inline(never)]
pub(crate) fn reduce(pairs: Raw<'_>, logic: Logic) -> Raw<'_> {
    let reduced = keyed(pairs).reduce(move |key, values, output: &mut Vec<(Bytes, isize)>| {
        let mut found = Vec::new();
        logic(key, values, &mut found);
        output.extend(found.into_iter().map(|datum| (datum, 1)));
    });
    reduced.map(|(key, value)| pair(&key, &value))
}

/// `[key,[one,other]]` of each two with the same key.
#[inline(never)]
pub(crate) fn join<'s>(one: Raw<'s>, other: Raw<'s>) -> Raw<'s> {
    keyed(one).join_map(keyed(other), |key, one, other| pair(key, &pair(one, other)))
}

/// The pairs of those keys, each as often as there is its key.
pub(crate) fn semijoin<'s>(pairs: Raw<'s>, keys: Raw<'s>) -> Raw<'s> {
    let to = |joined: Bytes, at, diff, changed: &mut Updates<Bytes>| {
        let (key, both) = parts(&joined);
        changed.push((pair(key, parts(both).0), at, diff));
    };
    change(join(pairs, alone(keys)), Box::new(to))
}

/// How data stand in order. As a `sort` of numbers it is compiled once.
pub(crate) fn in_order(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|one, other| compare(*one, *other));
    order
}

/// Gives each worker its share, tick by tick.
#[inline(never)]
pub(crate) fn feed<'s>(scope: Scope<'s, u64>, updates: &Updates<Bytes>) -> Raw<'s> {
    let (index, peers) = (scope.index(), scope.peers());
    let share = updates.iter().enumerate().filter(|(n, _)| n % peers == index);
    let mut updates: Updates<Bytes> = share.map(|(_, update)| update.clone()).collect();
    updates.sort_by_key(|(_, at, _)| *at);
    let mut rest = updates.into_iter().peekable();
    Raw::new(source::<_, CapacityContainerBuilder<Updates<Bytes>>, _, _>(scope, "Stage", |capability, info| {
        let (mut held, activator) = (Some(capability), scope.activator_for(info.address));
        move |output| {
            let Some(capability) = &mut held else { return };
            let Some(now) = rest.peek().map(|(_, at, _)| *at) else {
                held = None;
                return;
            };
            capability.downgrade(&now);
            let mut session = output.session(&*capability);
            while let Some(update) = rest.next_if(|(_, at, _)| *at == now) {
                session.give(update);
            }
            drop(session);
            activator.activate();
        }
    }))
}
