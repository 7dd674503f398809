//! The second layer of `performance`: the scopes of a worker's buckets.
//!
//! Contract: takes [`Delta`]s of any workers; at each cadence point first moves on what is due, so that whoever has nothing left makes
//! room, then takes in what came since the last point in the order of (bucket, scope, pane), and shows what changed. What finds no room leaves as
//! [`FeedOutput::Overflow`], and what is taken back of it does as well.
//!
//! # Invariants
//! A scope stays until all that it ever took has left 10 min, as [`RoomByPane`] asks for.
//!
//! # Cost
//! Work O(scopes with news or an expiry) a second.

use super::WINDOWS;
use super::content::{Delta, Name, route};
use super::scope::{Scope, Tools, place};
use crate::config::Config;
use crate::facts::RowChange;
use crate::keyed::{Home, Machine, Step};
use crate::map::Map;
use crate::room::RoomByPane;
use crate::top_k::Group;
use crate::window::Agenda;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map;
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::view::PERFORMANCE;

/// What comes out.
#[derive(Clone, Debug)]
pub enum FeedOutput {
    /// Of the view.
    Row(RowChange),
    /// Of a scope that found no room.
    Overflow(Box<Delta>),
}

/// The scopes of one worker.
struct Held {
    room: RoomByPane,
    scopes: Map<Id, Box<Scope>>,
}

impl Held {
    /// The scope that something of a pane of 10 s belongs to, made if there is room for it.
    fn scope(&mut self, name: &Name, pane: u64, now: u64) -> Option<&mut Scope> {
        if !self.scopes.contains(&name.id) {
            let since = self.room.enter(name.group, pane, now)?;
            self.scopes.insert(name.id, Box::new(Scope::new(name.clone(), since)));
        }
        self.scopes.get_mut(&name.id).map(|scope| &mut **scope).filter(|scope| scope.since() <= pane)
    }
}

/// See the module.
pub struct Feed {
    config: Arc<Config>,
    held: Held,
    /// What came since the last cadence point.
    coming: BTreeMap<(Group, Id, u64), Delta>,
    /// The next cadence point, when something came.
    due: u64,
    agenda: Agenda<Id>,
    tools: Tools,
}

impl Feed {
    /// None yet, with room for so many in a bucket.
    #[must_use]
    pub fn new(config: Arc<Config>, share: usize) -> Feed {
        let held = Held { room: RoomByPane::new(share, WINDOWS[1]), scopes: Map::default() };
        let (coming, agenda, tools) = Default::default();
        Feed { config, held, coming, due: 0, agenda, tools }
    }

    fn gather(&mut self, delta: Delta) {
        match self.coming.entry((delta.name.group, delta.name.id, delta.pane)) {
            btree_map::Entry::Vacant(entry) => {
                entry.insert(delta);
            }
            btree_map::Entry::Occupied(mut entry) => {
                let sum = entry.get_mut();
                sum.content.add(&delta.content, &mut self.tools.scratch);
                sum.withdrawn |= delta.withdrawn;
            }
        }
    }

    /// Moves a scope on; one that has nothing left leaves.
    fn settle(&mut self, id: Id, step: &mut Step<'_, FeedOutput>) {
        let Held { room, scopes } = &mut self.held;
        let Some(scope) = scopes.get_mut(&id) else { return };
        scope.move_on(step.now(), &mut self.tools);
        if scope.gone() {
            scope.show(&mut self.tools, step, FeedOutput::Row);
            room.leave(scope.name().group, id);
            scopes.remove(&id);
        }
    }

    fn take(&mut self, delta: Delta, step: &mut Step<'_, FeedOutput>) {
        let now = step.now();
        // What has left all windows is nobody's.
        if place(delta.pane, now).is_none() {
            return;
        }
        let pane = WINDOWS[1].pane(WINDOWS[0].begin(delta.pane));
        match self.held.scope(&delta.name, pane, now) {
            Some(scope) => {
                scope.move_on(now, &mut self.tools);
                scope.take(delta, now, self.config.performance_metrics, &mut self.tools);
            }
            None => step.emit(FeedOutput::Overflow(Box::new(delta)), 1),
        }
    }

    fn show(&mut self, id: Id, step: &mut Step<'_, FeedOutput>) {
        if let Some(scope) = self.held.scopes.get_mut(&id)
            && let Some(due) = scope.show(&mut self.tools, step, FeedOutput::Row)
            && self.agenda.add(due, id)
        {
            step.wake_at(due);
        }
    }
}

/// The state in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Entry {
    /// A bucket that turned away.
    Since(Group, u64),
    /// What came since the last cadence point, and the next one.
    Coming(Box<Delta>, u64),
    /// A scope.
    Scope(Box<Scope>),
}

impl Machine for Feed {
    type Input = Delta;
    type Output = FeedOutput;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Feed::new(Arc::clone(&self.config), self.held.room.share()))
    }

    fn step(&mut self, data: &mut Vec<(Delta, i64)>, step: &mut Step<'_, FeedOutput>) {
        data.drain(..).for_each(|(delta, _)| self.gather(delta));
        let point = step.now().next_multiple_of(PERFORMANCE.cadence_ms);
        if point > step.now() {
            if !self.coming.is_empty() {
                self.due = point;
                step.wake_at(point);
            }
            return;
        }
        let mut touched = self.agenda.due(point);
        touched.iter().for_each(|id| self.settle(*id, step));
        self.held.room.forget(point);
        let coming = std::mem::take(&mut self.coming);
        touched.extend(coming.keys().map(|(_, id, _)| *id));
        coming.into_values().for_each(|delta| self.take(delta, step));
        touched.sort_unstable();
        touched.dedup();
        touched.into_iter().for_each(|id| self.show(id, step));
    }

    fn entries(&self) -> Vec<Entry> {
        let since = self.held.room.since().map(|(group, since)| Entry::Since(group, since));
        let scopes = self.held.scopes.sorted().into_iter().map(|(_, scope)| Entry::Scope(scope.clone()));
        let coming = self.coming.values().map(|delta| Entry::Coming(Box::new(delta.clone()), self.due));
        since.chain(scopes).chain(coming).collect()
    }

    fn home(entry: &Self::Entry) -> Home {
        match entry {
            Entry::Since(group, _) => Home::Routed(route(*group)),
            Entry::Coming(delta, _) => Home::Routed(delta.route()),
            Entry::Scope(scope) => Home::Routed(route(scope.name().group)),
        }
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        for entry in entries {
            match entry {
                Entry::Since(group, since) => self.held.room.restore_since(group, since),
                Entry::Scope(scope) => {
                    self.held.room.restore(scope.name().group);
                    self.agenda.add(scope.due(), scope.name().id);
                    self.held.scopes.insert(scope.name().id, scope);
                }
                Entry::Coming(delta, due) => {
                    self.due = due;
                    self.gather(*delta);
                }
            }
        }
        let due = (!self.coming.is_empty()).then_some(self.due);
        self.agenda.times().chain(due).collect()
    }
}
