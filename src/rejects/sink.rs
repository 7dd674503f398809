//! Writes rejects to their topic, each once.
//!
//! Contract: [`Sink::rejected`] takes what the engine releases, of the past as well, in the order in which it does: frames are cut
//! alike in every life, so what stands in the topic is a beginning of what is told, and the last record there says where it
//! ends. One named thread looks the originals up and produces.
//!
//! # Invariants
//! At most [`BATCHES_MAX`] frames with rejects wait; above, the engine waits, and with it what it reads.
//!
//! # Failure
//! Brokers that are away are waited for. An original that retention has taken has no bytes any more, and is left out.

use super::{Entry, POSITION, REASON, TICK, header, topic_of};
use crate::engine::Rejected;
use crate::log::kafka::{Kafka, Lookup};
use crate::log::{AppendError, Commit, Log, LogError, NewRecord, Position, Record};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

/// Frames with rejects that may wait.
const BATCHES_MAX: usize = 256;
/// Appends on their way at a time.
const ON_THEIR_WAY: usize = 1_000;
/// A full queue is tried again after so long.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// How long the end waits for what is not written yet.
const DRAIN: Duration = Duration::from_secs(3);
/// Records read at a time while it is looked where a topic of rejects ends.
const STEP: u64 = 1_000;

/// A topic of events, and that of its rejects.
pub struct Pair {
    /// What may be rejected.
    pub events: Arc<Kafka>,
    /// Where it goes.
    pub rejected: Arc<Kafka>,
}

/// See the module.
pub struct Sink {
    batches: Sender<(u64, Vec<Rejected>)>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

impl Sink {
    /// Finds out how far it came in the lives before, and goes on from there.
    ///
    /// # Errors
    /// A topic cannot be read, or the thread not started.
    pub fn start(pairs: Vec<Pair>) -> Result<Sink, LogError> {
        let outlets = pairs.into_iter().map(Outlet::open).collect::<Result<Vec<_>, LogError>>()?;
        let (batches, waiting) = bounded(BATCHES_MAX);
        let (ends, ended) = bounded::<()>(0);
        let thread = Builder::new().name("rejects".to_owned()).spawn(move || {
            run(outlets, &waiting);
            drop(ends);
        });
        match thread {
            Ok(_ends_by_itself) => Ok(Sink { batches, ended }),
            Err(source) => Err(LogError::Io { action: "start", path: "the thread of rejects".to_owned(), source }),
        }
    }

    /// Takes what was not taken of a frame that ends at `upper`; waits while too much waits.
    pub fn rejected(&self, upper: u64, rejected: &[Rejected]) {
        // It has ended: with an error, which it has said.
        drop(self.batches.send((upper, rejected.to_vec())));
    }

    /// Writes what it has, if that takes no longer than [`DRAIN`]: the rest is written in the next life.
    pub fn finish(self) {
        drop(self.batches);
        if self.ended.recv_timeout(DRAIN) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("ended before all rejects were written; the next start writes them");
        }
    }
}

fn run(mut outlets: Vec<Outlet>, waiting: &Receiver<(u64, Vec<Rejected>)>) {
    for (upper, rejected) in waiting {
        for outlet in &mut outlets {
            if let Err(error) = outlet.write(upper, &rejected) {
                let (topic, error) = (outlet.pair.rejected.topic(), crate::error::chain(&*error));
                tracing::error!(topic, error, "rejects are not written any more; the view `rejects` has them");
                return;
            }
        }
    }
    outlets.iter_mut().for_each(|outlet| outlet.settle(0));
}

/// One topic's way out.
struct Outlet {
    pair: Pair,
    lookup: Lookup,
    /// The last tick of which something stands there already, and what.
    had: (u64, BTreeSet<Position>),
    on_their_way: VecDeque<Commit>,
}

impl Outlet {
    fn open(pair: Pair) -> Result<Outlet, LogError> {
        let had = had(&pair.rejected)?;
        let lookup = pair.events.lookup()?;
        Ok(Outlet { pair, lookup, had, on_their_way: VecDeque::new() })
    }

    fn write(&mut self, upper: u64, rejected: &[Rejected]) -> Result<(), Box<dyn std::error::Error>> {
        let topic = self.pair.events.topic().to_owned();
        let mut last = None;
        for Rejected { position, kind, reason, .. } in rejected.iter().filter(|rejected| *rejected.topic == *topic) {
            // Of a report several parts may have been wrong.
            let again = last.replace(*position) == Some(*position);
            let (tick, positions) = &self.had;
            if again || upper < *tick || upper == *tick && positions.contains(position) {
                continue;
            }
            let Position { partition, offset } = *position;
            let Some(original) = self.lookup.record(partition, offset)? else {
                tracing::warn!(topic, partition, offset, "a reject is gone: retention has taken it");
                continue;
            };
            let headers = [
                header(REASON, format!("{kind}: {reason}")),
                header(POSITION, format!("{topic}/{partition}@{offset}")),
                header(TICK, upper.to_string()),
            ];
            self.append(reject(original, headers))?;
        }
        Ok(())
    }

    fn append(&mut self, record: NewRecord) -> Result<(), AppendError> {
        loop {
            match self.pair.rejected.append(vec![record.clone()]) {
                Ok(commit) => break self.on_their_way.push_back(commit),
                Err(AppendError::Busy) => std::thread::park_timeout(BUSY_PAUSE),
                Err(error) => return Err(error),
            }
        }
        self.settle(ON_THEIR_WAY);
        Ok(())
    }

    /// Waits until at most so many appends are on their way.
    fn settle(&mut self, at_most: usize) {
        while self.on_their_way.len() > at_most {
            let outcome = self.on_their_way.pop_front().map(Commit::wait);
            if let Some(Err(error)) = outcome {
                tracing::warn!(topic = self.pair.rejected.topic(), %error, "a reject may not have been written");
            }
        }
    }
}

/// An original with what is to be said of it.
fn reject(original: Record, said: impl IntoIterator<Item = (String, bytes::Bytes)>) -> NewRecord {
    let envelope = original.envelope.as_deref().cloned().unwrap_or_default();
    let of_it = envelope.headers.into_iter().filter(|(name, _)| !super::own(name));
    let record = NewRecord::new(0, original.payload).with_headers(of_it.chain(said).collect());
    record.with_key(envelope.key.unwrap_or_default())
}

/// The last tick of which rejects stand in a topic, and which.
fn had(rejected: &Kafka) -> Result<(u64, BTreeSet<Position>), LogError> {
    let (start, end) = (rejected.starts()[0], rejected.ends()[0]);
    let (mut tick, mut positions) = (0, BTreeSet::new());
    let mut to = end;
    while to > start {
        let from = to.saturating_sub(STEP).max(start);
        let mut offsets = rejected.ends();
        offsets[0] = from;
        let (mut reader, mut records) = (rejected.whole_reader(&offsets)?, Vec::new());
        reader.read_partition(0, to, &mut records)?;
        for entry in records.iter().rev().filter_map(Entry::read) {
            let Entry::Reject { partition, offset, tick: of_it, .. } = entry else { continue };
            if tick > of_it {
                return Ok((tick, positions));
            }
            tick = of_it;
            positions.insert(Position { partition, offset });
        }
        to = from;
    }
    Ok((tick, positions))
}

/// The topic of rejects of each topic of events that has one.
///
/// # Errors
/// What is said is for a person: why a topic has none.
pub fn pair(events: &Arc<Kafka>, open: impl FnOnce(&str) -> Result<Kafka, LogError>) -> Result<Pair, String> {
    let name = topic_of(events.topic());
    let rejected = open(&name).map_err(|error| {
        let error = crate::error::chain(&error);
        format!(
            "what is not taken of {} is in the view `rejects` only ({error}); `weir topics create` makes {name}",
            events.topic()
        )
    })?;
    Ok(Pair { events: Arc::clone(events), rejected: Arc::new(rejected) })
}
