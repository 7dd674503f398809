//! The sequencer: decides which records belong to which tick, and writes it down.
//!
//! Contract: reads all sources from where everything is bound, hands records to the workers while their batch is open,
//! closes the batch by minting its tick, and appends its binding; the write overlaps with the computation. Idle ticks close
//! at multiples of [`IDLE_MS`], or of [`QUIET_MS`] once nothing has come for [`QUIET_AFTER`]. One named thread.
//!
//! A tick lasts `tick_min` when there is little to do, and as long as a tick takes from its close to its release when that is
//! longer, up to `tick_max`: so batches grow with the load, and the cost of an event falls.
//!
//! # Invariants
//! One binding at a time is on its way: a later one is never durable without the one before it. While too much is unreleased
//! nothing is read. A `behind` of 0 says that all that had come a moment before was read (`behind`); any other is what the
//! log held beyond the batch when that was closed. Where time jumps, because this process stood still or the clock was set,
//! the very next tick is bound first, with what was read before the jump, and marks the outage ahead.
//!
//! # Failure
//! A full disk is waited out, until the process is to end and `drain_max` is over: what was not bound is bound by the next
//! life. Any other failure to write ends the process.

use super::behind::Reading;
use super::bindings::{Binding, Body, Chain, Entry, Incarnation, Part};
use super::clock::Minter;
use super::control::Control;
use super::ledger::{Closed, Ledger, to_f64};
use super::recovery::Bound;
use super::snapshots::maker::Maker;
use super::snapshots::{Cut, Position as At};
use super::sources::{SourceReader, Sources};
use super::workers::{Lanes, Work};
use super::{EngineConfig, EngineError};
use crate::log::{AppendError, Commit, Log, NewRecord, Position, Record};
use crate::questions::Questions;
use crate::status::{Phase, Status};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Idle ticks while windows may hold something, in ms.
const IDLE_MS: u64 = 250;
/// Idle ticks otherwise, in ms.
const QUIET_MS: u64 = 1_000;
/// No record for so long: no short window holds anything.
const QUIET_AFTER: Duration = Duration::from_secs(120);
/// Read while a batch is open, so that decoding goes on: every so often.
const READ_EVERY: Duration = Duration::from_millis(5);
/// How often it looks whether the process is to end.
const LOOK: Duration = Duration::from_millis(100);
/// Records and bytes read at a time.
const READ_RECORDS: usize = 2_048;
const READ_BYTES: usize = 4 << 20;
/// A full disk is tried again after so long.
const FULL_PAUSE: Duration = Duration::from_millis(200);
/// A log that has not taken a binding for so long does not answer.
pub(super) const SILENT_AFTER: Duration = Duration::from_secs(2);
/// A full queue is tried again after so long.
const BUSY_PAUSE: Duration = Duration::from_millis(2);

/// See the module.
pub(super) struct Sequencer {
    pub(super) control: Arc<Control>,
    pub(super) config: EngineConfig,
    pub(super) sources: Arc<Sources>,
    pub(super) bindings: Arc<dyn Log>,
    pub(super) incarnation: Incarnation,
    pub(super) lanes: Lanes,
    pub(super) ledger: Arc<Ledger>,
    pub(super) status: Status,
    pub(super) reading: Arc<Reading>,
    pub(super) questions: Arc<Questions>,
    pub(super) maker: Option<Arc<Maker>>,
}

/// The batch that is open.
#[derive(Default)]
struct Batch {
    records: u64,
    bytes: u64,
    /// By source.
    parts: Vec<Option<Chain>>,
    appended_at: Option<u64>,
}

/// A binding on its way.
struct OnItsWay {
    payload: Bytes,
    commit: Commit,
}

/// What the live loop keeps.
struct Live {
    reader: SourceReader,
    bound: Bound,
    minter: Minter,
    batch: Batch,
    closed_at: Instant,
    record_at: Instant,
    on_its_way: Option<OnItsWay>,
    /// The offset after the last binding that is durable; none before this life's first.
    bindings_offset: Option<u64>,
    /// How often the sources had said that there may be more, when they were last read.
    rung: u64,
    /// The last tick whose binding says where every partition stands; 0 before this life's first.
    whole_at: u64,
    drain: Option<Drain>,
}

struct Drain {
    ends: Vec<u64>,
    until: Instant,
}

impl Sequencer {
    /// Goes on from `bound` until the process ends; everything durable by then is bound and released, if that takes less
    /// than `drain_max`.
    pub(super) fn live(&mut self, bound: Bound) -> Result<(), EngineError> {
        let reader = self.sources.reader(&bound.offsets)?;
        let now = Instant::now();
        let mut live = Live {
            reader,
            minter: Minter::new(bound.last_tick, &*self.config.time),
            batch: Batch { parts: vec![None; bound.offsets.len()], ..Batch::default() },
            closed_at: now,
            record_at: now,
            on_its_way: None,
            bindings_offset: None,
            rung: 0,
            whole_at: 0,
            drain: None,
            bound,
        };
        // The very next tick marks the outage ahead; in the beginning there is none.
        let first =
            if live.bound.last_tick > 0 { live.minter.mint_next() } else { live.minter.mint(&*self.config.time) };
        self.close(&mut live, first, false)?;
        while !self.control.stopping() {
            self.look_for_the_end(&mut live);
            if live.minter.jumped(&*self.config.time) {
                self.tick(&mut live)?;
            }
            self.read(&mut live)?;
            if let Some(drain) = &live.drain {
                let all = live.reader.offsets().iter().zip(&drain.ends).all(|(read, end)| read >= end);
                if all || Instant::now() >= drain.until {
                    return self.finish(live);
                }
            }
            if self.due(&live) {
                self.tick(&mut live)?;
            } else {
                self.wait(&live);
            }
        }
        Err(EngineError::Stopped)
    }

    /// Begins to drain when the process is to end.
    fn look_for_the_end(&self, live: &mut Live) {
        if live.drain.is_none() && self.control.shutdown.triggered() {
            self.status.update(|status| status.phase = Phase::Draining);
            live.drain = Some(Drain { ends: self.sources.ends(), until: Instant::now() + self.config.drain_max });
        }
    }

    /// Waits before the bindings log is tried again, but not past the end.
    fn try_again_after(&self, pause: Duration, live: &mut Live) -> Result<(), EngineError> {
        self.look_for_the_end(live);
        self.go_on(live)?;
        self.control.pause(pause);
        Ok(())
    }

    /// Whether there is time left to wait for the bindings log.
    fn go_on(&self, live: &Live) -> Result<(), EngineError> {
        let over = live.drain.as_ref().is_some_and(|drain| Instant::now() >= drain.until);
        if over || self.control.stopping() { Err(EngineError::Stopped) } else { Ok(()) }
    }

    /// Closes what is open now; where time has jumped since the last tick, at the very next one, which marks that.
    fn tick(&mut self, live: &mut Live) -> Result<(), EngineError> {
        let time = &*self.config.time;
        let jumped = live.minter.jumped(time);
        let tick = if jumped { live.minter.mint_next() } else { live.minter.mint(time) };
        self.close(live, tick, jumped)
    }

    /// Closes what is open and waits for its release.
    fn finish(&mut self, mut live: Live) -> Result<(), EngineError> {
        if live.batch.records > 0 {
            self.tick(&mut live)?;
        }
        self.settle(&mut live)?;
        let left = live.drain.map_or(Duration::ZERO, |drain| drain.until.saturating_duration_since(Instant::now()));
        if !self.ledger.wait_released(live.bound.last_tick, left, &self.control) {
            tracing::warn!("ended before everything was released; the next start releases it");
        }
        Ok(())
    }

    /// Reads what is there into the open batch.
    fn read(&mut self, live: &mut Live) -> Result<(), EngineError> {
        let mut records = Vec::new();
        live.rung = self.sources.rung();
        while self.room(&live.batch) {
            let Some(topic) = live.reader.read(READ_RECORDS, READ_BYTES, &mut records)? else {
                break;
            };
            live.record_at = Instant::now();
            live.take(&self.sources, topic, &records);
            self.reading.reached(live.reader.offsets(), records.last().map_or(0, |record| record.appended_at));
            self.lanes.deal(topic, &mut records)?;
        }
        self.reading.looked(live.reader.offsets(), &self.sources.ends(), self.config.time.wall_ms());
        self.status.look();
        Ok(())
    }

    /// Whether the open batch may grow.
    fn room(&self, batch: &Batch) -> bool {
        let (records, bytes) = self.ledger.unreleased();
        !self.full(batch)
            && records.saturating_add(batch.records) < self.config.unreleased_records_max
            && bytes.saturating_add(batch.bytes) < self.config.unreleased_bytes_max
    }

    fn full(&self, batch: &Batch) -> bool {
        batch.records >= self.config.batch_records_max || batch.bytes >= self.config.batch_bytes_max
    }

    fn behind(&self, live: &Live) -> u64 {
        self.sources.ends().iter().zip(live.reader.offsets()).map(|(end, read)| end.saturating_sub(*read)).sum()
    }

    /// How long the open batch may still grow.
    fn left(&self, live: &Live) -> Duration {
        let length = self.ledger.pace().clamp(self.config.tick_min, self.config.tick_max);
        length.saturating_sub(live.closed_at.elapsed())
    }

    /// Whether the batch is to be closed now.
    fn due(&self, live: &Live) -> bool {
        if live.batch.records == 0 {
            return self.idle_left(live).is_zero() && self.ledger.unreleased().0 < self.config.unreleased_records_max;
        }
        self.left(live).is_zero() || self.full(&live.batch)
    }

    /// How long until the next idle tick.
    fn idle_left(&self, live: &Live) -> Duration {
        let every = if live.record_at.elapsed() < QUIET_AFTER { IDLE_MS } else { QUIET_MS };
        let next = (live.minter.last() + 1).next_multiple_of(every);
        Duration::from_millis(next.saturating_sub(live.minter.now(&*self.config.time)))
    }

    fn wait(&self, live: &Live) {
        if self.full(&live.batch) {
            self.control.pause(self.left(live));
        } else if !self.room(&live.batch) {
            let records = self.config.unreleased_records_max.saturating_sub(live.batch.records).max(1);
            let bytes = self.config.unreleased_bytes_max.saturating_sub(live.batch.bytes).max(1);
            let at_most = if live.batch.records > 0 { self.left(live) } else { LOOK };
            self.ledger.wait_below(records, bytes, at_most, &self.control);
        } else if live.batch.records > 0 {
            self.control.pause(self.left(live).min(READ_EVERY));
        } else {
            self.sources.wait(live.rung, self.idle_left(live).min(LOOK));
        }
    }

    /// Closes the batch as of `tick`: the workers may compute while its binding is being written.
    fn close(&mut self, live: &mut Live, tick: u64, outage_ahead: bool) -> Result<(), EngineError> {
        self.settle(live)?;
        self.cut(live, tick)?;
        let behind = if self.reading.level() { 0 } else { self.behind(live) };
        let batch = std::mem::take(&mut live.batch);
        live.batch.parts = vec![None; live.bound.offsets.len()];
        let whole = Binding::whole(live.whole_at, tick);
        live.whole_at = if whole { tick } else { live.whole_at };
        let parts = live.bound.extend(&self.sources, &batch.parts, live.reader.offsets(), whole);
        let binding = Binding { process: 0, tick, behind, outage_ahead, parts };
        let standing = live.bound.silence.binding(&binding);
        let change = (standing != live.bound.told).then_some(standing);
        live.bound.told = standing;
        live.bound.last_tick = tick;
        let entry = Entry { incarnation: self.incarnation, body: Body::Binding(binding) };
        let payload = Bytes::from(entry.encode());
        let ends = live.bound.offsets.clone();
        let Batch { records, bytes, appended_at, .. } = batch;
        self.ledger.enter(Closed { tick, records, bytes, ends, appended_at, closed_at: Instant::now() });
        live.on_its_way = Some(OnItsWay { commit: self.append(live, &payload)?, payload });
        self.lanes.all(&Work::Close { tick, standing: change, live: true })?;
        self.ask(tick)?;
        self.lanes.all(&Work::Advance(tick + 1))?;
        metrics::counter!("weir_engine_ticks_total").increment(1);
        metrics::counter!("weir_engine_records_total").increment(records);
        if records > 0 {
            metrics::histogram!("weir_engine_tick_seconds").record(live.closed_at.elapsed().as_secs_f64());
            metrics::histogram!("weir_engine_tick_records").record(to_f64(records));
        }
        live.closed_at = Instant::now();
        let clock = live.minter.status();
        self.status.update_if(|status| {
            let changed = status.clock != *clock;
            status.clock.clone_from(clock);
            changed
        });
        Ok(())
    }

    /// Begins a snapshot, if one is due between the last tick and this one.
    fn cut(&self, live: &Live, next: u64) -> Result<(), EngineError> {
        let Some((maker, bindings_offset)) = self.maker.as_ref().zip(live.bindings_offset) else { return Ok(()) };
        let Some(tick) = maker.due(live.bound.last_tick, next) else { return Ok(()) };
        let Bound { offsets, hashes, silence, told, .. } = &live.bound;
        let positions = offsets.iter().zip(hashes).enumerate().map(|(source, (next_offset, hash))| At {
            topic: self.sources.topic(source).number,
            partition: self.sources.partition(source),
            next_offset: *next_offset,
            hash: *hash,
        });
        maker.begin(Cut {
            tick,
            positions: positions.collect(),
            bindings_offset,
            silence: *silence,
            silence_told: *told,
        });
        self.lanes.all(&Work::Advance(tick + 1))?;
        self.lanes.all(&Work::Snapshot(tick))
    }

    /// Hands on what was asked since the last tick.
    fn ask(&self, tick: u64) -> Result<(), EngineError> {
        match self.questions.take() {
            questions if questions.is_empty() => Ok(()),
            questions => self.lanes.ask(tick, questions),
        }
    }

    /// Waits until the binding on its way is durable.
    fn settle(&self, live: &mut Live) -> Result<(), EngineError> {
        while let Some(OnItsWay { payload, commit }) = live.on_its_way.take() {
            match self.outcome(commit, live)? {
                Ok(positions) => live.bindings_offset = positions.last().map(|position| position.offset + 1),
                Err(AppendError::Full) => {
                    self.try_again_after(FULL_PAUSE, live)?;
                    live.on_its_way = Some(OnItsWay { commit: self.append(live, &payload)?, payload });
                }
                Err(error) => return Err(EngineError::Append(error)),
            }
        }
        Ok(())
    }

    /// Waits for a commit, but not past the end.
    fn outcome(&self, mut commit: Commit, live: &mut Live) -> Result<Result<Vec<Position>, AppendError>, EngineError> {
        let since = Instant::now();
        loop {
            let outcome = commit.wait_at_most(LOOK);
            let silent = outcome.is_none() && since.elapsed() >= SILENT_AFTER;
            self.status.log_silent(silent);
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
            self.look_for_the_end(live);
            self.go_on(live)?;
        }
    }

    fn append(&self, live: &mut Live, payload: &Bytes) -> Result<Commit, EngineError> {
        loop {
            let pause = match self.bindings.append(vec![NewRecord::new(0, payload.clone())]) {
                Ok(commit) => return Ok(commit),
                Err(AppendError::Busy) => BUSY_PAUSE,
                Err(AppendError::Full) => FULL_PAUSE,
                Err(error) => return Err(EngineError::Append(error)),
            };
            self.try_again_after(pause, live)?;
        }
    }
}

impl Live {
    /// Takes records of a topic into the open batch.
    fn take(&mut self, sources: &Sources, topic: u16, records: &[Record]) {
        for record in records {
            let source = sources.find(topic, record.partition).expect("what is read is of a source");
            let previous = self.bound.hashes[source].unwrap_or(0);
            let chain = self.batch.parts[source].get_or_insert_with(|| Chain::after(previous));
            chain.record(&record.payload, record.envelope.as_deref());
            self.batch.records += 1;
            self.batch.bytes += record.weight();
            let first = self.batch.appended_at.unwrap_or(u64::MAX);
            self.batch.appended_at = Some(first.min(record.appended_at));
        }
    }
}

impl Bound {
    /// The parts of a batch, by source, of those without records too where it is to be `whole`; what is bound then reaches
    /// as far as was `read`.
    fn extend(&mut self, sources: &Sources, chains: &[Option<Chain>], read: &[u64], whole: bool) -> Vec<Part> {
        let mut parts = Vec::new();
        for (source, chain) in chains.iter().enumerate() {
            let (count, hash, next_offset) = match chain {
                Some(chain) => (chain.records(), chain.hash(), read[source]),
                // What is no record is bound as well, so that nobody takes it for one that was not.
                None if whole || read[source] > self.offsets[source] => {
                    (0, self.hashes[source].unwrap_or(0), read[source])
                }
                None => continue,
            };
            let from = std::mem::replace(&mut self.offsets[source], next_offset);
            self.hashes[source] = Some(hash);
            let (topic, partition) = (sources.topic(source).number, sources.partition(source));
            parts.push(Part { topic, partition, next_offset, count, holes: next_offset - from - count, hash });
        }
        parts
    }
}
