//! The first K of each group, kept up to date.
//!
//! Contract: takes signed values by group, keeps them ordered, and emits the changes of the first K of each group; the value's
//! own total order decides, so ties do not depend on arrival (D2). Stacked in two layers, buckets of a group first and the
//! group then, one hot group is not one worker's job (`differential.md`).
//!
//! # Invariants
//! A value stands in a group at most once. One that is pushed out by better ones leaves as evicted; one that is taken back
//! leaves with the cause given.
//!
//! # Cost
//! State O(values); a group that changes costs O(changes × log n + K) a step.

use crate::keyed::{Home, Machine, Step};
use crate::map::Map;
use differential_dataflow::consolidation::consolidate;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use weir_schemas::id::Id;
use weir_schemas::update::Cause;

/// A group, and a bucket of it.
pub type Group = (Id, u32);

/// A value of a group; the update's difference is +1 or −1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranked<V> {
    /// The group.
    pub group: Group,
    /// The value: the smallest come first.
    pub value: V,
    /// Why it leaves; of interest on a −1.
    pub cause: Cause,
}

/// Keeps the first K of each group.
pub struct TopK<V> {
    k: usize,
    groups: Map<Group, BTreeSet<V>>,
}

impl<V> TopK<V> {
    /// Keeps the first `k`.
    #[must_use]
    pub fn new(k: usize) -> Self {
        TopK { k, groups: Map::default() }
    }
}

impl<V: Ord + Clone + Serialize + DeserializeOwned + 'static> TopK<V> {
    fn change(&mut self, group: Group, changes: Vec<(V, i64, Cause)>, step: &mut Step<'_, Ranked<V>>) {
        let values = self.groups.get_or_insert_with(group, BTreeSet::new);
        let before: Vec<V> = values.iter().take(self.k).cloned().collect();
        let causes: BTreeMap<V, Cause> =
            changes.iter().filter(|(_, diff, _)| *diff < 0).map(|(value, _, cause)| (value.clone(), *cause)).collect();
        let mut changes: Vec<(V, i64)> = changes.into_iter().map(|(value, diff, _)| (value, diff)).collect();
        consolidate(&mut changes);
        for (value, diff) in changes {
            let expected = if diff > 0 { values.insert(value) } else { values.remove(&value) };
            assert!(expected && diff.abs() == 1, "a value stands in its group once or not at all");
        }
        let after: BTreeSet<&V> = values.iter().take(self.k).collect();
        for value in before.iter().filter(|value| !after.contains(value)) {
            let cause = causes.get(value).copied().unwrap_or(Cause::Evicted);
            step.emit(Ranked { group, value: value.clone(), cause }, -1);
        }
        for value in after.into_iter().filter(|value| before.binary_search(value).is_err()) {
            step.emit(Ranked { group, value: value.clone(), cause: Cause::Changed }, 1);
        }
        if values.is_empty() {
            self.groups.remove(&group);
        }
    }
}

impl<V: Ord + Clone + Serialize + DeserializeOwned + 'static> Machine for TopK<V> {
    type Input = Ranked<V>;
    type Output = Ranked<V>;
    type Entry = (Group, Vec<V>);

    fn step(&mut self, data: &mut Vec<(Ranked<V>, i64)>, step: &mut Step<'_, Ranked<V>>) {
        let mut groups: BTreeMap<Group, Vec<(V, i64, Cause)>> = BTreeMap::new();
        for (Ranked { group, value, cause }, diff) in data.drain(..) {
            groups.entry(group).or_default().push((value, diff, cause));
        }
        for (group, changes) in groups {
            self.change(group, changes, step);
        }
    }

    fn entries(&self) -> Vec<(Group, Vec<V>)> {
        self.groups.sorted().into_iter().map(|(group, values)| (*group, values.iter().cloned().collect())).collect()
    }

    fn home(((project, bucket), _): &Self::Entry) -> Home {
        Home::Routed(project.route().wrapping_add(u64::from(*bucket)))
    }

    fn restore(&mut self, entries: Vec<(Group, Vec<V>)>) -> Vec<u64> {
        for (group, values) in entries {
            self.groups.insert(group, values.into_iter().collect());
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GROUP: Group = (Id(7), 0);

    fn step(machine: &mut TopK<u32>, changes: &[(u32, i64)]) -> Vec<(u32, i64, Cause)> {
        let mut data = changes
            .iter()
            .map(|(value, diff)| (Ranked { group: GROUP, value: *value, cause: Cause::Withdrawn }, *diff))
            .collect();
        let (mut out, mut wake) = (Vec::new(), BTreeSet::new());
        machine.step(&mut data, &mut Step::new(10, &mut out, &mut wake));
        out.into_iter().map(|(ranked, _, diff)| (ranked.value, diff, ranked.cause)).collect()
    }

    #[test]
    fn whoever_is_pushed_out_is_evicted_and_whoever_is_taken_back_is_not() {
        let mut machine = TopK::new(2);
        step(&mut machine, &[(5, 1), (3, 1)]);
        assert_eq!(step(&mut machine, &[(1, 1)]), [(5, -1, Cause::Evicted), (1, 1, Cause::Changed)]);
        assert_eq!(step(&mut machine, &[(1, -1)]), [(1, -1, Cause::Withdrawn), (5, 1, Cause::Changed)]);
        assert_eq!(step(&mut machine, &[(9, 1), (9, -1)]), []);
    }

    proptest! {
        #[test]
        fn the_changes_add_up_to_the_first_k(
            toggles in prop::collection::vec(prop::collection::btree_set(0u32..30, 0..8), 1..20), k in 1usize..6,
        ) {
            let (mut machine, mut all, mut shown) = (TopK::new(k), BTreeSet::new(), BTreeSet::new());
            for values in toggles {
                let changes: Vec<(u32, i64)> =
                    values.iter().map(|value| (*value, if all.contains(value) { -1 } else { 1 })).collect();
                for (value, diff) in &changes {
                    if *diff > 0 { all.insert(*value) } else { all.remove(value) };
                }
                for (value, diff, _) in step(&mut machine, &changes) {
                    let expected = if diff > 0 { shown.insert(value) } else { shown.remove(&value) };
                    prop_assert!(expected, "{} is there already, or is not", value);
                }
                prop_assert_eq!(shown.iter().copied().collect::<Vec<_>>(), all.iter().copied().take(k).collect::<Vec<_>>());
                let mut restored = TopK::new(k);
                restored.restore(machine.entries());
                machine = restored;
            }
        }
    }
}
