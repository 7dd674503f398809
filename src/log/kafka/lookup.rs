//! Single records of a topic, by where they stand: whole, with all their headers.
//!
//! Contract: [`Lookup::record`] is quickest when asked in the order in which records stand, partition by partition: what lies a
//! little further on is read up to, anything else is fetched anew, for a round trip to the brokers. Nothing is fetched before
//! the first record is asked for.

use super::super::{LogError, Reader, Record};
use super::reader::TopicReader;

/// What is further on by less is read up to.
const NEAR: u64 = 64;
/// So many are read at once on the way there: of 16 MiB each, in the worst case.
const AT_ONCE: u64 = 16;

/// See the module.
pub struct Lookup {
    reader: TopicReader,
}

impl Lookup {
    pub(super) fn new(reader: TopicReader) -> Lookup {
        Lookup { reader }
    }

    /// The record that stands there; `None`: it is gone, or none does. Waits for brokers that are away.
    ///
    /// # Errors
    /// The topic cannot be read, or was closed.
    pub fn record(&mut self, partition: u32, offset: u64) -> Result<Option<Record>, LogError> {
        let found = self.reader.go_to(partition, offset, NEAR).and_then(|()| self.read_to(partition, offset));
        match found {
            Err(LogError::Overtaken { .. }) => {
                // The client does not go on from an offset that is gone.
                self.reader.forget();
                Ok(None)
            }
            found => found,
        }
    }

    fn read_to(&mut self, partition: u32, offset: u64) -> Result<Option<Record>, LogError> {
        let mut out = Vec::new();
        loop {
            let next = self.reader.offsets()[partition as usize];
            let to = (next + AT_ONCE).min(offset + 1);
            out.clear();
            self.reader.read_partition(partition, to, &mut out)?;
            let reached = self.reader.offsets()[partition as usize];
            if reached > offset || reached == next {
                return Ok(out.pop().filter(|record| record.offset == offset));
            }
        }
    }

    /// Says what the client has said; to be called now and then while nothing is asked for.
    pub fn tend(&self) {
        self.reader.tend();
    }
}
