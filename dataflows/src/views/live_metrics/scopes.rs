//! The second layer of `live_metrics`: all scopes of a worker's buckets.
//!
//! Contract: takes [`Delta`]s of any workers, which come at cadence points; first moves on what is due, so that whoever has no pane left
//! makes room; moves each scope's rows at the points at which something came or a pane left a window, those of the longer windows at
//! whole seconds. Attempts that find no room leave as [`ScopeOutput::Overflow`], and what is taken back of them does as well.
//!
//! # Invariants
//! What is running, awaited or covered needs no room: there is as much of it as the row budget lets in. A scope keeps its room until
//! the panes of all that it ever took have left an hour, as [`RoomByPane`] asks for. Of what comes at one time, scopes that have room are
//! served first, in any order; then the others in the order of (bucket, scope, pane).
//!
//! A scope without a row, panes, running or awaited tests is forgotten.
//!
//! # Cost
//! A comparison a delta of a scope that has room; of another a hash, a place in an order and, if it finds none, an exchange.

use super::LONGEST;
use super::delta::{Change, Delta, route};
use super::scope::{Kept, Scope, Tools, minute, place};
use crate::facts::RowChange;
use crate::keyed::{Home, Machine, Step};
use crate::map::Map;
use crate::room::RoomByPane;
use crate::top_k::Group;
use crate::window::Agenda;
use serde::{Deserialize, Serialize};
use weir_schemas::id::Id;

/// What comes out.
#[derive(Clone, Debug)]
pub enum ScopeOutput {
    /// Of the view.
    Row(RowChange),
    /// Attempts of a scope that found no room.
    Overflow(Box<Delta>),
}

/// All scopes of one worker.
pub struct Scopes {
    scopes: Map<Id, Box<Scope>>,
    /// By minutes.
    room: RoomByPane,
    agenda: Agenda<Id>,
    /// To which something came at the running time, some twice.
    touched: Vec<Id>,
    /// What came at the running time for scopes without room.
    coming: Vec<Delta>,
    tools: Tools,
}

impl Scopes {
    /// None yet, with room for so many in a bucket.
    #[must_use]
    pub fn new(share: usize) -> Scopes {
        let (scopes, agenda, touched, coming, tools) = Default::default();
        Scopes { scopes, room: RoomByPane::new(share, LONGEST), agenda, touched, coming, tools }
    }

    /// Moves a scope on, and has it make room when it has no pane left.
    fn settle(&mut self, id: Id, now: u64) {
        let Some(scope) = self.scopes.get_mut(&id) else { return };
        scope.move_on(now, &mut self.tools);
        if scope.empty()
            && let Some(group) = scope.kept().roomed(id)
        {
            self.room.leave(group, id);
            scope.set_since(None);
        }
    }

    /// Takes a delta in, unless it needs room and has none yet.
    fn take(&mut self, delta: Delta, step: &mut Step<'_, ScopeOutput>) {
        let (id, now) = (delta.scope, step.now());
        let scope = match &delta.change {
            Change::Gauges(_) => self.scopes.get_or_insert_with(id, || Box::new(Scope::new(delta.name.clone()))),
            Change::Pane(of_pane) => {
                // What has left all windows is nobody's.
                if place(of_pane.pane, now).is_none() {
                    return;
                }
                let scope = self.scopes.get_mut(&id);
                let Some((scope, since)) = scope.and_then(|scope| scope.since().map(|since| (scope, since))) else {
                    return self.coming.push(delta);
                };
                if minute(of_pane.pane) < since {
                    return step.emit(ScopeOutput::Overflow(Box::new(delta)), 1);
                }
                scope
            }
        };
        scope.move_on(now, &mut self.tools);
        scope.take(delta.change, now, &mut self.tools);
        self.touched.push(id);
    }

    /// Gives room to those that came without, as long as there is any.
    fn enter(&mut self, step: &mut Step<'_, ScopeOutput>) {
        let pane = |delta: &Delta| if let Change::Pane(of_pane) = &delta.change { of_pane.pane } else { 0 };
        let coming = std::mem::take(&mut self.coming);
        let mut coming: Vec<_> = coming.into_iter().map(|delta| (delta.group(), delta)).collect();
        coming.sort_by_key(|(group, delta)| (*group, delta.scope, pane(delta)));
        for (group, delta) in coming {
            let pane = pane(&delta);
            let roomed = self.scopes.get_mut(&delta.scope).is_some_and(|scope| scope.since().is_some());
            if !roomed && !self.admit(&delta, group, minute(pane), step.now()) {
                step.emit(ScopeOutput::Overflow(Box::new(delta)), 1);
                continue;
            }
            self.take(delta, step);
        }
    }

    /// Whether the scope of a delta of a minute gets room.
    fn admit(&mut self, delta: &Delta, group: Group, minute: u64, now: u64) -> bool {
        let Some(since) = self.room.enter(group, minute, now) else { return false };
        let scope = self.scopes.get_or_insert_with(delta.scope, || Box::new(Scope::new(delta.name.clone())));
        scope.set_since(Some(since));
        true
    }

    fn show(&mut self, id: Id, step: &mut Step<'_, ScopeOutput>) {
        let Some(scope) = self.scopes.get_mut(&id) else { return };
        if let Some(due) = scope.show(&mut self.tools, step)
            && self.agenda.add(due, id)
        {
            step.wake_at(due);
        }
        if scope.idle() && scope.since().is_none() {
            self.scopes.remove(&id);
        }
    }
}

/// The state in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Entry {
    /// A bucket that turned away.
    Since(Group, u64),
    /// A scope.
    Scope(Id, Box<Kept>),
}

impl Machine for Scopes {
    type Input = Delta;
    type Output = ScopeOutput;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Scopes::new(self.room.share()))
    }

    fn step(&mut self, data: &mut Vec<(Delta, i64)>, step: &mut Step<'_, ScopeOutput>) {
        let now = step.now();
        let due = self.agenda.due(now);
        due.iter().for_each(|id| self.settle(*id, now));
        self.room.forget(now);
        data.drain(..).for_each(|(delta, _)| self.take(delta, step));
        self.enter(step);
        // Whoever comes again, or is due as well, has nothing more to show.
        let mut touched = std::mem::take(&mut self.touched);
        touched.drain(..).for_each(|id| self.show(id, step));
        self.touched = touched;
        due.into_iter().for_each(|id| self.show(id, step));
    }

    fn entries(&self) -> Vec<Entry> {
        let since = self.room.since().map(|(group, since)| Entry::Since(group, since));
        let scopes = self.scopes.sorted().into_iter();
        since.chain(scopes.map(|(id, scope)| Entry::Scope(*id, Box::new(scope.kept().clone())))).collect()
    }

    fn home(entry: &Self::Entry) -> Home {
        match entry {
            Entry::Since((_, bucket), _) => Home::Routed((*bucket).into()),
            Entry::Scope(scope, _) => Home::Routed(route(*scope)),
        }
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        for entry in entries {
            match entry {
                Entry::Since(group, since) => self.room.restore_since(group, since),
                Entry::Scope(id, kept) => {
                    if kept.due() > 0 {
                        self.agenda.add(kept.due(), id);
                    }
                    kept.roomed(id).into_iter().for_each(|group| self.room.restore(group));
                    self.scopes.insert(id, Box::new(Scope::from(*kept)));
                }
            }
        }
        self.agenda.times().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::WINDOWS;
    use super::super::delta::{Pane, PaneDelta, ScopeKind, ScopeName, Sums};
    use super::*;
    use std::collections::BTreeSet;

    const MINUTE: u64 = 60_000;
    /// A whole hour.
    const BEGIN: u64 = 1_699_999_200_000;

    /// An attempt of a scope of the one bucket, which passed or, if it is taken back, had.
    fn delta(scope: u128, at: u64, diff: i64) -> Delta {
        let name = ScopeName { project: "web".into(), kind: ScopeKind::Suite, name: scope.to_string().into() };
        let content = Pane { sums: Sums { passed: diff, ..Sums::default() }, ..Pane::default() };
        let change = PaneDelta { pane: WINDOWS[0].pane(at), content, withdrawn: diff < 0, attempted: true };
        Delta { scope: Id(256 * scope), name, change: Change::Pane(change) }
    }

    /// Whose deltas found no room, and the minutes of these. Then the machine is stopped, and another one goes on.
    fn turned_away(scopes: &mut Scopes, now: u64, deltas: impl IntoIterator<Item = Delta>) -> Vec<(u128, u64)> {
        let (mut out, mut wake) = (Vec::new(), BTreeSet::new());
        let mut data = deltas.into_iter().map(|delta| (delta, 1)).collect();
        scopes.step(&mut data, &mut Step::new(now, &mut out, &mut wake));
        let stopped = std::mem::replace(scopes, Scopes::new(1)).entries();
        let wakes = scopes.restore(stopped);
        assert!(wake.iter().all(|wake| wakes.contains(wake)), "{wake:?} and {wakes:?}");
        let overflow = |(output, _, _)| match output {
            ScopeOutput::Overflow(delta) => Some((delta.scope.0 / 256, minute_of(&delta.change))),
            ScopeOutput::Row(_) => None,
        };
        out.into_iter().filter_map(overflow).collect()
    }

    /// The minute since the begin.
    fn minute_of(change: &Change) -> u64 {
        match change {
            Change::Pane(of_pane) => minute(of_pane.pane) - BEGIN / MINUTE,
            Change::Gauges(_) => panic!("what runs needs no room"),
        }
    }

    #[test]
    fn what_happened_before_there_was_room_stays_with_the_others_and_is_taken_back_there() {
        let mut scopes = Scopes::new(1);
        let at = |minutes: u64| BEGIN + minutes * MINUTE;
        assert_eq!(
            turned_away(&mut scopes, at(0), [delta(2, at(0), 1), delta(1, at(0), 1)]),
            [(2, 0)],
            "by their order"
        );
        assert_eq!(turned_away(&mut scopes, at(30), [delta(2, at(30), 1), delta(1, at(0), 1)]), [(2, 30)]);
        // An hour after the minute in which its last attempt was, the first one has made room.
        assert_eq!(turned_away(&mut scopes, at(61), []), []);
        let (before, after) = (at(31) - 1_000, at(31));
        let came = [delta(2, after, 1), delta(2, before, 1), delta(2, at(30), -1)];
        assert_eq!(turned_away(&mut scopes, at(61), came), [(2, 30), (2, 30)]);
        // The same once it has a row of its own; and the first one finds no room now.
        let came = [delta(2, after, 1), delta(2, before, -1), delta(1, at(61), 1)];
        assert_eq!(turned_away(&mut scopes, at(61) + 250, came), [(2, 30), (1, 61)]);
    }
}
