//! The one thread that writes: takes all that waits, makes it durable with one sync, then answers.
//!
//! Contract: a commit is written behind the durable end of the active segment and synced; only then do readers see it and
//! callers hear of it. A commit stands in one segment.
//!
//! # Failure
//! - No space, quota or file-size limit while *writing*: what was written is cut off again, everybody in the commit gets
//!   [`AppendError::Full`], and the next commit or probe tries anew.
//! - Anything else while writing, and any error of a *sync*, is final. After a failed sync the system may drop the pages it
//!   could not write and mark them clean, so that a second sync of the same file succeeds and the data is gone (PostgreSQL
//!   learned this in 2018). The unwritten part is cut off, so that the next open does not take cached pages for durable ones.

use super::super::{AppendError, Position};
use super::frame::{HEADER_BYTES, Header, encode_header};
use super::index::Index;
use super::queue::{Batch, Work};
use super::segment::{Extent, Segment};
use super::{Shared, now_ms};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is gathered before a write; a larger payload is written from where it is.
const BUFFER_BYTES: usize = 1 << 20;
/// What a probe of a full disk writes.
const PROBE_BYTES: usize = 256 << 10;

/// Why a commit did not become durable.
#[derive(Debug)]
enum WriteError {
    /// Writing met an error.
    Write(std::io::Error),
    /// The data, or the folder, could not be synced.
    Sync(std::io::Error),
}

impl WriteError {
    /// The one place that tells a passing error from a final one.
    fn answer(&self) -> AppendError {
        match self {
            WriteError::Write(error) => match Errno::from_io_error(error) {
                // A file-size limit is a full disk to whoever meets it, and may be raised likewise.
                Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => AppendError::Full,
                _ => AppendError::Failed { reason: error.to_string() },
            },
            WriteError::Sync(error) => AppendError::Failed { reason: format!("sync: {error}") },
        }
    }
}

/// The writer's state: the active segment and what of it is durable.
pub(super) struct Writer {
    shared: Arc<Shared>,
    segment: Arc<Segment>,
    file: File,
    /// The footer of `segment` is durable; its successor is yet to be made.
    sealed: bool,
    buffer: Vec<u8>,
}

/// A commit as it is being written.
struct Writing {
    /// Where the commit begins.
    begin: u64,
    /// Where the buffer's first byte goes.
    at: u64,
    ends: Vec<u64>,
    index: Index,
    appended_at: u64,
}

/// Says that nothing will be taken any more, however the thread ends.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.queue.close();
        self.0.store().closed = true;
        self.0.moved();
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, segment: Arc<Segment>, file: File, sealed: bool) -> Self {
        Writer { shared, segment, file, sealed, buffer: Vec::new() }
    }

    /// Runs until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _ending = Ending(&shared);
        let mut not_before = Instant::now();
        loop {
            match shared.queue.take(not_before) {
                Work::End => return,
                Work::Probe => {
                    let outcome = self.probe();
                    shared.queue.done(0, 0, &outcome);
                }
                Work::Commit(batches) => {
                    not_before = Instant::now() + shared.config.commit_interval;
                    self.commit(batches);
                }
            }
        }
    }

    /// Makes batches durable and answers them.
    fn commit(&mut self, batches: Vec<Batch>) {
        let mut bytes = 0;
        let mut records = 0;
        for record in batches.iter().flat_map(|batch| &batch.records) {
            bytes += record.payload.len() + HEADER_BYTES;
            records += 1;
        }
        let begin_at = self.shared.store().ends.clone();
        let outcome = match self.shared.queue.failed() {
            Some(reason) => Err(AppendError::Failed { reason }),
            None => self.write(&batches).map_err(|error| self.give_up(&error)),
        };
        if let Ok(()) = outcome {
            self.shared.moved();
        }
        self.shared.queue.done(bytes, records, &outcome);
        let mut next = begin_at;
        for Batch { records, answer } in batches {
            let answered = outcome.clone().map(|()| {
                let position = |partition: u32| {
                    let next = &mut next[partition as usize];
                    *next += 1;
                    Position { partition, offset: *next - 1 }
                };
                records.iter().map(|record| record.partition).map(position).collect()
            });
            if answer.send(answered).is_err() {
                tracing::trace!("nobody waits for this commit any more");
            }
        }
    }

    /// Writes and syncs, then lets readers see it.
    fn write(&mut self, batches: &[Batch]) -> Result<(), WriteError> {
        let now = now_ms();
        self.roll(now)?;
        let mut writing = {
            let Extent { len, ends, index, .. } = self.segment.extent().clone();
            let index = index.expect("the writer's segment is active");
            Writing { begin: len, at: len, ends, index, appended_at: now }
        };
        let mut records = 0;
        for record in batches.iter().flat_map(|batch| &batch.records) {
            self.put(&mut writing, record.partition, &record.payload).map_err(WriteError::Write)?;
            records += 1;
        }
        self.flush(&mut writing).map_err(WriteError::Write)?;
        let begun = Instant::now();
        self.file.sync_data().map_err(WriteError::Sync)?;
        self.shared.stats.committed(records, writing.at - writing.begin, begun.elapsed());
        let Writing { at, ends, index, appended_at, .. } = writing;
        {
            let mut extent = self.segment.extent_mut();
            let newest_at = extent.newest_at.max(appended_at);
            *extent = Extent { len: at, ends: ends.clone(), newest_at, index: Some(index) };
        }
        self.shared.store().ends = ends;
        Ok(())
    }

    /// Puts one record into the buffer, writing that when it is full.
    fn put(&mut self, writing: &mut Writing, partition: u32, payload: &[u8]) -> std::io::Result<()> {
        let at = writing.at + self.buffer.len() as u64;
        writing.index.record_at(at, &writing.ends);
        let next = &mut writing.ends[partition as usize];
        let header = Header {
            checksum: 0,
            length: u32::try_from(payload.len()).expect("the record limit fits 32 bits"),
            partition,
            back: u32::try_from(at - writing.begin).expect("the queue's bound and one batch fit 32 bits"),
            offset: *next,
            appended_at: writing.appended_at,
        };
        *next += 1;
        encode_header(&header, payload, self.segment.salt, &mut self.buffer);
        if payload.len() > BUFFER_BYTES {
            self.flush(writing)?;
            self.file.write_all_at(payload, writing.at)?;
            writing.at += payload.len() as u64;
            return Ok(());
        }
        self.buffer.extend_from_slice(payload);
        if self.buffer.len() >= BUFFER_BYTES { self.flush(writing) } else { Ok(()) }
    }

    fn flush(&mut self, writing: &mut Writing) -> std::io::Result<()> {
        self.file.write_all_at(&self.buffer, writing.at)?;
        writing.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Cuts off what a failed commit left behind.
    fn give_up(&mut self, error: &WriteError) -> AppendError {
        self.buffer.clear();
        let answer = error.answer();
        let topic = &self.shared.config.topic;
        tracing::error!(%topic, ?error, %answer, "a commit did not become durable");
        // Behind a durable footer nothing is cut: the footer is what stands at the end.
        if self.sealed {
            return answer;
        }
        match self.file.set_len(self.segment.extent().len) {
            Ok(()) => answer,
            Err(cut) => AppendError::Failed { reason: format!("{answer}, and cannot be cut back: {cut}") },
        }
    }

    /// Seals the active segment when it is large or old enough, and begins the next.
    fn roll(&mut self, now: u64) -> Result<(), WriteError> {
        let Extent { len, newest_at, .. } = *self.segment.extent();
        let age = Duration::from_millis(now.saturating_sub(self.segment.created_at));
        let config = &self.shared.config;
        if !self.sealed {
            if newest_at == 0 || (len < config.segment_bytes && age < config.segment_age) {
                return Ok(());
            }
            self.file.write_all_at(&self.segment.footer(), len).map_err(WriteError::Write)?;
            self.file.sync_data().map_err(WriteError::Sync)?;
            self.sealed = true;
        }
        let ends = self.segment.extent().ends.clone();
        let (segment, file) = Segment::create(&config.folder, self.shared.identity, self.segment.sequence + 1, &ends)
            .map_err(WriteError::Write)?;
        let segment = Arc::new(segment);
        self.shared.store().segments.push_back(Arc::clone(&segment));
        self.segment.extent_mut().index = None;
        (self.segment, self.file, self.sealed) = (segment, file, false);
        Ok(())
    }

    /// Sees whether the disk has space again: writes a little behind the end and cuts it off.
    fn probe(&mut self) -> Result<(), AppendError> {
        if self.sealed {
            return self.roll(now_ms()).map_err(|error| self.give_up(&error));
        }
        let len = self.segment.extent().len;
        let written = self.file.write_all_at(&vec![0; PROBE_BYTES], len).map_err(WriteError::Write);
        let cut = self.file.set_len(len).map_err(WriteError::Write);
        match written {
            Ok(()) => cut.map_err(|error| error.answer()),
            Err(error) => Err(self.give_up(&error)),
        }
    }
}
