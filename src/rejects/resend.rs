//! Reads rejects, and sends the originals again.
//!
//! Contract: [`last`] gives what came last in a topic of rejects; [`resend`] produces the originals that were not sent again yet to
//! the topic and the partition that they came from, in their order, and notes how far it came as it goes. Broken off it sends
//! at most [`AT_ONCE`] of them once more the next time: events that count are duplicates then.
//!
//! # Cost
//! At most [`AT_ONCE`] records in memory, however many there are.

use super::{Entry, RESENT, header};
use crate::log::kafka::Kafka;
use crate::log::{AppendError, Log, LogError, NewRecord, Record};
use bytes::Bytes;

/// Records that are read, and sent, at once.
pub const AT_ONCE: u64 = 64;

/// Why it did not come to an end.
#[derive(Debug, thiserror::Error)]
pub enum ResendError {
    /// A topic cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A topic does not take them.
    #[error("the originals cannot be sent again")]
    Append(#[from] AppendError),
    /// The topic of events has fewer partitions than it had.
    #[error("the reject at offset {offset} came from partition {partition}, which its topic does not have")]
    Partition {
        /// Where it stands.
        offset: u64,
        /// Where it came from.
        partition: u32,
    },
}

/// The last entries of a topic of rejects, at most so many, with how they stand there.
///
/// # Errors
/// It cannot be read.
pub fn last(rejected: &Kafka, at_most: u64) -> Result<Vec<(Entry, Record)>, LogError> {
    let end = rejected.ends()[0];
    let mut found = Vec::new();
    steps(rejected, end.saturating_sub(at_most), end, |records| {
        found.extend(records.into_iter().filter_map(|record| Some((Entry::read(&record)?, record))));
        Ok::<(), LogError>(())
    })?;
    Ok(found)
}

/// The offset before which everything was sent again.
///
/// # Errors
/// The topic cannot be read.
pub fn sent_up_to(rejected: &Kafka) -> Result<u64, LogError> {
    let mut up_to = 0;
    steps(rejected, 0, rejected.ends()[0], |records| {
        let noted = records.iter().filter_map(|record| match Entry::read(record) {
            Some(Entry::Resent(to)) => Some(to),
            _ => None,
        });
        up_to = noted.fold(up_to, u64::max);
        Ok::<(), LogError>(())
    })?;
    Ok(up_to)
}

/// Sends originals again; gives how many.
///
/// # Errors
/// A topic cannot be read or written.
pub fn resend(events: &Kafka, rejected: &Kafka) -> Result<usize, ResendError> {
    let (from, end) = (sent_up_to(rejected)?, rejected.ends()[0]);
    let mut count = 0;
    steps(rejected, from, end, |records| {
        let Some(last) = records.last().map(|record| record.offset) else { return Ok(()) };
        let rejects = records.into_iter().filter_map(|record| match Entry::read(&record)? {
            Entry::Reject { partition, .. } => Some((partition, record)),
            Entry::Resent(_) => None,
        });
        let originals = rejects.map(|(partition, record)| original(events, partition, record));
        let originals = originals.collect::<Result<Vec<_>, ResendError>>()?;
        if originals.is_empty() {
            return Ok(());
        }
        count += originals.len();
        events.append(originals)?.wait()?;
        let note = NewRecord::new(0, Bytes::new()).with_headers(vec![header(RESENT, (last + 1).to_string())]);
        rejected.append(vec![note])?.wait()?;
        Ok::<(), ResendError>(())
    })?;
    Ok(count)
}

/// Reads from one offset to another, a portion at a time.
fn steps<E: From<LogError>>(
    rejected: &Kafka,
    from: u64,
    to: u64,
    mut each: impl FnMut(Vec<Record>) -> Result<(), E>,
) -> Result<(), E> {
    let mut offsets = rejected.ends();
    offsets[0] = from.max(rejected.starts()[0]).min(to);
    let mut reader = rejected.whole_reader(&offsets)?;
    while reader.offsets()[0] < to {
        let (before, mut records) = (reader.offsets()[0], Vec::new());
        reader.read_partition(0, to.min(before + AT_ONCE), &mut records)?;
        if reader.offsets()[0] == before {
            break;
        }
        each(records)?;
    }
    Ok(())
}

fn original(events: &Kafka, partition: u32, record: Record) -> Result<NewRecord, ResendError> {
    let Record { offset, payload, envelope, .. } = record;
    if partition >= events.partitions() {
        return Err(ResendError::Partition { offset, partition });
    }
    let envelope = envelope.as_deref().cloned().unwrap_or_default();
    let headers = envelope.headers.into_iter().filter(|(name, _)| !super::own(name)).collect();
    Ok(NewRecord::new(partition, payload).with_headers(headers).with_key(envelope.key.unwrap_or_default()))
}
