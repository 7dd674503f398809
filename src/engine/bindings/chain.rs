//! The hash of what was bound: each partition's parts, chained.
//!
//! Contract: XXH3-128 over the hash of the partition's previous binding that counts (zero before the first), then of each record the
//! envelope where it has one, and its length (u32) and bytes. A part without records repeats the hash before it.

use crate::log::Envelope;
use xxhash_rust::xxh3::Xxh3;

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

#[cfg(test)]
mod tests {
    use super::*;

    const VECTOR: &str = "66e903d2aa568087d7d3d0b4f2b1fa3f";

    #[test]
    fn the_hash_is_what_it_was() {
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
}
