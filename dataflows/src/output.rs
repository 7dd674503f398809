//! The output: all views' updates, cut into frames and released when they are final and durable.
//!
//! Contract: rows of every view are hashed where they are made, brought to worker 0, and handed to a sink as one [`Frame`]
//! at a time. A frame ends at every bound tick and at every whole second up to which something changed; it is released
//! when the frontiers of the rows *and* of the commits have passed it (`time.md`, release rule). The commits input
//! carries the bound ticks themselves, so where frames end depends on the bindings alone.
//!
//! # Invariants
//! Within a frame a key has at most one −1 and one +1; anything else is a broken view and ends the process.
//!
//! # Cost
//! Two hashes an update on its worker; a sort by the key's hash on worker 0, which touches no row.

use crate::dry_run::Answer;
use crate::facts::RowChange;
use crate::fork::Forks;
use crate::input::{Position, Refusal, RejectKind};
use crate::keyed::{Collection, States, Updates, put_by, reuse};
use serde::{Deserialize, Serialize};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::Map as _;
use timely::progress::frontier::MutableAntichain;
use weir_schemas::row::Row;
use weir_schemas::update::{Cause, Digest, Frame, Update, ViewFrame};
use weir_schemas::view::{VIEWS, View, view_index};
use xxhash_rust::xxh3::xxh3_128;

/// What leaves the dataflow at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The changes.
    pub frame: Frame,
    /// What was not accepted in the frame's span, for whoever waits for a verdict.
    pub refusals: Vec<Verdict>,
    /// Answers to what was asked, each with the time that it is of, for whoever waits for one.
    pub answers: Vec<(u64, Answer)>,
}

/// The verdict on a record that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Verdict {
    /// The record.
    pub position: Position,
    /// Why not.
    pub kind: RejectKind,
    /// On a conflict, the version that would have been accepted.
    pub expected: Option<u64>,
    /// The reason, for a person.
    pub message: Arc<str>,
}

/// Where a dataflow begins that goes on from a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The state is of this time.
    pub tick: u64,
    /// The digests of all views there, in the order of `VIEWS`.
    pub digests: Vec<Digest>,
}

/// How many inputs of the release have what was computed: all but the commits.
const COMPUTED: usize = 3;

/// Receives frames, on worker 0; on other workers it is never called.
pub type Sink = Box<dyn FnMut(Released)>;

/// A row on its way to worker 0.
#[derive(Clone, Serialize, Deserialize)]
struct Outgoing {
    view: u8,
    cause: Cause,
    /// The key's identity: it orders a frame's keys, and is at hand where their bytes would have to be fetched.
    key: u128,
    hash: u128,
    row: Row,
}

/// The views' rows, one line a view.
pub struct Outputs<'s>(Vec<Collection<'s, Outgoing>>);

impl<'s> Outputs<'s> {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Outputs(Vec::new())
    }

    /// Adds rows of a view; whoever else looks at them has tapped them.
    ///
    /// # Panics
    /// When the view is not among `VIEWS`.
    pub fn add(&mut self, view: &'static View, rows: Forks<'s, RowChange>) {
        let index = view_index(view.name).expect("every view that is rendered is in VIEWS");
        let index = u8::try_from(index).expect("there are fewer than 256 views");
        self.0.push(rows.rest(move |RowChange { row, cause }| {
            let (key, hash) = (xxh3_128(row.prefix(view.key)), row.hash());
            Some(Outgoing { view: index, cause, key, hash, row })
        }));
    }

    /// Releases everything to `sink`; after `cut`, if there is one. Notes in `states` what every worker has passed.
    pub fn release(
        self,
        (refusals, answers): (Collection<'s, Arc<Refusal>>, Collection<'s, Answer>),
        commits: Stream<'s, u64, Vec<u64>>,
        (cut, states): (Option<Cut>, States),
        mut sink: Sink,
    ) {
        let scope = commits.scope();
        let rows = scope.concatenate(self.0);
        let verdicts = refusals.map(|(refusal, time, _)| {
            let Refusal { position, kind, expected, message, .. } = &*refusal;
            (
                Verdict { position: *position, kind: *kind, expected: *expected, message: Arc::clone(message) },
                time,
                1i64,
            )
        });
        let mut builder = OperatorBuilder::new("Release".to_owned(), scope);
        let mut rows = builder.new_input(rows, Exchange::new(|_: &(Outgoing, u64, i64)| 0));
        let mut verdicts = builder.new_input(verdicts, Exchange::new(|_: &(Verdict, u64, i64)| 0));
        let mut answers = builder.new_input(answers, Exchange::new(|_: &(Answer, u64, i64)| 0));
        let mut commits = builder.new_input(commits, Exchange::new(|_: &u64| 0));
        let idle = scope.index() != 0;
        builder.build(move |_capabilities| {
            let mut cutter = Cutter::default();
            if let Some(Cut { tick, digests }) = cut {
                (cutter.lower, cutter.digests) = (tick, digests);
            }
            move |frontiers| {
                rows.for_each(|_, data| cutter.take(data));
                verdicts.for_each(|_, data| {
                    for (verdict, time, _) in data.drain(..) {
                        cutter.verdicts.entry(time).or_default().push(verdict);
                    }
                });
                answers.for_each(|_, data| data.drain(..).for_each(|(answer, time, _)| cutter.answer(answer, time)));
                commits.for_each(|_, data| cutter.bound.extend(data.drain(..)));
                let upper = |inputs: &[MutableAntichain<u64>]| {
                    let uppers = inputs.iter().filter_map(|frontier| frontier.frontier().first().copied());
                    uppers.min().unwrap_or(u64::MAX)
                };
                let (computed, committed) = frontiers.split_at(COMPUTED);
                states.pass(upper(computed));
                if !idle {
                    cutter.cut(upper(computed).min(upper(committed)), &mut sink);
                }
            }
        });
    }
}

impl Default for Outputs<'_> {
    fn default() -> Self {
        Outputs::new()
    }
}

/// Cuts updates into frames.
#[derive(Default)]
struct Cutter {
    rows: BTreeMap<u64, Vec<(Outgoing, i64)>>,
    /// The buffer of a time that was cut is that of the next one to come.
    spare: Vec<(Outgoing, i64)>,
    /// The updates of a frame by view, while it is made; empty in between.
    by_view: Vec<Vec<Change>>,
    netting: Netting,
    verdicts: BTreeMap<u64, Vec<Verdict>>,
    /// By time and question, as far as workers have told.
    answers: BTreeMap<(u64, u64), Answer>,
    bound: BTreeSet<u64>,
    digests: Vec<Digest>,
    lower: u64,
}

impl Cutter {
    fn take(&mut self, data: &mut Updates<Outgoing>) {
        put_by(data, &mut self.rows, &mut self.spare, Some);
    }

    /// Takes in what a worker answers.
    fn answer(&mut self, answer: Answer, time: u64) {
        match self.answers.entry((time, answer.id)) {
            Entry::Vacant(first) => {
                first.insert(answer);
            }
            Entry::Occupied(mut known) => known.get_mut().add(answer),
        }
    }

    /// Releases every frame that ends before `upper`.
    fn cut(&mut self, upper: u64, sink: &mut Sink) {
        while let Some(end) = self.next_end().filter(|end| *end < upper) {
            self.bound.remove(&end);
            let frame = self.frame(end);
            let later = self.verdicts.split_off(&(end + 1));
            let mut refusals: Vec<_> = std::mem::replace(&mut self.verdicts, later).into_values().flatten().collect();
            refusals.sort_unstable();
            let later = self.answers.split_off(&(end + 1, 0));
            let answers = std::mem::replace(&mut self.answers, later).into_iter().map(|((time, _), mut answer)| {
                answer.settle();
                (time, answer)
            });
            self.lower = end;
            sink(Released { frame, refusals, answers: answers.collect() });
        }
    }

    /// Where the next frame ends: the next bound tick, or the next whole second up to which something changed.
    fn next_end(&self) -> Option<u64> {
        let second = self.rows.keys().next().map(|time| time.next_multiple_of(1_000));
        match (self.bound.first().copied(), second) {
            (Some(bound), Some(second)) => Some(bound.min(second)),
            (bound, second) => bound.or(second),
        }
    }

    fn frame(&mut self, end: u64) -> Frame {
        self.digests.resize(VIEWS.len(), Digest::default());
        self.by_view.resize_with(VIEWS.len(), Vec::new);
        let later = self.rows.split_off(&(end + 1));
        for (_, mut updates) in std::mem::replace(&mut self.rows, later) {
            let came = updates.len();
            for (Outgoing { view, cause, key, hash, row }, diff) in updates.drain(..) {
                let digest = &mut self.digests[usize::from(view)];
                digest.0 = digest.0.wrapping_add(hash.wrapping_mul(i128::from(diff).cast_unsigned()));
                self.by_view[usize::from(view)].push(Change { key, hash, diff, cause, row: Some(row) });
            }
            reuse(&mut updates, came);
            self.spare = updates;
        }
        let (changes, netting) = (&mut self.by_view, &mut self.netting);
        let views = changes.iter_mut().zip(&self.digests).zip(VIEWS);
        let views =
            views.map(|((changes, digest), view)| ViewFrame { updates: netting.net(changes, view), digest: *digest });
        Frame { lower: self.lower, upper: end, views: views.collect() }
    }
}

/// An update of a view, while its frame is made.
struct Change {
    key: u128,
    hash: u128,
    diff: i64,
    cause: Cause,
    /// Until it is taken.
    row: Option<Row>,
}

impl Change {
    fn take(&mut self, diff: i64) -> Option<Update> {
        Some(Update { row: self.row.take()?, diff, cause: self.cause })
    }
}

/// Memory that the net of updates is made in.
#[derive(Default)]
struct Netting {
    /// Of each change the upper half of its key, and its place: so what is sorted is small.
    order: Vec<(u64, u32)>,
}

impl Netting {
    /// The net of a view's updates: those of a key together, −1 before +1. Leaves `changes` empty.
    fn net(&mut self, changes: &mut Vec<Change>, view: &View) -> Vec<Update> {
        let came = changes.len();
        let upper = |change: &Change| (change.key >> 64) as u64;
        self.order.extend((0u32..).zip(&*changes).map(|(place, change)| (upper(change), place)));
        let key = |place: u32| changes[place as usize].key;
        // By place last: the updates of one key stay in the order of their times.
        self.order
            .sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| key(a.1).cmp(&key(b.1))).then_with(|| a.1.cmp(&b.1)));
        let (mut netted, mut rest) = (Vec::with_capacity(came), &self.order[..]);
        while let Some((_, first)) = rest.first() {
            let same = |(_, place): &&(u64, u32)| changes[*place as usize].key == changes[*first as usize].key;
            let (of_key, others) = rest.split_at(rest.iter().take_while(same).count());
            settle(of_key, changes, &mut netted, view);
            rest = others;
        }
        self.order.clear();
        reuse(changes, came);
        netted
    }
}

/// The net of one key's updates, which stand at some places, appended to `netted`.
fn settle(places: &[(u64, u32)], changes: &mut [Change], netted: &mut Vec<Update>, view: &View) {
    // Nearly all: a row came or left, or changed to another.
    let diff = |(_, place): &(u64, u32)| changes[*place as usize].diff;
    let hash = |(_, place): &(u64, u32)| changes[*place as usize].hash;
    let usual = match places {
        [only] => matches!(diff(only), -1 | 1),
        [old, new] => (diff(old), diff(new)) == (-1, 1) && hash(old) != hash(new),
        _ => false,
    };
    if usual {
        let changes = places.iter().filter_map(|(_, place)| {
            let change = &mut changes[*place as usize];
            change.take(change.diff)
        });
        return netted.extend(changes);
    }
    let first = netted.len();
    let mut places: Vec<_> = places.iter().map(|of| (hash(of), of.1 as usize)).collect();
    places.sort_unstable();
    for same in places.chunk_by(|(a, _), (b, _)| a == b) {
        let diff: i64 = same.iter().map(|(_, place)| changes[*place].diff).sum();
        if let Some((_, last)) = same.last().filter(|_| diff != 0) {
            netted.extend(changes[*last].take(diff));
        }
    }
    netted[first..].sort_by_key(|update| update.diff);
    let sound = match &netted[first..] {
        [] => true,
        [only] => matches!(only.diff, -1 | 1),
        [old, new] => (old.diff, new.diff) == (-1, 1),
        _ => false,
    };
    assert!(sound, "view {} gave more than one change to a key: {:?}", view.name, &netted[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_schemas::row::RowWriter;
    use weir_schemas::view::MISSING;

    /// A row of `missing` whose key is of `test`.
    fn row(test: &str, count: u64) -> Row {
        let mut writer = RowWriter::default();
        writer.str("project").str("run").str("not_finished").str(test).uint(count).uint(0).null();
        writer.finish(&MISSING)
    }

    fn change(test: &str, count: u64, diff: i64) -> Change {
        let row = row(test, count);
        let (key, hash) = (xxh3_128(row.prefix(MISSING.key)), row.hash());
        Change { key, hash, diff, cause: Cause::Changed, row: Some(row) }
    }

    #[test]
    fn what_came_and_went_is_nothing_and_an_old_row_goes_before_the_new_one() {
        let came = [("b", 2, 1), ("a", 1, 1), ("c", 5, 1), ("b", 1, -1), ("c", 5, -1)];
        let mut changes: Vec<_> = came.into_iter().map(|(test, count, diff)| change(test, count, diff)).collect();
        let netted = Netting::default().net(&mut changes, &MISSING);
        let mut shown: Vec<_> = netted.into_iter().map(|update| (update.row, update.diff)).collect();
        let old = shown.iter().position(|(_, diff)| *diff == -1).expect("a row left");
        assert_eq!(shown[old + 1].0, row("b", 2), "the new row is right behind the old one");
        let mut expected = vec![(row("a", 1), 1), (row("b", 1), -1), (row("b", 2), 1)];
        shown.sort();
        expected.sort();
        assert_eq!(shown, expected);
        assert!(changes.is_empty());
    }

    #[test]
    #[should_panic(expected = "view missing gave more than one change to a key")]
    fn two_rows_of_one_key_end_the_process() {
        Netting::default().net(&mut vec![change("a", 1, 1), change("a", 2, 1)], &MISSING);
    }
}
