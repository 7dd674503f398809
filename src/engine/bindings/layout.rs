//! Entries as bytes.
//!
//! Contract: [`Entry::encode`] and [`Entry::decode`] are the log's format: a version byte, a kind byte, the incarnation (16 bytes), then
//! varints (LEB128), hashes as 16 bytes; all little-endian. A binding of four parts is about 120 bytes, its JSON would be 600: at
//! 50 a second, 0.5 GB a day instead of 2.6.
//!
//! # Invariants
//! A change to the layout raises `VERSION`.
//!
//! # Failure
//! Bytes that do not decode are [`EntryError`] and end the process: a binding that is guessed at is a lie about the past.

use super::{Assigned, Binding, Body, Entry, Part};

/// The format's version.
const VERSION: u8 = 3;
const START: u8 = 1;
const BINDING: u8 = 2;
const DIGESTS: u8 = 3;
/// A binding after which time jumps.
const OUTAGE: u8 = 4;

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_layout_is_what_it_was() {
        let part = Part { topic: 0, partition: 3, next_offset: 300, count: 2, holes: 1, hash: 7 };
        let body = Body::Binding(Binding { tick: 1_280, behind: 1, parts: vec![part], ..Binding::default() });
        let mut bytes =
            vec![3, 2, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x0a, 1, 1, 0, 3, 0xac, 2, 2, 1];
        bytes.extend_from_slice(&7u128.to_le_bytes());
        assert_eq!(Entry { incarnation: 5, body }.encode(), bytes);
    }

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
}
