//! Random valid frames of all views, from a seed, and the state after each of them as an oracle.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use weir_schemas::protocol::enum_words;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::{Cause, Digest, Frame, Update, ViewFrame};
use weir_schemas::view::{Kind, VIEWS, View};

/// All rows of all views, by key bytes.
pub(crate) type Rows = Vec<BTreeMap<Vec<u8>, Row>>;

/// Makes frames and remembers what they come to.
pub(crate) struct Frames {
    rng: StdRng,
    time: u64,
    rows: Rows,
    digests: Vec<Digest>,
    /// At most so many updates of a view in a frame.
    pub(crate) updates_max: usize,
    /// The state at the end of each frame.
    pub(crate) history: BTreeMap<u64, Rows>,
    /// The frames.
    pub(crate) made: Vec<Frame>,
}

impl Frames {
    pub(crate) fn new(seed: u64) -> Frames {
        Frames {
            rng: StdRng::seed_from_u64(seed),
            time: 1_000,
            rows: vec![BTreeMap::new(); VIEWS.len()],
            digests: vec![Digest::default(); VIEWS.len()],
            updates_max: 6,
            history: BTreeMap::new(),
            made: Vec::new(),
        }
    }

    pub(crate) fn time(&self) -> u64 {
        self.time
    }

    /// A frame with random changes in any views.
    pub(crate) fn next(&mut self) -> Frame {
        let parts = (0..VIEWS.len()).map(|index| self.random_changes(index)).collect();
        self.finish(parts)
    }

    /// A frame in which nothing changes.
    pub(crate) fn quiet(&mut self) -> Frame {
        self.finish(vec![Vec::new(); VIEWS.len()])
    }

    /// A frame that adds these rows to a view.
    pub(crate) fn adding(&mut self, view: &View, rows: Vec<Row>) -> Frame {
        let mut parts = vec![Vec::new(); VIEWS.len()];
        let index = VIEWS.iter().position(|known| known.name == view.name).expect("a view");
        for row in rows {
            let before = self.rows[index].insert(row.prefix(view.key).to_vec(), row.clone());
            assert!(before.is_none(), "the generator adds new rows only");
            parts[index].push(Update { row, diff: 1, cause: Cause::Changed });
        }
        self.finish(parts)
    }

    fn random_changes(&mut self, index: usize) -> Vec<Update> {
        let view = VIEWS[index];
        let mut changes: BTreeMap<Vec<u8>, Option<Row>> = BTreeMap::new();
        for _ in 0..self.rng.random_range(0..=self.updates_max) {
            let row = random_row(&mut self.rng, view);
            let key = row.prefix(view.key).to_vec();
            let removed = self.rng.random_range(0..4) == 0;
            changes.insert(key, (!removed).then_some(row));
        }
        let mut updates = Vec::new();
        for (key, after) in changes {
            let before = self.rows[index].get(&key).cloned();
            if before == after {
                continue;
            }
            if let Some(row) = before {
                self.rows[index].remove(&key);
                updates.push(Update { row, diff: -1, cause: Cause::Withdrawn });
            }
            if let Some(row) = after {
                self.rows[index].insert(key, row.clone());
                updates.push(Update { row, diff: 1, cause: Cause::Changed });
            }
        }
        updates
    }

    fn finish(&mut self, parts: Vec<Vec<Update>>) -> Frame {
        let lower = self.time;
        self.time += 10 * self.rng.random_range(1..5);
        let mut views = Vec::new();
        for (mut updates, digest) in parts.into_iter().zip(&mut self.digests) {
            // By key, −1 before +1; keys are self-delimiting, so rows of different keys are ordered as their keys.
            updates.sort_by(|a, b| a.row.cmp(&b.row));
            for update in &updates {
                digest.apply(&update.row, update.diff);
            }
            views.push(ViewFrame { updates, digest: *digest });
        }
        for (view, part) in VIEWS.iter().zip(&mut views) {
            part.updates.sort_by(|a, b| (a.row.prefix(view.key), a.diff).cmp(&(b.row.prefix(view.key), b.diff)));
        }
        let frame = Frame { lower, upper: self.time, views };
        self.history.insert(self.time, self.rows.clone());
        self.made.push(frame.clone());
        frame
    }
}

fn random_row(rng: &mut StdRng, view: &View) -> Row {
    let mut writer = RowWriter::default();
    for (index, column) in view.columns.iter().enumerate() {
        if index >= view.key && rng.random_range(0..6) == 0 {
            writer.null();
            continue;
        }
        match column.kind {
            Kind::Bool => writer.bool(rng.random()),
            Kind::Int | Kind::Time => writer.int(rng.random_range(0..3)),
            Kind::Duration | Kind::Ratio => writer.int(rng.random_range(-5_000_000..5_000_000)),
            Kind::Str => writer.str(&format!("{}{}", column.name, rng.random_range(0..3))),
            Kind::Enum => match enum_words(view.name, column.name) {
                Some(words) => writer.str(words[rng.random_range(0..words.len())]),
                None => writer.str(["one", "two\n\"quoted\""][rng.random_range(0..2)]),
            },
            Kind::List => {
                let words = ["db", "slow", "ünï"];
                let count = rng.random_range(0..3);
                writer.list(words[..count].iter().copied())
            }
        };
    }
    writer.finish(view)
}

/// A row as clients see it.
pub(crate) fn json(view: &View, row: &Row) -> Vec<Json> {
    let mut text = String::new();
    row.write_json(view, &mut text);
    serde_json::from_str(&text).expect("rows are JSON")
}
