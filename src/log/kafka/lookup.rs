//! Single records of a topic, by where they stand: whole, with all their headers.
//!
//! Contract: [`Lookup::record`] is quickest when asked in the order in which records stand, partition by partition: what lies a
//! little further on is read up to, anything else is fetched anew, for a round trip to the brokers.

use super::super::{LogError, Reader, Record};
use super::reader::TopicReader;

/// What is further on by less is read up to.
const NEAR: u64 = 1_000;

/// See the module.
pub struct Lookup {
    pub(super) reader: TopicReader,
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
        self.reader.go_to(partition, offset, NEAR)?;
        let mut out = Vec::new();
        match self.reader.read_partition(partition, offset + 1, &mut out) {
            Ok(_) => Ok(out.pop().filter(|record| record.offset == offset)),
            Err(LogError::OutOfRange { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
