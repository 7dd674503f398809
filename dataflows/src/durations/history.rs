//! How long one test took: counts of its durations by day.
//!
//! Contract: a day is a seventh of the memory. [`History::median`] is over all that is in the memory, as are the percentiles of its
//! row; `change` holds the median of the newest day on which it ran against that of the days before.
//!
//! # Cost
//! About 300 bytes and, for each day on which it ran and once for all, 32 and 2 to 4 a bucket of durations in use: about 700 bytes
//! of a test that always takes much the same. A duration is counted twice, each time in place behind a walk over the buckets before it.

use super::Slowest;
use crate::facts::AttemptFact;
use crate::input::Names;
use crate::percentiles::{Counts, Scratch, bucket};
use crate::window::{Panes, Window};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::sync::Arc;
use weir_schemas::id::Id;
use weir_schemas::row::{RowWriter, ratio};
use weir_schemas::view::SLOW_TESTS;

/// The durations of a test.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct History {
    /// What it was called last.
    names: Arc<Names>,
    /// The tick, time, run and attempt that called it so.
    called: (u64, u64, Id, u32),
    days: Panes<Counts>,
    /// Of all days together.
    #[serde(skip)]
    all: Counts,
    /// The bucket of the median under which it stands in its project's order.
    pub(super) stands: Option<u16>,
    /// As it was last told.
    pub(super) shown: Option<Slowest>,
    /// Whether anything came or left since the last cadence point.
    pub(super) touched: bool,
    /// Whether anything was taken back since then.
    pub(super) withdrawn: bool,
}

impl History {
    pub(super) fn new(names: &Arc<Names>) -> History {
        History {
            names: Arc::clone(names),
            called: Default::default(),
            days: Panes::default(),
            all: Counts::default(),
            stands: None,
            shown: None,
            touched: false,
            withdrawn: false,
        }
    }

    /// Takes over what an attempt calls it, if that is the last one.
    pub(super) fn call(&mut self, now: u64, fact: &AttemptFact) {
        let called = (now, fact.at, fact.names.run_id, fact.attempt);
        if self.called <= called {
            (self.called, self.names) = (called, Arc::clone(&fact.names));
        }
    }

    pub(super) fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// The days that hold something, for the times at which they leave.
    pub(super) fn days(&self) -> impl Iterator<Item = u64> {
        self.days.iter().map(|(day, _)| day)
    }

    /// Counts one more on a day; says whether it is the first of that day.
    pub(super) fn add(&mut self, day: u64, us: u64, scratch: &mut Scratch) -> bool {
        let (counts, new) = self.days.pane(day);
        counts.count(bucket(us), 1, scratch);
        self.all.count(bucket(us), 1, scratch);
        new
    }

    /// Takes one back; says whether there was one.
    pub(super) fn remove(&mut self, day: u64, us: u64, scratch: &mut Scratch) -> bool {
        let there = self.days.iter().any(|(held, counts)| held == day && counts.has(bucket(us)));
        if there {
            self.days.pane(day).0.count(bucket(us), -1, scratch);
            self.all.count(bucket(us), -1, scratch);
        }
        there
    }

    /// Forgets the days that have left; says whether there were any.
    pub(super) fn expire(&mut self, memory: Window, now: u64) -> bool {
        let mut expired = false;
        while self.days.expire(memory, now).is_some() {
            expired = true;
        }
        if expired {
            self.sum_up();
        }
        expired
    }

    /// Makes the sum of all days anew.
    pub(super) fn sum_up(&mut self) {
        let mut scratch = Scratch::default();
        self.all = Counts::default();
        self.days.iter().for_each(|(_, counts)| self.all.add(counts, &mut scratch));
    }

    /// Whether no day is held.
    pub(super) fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// The median in µs.
    pub(super) fn median(&self) -> Option<u64> {
        self.all.percentile(50)
    }

    /// How it competes for a place among the slowest.
    pub(super) fn slowest(&self, writer: &mut RowWriter) -> Option<Slowest> {
        let (p50, p95) = (self.all.percentile(50)?, self.all.percentile(95));
        let mut days = self.days.iter().filter(|(_, counts)| !counts.is_empty()).collect::<Vec<_>>();
        let newest = days.pop().and_then(|(_, counts)| counts.percentile(50));
        let (mut before, mut scratch) = (Counts::default(), Scratch::default());
        days.into_iter().for_each(|(_, counts)| before.add(counts, &mut scratch));
        let change = before.percentile(50).zip(newest).and_then(|(before, newest)| {
            let [before, newest] = [before, newest].map(|us| i64::try_from(us).unwrap_or(i64::MAX));
            ratio(newest.saturating_sub(before), 100, before)
        });
        let some = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
        let Names { project, test, test_name, suite, .. } = &*self.names;
        writer.str(project).str(test).opt_str(some(test_name).as_deref()).opt_str(some(suite).as_deref());
        writer.uint(p50).opt_uint(p95).int(self.all.total()).opt_int(change);
        Some(Slowest { median: Reverse(bucket(p50)), test: self.names.test_or_zero(), row: writer.finish(&SLOW_TESTS) })
    }
}
