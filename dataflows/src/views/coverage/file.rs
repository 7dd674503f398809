//! One file of one run: what was said of it, by flag, and what that comes to.
//!
//! Contract: what is said is merged at once; when something leaves, [`Flagged::settle`] merges anew. What is above the limit is put
//! together and stays.

use super::{Counts, Session};
use crate::input::{Coverage, CoveredFile, Names, Origin, Text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::lines::Lines;
use weir_schemas::row::{Row, RowWriter, ratio};
use weir_schemas::view::COVERAGE;

/// What one event said of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) event: Id,
    pub(super) session: Session,
    pub(super) at: u64,
    pub(super) origin: Arc<Origin>,
    pub(super) coverage: Arc<Coverage>,
    pub(super) index: usize,
    pub(super) withdrawn: bool,
    /// Whether an incident covers it.
    pub(super) covered: bool,
}

impl Said {
    pub(super) fn counts(&self) -> bool {
        !self.withdrawn && !self.covered
    }

    pub(super) fn file(&self) -> &CoveredFile {
        &self.coverage.files[self.index]
    }
}

/// Lines of a file, and who spoke of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Merged {
    pub(super) covered: Lines,
    pub(super) instrumented: Lines,
    /// Ascending.
    pub(super) sessions: Vec<Session>,
}

impl Merged {
    pub(super) fn add(&mut self, said: &Said) {
        let file = said.file();
        self.covered = self.covered.union(&file.covered);
        self.instrumented = self.instrumented.union(&file.instrumented);
        if let Err(index) = self.sessions.binary_search(&said.session) {
            self.sessions.insert(index, said.session);
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let count = |lines: &Lines| lines.count().cast_signed();
        match self.sessions.is_empty() {
            true => Counts::default(),
            false => Counts { files: 1, covered: count(&self.covered), total: count(&self.instrumented) },
        }
    }
}

/// A file under one flag.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Flagged {
    pub(super) said: Vec<Said>,
    /// What is not kept apart any more.
    pub(super) folded: Merged,
    pub(super) merged: Merged,
    /// Whether something has left `merged`.
    pub(super) stale: bool,
    pub(super) shown: Option<Row>,
    pub(super) told: Counts,
}

impl Flagged {
    pub(super) fn add(&mut self, said: Said, limit: usize) {
        if said.counts() {
            self.merged.add(&said);
        }
        if self.said.len() < limit {
            self.said.push(said);
        } else if said.counts() {
            self.folded.add(&said);
        }
    }

    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.stale) {
            self.merged = self.folded.clone();
            self.said.iter().filter(|said| said.counts()).for_each(|said| self.merged.add(said));
        }
    }
}

/// A file of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct File {
    pub(super) path: Text,
    pub(super) flags: BTreeMap<Text, Flagged>,
    /// What was told of all flags together.
    pub(super) told: Counts,
    /// The cadence point for which it is put down; 0: nothing changed.
    pub(super) due: u64,
    pub(super) withdrawn: bool,
}

/// The row of a file under a flag.
pub(super) fn row(
    writer: &mut RowWriter,
    names: &Names,
    flag: &str,
    path: &str,
    counts: Counts,
    merged: &Merged,
) -> Row {
    writer.str(&names.project).str(&names.run).str(flag).str(path);
    writer.int(counts.covered).int(counts.total).opt_int(ratio(counts.covered, 100, counts.total));
    writer.uint(merged.sessions.len() as u64);
    writer.finish(&COVERAGE)
}
