//! The view `rejects`: what was not taken, and why.
//!
//! Contract: of refusals with a row each, the last `rejects` by (tick, position) are shown, over all projects; of the kinds
//! that are only counted (`duplicate`, `late`), one row a project and kind. A late count is taken back with the fact. Rows
//! move at multiples of the view's cadence and are exact there.
//!
//! Two layers: each worker keeps the last of its own refusals until the next cadence point and sums its counts
//! ([`LocalRejects`]); worker 0 has the rows ([`Rejects`]). So a flood costs one worker at most `rejects` rows a cadence.
//!
//! # Invariants
//! A row that is pushed out by newer ones leaves as evicted. A count leaves when it is back at zero, or as evicted when
//! nothing was added to it for `late_memory_ms`; taking back what was forgotten takes it below zero at no time.
//!
//! # Cost
//! State O(`rejects` × (workers + 1) + projects with counts).

use crate::config::Config;
use crate::context::Context;
use crate::facts::{Late, RowChange, Rows};
use crate::input::{Position, Refusal, RejectKind, Text};
use crate::keyed::{Collection, Home, Inlets, Machine, Step, keyed};
use serde::{Deserialize, Serialize};
use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::Cause;
use weir_schemas::view::REJECTS;

/// The view's rows.
#[must_use]
pub fn render<'s>(cx: &Context<'s>, refusals: Collection<'s, Arc<Refusal>>, late: Collection<'s, Late>) -> Rows<'s> {
    let states = &cx.states;
    let local = Inlets::new("RejectsLocal", cx.scope)
        .add(refusals, Pipeline, |refusal| Some(Rejected::Refusal(refusal)))
        .add(late, Pipeline, |late| Some(Rejected::Late(late)))
        .keyed(states, LocalRejects { limit: cx.config.rejects, ..LocalRejects::default() });
    let one = Exchange::new(|_: &(Local, u64, i64)| 0);
    keyed("Rejects", local, one, states, Rejects::new(Arc::clone(&cx.config)))
}

/// What [`LocalRejects`] takes.
#[derive(Clone, Debug)]
pub enum Rejected {
    /// Something that admission or decoding refused.
    Refusal(Arc<Refusal>),
    /// An attempt after its window.
    Late(Late),
}

/// A refusal's place: the tick, then the position; then the rest of the row's key.
pub type Place = (u64, Position, RejectKind, Text);

/// Refusals in order. Of two with one key, which only a broken decoder makes, the smaller stays.
type Places = BTreeMap<Place, Arc<Refusal>>;

fn put(places: &mut Places, tick: u64, refusal: Arc<Refusal>) {
    match places.entry((tick, refusal.position, refusal.kind, Arc::clone(&refusal.project))) {
        Vacant(place) => {
            place.insert(refusal);
        }
        Occupied(mut other) if *other.get() > refusal => {
            other.insert(refusal);
        }
        Occupied(_) => {}
    }
}

/// What a worker has seen since the last cadence point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Local {
    /// One of its last refusals, and its tick.
    Row(u64, Arc<Refusal>),
    /// Its count of a project and kind.
    Count(Text, RejectKind, i64),
}

/// Keeps a worker's own refusals until the next cadence point.
#[derive(Default)]
pub struct LocalRejects {
    limit: usize,
    rows: Places,
    counts: BTreeMap<(Text, RejectKind), i64>,
    due: u64,
}

impl LocalRejects {
    fn flush(&mut self, step: &mut Step<'_, Local>) {
        for ((tick, ..), refusal) in std::mem::take(&mut self.rows) {
            step.emit(Local::Row(tick, refusal), 1);
        }
        for ((project, kind), count) in std::mem::take(&mut self.counts) {
            step.emit(Local::Count(project, kind, count), 1);
        }
        self.due = 0;
    }
}

impl Machine for LocalRejects {
    type Input = Rejected;
    type Output = Local;
    type Entry = (Local, u64);

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(LocalRejects { limit: self.limit, ..LocalRejects::default() })
    }

    fn step(&mut self, data: &mut Vec<(Rejected, i64)>, step: &mut Step<'_, Local>) {
        let now = step.now();
        let point = now.next_multiple_of(REJECTS.cadence_ms);
        if !data.is_empty() && point > now {
            self.due = point;
            step.wake_at(point);
        }
        for (rejected, diff) in data.drain(..) {
            match rejected {
                Rejected::Late(late) => *self.counts.entry((late.project, RejectKind::Late)).or_default() += diff,
                Rejected::Refusal(refusal) if refusal.kind.counted() => {
                    *self.counts.entry((Arc::clone(&refusal.project), refusal.kind)).or_default() += diff;
                }
                Rejected::Refusal(refusal) => {
                    put(&mut self.rows, now, refusal);
                    if self.rows.len() > self.limit {
                        self.rows.pop_first();
                    }
                }
            }
        }
        if point == now {
            self.flush(step);
        }
    }

    fn entries(&self) -> Vec<(Local, u64)> {
        let rows = self.rows.iter().map(|(place, refusal)| (Local::Row(place.0, Arc::clone(refusal)), self.due));
        let counts = self.counts.iter();
        let counts =
            counts.map(|((project, kind), count)| (Local::Count(Arc::clone(project), *kind, *count), self.due));
        rows.chain(counts).collect()
    }

    fn home(_: &Self::Entry) -> Home {
        Home::Anywhere
    }

    fn restore(&mut self, entries: Vec<(Local, u64)>) -> Vec<u64> {
        for (local, due) in entries {
            match local {
                Local::Row(tick, refusal) => put(&mut self.rows, tick, refusal),
                Local::Count(project, kind, count) => *self.counts.entry((project, kind)).or_default() += count,
            }
            self.due = due;
        }
        if self.due > 0 { vec![self.due] } else { Vec::new() }
    }
}

/// The rows; on worker 0 only.
pub struct Rejects {
    config: Arc<Config>,
    rows: BTreeMap<Place, Row>,
    counts: BTreeMap<(Text, RejectKind), Count>,
    forget: BTreeSet<(u64, Text, RejectKind)>,
    writer: RowWriter,
}

/// How often a kind came in a project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    count: i64,
    forget_at: u64,
    shown: Option<Row>,
}

/// An entry of the state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Entry {
    /// A row and its place.
    Row(Place, Row),
    /// A count and whose it is.
    Count(Text, RejectKind, Count),
}

impl Rejects {
    /// None yet.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Self {
        let (rows, counts, forget) = Default::default();
        Rejects { config, rows, counts, forget, writer: RowWriter::default() }
    }

    /// Puts rows in their places and drops the oldest above the limit.
    fn add_rows(&mut self, mut places: Places, step: &mut Step<'_, RowChange>) {
        // Whoever would leave at once does not come.
        while places.len() > self.config.rejects {
            places.pop_first();
        }
        for (place, refusal) in places {
            let row = refusal_row(place.0, &refusal, &self.config, &mut self.writer);
            step.emit(RowChange { row: row.clone(), cause: Cause::Changed }, 1);
            self.rows.insert(place, row);
        }
        while self.rows.len() > self.config.rejects {
            if let Some((_, row)) = self.rows.pop_first() {
                step.emit(RowChange { row, cause: Cause::Evicted }, -1);
            }
        }
    }

    fn count(&mut self, project: Text, kind: RejectKind, diff: i64, step: &mut Step<'_, RowChange>) {
        let key = (project, kind);
        let count = self.counts.entry(key.clone()).or_default();
        // What is taken back may have been forgotten.
        count.count = (count.count + diff).max(0);
        if diff > 0 {
            self.forget.remove(&(count.forget_at, Arc::clone(&key.0), kind));
            let at = step.now().saturating_add(self.config.late_memory_ms);
            count.forget_at = at.next_multiple_of(REJECTS.cadence_ms);
            self.forget.insert((count.forget_at, Arc::clone(&key.0), kind));
            step.wake_at(count.forget_at);
        }
        let row = (count.count > 0).then(|| count_row(&key.0, kind, count.count, &mut self.writer));
        if row != count.shown {
            let cause = if diff < 0 { Cause::Withdrawn } else { Cause::Changed };
            if let Some(row) = count.shown.take() {
                step.emit(RowChange { row, cause }, -1);
            }
            if let Some(row) = row.clone() {
                step.emit(RowChange { row, cause: Cause::Changed }, 1);
            }
            count.shown = row;
        }
        if count.count == 0 {
            self.forget.remove(&(count.forget_at, Arc::clone(&key.0), kind));
            self.counts.remove(&key);
        }
    }

    fn forget(&mut self, step: &mut Step<'_, RowChange>) {
        while self.forget.first().is_some_and(|(time, _, _)| *time <= step.now()) {
            let Some((_, project, kind)) = self.forget.pop_first() else { return };
            if let Some(row) = self.counts.remove(&(project, kind)).and_then(|count| count.shown) {
                step.emit(RowChange { row, cause: Cause::Evicted }, -1);
            }
        }
    }
}

impl Machine for Rejects {
    type Input = Local;
    type Output = RowChange;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Rejects::new(Arc::clone(&self.config)))
    }

    fn step(&mut self, data: &mut Vec<(Local, i64)>, step: &mut Step<'_, RowChange>) {
        let (mut places, mut counts) = (Places::new(), BTreeMap::<_, i64>::new());
        for (local, diff) in data.drain(..) {
            match local {
                Local::Row(tick, refusal) => put(&mut places, tick, refusal),
                Local::Count(project, kind, count) => *counts.entry((project, kind)).or_default() += count * diff,
            }
        }
        self.add_rows(places, step);
        for ((project, kind), diff) in counts {
            if diff != 0 {
                self.count(project, kind, diff, step);
            }
        }
        self.forget(step);
    }

    fn entries(&self) -> Vec<Entry> {
        let rows = self.rows.iter().map(|(place, row)| Entry::Row(place.clone(), row.clone()));
        let counts = self.counts.iter();
        let counts = counts.map(|((project, kind), count)| Entry::Count(Arc::clone(project), *kind, count.clone()));
        rows.chain(counts).collect()
    }

    fn home(_: &Self::Entry) -> Home {
        Home::Routed(0)
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        for entry in entries {
            match entry {
                Entry::Row(place, row) => {
                    self.rows.insert(place, row);
                }
                Entry::Count(project, kind, count) => {
                    self.forget.insert((count.forget_at, Arc::clone(&project), kind));
                    self.counts.insert((project, kind), count);
                }
            }
        }
        let times: BTreeSet<u64> = self.forget.iter().map(|(time, _, _)| *time).collect();
        times.into_iter().collect()
    }
}

fn refusal_row(tick: u64, refusal: &Refusal, config: &Config, writer: &mut RowWriter) -> Row {
    let position = refusal.position;
    let topic = config.topics.get(usize::from(position.topic)).map_or("", String::as_str);
    writer.str(&refusal.project).str(refusal.kind.as_str()).str(topic);
    writer.int(position.partition.into()).uint(position.offset).int(position.index.into());
    writer.int(1).str(&refusal.message).str(&refusal.stream).uint(tick);
    writer.finish(&REJECTS)
}

fn count_row(project: &str, kind: RejectKind, count: i64, writer: &mut RowWriter) -> Row {
    writer.str(project).str(kind.as_str()).str("").int(0).int(0).int(0);
    writer.int(count).null().null().null();
    writer.finish(&REJECTS)
}
