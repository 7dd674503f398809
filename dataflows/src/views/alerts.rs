//! The view `alerts`: what somebody is to be told of the other views' rows, by rules that are data.
//!
//! Contract: takes the row changes of the views that can be looked at ([`WATCHABLE`]), the rules that hold, and the silent clock. At
//! each tick the view is exact: an alert is there from the tick at which its rule's conditions have held of a row for so long,
//! without a gap, until one of them no longer holds (the first by its own way back), the row leaves, or the rule becomes another
//! one. Its row stays as it was when it fired. How a rule stands with a row is [`watch`]'s to know; which rules hold for a project,
//! [`rules`]'. A row's leave takes its alert along with the same cause.
//!
//! # Invariants
//! Within a tick rules change first, then rows; then every row touched is looked at once. So neither batching nor workers show.
//!
//! # Cost
//! State: 72 bytes a watched row (its bytes are shared with the hub), and about as much a rule that waits or fires with it; one
//! wake-up a row at a time. Work: a changed row's values are read once if any rule looks at its view; a changed rule costs a
//! walk over all rows.

mod dry_run;
mod message;
pub mod rules;
pub mod watch;

pub use dry_run::{Difference, dry_run};

use crate::context::Context;
use crate::control::Rule;
use crate::facts::{RowChange, Rows};
use crate::fork::Forks;
use crate::input::Text;
use crate::keyed::{Collection, Home, Inlets, Machine, Step};
use crate::map::Map;
use crate::runs::silence::{Pause, Silence, by_worker};
use crate::window::Agenda;
use rules::Rules;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Concatenate as _;
use watch::{Look, Moment, Standing};
use weir_schemas::control::{ControlKind, ControlRecord, WATCHABLE};
use weir_schemas::id::Id;
use weir_schemas::row::{Row, Value};
use weir_schemas::update::Cause;
use weir_schemas::view::{View, view_index};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// What goes in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Watched {
    /// The row's view.
    view: u8,
    /// The view and the row's key.
    id: Id,
    change: RowChange,
}

#[derive(Clone, Debug)]
enum Input {
    Row(Watched),
    Rule(Rule),
    /// Whether the silent clock stands still from now on.
    Silence(bool),
}

/// The row changes that alerts look at.
#[derive(Default)]
pub struct Taps<'s> {
    views: BTreeSet<&'static str>,
    rows: Vec<Collection<'s, Watched>>,
}

impl<'s> Taps<'s> {
    /// Looks at what changes of a view, if it is one that can be looked at.
    pub fn tap(&mut self, view: &'static View, rows: &mut Forks<'s, RowChange>) {
        if !WATCHABLE.contains(&view.name) {
            return;
        }
        let index = view_index(view.name).and_then(|index| u8::try_from(index).ok()).expect("one of a few views");
        self.views.insert(view.name);
        self.rows.push(rows.tap(move |change| {
            let id = Id(xxh3_128_with_seed(change.row.prefix(view.key), u64::from(index)));
            Some(Watched { view: index, id, change: change.clone() })
        }));
    }
}

/// The view's rows. `rules`: on the worker that is told; `silence` says when the silent clock stops and goes on.
///
/// # Panics
/// When one of the views that can be looked at was not tapped.
pub fn render<'s>(
    cx: &Context<'s>,
    taps: Taps<'s>,
    rules: Collection<'s, Rule>,
    silence: Collection<'s, Pause>,
) -> Rows<'s> {
    assert!(WATCHABLE.iter().all(|view| taps.views.contains(view)), "all of {WATCHABLE:?} are looked at");
    // One union: so many exchanges would be dearer than it is.
    let rows = cx.scope.concatenate(taps.rows);
    let by_row = Exchange::new(|(row, _, _): &(Watched, u64, i64)| row.id.route());
    Inlets::new("Alerts", cx.scope)
        .add(rows, by_row, |row| Some(Input::Row(row)))
        .add(rules, Pipeline, |rule| (rule.record.change.kind() == ControlKind::Alert).then_some(Input::Rule(rule)))
        .add(silence, by_worker(), |said| Some(Input::Silence(said.paused)))
        .keyed(&cx.states, Alerts::default())
}

/// A row that is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    row: Row,
    /// By rule, those whose conditions all hold.
    standings: Vec<(Text, Standing)>,
    /// The tick at which it is looked at again; 0: none.
    look_at: u64,
    view: u8,
}

#[derive(Default)]
struct Alerts {
    silence: Silence,
    rules: Rules,
    rows: Map<Id, Held>,
    /// When to look at which row again.
    looks: Agenda<Id>,
    /// Rows with which a rule waits.
    waiting: BTreeSet<Id>,
}

/// The rows to look at, with the cause of what leaves.
type Touched = BTreeMap<Id, Cause>;

fn project(row: &Row) -> &str {
    match row.column(0) {
        Value::Str(project) => project,
        _ => "",
    }
}

fn resolve(standing: Standing, cause: Cause, step: &mut Step<'_, RowChange>) {
    if let Standing::Firing(row) = standing {
        step.emit(RowChange { row, cause }, -1);
    }
}

/// The row that stands after the changes of one row in a tick, and the cause of what left.
fn outcome(changes: &[(Watched, i64)], held: Option<&Row>) -> (Option<Row>, Cause) {
    match (changes, held) {
        ([(new, 1)], None) => return (Some(new.change.row.clone()), Cause::Changed),
        ([(old, -1), (new, 1)] | [(new, 1), (old, -1)], Some(held))
            if *held == old.change.row && old.change.row != new.change.row =>
        {
            return (Some(new.change.row.clone()), old.change.cause);
        }
        _ => {}
    }
    let times = |row: &Row| -> i64 {
        let said: i64 = changes.iter().filter(|(watched, _)| watched.change.row == *row).map(|(_, diff)| diff).sum();
        said + i64::from(held == Some(row))
    };
    let told = changes.iter().map(|(watched, _)| &watched.change.row);
    let row = told.chain(held).find(|row| times(row) > 0).cloned();
    let left = changes.iter().rev().find(|(_, diff)| *diff < 0);
    (row, left.map_or(Cause::Changed, |(watched, _)| watched.change.cause))
}

impl Alerts {
    /// Takes changed rules in: what they were told of is over, and what they are about is looked at.
    fn change(&mut self, mut changes: Vec<(Rule, i64)>, touched: &mut Touched, step: &mut Step<'_, RowChange>) {
        if changes.is_empty() {
            return;
        }
        let before = self.rules.clone();
        changes.sort_by_key(|(_, diff)| *diff);
        changes.iter().for_each(|(rule, diff)| self.rules.say(&rule.record, *diff > 0));
        self.rules.list();
        let of: BTreeSet<&str> = changes.iter().map(|(rule, _)| &*rule.record.project).collect();
        let ids: BTreeSet<&str> = changes.iter().map(|(rule, _)| &*rule.record.id).collect();
        for id in self.rows.sorted_keys() {
            let Some(held) = self.rows.get_mut(&id) else { continue };
            let project = project(&held.row);
            if !of.contains("") && !of.contains(project) {
                continue;
            }
            let same = |rule: &str| !ids.contains(rule) || before.of(project, rule) == self.rules.of(project, rule);
            let before = std::mem::take(&mut held.standings);
            let (stay, over): (Vec<_>, Vec<_>) = before.into_iter().partition(|(rule, _)| same(rule));
            held.standings = stay;
            over.into_iter().for_each(|(_, standing)| resolve(standing, Cause::Changed, step));
            touched.insert(id, Cause::Changed);
        }
    }

    /// Takes the changes of one row in.
    fn take(&mut self, changes: &[(Watched, i64)], touched: &mut Touched, step: &mut Step<'_, RowChange>) {
        let Some((Watched { id, view, .. }, _)) = changes.first() else { return };
        let held = self.rows.get_mut(id);
        // Of most views nobody asked to be told: then a row is only kept, for rules to come.
        let looked_at =
            self.rules.look_at(usize::from(*view)) || held.as_ref().is_some_and(|held| !held.standings.is_empty());
        let (row, cause) = outcome(changes, held.as_deref().map(|held| &held.row));
        match (row, held) {
            (Some(row), Some(held)) => held.row = row,
            (Some(row), None) => {
                let held = Held { row, standings: Vec::new(), look_at: 0, view: *view };
                self.rows.insert(*id, held);
            }
            (None, _) => {
                self.drop(*id, cause, step);
                touched.remove(id);
                return;
            }
        }
        if looked_at {
            touched.insert(*id, cause);
        }
    }

    /// A row has left.
    fn drop(&mut self, id: Id, cause: Cause, step: &mut Step<'_, RowChange>) {
        let Some(held) = self.rows.remove(&id) else { return };
        held.standings.into_iter().for_each(|(_, standing)| resolve(standing, cause, step));
        self.waiting.remove(&id);
        self.looks.remove(held.look_at, &id);
    }

    /// Holds the rules against a row.
    fn look(&mut self, id: Id, cause: Cause, step: &mut Step<'_, RowChange>) {
        let Some(held) = self.rows.get_mut(&id) else { return };
        let rules = self.rules.over(project(&held.row), usize::from(held.view));
        if rules.is_empty() && held.standings.is_empty() {
            return;
        }
        let mut before = std::mem::take(&mut held.standings);
        let values: Vec<Value<'_>> = held.row.values().collect();
        let moment = Moment { now: step.now(), silence: &self.silence };
        let mut again_at: Option<u64> = None;
        let mut standings = Vec::new();
        for rule in rules {
            let was = before.iter().position(|(name, _)| name == rule.id()).map(|index| before.swap_remove(index).1);
            let fired = matches!(was, Some(Standing::Firing(_)));
            let Look { standing, again_at: at } = rule.look(&values, was.clone(), moment);
            match (&standing, was) {
                (Some(Standing::Firing(row)), _) if !fired => {
                    step.emit(RowChange { row: row.clone(), cause: Cause::Changed }, 1);
                }
                (None | Some(Standing::Waiting(_)), Some(was)) => resolve(was, cause, step),
                _ => {}
            }
            standings.extend(standing.map(|standing| (Arc::clone(rule.id()), standing)));
            again_at = again_at.into_iter().chain(at).min();
        }
        if standings.iter().any(|(_, standing)| matches!(standing, Standing::Waiting(_))) {
            self.waiting.insert(id);
        } else {
            self.waiting.remove(&id);
        }
        held.standings = standings;
        // A look that is due before anyway sees to the next one.
        if let Some(at) = again_at.filter(|at| held.look_at == 0 || *at < held.look_at) {
            self.looks.remove(held.look_at, &id);
            held.look_at = at;
            if self.looks.add(at, id) {
                step.wake_at(at);
            }
        }
    }
}

impl Machine for Alerts {
    type Input = Input;
    type Output = RowChange;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Alerts::default())
    }

    fn step(&mut self, data: &mut Vec<(Input, i64)>, step: &mut Step<'_, RowChange>) {
        let (mut rows, mut rules, mut touched) = (Vec::new(), Vec::new(), Touched::new());
        let stood = self.silence.paused();
        for (input, diff) in data.drain(..) {
            match input {
                Input::Row(row) => rows.push((row, diff)),
                Input::Rule(rule) => rules.push((rule, diff)),
                Input::Silence(paused) => self.silence.set(step.now(), paused),
            }
        }
        for id in self.looks.due(step.now()) {
            if let Some(held) = self.rows.get_mut(&id) {
                held.look_at = 0;
                touched.insert(id, Cause::Changed);
            }
        }
        if stood && !self.silence.paused() {
            touched.extend(self.waiting.iter().map(|id| (*id, Cause::Changed)));
        }
        self.change(rules, &mut touched, step);
        rows.sort_by_key(|(row, _)| row.id);
        for changes in rows.chunk_by(|(a, _), (b, _)| a.id == b.id) {
            self.take(changes, &mut touched, step);
        }
        for (id, cause) in touched {
            self.look(id, cause, step);
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = vec![Entry::Silence(self.silence.clone())];
        entries.extend(self.rules.said().map(|record| Entry::Rule(Arc::clone(record))));
        entries.extend(self.rows.sorted().into_iter().map(|(id, held)| Entry::Row(*id, HeldEntry(held.clone()))));
        entries
    }

    fn home(entry: &Self::Entry) -> Home {
        match entry {
            Entry::Silence(_) | Entry::Rule(_) => Home::Everywhere,
            Entry::Row(row, _) => Home::Routed(row.route()),
        }
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        for entry in entries {
            match entry {
                Entry::Silence(silence) => self.silence = silence,
                Entry::Rule(record) => self.rules.say(&record, true),
                Entry::Row(id, HeldEntry(held)) => {
                    if held.look_at > 0 {
                        self.looks.add(held.look_at, id);
                    }
                    if held.standings.iter().any(|(_, standing)| matches!(standing, Standing::Waiting(_))) {
                        self.waiting.insert(id);
                    }
                    self.rows.insert(id, held);
                }
            }
        }
        self.rules.list();
        self.looks.times().collect()
    }
}

/// The state in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Entry {
    /// On every worker.
    Silence(Silence),
    /// A rule that somebody has put; on every worker.
    Rule(Arc<ControlRecord>),
    Row(Id, HeldEntry),
}

/// A row in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct HeldEntry(Held);
