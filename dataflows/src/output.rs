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
use crate::facts::Rows;
use crate::input::{Position, Refusal, RejectKind};
use crate::keyed::{Collection, put_by, reuse};
use serde::{Deserialize, Serialize};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::Map as _;
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

    /// Adds rows of a view.
    ///
    /// # Panics
    /// When the view is not among `VIEWS`.
    pub fn add(&mut self, view: &'static View, rows: Rows<'s>) {
        let index = view_index(view.name).expect("every view that is rendered is in VIEWS");
        let index = u8::try_from(index).expect("there are fewer than 256 views");
        self.0.push(rows.map(move |(change, time, diff)| {
            let (key, hash) = (xxh3_128(change.row.prefix(view.key)), change.row.hash());
            (Outgoing { view: index, cause: change.cause, key, hash, row: change.row }, time, diff)
        }));
    }

    /// Releases everything to `sink`.
    pub fn release(
        self,
        refusals: Collection<'s, Arc<Refusal>>,
        answers: Collection<'s, Answer>,
        commits: Stream<'s, u64, Vec<u64>>,
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
            move |frontiers| {
                rows.for_each(|_, data| put_by(data, &mut cutter.rows, &mut Vec::new()));
                verdicts.for_each(|_, data| {
                    for (verdict, time, _) in data.drain(..) {
                        cutter.verdicts.entry(time).or_default().push(verdict);
                    }
                });
                answers.for_each(|_, data| data.drain(..).for_each(|(answer, time, _)| cutter.answer(answer, time)));
                commits.for_each(|_, data| cutter.bound.extend(data.drain(..)));
                if idle {
                    return;
                }
                let upper = frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min();
                cutter.cut(upper.unwrap_or(u64::MAX), &mut sink);
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
    /// The updates of a frame by view, while it is made; empty in between.
    by_view: Vec<Vec<(Outgoing, i64)>>,
    verdicts: BTreeMap<u64, Vec<Verdict>>,
    /// By time and question, as far as workers have told.
    answers: BTreeMap<(u64, u64), Answer>,
    bound: BTreeSet<u64>,
    digests: Vec<Digest>,
    lower: u64,
}

impl Cutter {
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
        for (outgoing, diff) in std::mem::replace(&mut self.rows, later).into_values().flatten() {
            let change = outgoing.hash.wrapping_mul(i128::from(diff).cast_unsigned());
            let digest = &mut self.digests[usize::from(outgoing.view)];
            digest.0 = digest.0.wrapping_add(change);
            self.by_view[usize::from(outgoing.view)].push((outgoing, diff));
        }
        let views = self
            .by_view
            .iter_mut()
            .zip(&self.digests)
            .zip(VIEWS)
            .map(|((updates, digest), view)| ViewFrame { updates: net(updates, view), digest: *digest })
            .collect();
        Frame { lower: self.lower, upper: end, views }
    }
}

/// The net of a view's updates: those of a key together, −1 before +1. Leaves `updates` empty.
fn net(updates: &mut Vec<(Outgoing, i64)>, view: &View) -> Vec<Update> {
    let came = updates.len();
    // A stable sort: the updates of one key stay in the order of their times.
    updates.sort_by_key(|(outgoing, _)| outgoing.key);
    let (mut netted, mut group) = (Vec::with_capacity(came), Vec::new());
    let mut coming = updates.drain(..).peekable();
    while let Some((outgoing, diff)) = coming.next() {
        let key = outgoing.key;
        group.push((outgoing, diff));
        while let Some(same) = coming.next_if(|(next, _)| next.key == key) {
            group.push(same);
        }
        settle(&mut group, &mut netted, view);
    }
    drop(coming);
    reuse(updates, came);
    netted
}

/// The net of one key's updates, appended to `netted`. Leaves `group` empty.
fn settle(group: &mut Vec<(Outgoing, i64)>, netted: &mut Vec<Update>, view: &View) {
    let update = |(outgoing, diff): (Outgoing, i64)| Update { row: outgoing.row, diff, cause: outgoing.cause };
    let first = netted.len();
    if let [(_, -1 | 1)] = group[..] {
        netted.extend(group.drain(..).map(update));
        return;
    }
    group.sort_by_key(|(outgoing, _)| outgoing.hash);
    for same in group.chunk_by(|(a, _), (b, _)| a.hash == b.hash) {
        let diff: i64 = same.iter().map(|(_, diff)| diff).sum();
        if let Some((last, _)) = same.last().filter(|_| diff != 0) {
            netted.push(update((last.clone(), diff)));
        }
    }
    group.clear();
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

    /// An update of a row of `missing` whose key is of `test`.
    fn update(test: &str, count: u64, diff: i64) -> (Outgoing, i64) {
        let mut writer = RowWriter::default();
        writer.str("project").str("run").str("not_finished").str(test).uint(count).uint(0).null();
        let row = writer.finish(&MISSING);
        let (key, hash) = (xxh3_128(row.prefix(MISSING.key)), row.hash());
        (Outgoing { view: 0, cause: Cause::Changed, key, hash, row }, diff)
    }

    #[test]
    fn what_came_and_went_is_nothing_and_an_old_row_goes_before_the_new_one() {
        let same = update("c", 5, 1);
        let mut updates = vec![update("b", 2, 1), update("a", 1, 1), same, update("b", 1, -1), update("c", 5, -1)];
        let mut shown: Vec<_> =
            net(&mut updates, &MISSING).into_iter().map(|update| (update.row, update.diff)).collect();
        let old = shown.iter().position(|(_, diff)| *diff == -1).expect("a row left");
        assert_eq!(shown[old + 1].0, update("b", 2, 1).0.row, "the new row is right behind the old one");
        let mut expected: Vec<_> = [update("a", 1, 1), update("b", 1, -1), update("b", 2, 1)]
            .into_iter()
            .map(|(outgoing, diff)| (outgoing.row, diff))
            .collect();
        shown.sort();
        expected.sort();
        assert_eq!(shown, expected);
        assert!(updates.is_empty());
    }

    #[test]
    #[should_panic(expected = "view missing gave more than one change to a key")]
    fn two_rows_of_one_key_end_the_process() {
        net(&mut vec![update("a", 1, 1), update("a", 2, 1)], &MISSING);
    }
}
