//! Bindings: which records belong to which tick, as written to the bindings log, and which of them count.
//!
//! Contract: an [`Entry`] is a record of the log, its bytes are `layout`'s; [`Counting`] reads entries in log order and says
//! which count: those of the newest `Start` before them. So the log's order is the only judge between two incarnations.
//!
//! A part without records says where its partition stands. Every life's first binding, and the first of every minute,
//! has a part of every partition ([`Binding::whole`]): so whatever retention leaves of the log says how far each is bound.
//!
//! # Invariants
//! A part begins where the partition's last one ended, or further on: then what is between was lost, and somebody has said to go
//! on without. Its hash goes on from that of the one before it (`chain`).

mod chain;
mod layout;

pub use chain::Chain;
pub use layout::EntryError;
use serde::{Deserialize, Serialize};

/// So often a binding says where every partition stands: at most 30 bytes each a minute.
const WHOLE_EVERY_MS: u64 = 60_000;

/// The identity of one life of the engine.
pub type Incarnation = u128;

/// One record of the bindings log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose word it is.
    pub incarnation: Incarnation,
    /// What it says.
    pub body: Body,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// An incarnation begins; entries of others that stand after it do not count.
    Start {
        /// The topics that it reads, and who reads which partition.
        topics: Vec<Assigned>,
    },
    /// A tick and its records.
    Binding(Binding),
    /// The digests of all views at a whole minute.
    Digests {
        /// The minute, in epoch ms.
        tick: u64,
        /// What the digests depend on besides the records: the epoch's hash. Others say nothing about ours.
        epoch: u128,
        /// By view.
        views: Vec<u128>,
    },
}

/// A topic as an incarnation found it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// The topic's number in the configuration.
    pub number: u16,
    /// Its identity: another one means that it was deleted and made again.
    pub identity: u128,
    /// The process that reads each partition.
    pub processes: Vec<u32>,
}

/// A tick and its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// The process that wrote it.
    pub process: u32,
    /// The tick.
    pub tick: u64,
    /// Records known to be in the log and not yet read.
    pub behind: u64,
    /// Whether time jumps after it, because its process stood still or the clock was set: an outage, as after a `Start`.
    pub outage_ahead: bool,
    /// Its records, by partition; none of an idle tick, or where the partitions stand.
    pub parts: Vec<Part>,
}

impl Binding {
    /// How many records it binds.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.parts.iter().map(|part| part.count).sum()
    }

    /// Whether a binding of `tick` after one of `last` (0: the first of a life) says where every partition stands.
    #[must_use]
    pub fn whole(last: u64, tick: u64) -> bool {
        last == 0 || tick / WHOLE_EVERY_MS > last / WHOLE_EVERY_MS
    }
}

/// The records of one partition in a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The topic's number in the configuration.
    pub topic: u16,
    /// The partition.
    pub partition: u32,
    /// The offset after its last record.
    pub next_offset: u64,
    /// How many records.
    pub count: u64,
    /// How many offsets among them have no record: in Kafka, ends of transactions and what a compaction took.
    pub holes: u64,
    /// The chained hash.
    pub hash: u128,
}

impl Part {
    /// The offset from which on it reaches.
    #[must_use]
    pub fn first_offset(&self) -> u64 {
        self.next_offset.saturating_sub(self.count).saturating_sub(self.holes)
    }
}

/// Which entries count, read in log order.
#[derive(Clone, Debug, Default)]
pub struct Counting {
    newest: Option<Incarnation>,
}

/// What a counted binding says of silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    bound: bool,
    outage_ahead: bool,
    standing: bool,
}

impl Counting {
    /// Goes on where the bindings of an incarnation counted.
    #[must_use]
    pub fn after(incarnation: Incarnation) -> Counting {
        Counting { newest: Some(incarnation) }
    }

    /// Takes the next entry in; whether it counts.
    pub fn counts(&mut self, entry: &Entry) -> bool {
        match entry.body {
            Body::Start { .. } => {
                self.newest = Some(entry.incarnation);
                true
            }
            // Before the first `Start` that the log retains, whoever speaks first is the newest.
            _ => *self.newest.get_or_insert(entry.incarnation) == entry.incarnation,
        }
    }
}

impl Silence {
    /// A new incarnation has begun.
    pub fn start(&mut self) {
        self.outage_ahead = self.bound;
    }

    /// Whether silence timers stand still from this binding on.
    pub fn binding(&mut self, binding: &Binding) -> bool {
        self.standing = std::mem::take(&mut self.outage_ahead) || binding.outage_ahead || binding.behind > 0;
        self.bound = true;
        self.standing
    }

    /// Whether they stand still after the last binding.
    #[must_use]
    pub fn standing(&self) -> bool {
        self.standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(incarnation: Incarnation, tick: u64, behind: u64) -> Entry {
        Entry { incarnation, body: Body::Binding(Binding { tick, behind, ..Binding::default() }) }
    }

    fn start(incarnation: Incarnation) -> Entry {
        Entry { incarnation, body: Body::Start { topics: Vec::new() } }
    }

    #[test]
    fn only_the_newest_start_speaks() {
        let mut counting = Counting::default();
        let told =
            [binding(1, 10, 0), start(1), binding(1, 20, 0), start(2), binding(1, 30, 0), binding(2, 40, 0), start(1)];
        let counted: Vec<bool> = told.iter().map(|entry| counting.counts(entry)).collect();
        assert_eq!(counted, [true, true, true, true, false, true, true]);
    }

    #[test]
    fn silence_stands_still_over_an_outage_and_while_behind() {
        let mut silence = Silence::default();
        let mut told = Vec::new();
        for step in ["start", "0", "0", "5", "0", "start", "0", "9", "0", "start", "start", "0", "0", "outage", "0"] {
            match (step, step.parse()) {
                ("start", _) => silence.start(),
                (_, Ok(behind)) => told.push(silence.binding(&Binding { behind, ..Binding::default() })),
                _ => told.push(silence.binding(&Binding { outage_ahead: true, ..Binding::default() })),
            }
        }
        assert_eq!(told, [false, false, true, false, true, true, false, true, false, true, false]);
    }
}
