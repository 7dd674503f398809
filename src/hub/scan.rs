//! Snapshots: all rows of a query at one time, collected in small steps while frames go on.
//!
//! Contract: each step holds the state's read lock for at most [`STEP_ROWS`] rows, so publishing is never held up by a
//! snapshot. Between steps the state moves; what moved among the rows already collected is brought up from the ring's
//! frames, so after each step the rows collected are exactly the wanted ones at one time, over all views of the query.
//!
//! # Failure
//! A scan that is slower than the ring is long, or that a new epoch overtakes, begins again.

use crate::hub::Hub;
use crate::hub::query::Query;
use crate::hub::ring::RingFrame;
use crate::hub::state::{Keyed, ViewState};
use std::collections::BTreeSet;
use std::sync::Arc;
use weir_schemas::row::Row;
use weir_schemas::view::View;

/// Rows looked at in one step, under a read lock: well under a millisecond.
const STEP_ROWS: usize = 4_096;

/// A scan under way.
#[derive(Debug)]
pub struct Scan {
    query: Arc<Query>,
    epoch: Arc<str>,
    time: u64,
    started: bool,
    /// Only keys above this one, in the query's only view.
    floor: Option<Box<[u8]>>,
    /// Enough rows.
    rows_max: usize,
    place: Place,
    rows: Vec<BTreeSet<Keyed>>,
}

/// Up to where the scan has come.
#[derive(Debug, Default)]
struct Place {
    /// The query's view.
    view: usize,
    ranges: Vec<Box<[u8]>>,
    range: usize,
    /// The last key looked at.
    after: Option<Box<[u8]>>,
}

/// What a step came to.
#[derive(Debug)]
pub enum Step {
    /// There is more to look at.
    More,
    /// These are the rows.
    Done(Snapshot),
    /// There are more rows than asked for; these are the first of them.
    Full(Snapshot),
}

/// All rows of a query at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The history.
    pub epoch: Arc<str>,
    /// When the rows held.
    pub time: u64,
    /// By view of the query, ordered by key.
    pub views: Vec<(&'static View, Vec<Row>)>,
}

impl Scan {
    /// A scan for all rows of `query`, at most `rows_max`.
    #[must_use]
    pub fn new(query: Arc<Query>, rows_max: usize) -> Scan {
        Scan {
            rows: vec![BTreeSet::new(); query.views.len()],
            query,
            epoch: "".into(),
            time: 0,
            started: false,
            floor: None,
            rows_max,
            place: Place::default(),
        }
    }

    /// The same above a key, for a query of one view.
    #[must_use]
    pub fn after(mut self, key: Option<Box<[u8]>>) -> Scan {
        assert!(self.query.views.len() == 1, "pages are of one view");
        self.floor = key;
        self
    }

    fn restart(&mut self, epoch: Arc<str>, time: u64) {
        self.epoch = epoch;
        self.time = time;
        self.started = true;
        self.rows.iter_mut().for_each(BTreeSet::clear);
        self.enter(0);
    }

    fn enter(&mut self, view: usize) {
        let ranges = self.query.views.get(view).map_or_else(Vec::new, |query| query.filter.ranges(query.view));
        self.place = Place { view, ranges, range: 0, after: self.floor.clone() };
    }

    /// Takes a step.
    pub fn step(&mut self, hub: &Hub) -> Step {
        let (frames, found) = {
            let state = hub.state();
            let mut frames = Vec::new();
            if !self.started || self.epoch != state.epoch {
                self.restart(Arc::clone(&state.epoch), state.time);
            } else if state.time > self.time {
                match hub.ring().after(&self.epoch, self.time, usize::MAX) {
                    Some(after) => frames = after,
                    None => self.restart(Arc::clone(&state.epoch), state.time),
                }
            }
            frames.retain(|frame| frame.upper() <= state.time);
            self.time = state.time;
            // What moved is judged by where the scan was before this step's rows, which are of now.
            let before = Place { ranges: self.place.ranges.clone(), after: self.place.after.clone(), ..self.place };
            ((frames, before), self.collect(&state.views))
        };
        for frame in &frames.0 {
            self.catch_up(&frames.1, frame);
        }
        for (view, keyed) in found {
            if self.query.views[view].matches(&keyed.row) {
                self.rows[view].insert(keyed);
            }
        }
        self.outcome()
    }

    /// The next rows, unfiltered, as they are now.
    fn collect(&mut self, states: &[ViewState]) -> Vec<(usize, Keyed)> {
        let mut found = Vec::new();
        while found.len() < STEP_ROWS && self.place.view < self.query.views.len() {
            let view = self.place.view;
            let Some(prefix) = self.place.ranges.get(self.place.range) else {
                self.enter(view + 1);
                continue;
            };
            let room = STEP_ROWS - found.len();
            let rows = states[self.query.views[view].index].range(prefix, self.place.after.as_deref());
            let before = found.len();
            found.extend(rows.take(room).map(|keyed| (view, keyed.clone())));
            if let Some((_, last)) = found[before..].last() {
                self.place.after = Some(last.key().into());
            }
            if found.len() - before < room {
                self.place.range += 1;
            }
        }
        found
    }

    /// Brings what was collected up to the end of a frame.
    fn catch_up(&mut self, place: &Place, frame: &RingFrame) {
        let Scan { query, rows, floor, .. } = self;
        for (index, (query, rows)) in query.views.iter().zip(rows).enumerate().take(place.view + 1) {
            for update in &frame.view(query.index).updates {
                if !query.matches(&update.row) {
                    continue;
                }
                let keyed = Keyed::new(update.row.clone(), query.view);
                let above_floor = floor.as_deref().is_none_or(|floor| keyed.key() > floor);
                if !above_floor || (index == place.view && !place.passed(keyed.key())) {
                    continue;
                }
                if update.diff > 0 {
                    rows.replace(keyed);
                } else {
                    rows.remove(&keyed);
                }
            }
        }
    }

    fn outcome(&mut self) -> Step {
        let count: usize = self.rows.iter().map(BTreeSet::len).sum();
        if count > self.rows_max {
            return Step::Full(self.snapshot());
        }
        if self.place.view < self.query.views.len() { Step::More } else { Step::Done(self.snapshot()) }
    }

    fn snapshot(&mut self) -> Snapshot {
        let mut room = self.rows_max;
        let take = |rows: &mut BTreeSet<Keyed>| -> Vec<Row> {
            let taken: Vec<Row> = std::mem::take(rows).into_iter().map(|keyed| keyed.row).take(room).collect();
            room -= taken.len();
            taken
        };
        let rows: Vec<Vec<Row>> = self.rows.iter_mut().map(take).collect();
        let views = self.query.views.iter().map(|query| query.view).zip(rows).collect();
        Snapshot { epoch: Arc::clone(&self.epoch), time: self.time, views }
    }
}

impl Place {
    /// Whether the scan has passed a key of its present view.
    fn passed(&self, key: &[u8]) -> bool {
        let done = self.ranges.get(self.range).is_none_or(|prefix| key < &**prefix);
        done || self.after.as_deref().is_some_and(|after| key <= after)
    }
}
