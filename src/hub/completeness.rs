//! How complete the numbers are, over all projects: folded from the updates of `run_progress`.

use weir_schemas::row::{Row, Value};
use weir_schemas::update::Update;
use weir_schemas::view::{RUN_PROGRESS, view_index};

/// Sums over the runs that have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenWork {
    /// Runs.
    pub running_runs: i64,
    /// Their streams that are not complete.
    pub open_streams: i64,
    /// Their tests that were announced and not seen yet.
    pub not_seen: i64,
}

/// Folds updates into [`OpenWork`].
#[derive(Debug)]
pub(crate) struct OpenWorkFold {
    pub(crate) view: usize,
    state: usize,
    planned: usize,
    started: usize,
    open_streams: usize,
    pub(crate) sum: OpenWork,
}

impl Default for OpenWorkFold {
    fn default() -> Self {
        let column = |name| RUN_PROGRESS.column(name).expect("run_progress has this column");
        OpenWorkFold {
            view: view_index(RUN_PROGRESS.name).expect("run_progress is a view"),
            state: column("state"),
            planned: column("planned"),
            started: column("started"),
            open_streams: column("open_streams"),
            sum: OpenWork::default(),
        }
    }
}

impl OpenWorkFold {
    pub(crate) fn apply(&mut self, update: &Update) {
        if update.row.column(self.state) != Value::Str("running") {
            return;
        }
        let number = |row: &Row, column| match row.column(column) {
            Value::Int(number) => Some(number),
            _ => None,
        };
        let started = number(&update.row, self.started).unwrap_or(0);
        let not_seen = number(&update.row, self.planned).map_or(0, |planned| (planned - started).max(0));
        self.sum.running_runs += update.diff;
        self.sum.open_streams += update.diff * number(&update.row, self.open_streams).unwrap_or(0);
        self.sum.not_seen += update.diff * not_seen;
    }
}
