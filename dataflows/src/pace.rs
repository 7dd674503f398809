//! Rows of a view at a slower pace and with fewer columns: the aggregated forms of what moves fast.
//!
//! Contract: [`pace`] taps the row changes of a base view and gives the rows of another view, whose columns all are columns of the
//! base with the same name, and whose key is one of the base's rows that are wanted. At each cadence point of the other view its
//! rows are the base's of that very tick. What came and went in between is nothing.
//!
//! The cause of a −1 is `withdrawn` if that of any since the last cadence point was; of a row that left, that of its leave.
//!
//! # Invariants
//! Updates of a key cancel out as they come, so of each key there are at most the row that is shown and the one that will be.
//! All updates of a key are on one worker, the base's own: nothing is exchanged.
//!
//! # Cost
//! A hash of the key and a look-up a wanted row change; columns are read at cadence points only. State: the rows that changed since the
//! last one, shared with the base; of a row at rest nothing.

use crate::context::Context;
use crate::facts::{RowChange, Rows};
use crate::fork::Forks;
use crate::keyed::{Home, Machine, Step, keyed};
use crate::map::Map;
use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::Pipeline;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter, Value};
use weir_schemas::update::Cause;
use weir_schemas::view::View;
use xxhash_rust::xxh3::xxh3_128;

/// The rows of `view`, made of those of `base` that are wanted.
///
/// # Panics
/// When `view` has a column that `base` has not, or no cadence.
pub(crate) fn pace<'s>(
    cx: &Context<'s>,
    (base, view): (&'static View, &'static View),
    wanted: impl Fn(&Row) -> bool + 'static,
    rows: &mut Forks<'s, RowChange>,
) -> Rows<'s> {
    let picked = rows.tap(move |change| wanted(&change.row).then(|| change.clone()));
    keyed(view.name, picked, Pipeline, &cx.states, Pace::new(base, view))
}

/// A row of the base that changed since the last cadence point.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Changed {
    /// What the base has said of it since, net.
    net: Vec<(Row, i64)>,
    withdrawn: bool,
    /// The tick and cause of the last −1.
    left: Option<(u64, Cause)>,
}

impl Changed {
    fn add(&mut self, change: RowChange, diff: i64, now: u64) {
        if diff < 0 {
            self.withdrawn |= change.cause == Cause::Withdrawn;
            self.left = self.left.max(Some((now, change.cause)));
        }
        self.sum(change.row, diff);
    }

    fn sum(&mut self, row: Row, diff: i64) {
        let Some(index) = self.net.iter().position(|(known, _)| *known == row) else {
            self.net.push((row, diff));
            return;
        };
        self.net[index].1 += diff;
        if self.net[index].1 == 0 {
            self.net.swap_remove(index);
        }
    }

    /// Adds what another worker had heard of the same row.
    fn join(&mut self, other: Changed) {
        other.net.into_iter().for_each(|(row, diff)| self.sum(row, diff));
        self.withdrawn |= other.withdrawn;
        self.left = self.left.max(other.left);
    }

    fn row(&self, diff: i64) -> Option<&Row> {
        self.net.iter().find(|(_, of)| *of == diff).map(|(row, _)| row)
    }

    /// The cause with which the row that was there leaves.
    fn cause(&self) -> Cause {
        match self.left {
            Some((_, cause)) if self.row(1).is_none() => cause,
            _ if self.withdrawn => Cause::Withdrawn,
            _ => Cause::Changed,
        }
    }
}

/// All rows of one worker.
struct Pace {
    base: &'static View,
    view: &'static View,
    /// The base's columns, by column of the view.
    columns: Vec<usize>,
    changed: Map<Id, Changed>,
    /// The cadence point at which they are shown.
    due: u64,
    writer: RowWriter,
}

impl Pace {
    fn new(base: &'static View, view: &'static View) -> Pace {
        assert!(view.cadence_ms > 0, "{} has no cadence", view.name);
        let column = |name| base.column(name).unwrap_or_else(|| panic!("{} has no column {name}", base.name));
        let columns = view.columns.iter().map(|own| column(own.name)).collect();
        Pace { base, view, columns, changed: Map::default(), due: 0, writer: RowWriter::default() }
    }

    /// What the view shows of a row of the base.
    fn row(&mut self, row: &Row) -> Row {
        let values: Vec<Value<'_>> = row.values().collect();
        for column in &self.columns {
            self.writer.value(values[*column]);
        }
        self.writer.finish(self.view)
    }

    fn flush(&mut self, step: &mut Step<'_, RowChange>) {
        for id in self.changed.sorted_keys() {
            let Some(changed) = self.changed.remove(&id) else { continue };
            let was = changed.row(-1).map(|row| self.row(row));
            let is = changed.row(1).map(|row| self.row(row));
            if was == is {
                continue;
            }
            let cause = changed.cause();
            was.into_iter().for_each(|row| step.emit(RowChange { row, cause }, -1));
            is.into_iter().for_each(|row| step.emit(RowChange { row, cause: Cause::Changed }, 1));
        }
    }
}

impl Machine for Pace {
    type Input = RowChange;
    type Output = RowChange;
    type Entry = Entry;

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Pace::new(self.base, self.view))
    }

    fn step(&mut self, data: &mut Vec<(RowChange, i64)>, step: &mut Step<'_, RowChange>) {
        for (change, diff) in data.drain(..) {
            let id = Id(xxh3_128(change.row.prefix(self.base.key)));
            self.changed.get_or_insert_with(id, Changed::default).add(change, diff, step.now());
        }
        self.due = step.now().next_multiple_of(self.view.cadence_ms);
        if self.due == step.now() {
            self.flush(step);
        } else {
            step.wake_at(self.due);
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let entry = |(id, changed): (&Id, &Changed)| Entry { id: *id, due: self.due, changed: changed.clone() };
        self.changed.sorted().into_iter().map(entry).collect()
    }

    fn home(_: &Self::Entry) -> Home {
        Home::Anywhere
    }

    fn restore(&mut self, entries: Vec<Entry>) -> Vec<u64> {
        for Entry { id, due, changed } in entries {
            self.due = due;
            self.changed.get_or_insert_with(id, Changed::default).join(changed);
        }
        if self.changed.is_empty() { Vec::new() } else { vec![self.due] }
    }
}

/// A row in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    id: Id,
    due: u64,
    changed: Changed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use weir_schemas::view::{SUITE_PROGRESS, SUITE_SUMMARY};

    fn row(finished: i64) -> Row {
        let mut writer = RowWriter::default();
        writer.str("project").str("run").str("suite").str("suite").null().int(9).int(finished);
        writer.int(0).int(0).int(0).int(0).int(0).int(0).str("running").null();
        writer.finish(&SUITE_PROGRESS)
    }

    fn step(pace: &mut Pace, now: u64, changes: &[(i64, i64)]) -> Vec<(Value<'static>, i64)> {
        let change = |(finished, diff): &(i64, i64)| (RowChange { row: row(*finished), cause: Cause::Changed }, *diff);
        let (mut out, mut wake) = (Vec::new(), BTreeSet::new());
        pace.step(&mut changes.iter().map(change).collect(), &mut Step::new(now, &mut out, &mut wake));
        let finished = |change: &RowChange| match change.row.column(5) {
            Value::Int(finished) => Value::Int(finished),
            other => panic!("a number: {other:?}"),
        };
        out.iter().map(|(change, _, diff)| (finished(change), *diff)).collect()
    }

    #[test]
    fn what_two_workers_had_heard_of_a_row_is_told_as_one_change() {
        let new = || Pace::new(&SUITE_PROGRESS, &SUITE_SUMMARY);
        let (mut one, mut other, mut all) = (new(), new(), new());
        assert_eq!(step(&mut one, 1_010, &[(1, -1), (2, 1)]), []);
        assert_eq!(step(&mut other, 1_020, &[(2, -1), (3, 1)]), []);
        let wakes = [one, other].map(|pace| all.restore(pace.entries()));
        assert_eq!(wakes, [[2_000], [2_000]]);
        assert_eq!(step(&mut all, 2_000, &[]), [(Value::Int(1), -1), (Value::Int(3), 1)]);
    }
}
