//! The end of the last segment, read after whatever ended the previous process: what is kept, what is cut, what is damage.
//!
//! Contract: [`scan`] goes through all records of a segment without a footer, rebuilds its index, and stops at the first
//! byte where no valid record stands. What follows there is
//! - **a torn tail**, when no valid record follows, at whatever byte: the process or the machine ended within a commit that
//!   was never acknowledged, or within the footer. It is cut off and reported.
//! - **damage**, when a valid record follows that belongs to a later commit (its `back` says where its commit began): a
//!   commit is written only after the one before it is durable, so what is bad here had been acknowledged.
//! - When a valid record of the *same* commit follows: a torn tail if a whole page in between has no byte written, for a
//!   machine that loses power may keep later pages of an unfinished write and not earlier ones; else damage, because
//!   nobody's unfinished write looks like that.
//!
//! The record that is last of all cannot be judged: damaged and torn look alike there. It is cut and reported; a binding
//! that covers it will then stop the engine, which checks counts and hashes.
//!
//! # Cost
//! One pass over the last segment, in pieces of 1 MiB.

use super::super::LogError;
use super::frame::{self, HEADER_BYTES, Header};
use super::index::Index;
use super::io_error;
use super::segment::{Extent, Segment};
use std::fs::File;
use std::os::unix::fs::FileExt;

const WINDOW_BYTES: u64 = 1 << 20;
const PAGE_BYTES: u64 = 4096;

/// What [`scan`] found.
#[derive(Debug)]
pub(super) struct Scanned {
    /// How far the valid records go.
    pub(super) extent: Extent,
    /// How many they are.
    pub(super) records: u64,
    /// How many bytes stand behind them.
    pub(super) torn_bytes: u64,
}

/// A part of a file in memory, moved as needed.
struct Window<'a> {
    segment: &'a Segment,
    file: &'a File,
    size: u64,
    at: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The bytes from `at`, `wanted` of them or as many as there are.
    fn get(&mut self, at: u64, wanted: u64) -> Result<&[u8], LogError> {
        let wanted = wanted.min(self.size.saturating_sub(at));
        if at < self.at || at + wanted > self.at + self.bytes.len() as u64 {
            let bytes = wanted.max(WINDOW_BYTES).min(self.size.saturating_sub(at));
            self.bytes.resize(super::size(bytes), 0);
            self.file.read_exact_at(&mut self.bytes, at).map_err(io_error("read", &self.segment.path))?;
            self.at = at;
        }
        let start = super::size(at - self.at);
        Ok(&self.bytes[start..start + super::size(wanted)])
    }

    /// The header of the record at `at`, if its length fits and its checksum holds.
    fn record(&mut self, at: u64, plausible: impl Fn(&Header) -> bool) -> Result<Option<Header>, LogError> {
        let Some(header) = Header::parse(self.get(at, HEADER_BYTES as u64)?) else { return Ok(None) };
        if header.frame_bytes() > self.size - at || !plausible(&header) {
            return Ok(None);
        }
        let salt = self.segment.salt;
        let frame = self.get(at, header.frame_bytes())?;
        Ok(frame::checksum_holds(&header, frame, salt).then_some(header))
    }
}

/// Reads all records of a segment that has no footer.
///
/// # Errors
/// Damage before the tail, or a file that cannot be read.
pub(super) fn scan(segment: &Segment, file: &File, passed: &mut dyn FnMut(u64)) -> Result<Scanned, LogError> {
    let size = file.metadata().map_err(io_error("read", &segment.path))?.len();
    let mut window = Window { segment, file, size, at: 0, bytes: Vec::new() };
    let begin = Segment::header_bytes(segment.starts.len());
    let mut extent = Extent {
        len: begin,
        ends: segment.starts.clone(),
        newest_at: 0,
        index: Some(Index::new(begin, &segment.starts)),
    };
    let (mut records, mut reported) = (0, 0);
    while extent.len < size {
        let Some(header) = window.record(extent.len, |_| true)? else { break };
        let partition = header.partition as usize;
        if extent.ends.get(partition) != Some(&header.offset) {
            let found = window.get(extent.len, header.frame_bytes())?;
            let problem = "a valid record has another offset than the one that comes next";
            return Err(frame::corrupt(&segment.path, extent.len, found, segment.salt, &extent.ends, problem));
        }
        if let Some(index) = &mut extent.index {
            index.record_at(extent.len, &extent.ends);
        }
        extent.ends[partition] += 1;
        extent.newest_at = extent.newest_at.max(header.appended_at);
        extent.len += header.frame_bytes();
        records += 1;
        if extent.len - reported >= WINDOW_BYTES {
            passed(extent.len - reported);
            reported = extent.len;
        }
    }
    if extent.len < size {
        judge_tail(&mut window, &extent)?;
    }
    passed(size.saturating_sub(reported));
    Ok(Scanned { torn_bytes: size - extent.len, extent, records })
}

/// Whether the bytes behind `extent` may be cut; the module's description has the rule.
fn judge_tail(window: &mut Window<'_>, extent: &Extent) -> Result<(), LogError> {
    let bad_at = extent.len;
    let first = Segment::header_bytes(extent.ends.len());
    let mut at = bad_at + 1;
    while at + HEADER_BYTES as u64 <= window.size {
        // No more records fit between the bad one and here than this, so no offset is further on.
        let skipped_max = (at - bad_at) / HEADER_BYTES as u64 + 1;
        let follows = window.record(at, |header| {
            extent.ends.get(header.partition as usize).is_some_and(|next| {
                header.offset >= *next && header.offset - *next <= skipped_max && u64::from(header.back) <= at - first
            })
        })?;
        let Some(header) = follows else {
            at += 1;
            continue;
        };
        let commit_at = at - u64::from(header.back);
        if commit_at > bad_at || !page_missing(window, commit_at, bad_at, at)? {
            let (path, salt) = (&window.segment.path, window.segment.salt);
            let found = window.get(bad_at, (HEADER_BYTES as u64).max(at - bad_at))?;
            let problem = "the record is not valid, but one behind it is";
            return Err(frame::corrupt(path, bad_at, found, salt, &extent.ends, problem));
        }
        at += header.frame_bytes();
    }
    Ok(())
}

/// Whether some page between `from` and `to`, as far as it belongs to the commit that began at `commit_at`, has no byte
/// written. No header is all zeros, so 32 of them are never a record.
fn page_missing(window: &mut Window<'_>, commit_at: u64, from: u64, to: u64) -> Result<bool, LogError> {
    let mut page = from - from % PAGE_BYTES;
    while page < to {
        let (start, end) = (page.max(commit_at), (page + PAGE_BYTES).min(to));
        if end.saturating_sub(start) >= HEADER_BYTES as u64
            && window.get(start, end - start)?.iter().all(|byte| *byte == 0)
        {
            return Ok(true);
        }
        page += PAGE_BYTES;
    }
    Ok(false)
}
