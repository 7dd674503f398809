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
use crate::shutdown::Shutdown;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// Frames with rejects that may wait.
const BATCHES_MAX: usize = 256;
/// Appends on their way at a time.
const ON_THEIR_WAY: usize = 1_000;
/// A full queue is tried again after so long.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// How often a wait looks whether the process is to end.
const LOOK: Duration = Duration::from_millis(100);
/// How often the clients are looked after while nothing comes.
const TEND: Duration = Duration::from_secs(1);
/// How long the end waits for what is not written yet.
const DRAIN: Duration = Duration::from_secs(3);
/// Records read at a time while it is looked where a topic of rejects ends.
const STEP: u64 = 32;

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
    shutdown: Shutdown,
    /// Some rejects were not given to the thread: what comes after them must not stand there before them.
    given_up: AtomicBool,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

impl Sink {
    /// Begins to find out how far it came in the lives before, and goes on from there.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(pairs: Vec<Pair>, shutdown: Shutdown) -> Result<Sink, LogError> {
        let (batches, waiting) = bounded(BATCHES_MAX);
        let (ends, ended) = bounded::<()>(0);
        let thread = Builder::new().name("rejects".to_owned()).spawn(move || {
            run(pairs, &waiting);
            drop(ends);
        });
        match thread {
            Ok(_ends_by_itself) => Ok(Sink { batches, shutdown, given_up: AtomicBool::new(false), ended }),
            Err(source) => Err(LogError::Io { action: "start", path: "the thread of rejects".to_owned(), source }),
        }
    }

    /// Takes what was not taken of a frame that ends at `upper`; waits while too much waits, but not past the end.
    pub fn rejected(&self, upper: u64, rejected: &[Rejected]) {
        if self.given_up.load(Ordering::Relaxed) {
            return;
        }
        let (mut batch, mut ending) = ((upper, rejected.to_vec()), None);
        loop {
            match self.batches.send_timeout(batch, LOOK) {
                // Where it has ended, it has said why.
                Ok(()) | Err(SendTimeoutError::Disconnected(_)) => return,
                Err(SendTimeoutError::Timeout(again)) => batch = again,
            }
            if self.shutdown.triggered() && ending.get_or_insert_with(Instant::now).elapsed() >= DRAIN {
                self.given_up.store(true, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Writes what it has, if that takes no longer than [`DRAIN`]: the rest is written in the next life.
    pub fn finish(self) {
        drop(self.batches);
        if self.ended.recv_timeout(DRAIN) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("ended before all rejects were written; the next start writes them");
        }
    }
}

fn run(pairs: Vec<Pair>, waiting: &Receiver<(u64, Vec<Rejected>)>) {
    let given_up = |error: &dyn std::error::Error| {
        let error = crate::error::chain(error);
        tracing::error!(error, "rejects are not written any more; the view `rejects` has them");
    };
    let mut outlets = match pairs.into_iter().map(Outlet::open).collect::<Result<Vec<_>, LogError>>() {
        Ok(outlets) => outlets,
        Err(error) => return given_up(&error),
    };
    loop {
        match waiting.recv_timeout(TEND) {
            Ok((upper, rejected)) => {
                let written = outlets.iter_mut().try_for_each(|outlet| outlet.write(upper, &rejected));
                if let Err(error) = written {
                    return given_up(&*error);
                }
            }
            Err(RecvTimeoutError::Timeout) => outlets.iter().for_each(|outlet| outlet.lookup.tend()),
            Err(RecvTimeoutError::Disconnected) => break,
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
                Err(error @ AppendError::Oversize { .. }) => {
                    let position = record.headers.iter().find(|(name, _)| name == POSITION).map(|(_, at)| at);
                    tracing::warn!(?position, %error, "a reject is too large for its topic and is in the view `rejects` only");
                    return Ok(());
                }
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
