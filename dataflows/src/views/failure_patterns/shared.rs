//! What the occurrences of a failure pattern have in common, and how many different ones there are.
//!
//! Contract: counts the tests, runs, users, workers, branches and frameworks of the occurrences that are kept one by one.
//!
//! # Cost
//! Six look-ups an occurrence; about 48 bytes a different value.

use super::pattern::Key;
use crate::input::{Origin, Text};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::row::RowWriter;

/// How often each value was seen.
#[derive(Clone, Debug)]
struct Tally<K>(BTreeMap<K, u32>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Tally(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Tally<K> {
    fn add(&mut self, value: &K) {
        match self.0.get_mut(value) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(value.clone(), 1)),
        }
    }

    fn remove(&mut self, value: &K) {
        if let Some(count) = self.0.get_mut(value) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(value);
            }
        }
    }
}

impl Tally<Option<Text>> {
    /// How many values there are, but for none.
    fn named(&self) -> u64 {
        let none = self.0.first_key_value().is_some_and(|(value, _)| value.is_none());
        (self.0.len() - usize::from(none)) as u64
    }
}

/// See the module. A value that an occurrence does not say counts as one of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    tests: Tally<Id>,
    runs: Tally<Id>,
    users: Tally<Option<Text>>,
    workers: Tally<Option<Text>>,
    branches: Tally<Option<Text>>,
    frameworks: Tally<Option<Text>>,
}

impl Shared {
    /// Takes an occurrence in.
    pub(super) fn add(&mut self, key: &Key, origin: &Arc<Origin>) {
        if key.attempt > 0 {
            self.tests.add(&key.test);
        }
        self.runs.add(&key.run);
        self.users.add(&origin.user);
        self.workers.add(&origin.worker);
        self.branches.add(&origin.branch);
        self.frameworks.add(&origin.framework);
    }

    /// Takes one back that was taken in.
    pub(super) fn remove(&mut self, key: &Key, origin: &Arc<Origin>) {
        if key.attempt > 0 {
            self.tests.remove(&key.test);
        }
        self.runs.remove(&key.run);
        self.users.remove(&origin.user);
        self.workers.remove(&origin.worker);
        self.branches.remove(&origin.branch);
        self.frameworks.remove(&origin.framework);
    }

    /// The columns `tests`, `runs`, `users`, `workers`, `capped` and `common`.
    pub(super) fn write(&self, writer: &mut RowWriter, capped: bool) {
        writer.uint(self.tests.0.len() as u64).uint(self.runs.0.len() as u64);
        writer.uint(self.users.named()).uint(self.workers.named());
        writer.bool(capped);
        let common = |name: &str, said: &Tally<Option<Text>>| {
            let mut values = said.0.keys();
            let only = values.next()?.as_deref().filter(|_| values.next().is_none());
            only.map(|value| format!("{name}={value}"))
        };
        let known = [("branch", &self.branches), ("framework", &self.frameworks), ("worker", &self.workers)];
        let common: Vec<String> =
            known.into_iter().filter(|_| !capped).filter_map(|(name, said)| common(name, said)).collect();
        writer.list(common.iter().map(String::as_str));
    }
}
