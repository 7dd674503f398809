//! The streams of one run: which are complete, which have fallen silent, and what of them is missing.
//!
//! Contract: a stream that says anything of its own work is a shard of the run; it is complete when the suites that it
//! began have ended, and there was one at all. A shard of a running run that is not complete is silent from the whole second
//! on at which it has said nothing for `shard_silent` on the silent clock, until it speaks, completes, or the run ends. A
//! stream's missing versions are shown while it is complete or its run has ended. Both are rows of `missing`.
//!
//! # Invariants
//! What is told is taken back exactly: the rows that are out are kept.
//!
//! # Cost
//! O(log streams) a note: those that may fall silent stand in the order in which they were last heard. 17 bytes a suite and
//! some 150 a stream of a live run.

use super::silence::Silence;
use crate::facts::RowChange;
use crate::input::Text;
use crate::notes::{RunNote, SuiteMark};
use crate::views::missing;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::Cause;

/// All streams of one run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Streams {
    streams: BTreeMap<Id, Stream>,
    /// How many of them are shards.
    shards: u64,
    /// The sum of what their suites announced, when any did.
    planned: Option<u64>,
    /// Shards that are not complete and not silent, by the silent clock at their last event.
    waiting: BTreeSet<(u64, Id)>,
    silent: BTreeSet<Id>,
    /// Those with missing versions.
    torn: BTreeSet<Id>,
    /// Those of which the rows may be others than are out.
    touched: BTreeSet<Id>,
    /// When the run ended, as of the rows that are out.
    ended_at: Option<u64>,
    /// The rows that are out.
    told: BTreeMap<Id, Rows>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Rows {
    gap: Option<Row>,
    silent: Option<Row>,
}

/// The run that a row is of.
pub(super) struct Of<'a> {
    pub(super) project: &'a str,
    pub(super) run: &'a str,
    pub(super) ended_at: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stream {
    name: Text,
    /// The first machine named.
    worker: Option<Text>,
    /// Whether it is a shard.
    works: bool,
    suites: BTreeMap<Id, Suite>,
    /// How many suites have begun and not ended.
    open: u32,
    /// The tick of its last event.
    heard_at: u64,
    /// The silent clock then.
    heard: u64,
    /// Since when it is complete.
    complete_at: Option<u64>,
    /// Versions that never came.
    missing: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Suite {
    begun: bool,
    ended: bool,
    planned: Option<u32>,
}

impl Stream {
    fn new(note: &RunNote) -> Stream {
        Stream {
            name: Arc::clone(&note.stream_name),
            worker: None,
            works: false,
            suites: BTreeMap::new(),
            open: 0,
            heard_at: 0,
            heard: 0,
            complete_at: None,
            missing: 0,
        }
    }

    /// Takes a begin or an end in; gives what its suite announced before and announces now.
    fn mark(&mut self, mark: &SuiteMark) -> (Option<u32>, Option<u32>) {
        let suite = self.suites.entry(mark.suite).or_default();
        let (was_open, was_planned) = (suite.begun && !suite.ended, suite.planned);
        if mark.ended {
            suite.ended = true;
        } else {
            suite.begun = true;
            suite.planned = mark.planned.or(suite.planned);
        }
        let open = suite.begun && !suite.ended;
        self.open = self.open + u32::from(open) - u32::from(was_open);
        (was_planned, suite.planned)
    }

    /// Complete: its begun suites have ended, and there was one at all.
    fn complete(&self) -> bool {
        self.open == 0 && !self.suites.is_empty()
    }

    /// Whether more is to come of it.
    fn awaited(&self) -> bool {
        self.works && !self.complete()
    }

    fn rows(&self, of: &Of<'_>, silent: bool, writer: &mut RowWriter) -> Rows {
        let Of { project, run, ended_at } = *of;
        let (name, worker) = (&*self.name, self.worker.as_deref());
        let gap = self.complete_at.or(ended_at).filter(|_| self.missing > 0);
        Rows {
            gap: gap.map(|since| missing::version_gap(writer, [project, run, name], self.missing, since, worker)),
            silent: silent.then(|| missing::silent_shard(writer, [project, run, name], self.heard_at, worker)),
        }
    }
}

impl Streams {
    /// How many shards were seen.
    pub(super) fn shards(&self) -> u64 {
        self.shards
    }

    /// How many of them are not complete.
    pub(super) fn open(&self) -> u64 {
        (self.waiting.len() + self.silent.len()) as u64
    }

    /// What suites announced, added up.
    pub(super) fn planned(&self) -> Option<u64> {
        self.planned
    }

    /// Takes in what a stream said in tick `now`, at which the silent clock shows `clock`.
    pub(super) fn hear(&mut self, note: &RunNote, now: u64, clock: u64) {
        let id = note.stream;
        let stream = self.streams.entry(id).or_insert_with(|| Stream::new(note));
        self.waiting.remove(&(stream.heard, id));
        self.shards += u64::from(note.works && !stream.works);
        stream.works |= note.works;
        if stream.worker.is_none() {
            stream.worker.clone_from(&note.worker);
        }
        if note.active {
            (stream.heard_at, stream.heard) = (now, clock);
            self.silent.remove(&id);
        }
        for mark in &note.suites {
            let (was, is) = stream.mark(mark);
            if let Some(is) = is {
                let others = self.planned.unwrap_or(0) - u64::from(was.unwrap_or(0));
                self.planned = Some(others + u64::from(is));
            }
        }
        stream.complete_at = if stream.complete() { stream.complete_at.or(Some(now)) } else { None };
        if stream.awaited() && !self.silent.contains(&id) {
            self.waiting.insert((stream.heard, id));
        }
        self.tear(id, note.missing);
    }

    /// Takes in how many versions of a stream are missing, if it said anything in this run.
    pub(super) fn tear(&mut self, id: Id, missing: u64) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.missing = missing;
        if missing > 0 {
            self.torn.insert(id);
        } else {
            self.torn.remove(&id);
        }
        self.touched.insert(id);
    }

    /// The tick at which the next shard may fall silent; `None` while the silent clock stands still.
    pub(super) fn deadline(&self, silence: &Silence, silent_ms: u64) -> Option<u64> {
        self.waiting.first().and_then(|(heard, _)| silence.reaches(heard.saturating_add(silent_ms)))
    }

    /// At a whole second of a running run: whoever has said nothing for too long is silent.
    pub(super) fn listen(&mut self, clock: u64, silent_ms: u64) {
        while let Some((heard, id)) = self.waiting.first().copied()
            && clock >= heard.saturating_add(silent_ms)
        {
            self.waiting.remove(&(heard, id));
            self.silent.insert(id);
            self.touched.insert(id);
        }
    }

    /// The run has ended: nobody is awaited any more.
    pub(super) fn end(&mut self) {
        for id in std::mem::take(&mut self.silent) {
            let stream = self.streams.get(&id).expect("a silent stream is one of the run's");
            self.waiting.insert((stream.heard, id));
            self.touched.insert(id);
        }
    }

    /// Emits what changed in the rows.
    pub(super) fn tell(&mut self, of: &Of<'_>, writer: &mut RowWriter, mut emit: impl FnMut(RowChange, i64)) {
        if self.ended_at != of.ended_at {
            self.ended_at = of.ended_at;
            self.touched.extend(&self.torn);
        }
        for id in std::mem::take(&mut self.touched) {
            let stream = self.streams.get(&id).expect("a touched stream is one of the run's");
            let rows = stream.rows(of, self.silent.contains(&id), writer);
            let told = if rows == Rows::default() { self.told.remove(&id) } else { self.told.insert(id, rows.clone()) };
            let told = told.unwrap_or_default();
            for (was, is) in [(told.gap, rows.gap), (told.silent, rows.silent)] {
                if was != is {
                    let change = |row| RowChange { row, cause: Cause::Changed };
                    was.into_iter().for_each(|row| emit(change(row), -1));
                    is.into_iter().for_each(|row| emit(change(row), 1));
                }
            }
        }
    }

    /// The run leaves, and all its rows with it.
    pub(super) fn leave(&mut self, mut emit: impl FnMut(RowChange, i64)) {
        for Rows { gap, silent } in std::mem::take(&mut self.told).into_values() {
            for row in gap.into_iter().chain(silent) {
                emit(RowChange { row, cause: Cause::Evicted }, -1);
            }
        }
    }
}
