//! Which snapshot a life goes on from.
//!
//! Contract: [`Choice::make`] takes the newest one that is older than the last bound tick by the span of the hub's ring, so that the ring
//! can be rebuilt; where there is none, the oldest, unless so little is before it that replaying everything costs nothing. One is passed
//! over, with a word of why, when it is of another version or configuration, when a file is damaged, when its rows have not the digests
//! that were written, and when the logs no longer have what follows it.

use super::rows::Rows;
use super::{Snapshot, Store};
use crate::engine::EngineError;
use crate::engine::control::Control;
use crate::engine::history::Plan;
use crate::engine::sources::Sources;
use crate::log::Log;
use std::cmp::Reverse;
use std::time::Instant;

/// So many records are replayed in a few seconds.
const LITTLE: u64 = 1_000_000;

/// What a life goes on from.
pub(in crate::engine) struct Resumed {
    pub(in crate::engine) snapshot: Snapshot,
    pub(in crate::engine) rows: Rows,
}

/// See the module.
pub(in crate::engine) struct Choice<'a> {
    pub(in crate::engine) control: &'a Control,
    pub(in crate::engine) store: &'a Store,
    pub(in crate::engine) basis: u128,
    pub(in crate::engine) sources: &'a Sources,
    pub(in crate::engine) bindings: &'a dyn Log,
    pub(in crate::engine) own_start: u64,
    pub(in crate::engine) accepted: &'a [String],
}

impl Choice<'_> {
    /// The first that can be used, and how to go on from it.
    pub(in crate::engine) fn make(&self) -> Result<Option<(Plan, Resumed)>, EngineError> {
        let mut usable = self.usable()?;
        let last = usable.iter().map(|(_, plan)| plan.last_tick).max().unwrap_or(0);
        let old_enough = |(snapshot, _): &(Snapshot, Plan)| snapshot.manifest.cut.tick + self.store.span_ms() <= last;
        if !usable.iter().any(old_enough) && usable.last().is_none_or(|(oldest, _)| self.little_before(oldest)) {
            return Ok(None);
        }
        // The newest of those that are old enough, then the oldest of the others.
        usable.sort_by_key(|usable| {
            let tick = usable.0.manifest.cut.tick;
            if old_enough(usable) { (0, Reverse(tick), 0) } else { (1, Reverse(0), tick) }
        });
        for (snapshot, plan) in usable {
            self.go_on()?;
            let since = Instant::now();
            match snapshot.verify().and_then(|()| Rows::read(&snapshot)) {
                Ok(rows) => {
                    let (tick, bytes, took) = (snapshot.manifest.cut.tick, snapshot.bytes(), since.elapsed());
                    tracing::info!(tick, bytes, ?took, "goes on from a snapshot");
                    return Ok(Some((plan, Resumed { snapshot, rows })));
                }
                Err(error) => pass_over(&snapshot, &crate::error::chain(&error)),
            }
        }
        Ok(None)
    }

    fn go_on(&self) -> Result<(), EngineError> {
        let over = self.control.stopping() || self.control.shutdown.triggered();
        if over { Err(EngineError::Stopped) } else { Ok(()) }
    }

    /// Whether the logs still begin at their beginning, and hold little before a snapshot.
    fn little_before(&self, oldest: &Snapshot) -> bool {
        let whole = self.bindings.starts().into_iter().chain(self.sources.starts()).all(|start| start == 0);
        let before = oldest.manifest.cut.positions.iter().map(|position| position.next_offset).sum::<u64>();
        whole && before <= LITTLE
    }

    /// Those of this version and configuration whose past the logs still have, the newest first, each with what to feed after it.
    fn usable(&self) -> Result<Vec<(Snapshot, Plan)>, EngineError> {
        let found = self.store.all().unwrap_or_else(|error| vec![Err(error)]);
        let mut usable = Vec::new();
        for found in found {
            self.go_on()?;
            match found {
                Ok(snapshot) if snapshot.manifest.life.basis != self.basis => {
                    pass_over(&snapshot, "it was made by another version or with another configuration");
                }
                Ok(snapshot) => {
                    let Choice { sources, bindings, own_start, accepted, .. } = *self;
                    match Plan::after(&snapshot.manifest, sources, bindings, own_start, accepted)? {
                        Some(plan) => usable.push((snapshot, plan)),
                        None => pass_over(&snapshot, "the log no longer has what follows it"),
                    }
                }
                Err(error) => {
                    let error = crate::error::chain(&error);
                    tracing::warn!(error, "a snapshot is passed over");
                }
            }
        }
        Ok(usable)
    }
}

fn pass_over(snapshot: &Snapshot, reason: &str) {
    let folder = snapshot.folder().display();
    tracing::warn!(%folder, reason, "a snapshot is passed over");
}
