//! Recovery: the log fed through its bindings, the same code path as ever after.
//!
//! Contract: [`Recovery::run`] reads the bindings up to our own `Start`, feeds each record that they bind at its tick, checks
//! each part's offsets, count and hash, and commits many ticks at once: an update counts at its own time, so how ticks are
//! batched shows nowhere. It leaves a [`Bound`]: where every partition, hash chain, the last tick and silence stand.
//!
//! # Invariants
//! Only bindings that count are fed (`bindings.rs`). No tick is minted, no clock is read, nothing is guessed.
//!
//! # Cost
//! Memory is bounded by what may be unreleased; the past is streamed.
//!
//! # Failure
//! Records that are missing or are not those that were bound end the process with tick, partition and offsets: the log was
//! changed, and numbers computed from it would be another history under the same name.

use super::EngineError;
use super::bindings::{Binding, Body, Chain, Counting, Part, Silence};
use super::control::Control;
use super::digests::Digests;
use super::history::{ENTRIES, Plan};
use super::ledger::{Closed, Ledger};
use super::tail::decode;
use super::workers::{Lanes, Work};
use crate::log::{Log, Reader, Record};
use crate::status::{Phase, Status};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many ticks or records are committed at once.
const GROUP_TICKS: usize = 256;
const GROUP_RECORDS: u64 = 8_192;
/// So many records in flight keep all stages busy; more of them only touch more memory. `benches/start_up` at 16,384, 32,768
/// and 65,536, twice: 239,000 and 330,000, 329,000 and 353,000, 326,000 and 368,000 events/s.
const IN_FLIGHT_RECORDS: u64 = 65_536;
/// How often progress is told.
const TELL: Duration = Duration::from_secs(2);

/// How far everything is bound.
pub(super) struct Bound {
    /// The last tick; 0 when there is none.
    pub(super) last_tick: u64,
    /// The next offset to bind, by partition.
    pub(super) offsets: Vec<u64>,
    /// The hash of the last part, by partition; `None` where its binding has left the bindings log.
    pub(super) hashes: Vec<Option<u128>>,
    /// Which bindings count.
    pub(super) counting: Counting,
    /// What the bindings say of silence.
    pub(super) silence: Silence,
    /// What the dataflow was last told of silence.
    pub(super) told: bool,
}

/// See the module.
pub(super) struct Recovery<'a> {
    pub(super) control: &'a Control,
    pub(super) events: &'a dyn Log,
    pub(super) bindings: &'a dyn Log,
    pub(super) lanes: &'a mut Lanes,
    pub(super) ledger: &'a Ledger,
    pub(super) digests: &'a Mutex<Digests>,
    pub(super) status: &'a Status,
    pub(super) epoch: u128,
    pub(super) topic: u16,
    pub(super) records_max: u64,
    pub(super) bytes_max: u64,
}

/// What is committed at once.
struct Group {
    ticks: Vec<u64>,
    records: u64,
    /// Records of all groups before it.
    committed: u64,
}

struct Progress {
    total: u64,
    since: Instant,
    told: Instant,
}

impl Recovery<'_> {
    /// Feeds what is bound before `own_start`, from where `plan` says.
    pub(super) fn run(&mut self, plan: &Plan, own_start: u64) -> Result<Bound, EngineError> {
        let partitions = plan.offsets.len();
        let first = self.bindings.starts().first().copied().unwrap_or(0);
        let mut bound = Bound {
            last_tick: 0,
            offsets: plan.offsets.clone(),
            hashes: vec![(first == 0).then_some(0); partitions],
            counting: Counting::default(),
            silence: Silence::default(),
            told: false,
        };
        let total = self.events.ends().iter().zip(&plan.offsets).map(|(end, from)| end.saturating_sub(*from)).sum();
        let mut progress = Progress { total, since: Instant::now(), told: Instant::now() };
        let mut group = Group { ticks: Vec::with_capacity(GROUP_TICKS), records: 0, committed: 0 };
        let mut events = self.events.reader(&plan.offsets)?;
        let mut bindings = self.bindings.reader(&[first])?;
        let mut entries = Vec::new();
        while bindings.offsets()[0] <= own_start {
            let end = (own_start + 1).min(bindings.offsets()[0] + ENTRIES);
            bindings.read_partition(0, end, &mut entries)?;
            for record in entries.drain(..) {
                if self.control.stopping() || self.control.shutdown.triggered() {
                    return Err(EngineError::Stopped);
                }
                self.entry(&record, plan, &mut bound, &mut *events, &mut group)?;
                if group.ticks.len() >= GROUP_TICKS || group.records >= GROUP_RECORDS {
                    self.commit(&mut group)?;
                    self.tell(&mut progress, group.committed);
                }
            }
        }
        self.commit(&mut group)?;
        if group.committed > 0 {
            self.tell(&mut progress, group.committed);
            let (records, took) = (group.committed, progress.since.elapsed());
            tracing::info!(records, ?took, "replayed the log through its bindings");
        }
        Ok(bound)
    }

    fn entry(
        &mut self,
        record: &Record,
        plan: &Plan,
        bound: &mut Bound,
        events: &mut dyn Reader,
        group: &mut Group,
    ) -> Result<(), EngineError> {
        let entry = decode(record)?;
        if !bound.counting.counts(&entry) {
            return Ok(());
        }
        match entry.body {
            Body::Start { .. } => bound.silence.start(),
            Body::Digests { tick, epoch, views } if epoch == self.epoch => {
                self.digests.lock().unwrap_or_else(PoisonError::into_inner).expect(tick, views)?;
            }
            Body::Digests { .. } => {}
            Body::Binding(binding) => {
                let standing = bound.silence.binding(&binding);
                if record.offset < plan.feed_from {
                    // Its records, or earlier ones, are gone; the chain goes on from it.
                    for part in &binding.parts {
                        if let Some(hash) = bound.hashes.get_mut(part.partition as usize) {
                            *hash = Some(part.hash);
                        }
                    }
                    bound.last_tick = binding.tick;
                    return Ok(());
                }
                self.feed(&binding, standing, bound, events, group)?;
            }
        }
        Ok(())
    }

    fn feed(
        &mut self,
        binding: &Binding,
        standing: bool,
        bound: &mut Bound,
        events: &mut dyn Reader,
        group: &mut Group,
    ) -> Result<(), EngineError> {
        let tick = binding.tick;
        if tick <= bound.last_tick {
            return Err(EngineError::Backwards { tick, last: bound.last_tick });
        }
        let (unreleased, bytes_unreleased) = self.ledger.unreleased();
        let records_max = self.records_max.min(IN_FLIGHT_RECORDS);
        if unreleased >= records_max || bytes_unreleased >= self.bytes_max {
            self.commit(group)?;
            self.ledger.wait_below(records_max, self.bytes_max, Duration::MAX, self.control);
        }
        let mut records = Vec::new();
        let mut bytes = 0;
        for part in &binding.parts {
            self.check_place(binding, part, bound)?;
            let partition = part.partition as usize;
            let previous = bound.hashes[partition].replace(part.hash);
            let mut chain = Chain::after(previous.unwrap_or(0));
            while bound.offsets[partition] < part.next_offset {
                if events.read_partition(part.partition, part.next_offset, &mut records)? == 0 {
                    return Err(mismatch(binding, part, "records are missing".to_owned()));
                }
                for record in &records {
                    chain.record(&record.payload);
                    bytes += record.payload.len() as u64;
                }
                bound.offsets[partition] += records.len() as u64;
                self.lanes.deal(&mut records)?;
            }
            if chain.records() != part.count {
                return Err(mismatch(
                    binding,
                    part,
                    format!("{} records where {} were bound", chain.records(), part.count),
                ));
            }
            // A part without records repeats the hash before it.
            let hash = if part.count == 0 { previous } else { Some(chain.hash()) };
            if previous.is_some() && hash != Some(part.hash) {
                return Err(mismatch(binding, part, "the records are not those that were bound".to_owned()));
            }
        }
        bound.last_tick = tick;
        let records = binding.records();
        let ends = bound.offsets.clone();
        // Nobody waits for what was appended in an earlier life, so its latency says nothing.
        self.ledger.enter(Closed { tick, records, bytes, ends, appended_at: None, closed_at: Instant::now() });
        let change = (standing != bound.told).then_some(standing);
        bound.told = standing;
        self.lanes.all(&Work::Close { tick, standing: change, live: false })?;
        group.ticks.push(tick);
        group.records += records;
        Ok(())
    }

    /// Whether a part is where it must be: right after the one before it, in a partition that exists, in the log.
    fn check_place(&self, binding: &Binding, part: &Part, bound: &Bound) -> Result<(), EngineError> {
        let partition = part.partition as usize;
        let Some(expected) = bound.offsets.get(partition) else {
            return Err(mismatch(binding, part, format!("the log has {} partitions", bound.offsets.len())));
        };
        if part.topic != self.topic {
            return Err(mismatch(binding, part, format!("it is of topic {}, not {}", part.topic, self.topic)));
        }
        if part.first_offset() != *expected {
            return Err(mismatch(binding, part, format!("the binding before it ended at offset {expected}")));
        }
        let end = self.events.ends()[partition];
        if part.next_offset > end {
            return Err(mismatch(binding, part, format!("records are missing: the log ends at offset {end}")));
        }
        Ok(())
    }

    fn commit(&mut self, group: &mut Group) -> Result<(), EngineError> {
        if let Some(last) = group.ticks.last().copied() {
            self.lanes.all(&Work::Advance(last + 1))?;
            self.lanes.all(&Work::Commit(Arc::from(std::mem::take(&mut group.ticks))))?;
            group.committed += std::mem::take(&mut group.records);
        }
        Ok(())
    }

    fn tell(&self, progress: &mut Progress, replayed: u64) {
        let total = progress.total;
        self.status.update(|status| status.phase = Phase::Recovering { replayed, total });
        if progress.told.elapsed() >= TELL {
            progress.told = Instant::now();
            tracing::info!(replayed, total, percent = replayed * 100 / total.max(1), "replaying the log");
        }
    }
}

fn mismatch(binding: &Binding, part: &Part, problem: String) -> EngineError {
    EngineError::Mismatch {
        tick: binding.tick,
        partition: part.partition,
        from: part.first_offset(),
        to: part.next_offset,
        problem,
    }
}
