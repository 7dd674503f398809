//! Bindings: which records belong to which tick, as written to the bindings log, and which of them count.
//!
//! Contract: [`Entry::encode`] and [`Entry::decode`] are the log's format; [`Counting`] reads entries in log order and says
//! which count: those of the newest `Start` before them. So the log's order is the only judge between two incarnations.
//!
//! Layout: a version byte, a kind byte, the incarnation (16 bytes), then varints (LEB128), hashes as 16 bytes; all
//! little-endian. A binding of four parts is about 120 bytes, its JSON would be 600: at 50 a second, 0.5 GB a day instead of 2.6.
//!
//! A part without records repeats where its partition stands. Every life's first binding, and the first of every minute,
//! has a part of every partition ([`Binding::whole`]): so whatever retention leaves of the log says how far each is bound.
//!
//! # Invariants
//! `hash` is XXH3-128 over the hash of the partition's previous binding that counts (zero before the first), then each record's
//! envelope where it has one, and its length (u32) and bytes; a part without records repeats the hash before it. A part begins
//! where the partition's last one ended, or further on: then what is between was lost, and somebody has said to go on without.
//! A change to the layout raises `VERSION`.
//!
//! # Failure
//! Bytes that do not decode are [`EntryError`] and end the process: a binding that is guessed at is a lie about the past.

use crate::log::Envelope;
use xxhash_rust::xxh3::Xxh3;

/// The format's version.
const VERSION: u8 = 3;
const START: u8 = 1;
const BINDING: u8 = 2;
const DIGESTS: u8 = 3;
/// A binding after which time jumps.
const OUTAGE: u8 = 4;

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

/// Why bytes are no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Of another version.
    #[error("has format version {found}, this program reads {VERSION}")]
    Version {
        /// Which.
        found: u8,
    },
    /// Cut off, or not of this format.
    #[error("is damaged at byte {at}")]
    Damaged {
        /// Where.
        at: usize,
    },
}

impl Entry {
    /// The bytes in the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.push(VERSION);
        out.push(match self.body {
            Body::Start { .. } => START,
            Body::Binding(Binding { outage_ahead: false, .. }) => BINDING,
            Body::Binding(_) => OUTAGE,
            Body::Digests { .. } => DIGESTS,
        });
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        match &self.body {
            Body::Start { topics } => {
                put(&mut out, topics.len() as u64);
                for Assigned { number, identity, processes } in topics {
                    put(&mut out, u64::from(*number));
                    out.extend_from_slice(&identity.to_le_bytes());
                    put(&mut out, processes.len() as u64);
                    processes.iter().for_each(|process| put(&mut out, u64::from(*process)));
                }
            }
            Body::Binding(binding) => {
                put(&mut out, u64::from(binding.process));
                put(&mut out, binding.tick);
                put(&mut out, binding.behind);
                put(&mut out, binding.parts.len() as u64);
                for part in &binding.parts {
                    put(&mut out, u64::from(part.topic));
                    put(&mut out, u64::from(part.partition));
                    put(&mut out, part.next_offset);
                    put(&mut out, part.count);
                    put(&mut out, part.holes);
                    out.extend_from_slice(&part.hash.to_le_bytes());
                }
            }
            Body::Digests { tick, epoch, views } => {
                put(&mut out, *tick);
                out.extend_from_slice(&epoch.to_le_bytes());
                put(&mut out, views.len() as u64);
                views.iter().for_each(|digest| out.extend_from_slice(&digest.to_le_bytes()));
            }
        }
        out
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// Another version, or damage.
    pub fn decode(bytes: &[u8]) -> Result<Entry, EntryError> {
        let mut bytes = Bytes { bytes, at: 0 };
        let version = bytes.byte()?;
        if version != VERSION {
            return Err(EntryError::Version { found: version });
        }
        let kind = bytes.byte()?;
        let incarnation = bytes.hash()?;
        let body = match kind {
            START => Body::Start { topics: bytes.list(Bytes::assigned)? },
            BINDING | OUTAGE => Body::Binding(Binding {
                process: bytes.narrow()?,
                tick: bytes.number()?,
                behind: bytes.number()?,
                outage_ahead: kind == OUTAGE,
                parts: bytes.list(Bytes::part)?,
            }),
            DIGESTS => Body::Digests { tick: bytes.number()?, epoch: bytes.hash()?, views: bytes.list(Bytes::hash)? },
            _ => return Err(EntryError::Damaged { at: 1 }),
        };
        if bytes.at != bytes.bytes.len() {
            return Err(bytes.damaged());
        }
        Ok(Entry { incarnation, body })
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

struct Bytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bytes<'_> {
    fn damaged(&self) -> EntryError {
        EntryError::Damaged { at: self.at }
    }

    fn byte(&mut self) -> Result<u8, EntryError> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| self.damaged())?;
        self.at += 1;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u64, EntryError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return Err(self.damaged());
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.damaged())
    }

    fn narrow(&mut self) -> Result<u32, EntryError> {
        let number = self.number()?;
        u32::try_from(number).map_err(|_| self.damaged())
    }

    fn hash(&mut self) -> Result<u128, EntryError> {
        let end = self.at + 16;
        let bytes =
            self.bytes.get(self.at..end).and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| self.damaged())?;
        self.at = end;
        Ok(u128::from_le_bytes(bytes))
    }

    fn topic(&mut self) -> Result<u16, EntryError> {
        u16::try_from(self.number()?).map_err(|_| self.damaged())
    }

    fn assigned(&mut self) -> Result<Assigned, EntryError> {
        Ok(Assigned { number: self.topic()?, identity: self.hash()?, processes: self.list(Bytes::narrow)? })
    }

    fn part(&mut self) -> Result<Part, EntryError> {
        Ok(Part {
            topic: self.topic()?,
            partition: self.narrow()?,
            next_offset: self.number()?,
            count: self.number()?,
            holes: self.number()?,
            hash: self.hash()?,
        })
    }

    fn list<T>(&mut self, one: impl Fn(&mut Self) -> Result<T, EntryError>) -> Result<Vec<T>, EntryError> {
        let count = self.number()?;
        // A count that the bytes cannot hold ends at the first missing item, before much is allocated.
        (0..count).map(|_| one(self)).collect()
    }
}

/// Hashes a binding's part as its records go by.
#[derive(Clone)]
pub struct Chain {
    hasher: Xxh3,
    records: u64,
}

impl Chain {
    /// Goes on from the partition's previous hash; zero before the first.
    #[must_use]
    pub fn after(previous: u128) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(&previous.to_le_bytes());
        Chain { hasher, records: 0 }
    }

    /// Takes a record in.
    pub fn record(&mut self, payload: &[u8], envelope: Option<&Envelope>) {
        if let Some(envelope) = envelope {
            // No payload is as long as this says.
            self.hasher.update(&u32::MAX.to_le_bytes());
            envelope.parts(|part| self.bytes(part));
        }
        self.bytes(payload);
        self.records += 1;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.update(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.hasher.update(bytes);
    }

    /// How many records were taken in.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The hash so far.
    #[must_use]
    pub fn hash(&self) -> u128 {
        self.hasher.digest128()
    }
}

/// Which entries count, read in log order.
#[derive(Clone, Debug, Default)]
pub struct Counting {
    newest: Option<Incarnation>,
}

/// What a counted binding says of silence.
#[derive(Clone, Debug, Default)]
pub struct Silence {
    bound: bool,
    outage_ahead: bool,
    standing: bool,
}

impl Counting {
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
    use proptest::prelude::*;

    fn binding(incarnation: Incarnation, tick: u64, behind: u64) -> Entry {
        Entry { incarnation, body: Body::Binding(Binding { tick, behind, ..Binding::default() }) }
    }

    fn start(incarnation: Incarnation) -> Entry {
        Entry { incarnation, body: Body::Start { topics: Vec::new() } }
    }

    #[test]
    fn the_layout_is_what_it_was() {
        let part = Part { topic: 0, partition: 3, next_offset: 300, count: 2, holes: 1, hash: 7 };
        let body = Body::Binding(Binding { tick: 1_280, behind: 1, parts: vec![part], ..Binding::default() });
        let mut bytes =
            vec![3, 2, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x0a, 1, 1, 0, 3, 0xac, 2, 2, 1];
        bytes.extend_from_slice(&7u128.to_le_bytes());
        assert_eq!(Entry { incarnation: 5, body }.encode(), bytes);
        let mut chain = Chain::after(0);
        chain.record(b"one", None);
        chain.record(b"", None);
        assert_eq!(format!("{:032x}", chain.hash()), VECTOR);
    }

    #[test]
    fn what_a_record_means_is_part_of_its_hash() {
        let json = || vec![("content-type".to_owned(), bytes::Bytes::from_static(b"application/json"))];
        let keyed = Some(bytes::Bytes::from_static(b"key"));
        let envelopes = [
            None,
            Some(Envelope { tombstone: true, ..Envelope::default() }),
            Some(Envelope { headers: json(), ..Envelope::default() }),
            Some(Envelope { headers: json(), key: keyed, ..Envelope::default() }),
            Some(Envelope { headers: [json(), json()].concat(), ..Envelope::default() }),
        ];
        let hash = |envelope: &Option<Envelope>| {
            let mut chain = Chain::after(0);
            chain.record(b"", envelope.as_ref());
            chain.hash()
        };
        let mut hashes: Vec<u128> = envelopes.iter().map(hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), envelopes.len());
    }

    const VECTOR: &str = "66e903d2aa568087d7d3d0b4f2b1fa3f";

    proptest! {
        #[test]
        fn an_entry_reads_back_and_no_part_of_it_does(
            tick: u64, behind: u64, outage_ahead: bool, process: u32, incarnation: u128,
            holes: u64, identity: u128,
            parts in proptest::collection::vec((any::<u16>(), any::<u32>(), any::<u64>(), any::<u64>(), any::<u128>()), 0..5),
        ) {
            let parts: Vec<Part> = parts
                .into_iter()
                .map(|(topic, partition, next_offset, count, hash)| Part { topic, partition, next_offset, count, holes, hash })
                .collect();
            let topics = parts.iter().map(|part| Assigned { number: part.topic, identity, processes: vec![process; 3] }).collect();
            let views = parts.iter().map(|part| part.hash).collect();
            for body in [
                Body::Binding(Binding { process, tick, behind, outage_ahead, parts }),
                Body::Digests { tick, epoch: incarnation, views },
                Body::Start { topics },
            ] {
                let entry = Entry { incarnation, body };
                let bytes = entry.encode();
                prop_assert_eq!(Entry::decode(&bytes), Ok(entry));
                for end in 0..bytes.len() {
                    prop_assert!(Entry::decode(&bytes[..end]).is_err());
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            std::hint::black_box(Entry::decode(&[&[VERSION, BINDING][..], &bytes].concat()).is_ok());
        }
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
