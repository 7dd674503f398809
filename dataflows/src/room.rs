//! How many keys a group may hold, and which one leaves when another comes.
//!
//! Contract: a group holds its share, and no more. A key that comes to a full group takes the place of the one that rests
//! (nothing of it is shown or under way any more, it is only remembered) whose last news are oldest, ties by the key; where
//! none rests, it does not get in. A group is on one worker whatever the number of workers, and is asked once a complete time
//! in a fixed order: so neither batching nor workers decide who gets in. What a group is, and when a key rests, its view says.
//!
//! # Cost
//! 56 bytes a group, 40 a key that rests, and 32 a group that turned a pane away within its window.

use crate::map::Map;
use crate::top_k::Group;
use crate::window::Window;
use std::collections::{BTreeMap, BTreeSet};
use weir_schemas::id::Id;

/// What a group holds.
#[derive(Debug, Default)]
struct Held {
    count: usize,
    /// Those that rest, by the tick of their last news.
    resting: BTreeSet<(u64, Id)>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Room {
    share: usize,
    groups: Map<Group, Held>,
}

/// What becomes of a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It gets in.
    Free,
    /// It gets in, and this one leaves.
    InPlaceOf(Id),
    /// It does not.
    Full,
}

impl Room {
    /// With room for so many a group.
    pub(crate) fn new(share: usize) -> Room {
        Room { share: share.max(1), groups: Map::default() }
    }

    /// How many a group may hold.
    #[cfg(test)]
    pub(crate) fn share(&self) -> usize {
        self.share
    }

    /// A key comes.
    pub(crate) fn enter(&mut self, group: Group) -> Entry {
        let held = self.groups.get_or_insert_with(group, Held::default);
        if held.count < self.share {
            held.count += 1;
            return Entry::Free;
        }
        held.resting.pop_first().map_or(Entry::Full, |(_, id)| Entry::InPlaceOf(id))
    }

    /// A key that is held now rests.
    pub(crate) fn rest(&mut self, group: Group, news_at: u64, key: Id) {
        if let Some(held) = self.groups.get_mut(&group) {
            held.resting.insert((news_at, key));
        }
    }

    /// A key no longer rests, if it did.
    pub(crate) fn wake(&mut self, group: Group, news_at: u64, key: Id) {
        if let Some(held) = self.groups.get_mut(&group) {
            held.resting.remove(&(news_at, key));
        }
    }

    /// A key is forgotten.
    pub(crate) fn leave(&mut self, group: Group, news_at: u64, key: Id) {
        self.wake(group, news_at, key);
        let Some(held) = self.groups.get_mut(&group) else { return };
        held.count -= 1;
        if held.count == 0 {
            self.groups.remove(&group);
        }
    }

    /// A key of a restored state is held.
    pub(crate) fn restore(&mut self, group: Group) {
        self.groups.get_or_insert_with(group, Held::default).count += 1;
    }
}

/// [`Room`] for keys of which what happens is counted by panes: one that gets in begins after the last pane in which its group turned any
/// away. So whose something is follows from its pane, and what is taken back is found where it was counted, if the key stays until all
/// panes that it ever took in have left the window.
#[derive(Debug)]
pub(crate) struct RoomByPane {
    room: Room,
    /// Its panes are those meant here.
    window: Window,
    /// The pane from which on new keys of a group get in, where it has turned any away within the window.
    since: BTreeMap<Group, u64>,
}

impl RoomByPane {
    /// With room for so many a group.
    pub(crate) fn new(share: usize, window: Window) -> RoomByPane {
        RoomByPane { room: Room::new(share), window, since: BTreeMap::new() }
    }

    /// How many a group may hold.
    #[cfg(test)]
    pub(crate) fn share(&self) -> usize {
        self.room.share()
    }

    /// A key comes with something of a pane: from which pane on what happens is its own; `None`: it does not get in.
    pub(crate) fn enter(&mut self, group: Group, pane: u64, now: u64) -> Option<u64> {
        let since = self.since.get(&group).copied().unwrap_or(0);
        if pane < since {
            return None;
        }
        if self.room.enter(group) == Entry::Full {
            self.since.insert(group, self.window.pane(now) + 1);
            return None;
        }
        Some(since)
    }

    /// A key that has no pane left leaves.
    pub(crate) fn leave(&mut self, group: Group, key: Id) {
        self.room.leave(group, 0, key);
    }

    /// Forgets who turned away what has left the window at `now`.
    pub(crate) fn forget(&mut self, now: u64) {
        self.since.retain(|_, since| self.window.expiry(*since) > now);
    }

    /// The groups that turned any away, and from which pane on new keys get in; the keys themselves their owner writes down.
    pub(crate) fn since(&self) -> impl Iterator<Item = (Group, u64)> {
        self.since.iter().map(|(group, since)| (*group, *since))
    }

    /// A group of a restored state has turned away.
    pub(crate) fn restore_since(&mut self, group: Group, since: u64) {
        self.since.insert(group, since);
    }

    /// A key of a restored state is held.
    pub(crate) fn restore(&mut self, group: Group) {
        self.room.restore(group);
    }
}
