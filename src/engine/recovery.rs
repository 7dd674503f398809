//! Recovery: the logs fed through their bindings, the same code path as ever after.
//!
//! Contract: [`Recovery::run`] reads the bindings up to our own `Start`, feeds each record that they bind at its tick, checks
//! each part's offsets, count and hash, and commits many ticks at once: an update counts at its own time, so how ticks are
//! batched shows nowhere. It leaves a [`Bound`]: where every source, hash chain, the last tick and silence stand.
//! Carried records (`history`) go to the workers first of all, so they are of the first tick that is closed, whoever closes it.
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
use super::snapshots::Manifest;
use super::sources::{SourceReader, Sources};
use super::tail::decode;
use super::workers::{Lanes, Work};
use crate::log::{Log, Record};
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
    /// The last one that was fed; 0 when none was, since records of all that are bound are gone.
    pub(super) last_fed: u64,
    /// The next offset to bind, by source.
    pub(super) offsets: Vec<u64>,
    /// The hash of the last part, by source; `None` where its binding has left the bindings log.
    pub(super) hashes: Vec<Option<u128>>,
    /// Which bindings count.
    pub(super) counting: Counting,
    /// What the bindings say of silence.
    pub(super) silence: Silence,
    /// What the dataflow was last told of silence.
    pub(super) told: bool,
}

impl Bound {
    /// Everything is bound as it was at the cut of a snapshot.
    fn go_on_from(&mut self, manifest: &Manifest, sources: &Sources) {
        let Manifest { life, cut, .. } = manifest;
        (self.last_tick, self.last_fed) = (cut.tick, cut.tick);
        // Partitions that are new since have no part yet.
        self.hashes.fill(Some(0));
        for position in &cut.positions {
            if let Some(source) = sources.find(position.topic, position.partition) {
                self.hashes[source] = position.hash;
            }
        }
        self.counting = Counting::after(life.incarnation);
        (self.silence, self.told) = (cut.silence, cut.silence_told);
    }
}

/// See the module.
pub(super) struct Recovery<'a> {
    pub(super) control: &'a Control,
    pub(super) sources: &'a Sources,
    pub(super) bindings: &'a dyn Log,
    pub(super) lanes: &'a mut Lanes,
    pub(super) ledger: &'a Ledger,
    pub(super) digests: &'a Mutex<Digests>,
    pub(super) status: &'a Status,
    pub(super) epoch: u128,
    pub(super) records_max: u64,
    pub(super) bytes_max: u64,
    /// The snapshot that the state is of, if there is one.
    pub(super) resumed: Option<&'a Manifest>,
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
        let first = match &self.resumed {
            Some(manifest) => manifest.cut.bindings_offset,
            None => self.bindings.starts().first().copied().unwrap_or(0),
        };
        let mut bound = Bound {
            last_tick: 0,
            last_fed: 0,
            offsets: plan.offsets.clone(),
            hashes: vec![(first == 0).then_some(0); self.sources.count()],
            counting: Counting::default(),
            silence: Silence::default(),
            told: false,
        };
        if let Some(manifest) = self.resumed {
            bound.go_on_from(manifest, self.sources);
        }
        let total =
            self.sources.ends().iter().zip(&plan.carried_from).map(|(end, from)| end.saturating_sub(*from)).sum();
        let mut progress = Progress { total, since: Instant::now(), told: Instant::now() };
        let mut group = Group { ticks: Vec::with_capacity(GROUP_TICKS), records: 0, committed: 0 };
        let mut records = self.sources.reader(&plan.carried_from)?;
        group.records += self.carry(plan, &mut records)?;
        let mut bindings = self.bindings.reader(&[first])?;
        let mut entries = Vec::new();
        while bindings.offsets()[0] <= own_start {
            let end = (own_start + 1).min(bindings.offsets()[0] + ENTRIES);
            bindings.read_partition(0, end, &mut entries)?;
            for record in entries.drain(..) {
                if self.control.stopping() || self.control.shutdown.triggered() {
                    return Err(EngineError::Stopped);
                }
                self.entry(&record, plan, &mut bound, &mut records, &mut group)?;
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

    /// Hands out what still holds though its bindings are gone; gives how many records that are.
    fn carry(&mut self, plan: &Plan, reader: &mut SourceReader) -> Result<u64, EngineError> {
        let (mut records, mut carried) = (Vec::new(), 0);
        for (source, end) in plan.offsets.iter().enumerate() {
            while reader.offsets()[source] < *end {
                let before = reader.offsets()[source];
                if reader.read_source(source, *end, &mut records)? == before {
                    return Err(EngineError::Mismatch {
                        tick: plan.past.as_ref().map_or(0, |(tick, _)| *tick),
                        topic: self.sources.topic(source).name().to_owned(),
                        partition: self.sources.partition(source),
                        from: plan.carried_from[source],
                        to: *end,
                        problem: format!("records are missing: the log ends at offset {}", self.sources.end(source)),
                    });
                }
                carried += records.len() as u64;
                self.lanes.deal(self.sources.topic(source).number, &mut records)?;
            }
        }
        Ok(carried)
    }

    fn entry(
        &mut self,
        record: &Record,
        plan: &Plan,
        bound: &mut Bound,
        records: &mut SourceReader,
        group: &mut Group,
    ) -> Result<(), EngineError> {
        let entry = decode(record)?;
        if !bound.counting.counts(&entry) {
            return Ok(());
        }
        match entry.body {
            Body::Start { topics } => {
                topics.iter().try_for_each(|topic| self.sources.same(topic))?;
                bound.silence.start();
            }
            Body::Digests { tick, epoch, views } if epoch == self.epoch => {
                self.digests.lock().unwrap_or_else(PoisonError::into_inner).expect(tick, views)?;
            }
            Body::Digests { .. } => {}
            Body::Binding(binding) => {
                let standing = bound.silence.binding(&binding);
                if record.offset < plan.feed_from {
                    // Its records, or earlier ones, are gone; the chain goes on from it.
                    for part in &binding.parts {
                        if let Some(source) = self.sources.find(part.topic, part.partition) {
                            bound.hashes[source] = Some(part.hash);
                        }
                    }
                    bound.last_tick = binding.tick;
                    return Ok(());
                }
                self.feed(&binding, standing, bound, records, group)?;
            }
        }
        Ok(())
    }

    fn feed(
        &mut self,
        binding: &Binding,
        standing: bool,
        bound: &mut Bound,
        reader: &mut SourceReader,
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
        let mut bytes = 0;
        for part in &binding.parts {
            bytes += self.feed_part(binding, part, bound, reader)?;
        }
        (bound.last_tick, bound.last_fed) = (tick, tick);
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

    /// Hands out the records of a part, checked; gives their bytes.
    fn feed_part(
        &mut self,
        binding: &Binding,
        part: &Part,
        bound: &mut Bound,
        reader: &mut SourceReader,
    ) -> Result<u64, EngineError> {
        let source = self.place(binding, part, bound)?;
        let previous = bound.hashes[source].replace(part.hash);
        let mut chain = Chain::after(previous.unwrap_or(0));
        let (mut records, mut bytes) = (Vec::new(), 0);
        while bound.offsets[source] < part.next_offset {
            let before = std::mem::replace(
                &mut bound.offsets[source],
                reader.read_source(source, part.next_offset, &mut records)?,
            );
            if bound.offsets[source] == before {
                let problem = format!("records are missing: the log ends at offset {before}");
                return Err(self.mismatch(binding, part, problem));
            }
            for record in &records {
                chain.record(&record.payload, record.envelope.as_deref());
                bytes += record.weight();
            }
            self.lanes.deal(part.topic, &mut records)?;
        }
        if chain.records() != part.count {
            let problem = format!("{} records where {} were bound", chain.records(), part.count);
            return Err(self.mismatch(binding, part, problem));
        }
        // A part without records repeats the hash before it.
        let hash = if part.count == 0 { previous } else { Some(chain.hash()) };
        if previous.is_some() && hash != Some(part.hash) {
            return Err(self.mismatch(binding, part, "the records are not those that were bound".to_owned()));
        }
        Ok(bytes)
    }

    /// The source of a part that is where it must be: right after the one before it, in a partition that exists.
    fn place(&self, binding: &Binding, part: &Part, bound: &Bound) -> Result<usize, EngineError> {
        let Some(source) = self.sources.find(part.topic, part.partition) else {
            let problem = match self.sources.topic_name(part.topic) {
                Some(_) => "the topic has no such partition".to_owned(),
                None => "no such topic is configured".to_owned(),
            };
            return Err(self.mismatch(binding, part, problem));
        };
        let expected = bound.offsets[source];
        if part.first_offset() != expected {
            return Err(self.mismatch(binding, part, format!("the binding before it ended at offset {expected}")));
        }
        Ok(source)
    }

    fn mismatch(&self, binding: &Binding, part: &Part, problem: String) -> EngineError {
        let topic = self.sources.topic_name(part.topic).map_or_else(|| format!("topic {}", part.topic), str::to_owned);
        EngineError::Mismatch {
            tick: binding.tick,
            topic,
            partition: part.partition,
            from: part.first_offset(),
            to: part.next_offset,
            problem,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Logs;
    use crate::engine::bindings::{Entry, Incarnation};
    use crate::engine::snapshots::{Cut, OfLife, Position};
    use crate::log::embedded::{Embedded, EmbeddedConfig};

    #[test]
    fn a_life_that_goes_on_from_a_snapshot_knows_what_was_known_at_its_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = |topic: &str, partitions| -> Arc<dyn Log> {
            let config = EmbeddedConfig { partitions, ..EmbeddedConfig::new(folder.path().join(topic), topic) };
            Arc::new(Embedded::open(config, &mut |_, _| {}).expect("opens").0)
        };
        let logs = Logs { events: vec![log("a", 2)], control: log("b", 1), bindings: log("c", 1) };
        let sources = Sources::new(&logs, &["a", "b"].map(str::to_owned)).expect("fit");
        let mut standing = Silence::default();
        let behind = Binding { behind: 5, ..Binding::default() };
        assert!(standing.binding(&behind));
        // Of control nothing is said: that partition is new since.
        let position = |partition, hash| Position { topic: 0, partition, next_offset: 9, hash };
        let positions = vec![position(0, Some(11)), position(1, None)];
        let cut = Cut { tick: 700, positions, silence: standing, silence_told: true, ..Cut::default() };
        let life = OfLife { incarnation: 7, ..OfLife::default() };
        let mut bound = Bound {
            last_tick: 0,
            last_fed: 0,
            offsets: vec![9, 9, 0],
            hashes: vec![None; 3],
            counting: Counting::default(),
            silence: Silence::default(),
            told: false,
        };
        bound.go_on_from(&Manifest { life, cut, ..Manifest::default() }, &sources);
        assert_eq!((bound.last_tick, bound.last_fed), (700, 700));
        assert_eq!(bound.hashes, [Some(11), None, Some(0)]);
        assert!(bound.told && bound.silence.standing());
        let mut counts = |incarnation: Incarnation| {
            bound.counting.counts(&Entry { incarnation, body: Body::Binding(Binding::default()) })
        };
        assert_eq!([counts(9), counts(7)], [false, true], "what another wrote late does not count");
    }
}
