//! A hash map for identities, without iteration.
//!
//! Contract: keys are [`Id`]s or tuples of them, whose bits are already uniform, so the hash is their lower half. There is
//! no way to iterate in hash order, which would let the order of insertion show through (A5); [`Map::sorted`] gives the
//! entries in key order, for snapshots and whole-map work.
//!
//! # Cost
//! A lookup is one multiplication and one probe; `sorted` is O(n log n).

use std::hash::{BuildHasher, Hash, Hasher};
use weir_schemas::id::Id;

#[expect(clippy::disallowed_types, reason = "this is the wrapper that the ban points to")]
type Inner<K, V> = hashbrown::HashMap<K, V, IdHash>;

/// Keys whose bits are uniform already.
pub trait Key: Copy + Ord + Hash {}
impl Key for Id {}
impl Key for (Id, Id) {}
impl Key for (Id, Id, Id) {}
impl Key for (Id, u32) {}

/// A map by identity.
#[derive(Clone, Debug)]
pub struct Map<K, V>(Inner<K, V>);

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Map(Inner::default())
    }
}

impl<K: Key, V> Map<K, V> {
    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key)
    }

    /// Whether the key is there.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    /// The value of a key, made when absent.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.0.entry(key).or_insert_with(make)
    }

    /// Sets the value of a key; gives the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.0.insert(key, value)
    }

    /// Removes a key; gives its value. A map that has become nearly empty gives its memory back.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let removed = self.0.remove(key);
        if self.0.capacity() > 1024 && self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to(self.0.len() * 2);
        }
        removed
    }

    /// The entries in key order.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&K, &V)> {
        let mut entries: Vec<_> = self.0.iter().collect();
        entries.sort_unstable_by_key(|(key, _)| **key);
        entries
    }

    /// The keys in order.
    #[must_use]
    pub fn sorted_keys(&self) -> Vec<K> {
        let mut keys: Vec<_> = self.0.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    /// Forgets everything. A map that was nearly empty gives its memory back.
    pub fn clear(&mut self) {
        let len = self.0.len();
        self.0.clear();
        if self.0.capacity() > 1024 && len < self.0.capacity() / 8 {
            self.0.shrink_to(len * 2);
        }
    }
}

/// Takes the lower half of each identity as the hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdHash;

impl BuildHasher for IdHash {
    type Hasher = IdHasher;
    fn build_hasher(&self) -> IdHasher {
        IdHasher(0)
    }
}

/// See [`IdHash`].
#[derive(Clone, Copy, Debug)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(29) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
    fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_key_order_whatever_the_order_of_insertion() {
        let ids: Vec<Id> = (0..500u32).map(|n| Id::of(&[&n.to_string()])).collect();
        let (mut forward, mut backward) = (Map::default(), Map::default());
        for (n, id) in ids.iter().enumerate() {
            forward.insert(*id, n);
        }
        for (n, id) in ids.iter().enumerate().rev() {
            backward.insert(*id, n);
        }
        assert_eq!(forward.sorted(), backward.sorted());
        assert!(forward.sorted_keys().is_sorted());
        forward.clear();
        assert!(forward.is_empty());
    }
}
