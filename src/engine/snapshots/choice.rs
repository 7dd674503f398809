//! Which snapshot a life goes on from.
//!
//! Contract: [`Choice::make`] takes the newest one that is older than the last bound tick by the span of the hub's ring, so that the ring can
//! be rebuilt; where there is none, the oldest, unless so little is before it that replaying everything costs nothing. One is passed over, with a word of why, when it is of another version or configuration,
//! when a file is damaged, when its rows have not the digests that were written, and when the logs no longer have what follows it.

use super::maker::{Rows, read_rows};
use super::{Snapshot, Store};
use crate::engine::EngineError;
use crate::engine::bindings::{Body, Counting};
use crate::engine::control::Control;
use crate::engine::history::{ENTRIES, Plan};
use crate::engine::sources::Sources;
use crate::engine::tail::decode;
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
        let mut usable = self.usable();
        let Some(newest) = usable.first() else { return Ok(None) };
        let last = self.last_tick(newest)?.max(newest.manifest.tick);
        let old_enough = |snapshot: &Snapshot| snapshot.manifest.tick + self.store.span_ms() <= last;
        if !usable.iter().any(old_enough) && self.little_before(usable.last().unwrap_or(newest)) {
            return Ok(None);
        }
        // The newest of those that are old enough, then the oldest of the others.
        usable.sort_by_key(|snapshot| {
            let tick = snapshot.manifest.tick;
            if old_enough(snapshot) { (0, Reverse(tick), 0) } else { (1, Reverse(0), tick) }
        });
        for snapshot in usable {
            if self.control.stopping() || self.control.shutdown.triggered() {
                return Err(EngineError::Stopped);
            }
            let Some(plan) =
                Plan::after(&snapshot.manifest, self.sources, self.bindings, self.own_start, self.accepted)?
            else {
                pass_over(&snapshot, "the log no longer has what follows it");
                continue;
            };
            let since = Instant::now();
            match snapshot.verify().and_then(|()| read_rows(&snapshot)) {
                Ok(rows) => {
                    let (tick, bytes, took) = (snapshot.manifest.tick, snapshot.bytes(), since.elapsed());
                    tracing::info!(tick, bytes, ?took, "goes on from a snapshot");
                    return Ok(Some((plan, Resumed { snapshot, rows })));
                }
                Err(error) => pass_over(&snapshot, &crate::error::chain(&error)),
            }
        }
        Ok(None)
    }

    /// Whether the logs still begin at their beginning, and hold little before a snapshot.
    fn little_before(&self, oldest: &Snapshot) -> bool {
        let whole = self.bindings.starts().into_iter().chain(self.sources.starts()).all(|start| start == 0);
        let before = oldest.manifest.positions.iter().map(|position| position.next_offset).sum::<u64>();
        whole && before <= LITTLE
    }

    /// Those of this version and configuration, the newest first.
    fn usable(&self) -> Vec<Snapshot> {
        let found = self.store.all().unwrap_or_else(|error| {
            let error = crate::error::chain(&error);
            tracing::warn!(error, "snapshots cannot be read");
            Vec::new()
        });
        let mut usable = Vec::new();
        for found in found {
            match found {
                Ok(snapshot) if snapshot.manifest.basis == self.basis => usable.push(snapshot),
                Ok(snapshot) => pass_over(&snapshot, "it was made by another version or with another configuration"),
                Err(error) => {
                    let error = crate::error::chain(&error);
                    tracing::warn!(error, "a snapshot is passed over");
                }
            }
        }
        usable
    }

    /// The last tick that is bound after a snapshot; 0: none is.
    fn last_tick(&self, snapshot: &Snapshot) -> Result<u64, EngineError> {
        let starts = self.bindings.starts().first().copied().unwrap_or(0);
        let from = snapshot.manifest.bindings_offset.clamp(starts, self.own_start);
        let (mut reader, mut counting) =
            (self.bindings.reader(&[from])?, Counting::after(snapshot.manifest.incarnation));
        let (mut last, mut entries) = (0, Vec::new());
        while reader.offsets()[0] < self.own_start {
            let before = reader.offsets()[0];
            reader.read_partition(0, self.own_start.min(before + ENTRIES), &mut entries)?;
            if reader.offsets()[0] == before {
                break;
            }
            for record in entries.drain(..) {
                let entry = decode(&record)?;
                if let (true, Body::Binding(binding)) = (counting.counts(&entry), &entry.body) {
                    last = binding.tick;
                }
            }
        }
        Ok(last)
    }
}

fn pass_over(snapshot: &Snapshot, reason: &str) {
    let folder = snapshot.folder().display();
    tracing::warn!(%folder, reason, "a snapshot is passed over");
}
