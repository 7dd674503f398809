//! How many patterns a bucket of a project may hold, and which one leaves when another comes.
//!
//! Contract: a bucket holds its share of the project's limit. A pattern that comes to a full bucket takes the place of the
//! one that rests (nothing of it is in the 24 h any more, only when it was first seen is remembered) whose last news are
//! oldest, ties by fingerprint; where none rests, it does not get in. A bucket is on one worker whatever the number of
//! workers, and is asked once a complete time in a fixed order: so neither batching nor workers decide who gets in.

use crate::map::Map;
use crate::top_k::Group;
use std::collections::BTreeSet;
use weir_schemas::id::Id;

/// What a bucket holds.
#[derive(Debug, Default)]
struct Bucket {
    held: usize,
    /// Those that rest, by the tick of their last news.
    resting: BTreeSet<(u64, Id)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Room {
    share: usize,
    buckets: Map<Group, Bucket>,
}

/// What becomes of a new pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It gets in.
    Free,
    /// It gets in, and this one leaves.
    InPlaceOf(Id),
    /// It does not.
    Full,
}

impl Room {
    /// With so many patterns a bucket.
    pub(super) fn new(share: usize) -> Room {
        Room { share: share.max(1), buckets: Map::default() }
    }

    /// How many patterns a bucket may hold.
    #[cfg(test)]
    pub(super) fn share(&self) -> usize {
        self.share
    }

    /// A pattern comes.
    pub(super) fn enter(&mut self, group: Group) -> Entry {
        let bucket = self.buckets.get_or_insert_with(group, Bucket::default);
        if bucket.held < self.share {
            bucket.held += 1;
            return Entry::Free;
        }
        bucket.resting.pop_first().map_or(Entry::Full, |(_, id)| Entry::InPlaceOf(id))
    }

    /// A pattern that is held now rests.
    pub(super) fn rest(&mut self, group: Group, news_at: u64, fingerprint: Id) {
        if let Some(bucket) = self.buckets.get_mut(&group) {
            bucket.resting.insert((news_at, fingerprint));
        }
    }

    /// A pattern no longer rests, if it did.
    pub(super) fn wake(&mut self, group: Group, news_at: u64, fingerprint: Id) {
        if let Some(bucket) = self.buckets.get_mut(&group) {
            bucket.resting.remove(&(news_at, fingerprint));
        }
    }

    /// A pattern is forgotten.
    pub(super) fn leave(&mut self, group: Group, news_at: u64, fingerprint: Id) {
        self.wake(group, news_at, fingerprint);
        let Some(bucket) = self.buckets.get_mut(&group) else { return };
        bucket.held -= 1;
        if bucket.held == 0 {
            self.buckets.remove(&group);
        }
    }

    /// A pattern of a restored state is held.
    pub(super) fn restore(&mut self, group: Group) {
        self.buckets.get_or_insert_with(group, Bucket::default).held += 1;
    }
}
