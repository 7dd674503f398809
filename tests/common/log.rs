//! What the log's tests have in common.
#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests: each test file uses its part")]

use bytes::Bytes;
use std::path::{Path, PathBuf};
use weir::log::embedded::{Embedded, EmbeddedConfig, OpenReport};
use weir::log::{Log, NewRecord, Position, Record};

/// A small log's configuration.
pub(crate) fn config(folder: &Path) -> EmbeddedConfig {
    EmbeddedConfig::new(folder, "events")
}

/// Opens a log that must open.
pub(crate) fn open(config: EmbeddedConfig) -> (Embedded, OpenReport) {
    Embedded::open(config, &mut |_, _| {}).unwrap_or_else(|error| panic!("{error}"))
}

/// Closes a log and opens it again.
pub(crate) fn reopen(log: Embedded, config: EmbeddedConfig) -> (Embedded, OpenReport) {
    drop(log);
    open(config)
}

/// Appends and waits.
pub(crate) fn append(log: &Embedded, records: Vec<NewRecord>) -> Vec<Position> {
    log.append(records).unwrap().wait().unwrap()
}

/// A payload of 0 to 999 bytes, the same for the same seed.
pub(crate) fn payload(seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let bytes = (state >> 32) % 1000;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

/// Everything from the given offsets on, by partition; offsets must be dense.
pub(crate) fn drain(log: &dyn Log, from: &[u64]) -> Vec<Vec<Record>> {
    let mut reader = log.reader(from).unwrap();
    let mut records = Vec::new();
    while reader.read(1_000, 1 << 20, &mut records).unwrap() > 0 {}
    let mut by_partition = vec![Vec::new(); from.len()];
    for record in records {
        let records: &mut Vec<Record> = &mut by_partition[record.partition as usize];
        assert_eq!(record.offset, from[record.partition as usize] + records.len() as u64, "offsets are dense");
        records.push(record);
    }
    by_partition
}

/// The segment files of a folder, oldest first.
pub(crate) fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
    paths.sort();
    paths
}

/// A record as it stands in a segment file.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
}

/// Bytes before the first record of a segment with four partitions.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 84;

/// The records of a segment, found by their lengths alone, up to its footer if it has one.
pub(crate) fn frames(segment: &[u8]) -> Vec<Frame> {
    let word = |at: usize| u32::from_le_bytes(segment[at..at + 4].try_into().unwrap());
    let (mut frames, mut start) = (Vec::new(), SEGMENT_HEADER_BYTES);
    let records_end = if segment.ends_with(b"weirseal") { word(segment.len() - 16) as usize } else { segment.len() };
    while start + 32 <= records_end {
        let end = start + 32 + word(start + 4) as usize;
        let offset = u64::from(word(start + 16)) | u64::from(word(start + 20)) << 32;
        if end > records_end || word(start + 8) > 3 || word(start) == 0 {
            break;
        }
        frames.push(Frame { start, end, partition: word(start + 8), offset });
        start = end;
    }
    frames
}

/// Copies a log's folder to a fresh one.
pub(crate) fn copy(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}
