//! What of the past can be replayed: everything, or, over a log that retention has shortened, everything from a tick on.
//!
//! Contract: [`Plan::make`] reads the bindings up to a given offset when either log no longer begins at its beginning. Feeding
//! then begins after the last binding that has lost a record, at one tick for all sources: records of other sources bound
//! before it are left out as well, so the state is that of a log which began there, not a patchwork.
//!
//! A record may outlive its binding: the log's last segment stays however old it is. Such a record is left out as one that is
//! gone, since the bindings that are left say how far its partition is bound ([`super::Binding::whole`]). Not so where records
//! are kept for ever (`sources`): what people said before the past that is left still holds in it, so those records are
//! *carried*: fed at the first tick that is fed, before everything else of it.
//!
//! # Failure
//! Records that left before they were read are told, each with where it stood ([`EngineError::Lost`]), and nothing is fed until
//! somebody has accepted that.
//!
//! A partition of which no binding is left while its records are cannot be told bound from unbound: an error. What retention
//! leaves of a bindings log never looks like that. Where records are kept for ever all of them are carried then.

use super::bindings::{Body, Counting, Part};
use super::error::{EngineError, Loss};
use super::snapshots::Manifest;
use super::sources::Sources;
use super::tail::decode;
use crate::log::Log;

/// Entries read at a time.
pub(super) const ENTRIES: u64 = 4_096;

/// From where to feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Bindings before this offset of their log are not fed.
    pub(super) feed_from: u64,
    /// The first offset to carry, by source: before the first to feed only where records are kept for ever.
    pub(super) carried_from: Vec<u64>,
    /// The first offset to feed by its binding, by source.
    pub(super) offsets: Vec<u64>,
    /// Where the past that is left begins, when it is shortened: the first tick that is fed, and of each source the first offset.
    pub(super) past: Option<(u64, Vec<u64>)>,
    /// The last tick that is bound, as far as it was looked for; 0: it was not.
    pub(super) last_tick: u64,
}

impl Plan {
    /// Decides from where to feed, given that our `Start` stands at `own_start` of the bindings log.
    pub(super) fn make(
        sources: &Sources,
        bindings: &dyn Log,
        own_start: u64,
        accepted: &[String],
    ) -> Result<Plan, EngineError> {
        let starts = sources.starts();
        let bindings_start = bindings.starts().first().copied().unwrap_or(0);
        if bindings_start == 0 && starts.iter().all(|start| *start == 0) {
            return Ok(Plan { feed_from: 0, carried_from: starts.clone(), offsets: starts, past: None, last_tick: 0 });
        }
        let mut scan = Scan {
            sources,
            counting: Counting::default(),
            feed_from: bindings_start,
            bound_to: vec![None; starts.len()],
            first: vec![None; starts.len()],
            first_tick: None,
            last_tick: 0,
            bound: false,
        };
        scan.read(bindings, bindings_start, own_start, &starts)?;
        scan.lost(&starts, accepted)?;
        let ends = sources.ends();
        let (mut carried_from, mut offsets) = (Vec::with_capacity(starts.len()), Vec::with_capacity(starts.len()));
        for (source, start) in starts.iter().enumerate() {
            let from = match scan.first[source].or(scan.bound_to[source]) {
                Some(offset) => offset.max(*start),
                // Without any binding ever, all are still to be bound.
                None if bindings_start == 0 || *start == ends[source] => *start,
                None if sources.kept(source) => ends[source],
                None => {
                    let topic = sources.topic(source).name().to_owned();
                    return Err(EngineError::Unbound { topic, partition: sources.partition(source), bindings_start });
                }
            };
            carried_from.push(if sources.kept(source) { *start } else { from });
            offsets.push(from);
        }
        // With nothing left to feed, the past ends where the next tick begins; any stable name of it will do.
        let past = Some((scan.first_tick.unwrap_or(0), offsets.clone()));
        Ok(Plan { feed_from: scan.feed_from, carried_from, offsets, past, last_tick: scan.last_tick })
    }

    /// Decides from where to feed what follows a snapshot; `None` where the logs no longer have it.
    pub(super) fn after(
        manifest: &Manifest,
        sources: &Sources,
        bindings: &dyn Log,
        own_start: u64,
        accepted: &[String],
    ) -> Result<Option<Plan>, EngineError> {
        let Manifest { life, cut, .. } = manifest;
        let (starts, from) = (sources.starts(), cut.bindings_offset);
        let bindings_start = bindings.starts().first().copied().unwrap_or(0);
        if !(bindings_start..=own_start).contains(&from) {
            return Ok(None);
        }
        let mut bound_to = vec![None; starts.len()];
        for position in &cut.positions {
            let Some(source) = sources.find(position.topic, position.partition) else { return Ok(None) };
            bound_to[source] = Some(position.next_offset);
        }
        // What of a partition that is new since is there, is all that there ever was.
        let stood: Vec<u64> = bound_to.iter().zip(&starts).map(|(to, start)| to.unwrap_or(*start)).collect();
        let mut scan = Scan {
            sources,
            counting: Counting::after(life.incarnation),
            feed_from: from,
            bound_to: stood.iter().copied().map(Some).collect(),
            first: vec![None; starts.len()],
            first_tick: None,
            last_tick: 0,
            bound: true,
        };
        scan.read(bindings, from, own_start, &starts)?;
        if scan.feed_from > from {
            return Ok(None);
        }
        scan.lost(&starts, accepted)?;
        let first = scan.first.iter().zip(&stood).zip(&starts);
        let offsets: Vec<u64> = first.map(|((first, stood), start)| first.unwrap_or(*stood).max(*start)).collect();
        let (past, last_tick) = (life.past.clone(), scan.last_tick.max(cut.tick));
        Ok(Some(Plan { feed_from: from, carried_from: offsets.clone(), offsets, past, last_tick }))
    }
}

struct Scan<'a> {
    sources: &'a Sources,
    counting: Counting,
    feed_from: u64,
    bound_to: Vec<Option<u64>>,
    first: Vec<Option<u64>>,
    first_tick: Option<u64>,
    last_tick: u64,
    /// Whether anything is bound.
    bound: bool,
}

impl Scan<'_> {
    /// Whether records have left that nobody read, and nobody has said that it goes on without them.
    fn lost(&self, starts: &[u64], accepted: &[String]) -> Result<(), EngineError> {
        let losses = self.bound_to.iter().zip(starts).enumerate().filter_map(|(source, (bound_to, start))| {
            // Before anything was bound, what is there is all that there ever was.
            let from = bound_to.or(self.bound.then_some(0))?;
            let topic = self.sources.topic(source).name().to_owned();
            (from < *start).then(|| Loss { topic, partition: self.sources.partition(source), from, to: *start })
        });
        let (said, losses): (Vec<Loss>, Vec<Loss>) = losses.partition(|loss| accepted.contains(&loss.name()));
        for Loss { topic, partition, from, to } in said {
            tracing::warn!(topic, partition, from, to, "goes on without records that were never read, as was said");
        }
        if losses.is_empty() { Ok(()) } else { Err(EngineError::Lost { losses }) }
    }

    fn read(&mut self, bindings: &dyn Log, from: u64, own_start: u64, starts: &[u64]) -> Result<(), EngineError> {
        let mut reader = bindings.reader(&[from])?;
        let mut records = Vec::new();
        while reader.offsets()[0] < own_start {
            let end = own_start.min(reader.offsets()[0] + ENTRIES);
            reader.read_partition(0, end, &mut records)?;
            for record in records.drain(..) {
                let entry = decode(&record)?;
                if let Body::Start { topics } = &entry.body {
                    topics.iter().try_for_each(|topic| self.sources.same(topic))?;
                }
                let Body::Binding(binding) = &entry.body else {
                    self.counting.counts(&entry);
                    continue;
                };
                if !self.counting.counts(&entry) {
                    continue;
                }
                self.bound = true;
                self.first_tick.get_or_insert(binding.tick);
                self.last_tick = binding.tick;
                let parts = || {
                    let of = |part: Part| Some((self.sources.find(part.topic, part.partition)?, part));
                    binding.parts.iter().copied().filter_map(of)
                };
                if parts().any(|(source, part)| part.first_offset() < starts[source]) {
                    self.feed_from = record.offset + 1;
                    self.first.fill(None);
                    self.first_tick = None;
                }
                for (source, part) in parts() {
                    self.bound_to[source] = Some(part.next_offset);
                    if self.feed_from <= record.offset {
                        self.first[source].get_or_insert(part.first_offset());
                    }
                }
            }
        }
        Ok(())
    }
}
