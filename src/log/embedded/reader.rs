//! Reading: a cursor for each partition over chunks that all of them share.
//!
//! Contract: a chunk (see `index`) is read and decoded once, its records handed to one queue per partition; a cursor says in
//! which chunk a partition's next record stands. [`Reader::read`] serves the partition that is furthest behind in the
//! files, so the log's own order is followed and a chunk is done with when the next one is begun;
//! [`Reader::read_partition`] serves one and leaves the others' records where they are. The last chunk of the active
//! segment grows: what is new in it is read, not what was.
//!
//! # Cost
//! Memory: [`CACHE_BYTES`], or two chunks if these are larger. A partition that lags more than that behind the others has
//! its chunks decoded a second time.
//!
//! # Failure
//! Checksum and offset of every record are checked here. Damage is an error at every later call as well.

use super::super::{LogError, Reader, Record};
use super::index::Index;
use super::segment::Segment;
use super::{Shared, frame, io_error};
use bytes::Bytes;
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// What a reader keeps decoded.
const CACHE_BYTES: u64 = 8 << 20;

/// Where a partition's next record stands, or will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cursor {
    sequence: u64,
    chunk: usize,
}

/// A segment open for reading.
struct Open {
    segment: Arc<Segment>,
    file: File,
    /// The chunks of a sealed segment.
    sealed: Option<(Index, u64)>,
}

/// A chunk's bytes in the file, as far as they are durable.
struct Span {
    start: u64,
    end: u64,
    complete: bool,
    offsets: Vec<u64>,
}

/// A chunk, decoded as far as it was durable.
struct Chunk {
    at: Cursor,
    start: u64,
    end: u64,
    complete: bool,
    /// The offsets that come next in it, by partition.
    expected: Vec<u64>,
    /// The records not yet handed out, by partition.
    records: Vec<VecDeque<Record>>,
}

/// How much one call may hand out.
struct Budget {
    records: usize,
    bytes: usize,
}

/// See the module.
pub(super) struct SegmentReader {
    shared: Arc<Shared>,
    next: Vec<u64>,
    ends: Vec<u64>,
    cursors: Vec<Cursor>,
    opened: Vec<Open>,
    /// The one used last stands last.
    chunks: Vec<Chunk>,
}

impl SegmentReader {
    /// A reader whose next record of each partition is `from`.
    ///
    /// # Errors
    /// As [`super::super::Log::reader`].
    pub(super) fn new(shared: Arc<Shared>, from: &[u64]) -> Result<Self, LogError> {
        assert_eq!(from.len(), shared.partitions as usize, "one offset a partition");
        let (next, ends) = (from.to_vec(), shared.store().ends.clone());
        let mut reader =
            SegmentReader { shared, next, ends, cursors: Vec::new(), opened: Vec::new(), chunks: Vec::new() };
        reader.refresh()?;
        for (partition, (&wanted, &end)) in from.iter().zip(&reader.ends).enumerate() {
            if wanted > end {
                return Err(reader.out_of_range(partition));
            }
        }
        for partition in 0..from.len() {
            let cursor = reader.locate(partition)?;
            reader.cursors.push(cursor);
        }
        Ok(reader)
    }

    /// Where the next record of a partition stands, or will.
    fn locate(&mut self, partition: usize) -> Result<Cursor, LogError> {
        let next = self.next[partition];
        let sequence = {
            let store = self.shared.store();
            let after = store.segments.partition_point(|segment| segment.starts[partition] <= next);
            after.checked_sub(1).map(|at| store.segments[at].sequence)
        };
        // Retention may have dropped it since `refresh` looked.
        let sequence = sequence.ok_or_else(|| self.out_of_range(partition))?;
        let chunk = self.open(sequence)?.with_index(|index, _, _| index.find(partition, next))?;
        Ok(Cursor { sequence, chunk })
    }

    fn out_of_range(&self, partition: usize) -> LogError {
        let store = self.shared.store();
        LogError::OutOfRange {
            partition: u32::try_from(partition).unwrap_or(u32::MAX),
            start: store.starts().get(partition).copied().unwrap_or_default(),
            end: store.ends[partition],
            wanted: self.next[partition],
        }
    }

    /// Learns how far the log goes now, and whether it still has what comes next.
    fn refresh(&mut self) -> Result<(), LogError> {
        let behind = {
            let store = self.shared.store();
            self.ends.copy_from_slice(&store.ends);
            self.next.iter().zip(store.starts()).position(|(next, start)| next < start)
        };
        behind.map_or(Ok(()), |partition| Err(self.out_of_range(partition)))
    }

    /// The open segment with this sequence.
    fn open(&mut self, sequence: u64) -> Result<&mut Open, LogError> {
        let at = match self.opened.iter().position(|open| open.segment.sequence == sequence) {
            Some(at) => at,
            None => {
                let oldest = self.cursors.iter().map(|cursor| cursor.sequence).min().unwrap_or(sequence);
                self.opened.retain(|open| open.segment.sequence >= oldest);
                let segment = self.shared.store().segment(sequence);
                let of = || self.cursors.iter().position(|cursor| cursor.sequence == sequence).unwrap_or(0);
                let segment = segment.ok_or_else(|| self.out_of_range(of()))?;
                let file = File::open(&segment.path).map_err(io_error("open", &segment.path))?;
                self.opened.push(Open { segment, file, sealed: None });
                self.opened.len() - 1
            }
        };
        Ok(&mut self.opened[at])
    }

    /// The place in `chunks` of the chunk at `cursor`, with everything durable of it decoded.
    fn chunk(&mut self, cursor: Cursor) -> Result<usize, LogError> {
        let found = self.chunks.iter().position(|chunk| chunk.at == cursor);
        let chunk = match found.map(|at| self.chunks.remove(at)) {
            Some(chunk) if chunk.complete => chunk,
            begun => self.decode(cursor, begun)?,
        };
        self.chunks.push(chunk);
        while self.chunks.len() > 2
            && self.chunks.iter().map(|chunk| chunk.end - chunk.start).sum::<u64>() > CACHE_BYTES
        {
            self.chunks.remove(0);
        }
        Ok(self.chunks.len() - 1)
    }

    /// Reads what is durable of a chunk and not decoded yet.
    fn decode(&mut self, at: Cursor, begun: Option<Chunk>) -> Result<Chunk, LogError> {
        let opened = self.open(at.sequence)?;
        let span = opened.span(at.chunk)?;
        let (file, segment) = (&opened.file, Arc::clone(&opened.segment));
        let mut chunk = begun.unwrap_or_else(|| Chunk {
            at,
            start: span.start,
            end: span.start,
            complete: false,
            records: vec![VecDeque::new(); span.offsets.len()],
            expected: span.offsets,
        });
        let mut bytes = vec![0; super::size(span.end - chunk.end)];
        let Segment { path, salt, .. } = &*segment;
        file.read_exact_at(&mut bytes, chunk.end).map_err(io_error("read", path))?;
        let bytes = Bytes::from(bytes);
        let mut place = 0;
        while place < bytes.len() {
            let record = frame::decode(&bytes, place, *salt, &mut chunk.expected).map_err(|problem| {
                frame::corrupt(path, chunk.end + place as u64, &bytes[place..], *salt, &chunk.expected, problem)
            })?;
            place += frame::HEADER_BYTES + record.payload.len();
            let partition = record.partition as usize;
            // A chunk that is decoded again, or begun in its middle, has records that were handed out already.
            if record.offset >= self.next[partition] {
                chunk.records[partition].push_back(record);
            }
        }
        (chunk.end, chunk.complete) = (span.end, span.complete);
        Ok(chunk)
    }

    /// Hands out records of one partition below `end` from the chunk its cursor is in, and moves the cursor on when the
    /// chunk has no more.
    fn serve(
        &mut self,
        partition: usize,
        end: u64,
        budget: &mut Budget,
        out: &mut Vec<Record>,
    ) -> Result<(), LogError> {
        let cursor = self.cursors[partition];
        let place = self.chunk(cursor)?;
        let chunk = &mut self.chunks[place];
        let records = &mut chunk.records[partition];
        while self.next[partition] < end && budget.records > 0 && budget.bytes > 0 {
            let Some(record) = records.pop_front() else { break };
            assert_eq!(record.offset, self.next[partition], "partition {partition} is handed out without a gap");
            self.next[partition] = record.offset + 1;
            budget.records -= 1;
            budget.bytes = budget.bytes.saturating_sub(record.payload.len());
            out.push(record);
        }
        if records.is_empty() && chunk.complete {
            // By the index, not by going on: a partition may have nothing in the next gigabytes.
            let located = self.locate(partition)?;
            assert!(located > cursor, "a chunk that has no more of partition {partition} lies before its next record");
            self.cursors[partition] = located;
        }
        Ok(())
    }
}

impl Open {
    /// Calls with the segment's chunks, the end of its last one, and whether it is sealed.
    fn with_index<T>(&mut self, call: impl FnOnce(&Index, u64, bool) -> T) -> Result<T, LogError> {
        let (index, len) = match &mut self.sealed {
            Some(sealed) => &*sealed,
            unread => {
                let extent = self.segment.extent();
                if let Some(index) = &extent.index {
                    return Ok(call(index, extent.len, false));
                }
                drop(extent);
                let extent = self.segment.sealed_extent(&self.file)?;
                let index = extent.index.expect("a footer has an index");
                &*unread.insert((index, extent.len))
            }
        };
        Ok(call(index, *len, true))
    }

    fn span(&mut self, chunk: usize) -> Result<Span, LogError> {
        self.with_index(|index, len, sealed| Span {
            start: index.start(chunk).unwrap_or(len),
            end: index.start(chunk + 1).unwrap_or(len),
            complete: sealed || chunk + 1 < index.chunks(),
            offsets: index.offsets(chunk).to_vec(),
        })
    }
}

impl Reader for SegmentReader {
    fn read(&mut self, records_max: usize, bytes_max: usize, out: &mut Vec<Record>) -> Result<usize, LogError> {
        self.refresh()?;
        let before = out.len();
        let mut budget = Budget { records: records_max, bytes: bytes_max.max(1) };
        while budget.records > 0 && budget.bytes > 0 {
            let waiting = (0..self.next.len()).filter(|partition| self.next[*partition] < self.ends[*partition]);
            let Some(partition) = waiting.min_by_key(|partition| self.cursors[*partition]) else { break };
            self.serve(partition, self.ends[partition], &mut budget, out)?;
        }
        Ok(out.len() - before)
    }

    fn read_partition(&mut self, partition: u32, end: u64, out: &mut Vec<Record>) -> Result<usize, LogError> {
        self.refresh()?;
        let (before, partition) = (out.len(), partition as usize);
        let end = end.min(self.ends[partition]);
        let mut budget = Budget { records: usize::MAX, bytes: usize::MAX };
        while self.next[partition] < end {
            self.serve(partition, end, &mut budget, out)?;
        }
        Ok(out.len() - before)
    }

    fn offsets(&self) -> &[u64] {
        &self.next
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Embedded, EmbeddedConfig};
    use super::*;
    use crate::log::{Log, NewRecord};

    #[test]
    fn a_segment_dropped_while_it_is_looked_for_is_an_error_and_no_gap() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = EmbeddedConfig { partitions: 1, segment_bytes: 1, ..EmbeddedConfig::new(folder.path(), "topic") };
        let config = EmbeddedConfig { retention_bytes: 1, ..config };
        let (log, _) = Embedded::open(config, &mut |_, _| {}).expect("opens");
        for _ in 0..4 {
            let record = NewRecord::new(0, Bytes::from_static(b"record"));
            log.append(vec![record]).expect("is taken").wait().expect("is durable");
        }
        let mut reader = SegmentReader::new(Arc::clone(&log.shared), &[1]).expect("has it");
        reader.refresh().expect("has it still");
        log.retain(0, &[3]).expect("drops");
        let located = reader.locate(0);
        assert!(matches!(located, Err(LogError::OutOfRange { start: 3, wanted: 1, .. })), "{located:?}");
        // The file that is open may be read on, up to its end and no further.
        let mut out = Vec::new();
        let served = reader.serve(0, 4, &mut Budget { records: 9, bytes: 999 }, &mut out);
        assert!(matches!(served, Err(LogError::OutOfRange { start: 3, wanted: 2, .. })), "{served:?}");
        assert_eq!(out.iter().map(|record| record.offset).collect::<Vec<_>>(), [1]);
    }
}
