//! The current rows of a view, ordered by key.
//!
//! Contract: folding a frame's part takes the state from `lower` to `upper`. Rows are shared by pointer with the ring and with
//! snapshots under way.
//!
//! # Invariants
//! One row a key. A −1 takes away exactly the row that is there, a +1 finds none: anything else means that what clients were
//! told is wrong, and ends the process.
//!
//! # Cost
//! O(rows) memory of 24 bytes a row besides the row; O(log rows) an update.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;
use weir_schemas::row::Row;
use weir_schemas::update::{Digest, ViewFrame};
use weir_schemas::view::View;

/// A row that is known by its key alone.
#[derive(Clone, Debug)]
pub(crate) struct Keyed {
    pub(crate) row: Row,
    key_bytes: u32,
}

impl Keyed {
    pub(crate) fn new(row: Row, view: &View) -> Keyed {
        let key_bytes = u32::try_from(row.prefix(view.key).len()).expect("a key is shorter than 4 GiB");
        Keyed { row, key_bytes }
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.row.as_bytes()[..self.key_bytes as usize]
    }
}

impl Borrow<[u8]> for Keyed {
    fn borrow(&self) -> &[u8] {
        self.key()
    }
}

impl PartialEq for Keyed {
    fn eq(&self, other: &Keyed) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Keyed {}

impl PartialOrd for Keyed {
    fn partial_cmp(&self, other: &Keyed) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Keyed {
    fn cmp(&self, other: &Keyed) -> Ordering {
        self.key().cmp(other.key())
    }
}

/// The rows of one view.
#[derive(Debug, Default)]
pub(crate) struct ViewState {
    rows: BTreeSet<Keyed>,
    /// Of all rows.
    bytes: usize,
    digest: Digest,
}

impl ViewState {
    /// Takes a frame's part in; `check_digest` recomputes what the frame claims.
    pub(crate) fn fold(&mut self, view: &View, part: &ViewFrame, check_digest: bool) {
        let mut updates = part.updates.iter().peekable();
        while let Some(update) = updates.next() {
            let keyed = Keyed::new(update.row.clone(), view);
            let row_bytes = update.row.as_bytes().len();
            // A row that another takes the place of is looked up once for both.
            let next =
                updates.next_if(|next| (update.diff, next.diff) == (-1, 1) && next.row.prefix(view.key) == keyed.key());
            match update.diff {
                1 => {
                    let before = self.rows.replace(keyed);
                    assert!(before.is_none(), "view {}: a second row for the key of {:?}", view.name, update.row);
                    self.bytes += row_bytes;
                }
                -1 => {
                    let before = match next {
                        Some(next) => self.rows.replace(Keyed { row: next.row.clone(), ..keyed }),
                        None => self.rows.take(keyed.key()),
                    };
                    assert!(
                        before.is_some_and(|before| before.row == update.row),
                        "view {}: a row leaves that is not there: {:?}",
                        view.name,
                        update.row
                    );
                    self.bytes -= row_bytes;
                    self.bytes += next.map_or(0, |next| next.row.as_bytes().len());
                }
                diff => panic!("view {}: a difference of {diff} in a frame, which is net: {:?}", view.name, update.row),
            }
            if check_digest {
                [update].into_iter().chain(next).for_each(|update| self.digest.apply(&update.row, update.diff));
            }
        }
        if check_digest {
            assert_eq!(self.digest, part.digest, "view {}: the frame's digest is not that of its updates", view.name);
        }
        self.digest = part.digest;
    }

    /// Begins with these rows.
    pub(crate) fn begin(&mut self, view: &View, rows: Vec<Row>, digest: Digest) {
        self.bytes = rows.iter().map(|row| row.as_bytes().len()).sum();
        let count = rows.len();
        self.rows = rows.into_iter().map(|row| Keyed::new(row, view)).collect();
        assert_eq!(self.rows.len(), count, "view {}: two rows have one key", view.name);
        self.digest = digest;
    }

    /// All rows, in key order.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.rows.iter().map(|keyed| keyed.row.clone()).collect()
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many bytes the rows are, without what they are kept in.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The rows whose key begins with `prefix` and lies above `after`, in key order.
    pub(crate) fn range<'a>(&'a self, prefix: &'a [u8], after: Option<&[u8]>) -> impl Iterator<Item = &'a Keyed> {
        let low = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.rows.range::<[u8], _>((low, Bound::Unbounded)).take_while(move |keyed| keyed.key().starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_schemas::row::RowWriter;
    use weir_schemas::update::{Cause, Update};
    use weir_schemas::view::MISSING;

    fn update(run: &str, count: i64, diff: i64) -> Update {
        let mut writer = RowWriter::default();
        writer.str("p").str(run).str("abandoned").str("").int(count).int(5).null();
        Update { row: writer.finish(&MISSING), diff, cause: Cause::Changed }
    }

    fn part(before: Digest, updates: Vec<Update>) -> ViewFrame {
        let mut digest = before;
        for update in &updates {
            digest.apply(&update.row, update.diff);
        }
        ViewFrame { updates, digest }
    }

    #[test]
    fn a_change_of_a_row_replaces_it() {
        let mut state = ViewState::default();
        state.fold(&MISSING, &part(state.digest(), vec![update("a", 1, 1), update("b", 1, 1)]), true);
        state.fold(&MISSING, &part(state.digest(), vec![update("a", 1, -1), update("a", 2, 1)]), true);
        let rows: Vec<Row> = state.range(&[], None).map(|keyed| keyed.row.clone()).collect();
        assert_eq!(rows, [update("a", 2, 1).row, update("b", 1, 1).row]);
        assert_eq!(state.bytes(), rows.iter().map(|row| row.as_bytes().len()).sum::<usize>());
        state.fold(&MISSING, &part(state.digest(), vec![update("a", 2, -1), update("b", 1, -1)]), true);
        assert_eq!((state.len(), state.bytes()), (0, 0));
    }

    #[test]
    #[should_panic(expected = "a second row for the key")]
    fn a_second_row_of_a_key_ends_the_process() {
        let mut state = ViewState::default();
        state.fold(&MISSING, &part(state.digest(), vec![update("a", 1, 1), update("a", 2, 1)]), true);
    }

    #[test]
    #[should_panic(expected = "a row leaves that is not there")]
    fn a_row_that_leaves_must_be_there() {
        let mut state = ViewState::default();
        state.fold(&MISSING, &part(state.digest(), vec![update("a", 1, 1)]), true);
        state.fold(&MISSING, &part(state.digest(), vec![update("a", 2, -1)]), true);
    }

    #[test]
    #[should_panic(expected = "digest is not that of its updates")]
    fn a_wrong_digest_ends_the_process() {
        let mut state = ViewState::default();
        state.fold(&MISSING, &ViewFrame { updates: vec![update("a", 1, 1)], digest: Digest(7) }, true);
    }
}
