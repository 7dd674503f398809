//! How complete the numbers are: what rows of `run_progress` say of what is still to come.
//!
//! Contract: [`Reader`] reads one row; [`OpenWorkFold`] keeps the sum over all projects up to date, from updates. The sums over one
//! project are those that `live_metrics` shows of it.

use weir_schemas::row::Row;
use weir_schemas::update::Update;
use weir_schemas::view::{RUN_PROGRESS, view_index};

/// Sums over the runs that have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenWork {
    /// Runs.
    pub running_runs: i64,
    /// Their streams that are not complete.
    pub open_streams: i64,
    /// Their shards that were announced and not seen yet.
    pub shards_not_seen: i64,
    /// Their tests that were announced and not seen yet.
    pub not_seen: i64,
}

impl OpenWork {
    /// Shards from which more is to come: streams not complete, and those that were announced.
    #[must_use]
    pub fn open_shards(&self) -> i64 {
        self.open_streams + self.shards_not_seen
    }

    /// Adds `other` `times` times.
    pub fn add(&mut self, other: &OpenWork, times: i64) {
        self.running_runs += other.running_runs * times;
        self.open_streams += other.open_streams * times;
        self.shards_not_seen += other.shards_not_seen * times;
        self.not_seen += other.not_seen * times;
    }
}

/// Reads rows of `run_progress`.
#[derive(Debug)]
pub struct Reader {
    state: usize,
    planned: usize,
    started: usize,
    streams: usize,
    open_streams: usize,
    planned_shards: usize,
}

impl Default for Reader {
    fn default() -> Self {
        let column = |name| RUN_PROGRESS.column(name).expect("run_progress has this column");
        Reader {
            state: column("state"),
            planned: column("planned"),
            started: column("started"),
            streams: column("streams"),
            open_streams: column("open_streams"),
            planned_shards: column("planned_shards"),
        }
    }
}

impl Reader {
    /// What is still to come of a run: nothing of one that has ended.
    #[must_use]
    pub fn read(&self, row: &Row) -> OpenWork {
        if row.text(self.state) != Some("running") {
            return OpenWork::default();
        }
        let number = |column| row.number(column).unwrap_or(0);
        let lacking = |announced, seen| row.number(announced).map_or(0, |of| (of - number(seen)).max(0));
        OpenWork {
            running_runs: 1,
            open_streams: number(self.open_streams),
            shards_not_seen: lacking(self.planned_shards, self.streams),
            not_seen: lacking(self.planned, self.started),
        }
    }
}

/// Folds updates into [`OpenWork`].
#[derive(Debug)]
pub(crate) struct OpenWorkFold {
    pub(crate) view: usize,
    reader: Reader,
    pub(crate) sum: OpenWork,
}

impl Default for OpenWorkFold {
    fn default() -> Self {
        let view = view_index(RUN_PROGRESS.name).expect("run_progress is a view");
        OpenWorkFold { view, reader: Reader::default(), sum: OpenWork::default() }
    }
}

impl OpenWorkFold {
    pub(crate) fn apply(&mut self, update: &Update) {
        self.sum.add(&self.reader.read(&update.row), update.diff);
    }

    pub(crate) fn add(&mut self, row: &Row) {
        self.sum.add(&self.reader.read(row), 1);
    }
}
