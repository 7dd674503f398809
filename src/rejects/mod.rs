//! Rejects in Kafka: what was not taken of a topic of events stands, as it was, in `<topic>.rejected`, with why and where.
//!
//! Contract: a record there has the original's bytes, key and headers, and besides [`REASON`], [`POSITION`] and [`TICK`]. [`sink`]
//! writes each once, whatever happens to the server; [`resend`] reads them and sends the originals again. How far they were sent
//! again stands in the topic itself, as an empty record ([`RESENT`]). All of it is in partition 0, in order.
//!
//! # Failure
//! A server that was replaced while it stood still may have written one a second time: the topic is a help for people, and no
//! number comes from it.

pub mod resend;
pub mod sink;

use crate::log::Record;
use bytes::Bytes;

/// Why, as `KIND: REASON`.
pub const REASON: &str = "weir-reason";
/// Where the original stands, as `TOPIC/PARTITION@OFFSET`.
pub const POSITION: &str = "weir-position";
/// The tick at which that was known.
pub const TICK: &str = "weir-tick";
/// The offset up to which originals were sent again.
pub const RESENT: &str = "weir-resent";

/// The topic of what was not taken of a topic.
#[must_use]
pub fn topic_of(events: &str) -> String {
    format!("{events}.rejected")
}

/// What stands in a topic of rejects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Something that was not taken.
    Reject {
        /// Its partition in its topic.
        partition: u32,
        /// Its offset there.
        offset: u64,
        /// The tick at which that was known.
        tick: u64,
        /// Why.
        reason: String,
    },
    /// Everything before this offset was sent again.
    Resent(u64),
}

impl Entry {
    /// Reads one; `None`: somebody else wrote it.
    #[must_use]
    pub fn read(record: &Record) -> Option<Entry> {
        let envelope = record.envelope.as_deref()?;
        let text = |name| std::str::from_utf8(envelope.header(name)?).ok();
        if let Some(offset) = text(RESENT) {
            return Some(Entry::Resent(offset.parse().ok()?));
        }
        let (partition, offset) = text(POSITION)?.rsplit_once('/')?.1.split_once('@')?;
        Some(Entry::Reject {
            partition: partition.parse().ok()?,
            offset: offset.parse().ok()?,
            tick: text(TICK)?.parse().ok()?,
            reason: text(REASON)?.to_owned(),
        })
    }
}

/// Whether a header is of Weir's own making, and not of the original.
fn own(name: &str) -> bool {
    [REASON, POSITION, TICK, RESENT].contains(&name)
}

fn header(name: &str, value: impl Into<String>) -> (String, Bytes) {
    (name.to_owned(), Bytes::from(value.into()))
}
