//! Torn tails are cut and reported; any other damage stops the log and names the record.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure is a panic")]

#[path = "common/log.rs"]
mod log_common;

use log_common::{Frame, append, config, copy, drain, frames, open, payload, segments};
use std::path::Path;
use weir::log::embedded::{Embedded, EmbeddedConfig};
use weir::log::{Log, LogError, NewRecord, Record};

/// A log of `commits` commits with `records` small records each.
fn write(config: EmbeddedConfig, commits: u64, records: u64) -> Vec<Vec<Record>> {
    let (log, _) = open(config);
    for commit in 0..commits {
        let record = |n: u64| {
            NewRecord::new(
                u32::try_from((commit * 3 + n) % 4).unwrap(),
                payload(commit * records + n).slice(..).split_to_at_most(40),
            )
        };
        append(&log, (0..records).map(record).collect());
    }
    drain(&log, &[0; 4])
}

/// Cuts a payload short.
trait AtMost {
    fn split_to_at_most(self, bytes: usize) -> Self;
}

impl AtMost for bytes::Bytes {
    fn split_to_at_most(mut self, bytes: usize) -> Self {
        self.truncate(bytes);
        self
    }
}

/// Opens a copy of a folder whose last segment is `bytes`, and reads all of it.
fn open_with(folder: &Path, segment: usize, bytes: &[u8]) -> Result<(u64, Vec<Vec<Record>>), LogError> {
    let folder = copy(folder);
    std::fs::write(&segments(folder.path())[segment], bytes).unwrap();
    let (log, report) = Embedded::open(config(folder.path()), &mut |_, _| {})?;
    let mut reader = log.reader(&log.starts())?;
    let mut records = vec![Vec::new(); 4];
    let mut read = Vec::new();
    while reader.read(10_000, usize::MAX, &mut read)? > 0 {}
    for record in read {
        records[record.partition as usize].push(record);
    }
    // What was cut is made up for by the next append, at the offset that was never acknowledged.
    let position = append(&log, vec![NewRecord::new(1, payload(9))])[0];
    assert_eq!(position.offset, records[1].len() as u64);
    let ends = log.ends();
    drop(log);
    let (log, report_again) = open(config(folder.path()));
    assert!(report_again.torn.is_none(), "a cut is made once");
    assert_eq!(log.ends(), ends);
    assert_eq!(report.notices().len(), usize::from(report.torn.is_some()));
    Ok((report.torn.map_or(0, |torn| torn.bytes_cut), records))
}

fn without(all: &[Vec<Record>], lost: &[Frame]) -> Vec<Vec<Record>> {
    let mut rest = all.to_vec();
    for lost in lost {
        rest[lost.partition as usize].retain(|record| record.offset != lost.offset);
    }
    rest
}

#[test]
fn cut_at_every_byte_of_its_last_record_it_opens_without_that_record() {
    let folder = tempfile::tempdir().unwrap();
    let all = write(config(folder.path()), 4, 3);
    let bytes = std::fs::read(&segments(folder.path())[0]).unwrap();
    let frames = frames(&bytes);
    let last = frames.last().unwrap();
    assert_eq!((frames.len(), last.end), (12, bytes.len()));
    for cut in last.start..last.end {
        let (torn, records) = open_with(folder.path(), 0, &bytes[..cut]).unwrap();
        assert_eq!(torn, (cut - last.start) as u64);
        assert_eq!(records, without(&all, std::slice::from_ref(last)));
    }
    // Cut anywhere in the last commit, whole records of it stay.
    for cut in frames[9].start..bytes.len() {
        let lost = frames.iter().position(|frame| frame.end > cut).unwrap();
        let (_, records) = open_with(folder.path(), 0, &bytes[..cut]).unwrap();
        assert_eq!(records, without(&all, &frames[lost..]));
    }
}

/// Flips one bit of each byte in turn and says what must come of it.
fn flip_every_byte(records_a_commit: u64) {
    let folder = tempfile::tempdir().unwrap();
    let all = write(config(folder.path()), 12 / records_a_commit, records_a_commit);
    let path = segments(folder.path())[0].clone();
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let bytes = std::fs::read(&path).unwrap();
    let frames = frames(&bytes);
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let outcome = open_with(folder.path(), 0, &flipped);
        let hit = frames.iter().find(|frame| (frame.start..frame.end).contains(&at));
        match (hit, outcome) {
            (None, Err(LogError::Corrupt { .. } | LogError::Version { .. })) => {}
            (Some(hit), Ok((torn, records))) if hit.end == bytes.len() => {
                assert_eq!(torn, (hit.end - hit.start) as u64);
                assert_eq!(records, without(&all, std::slice::from_ref(hit)));
            }
            (Some(hit), Err(LogError::Corrupt { segment, at: named, partition, offset, .. }))
                if hit.end < bytes.len() =>
            {
                assert!(segment.ends_with(&name), "{segment}");
                assert_eq!((named, partition, offset), (hit.start as u64, hit.partition, hit.offset), "byte {at}");
            }
            (hit, outcome) => panic!("byte {at} of {hit:?}: {outcome:?}"),
        }
    }
}

#[test]
fn a_flipped_bit_before_the_last_record_stops_it_with_records_committed_one_by_one() {
    flip_every_byte(1);
}

#[test]
fn a_flipped_bit_before_the_last_record_stops_it_with_records_committed_together() {
    flip_every_byte(12);
}

#[test]
fn a_flipped_bit_in_a_sealed_segment_is_found_when_opened_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut small = config(folder.path());
    small.segment_bytes = 700;
    write(small, 24, 1);
    let paths = segments(folder.path());
    assert!(paths.len() > 2);
    let bytes = std::fs::read(&paths[1]).unwrap();
    let frames = frames(&bytes);
    let name = paths[1].file_name().unwrap().to_str().unwrap();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        match open_with(folder.path(), 1, &flipped).unwrap_err() {
            LogError::Corrupt { segment, at: named, partition, offset, .. } => {
                assert!(segment.ends_with(name), "{segment}");
                if let Some(hit) = frames.iter().find(|frame| (frame.start..frame.end).contains(&at)) {
                    assert_eq!((named, partition, offset), (hit.start as u64, hit.partition, hit.offset), "byte {at}");
                }
            }
            LogError::Version { .. } if (8..12).contains(&at) => {}
            other => panic!("byte {at}: {other:?}"),
        }
    }
    assert!(matches!(open_with(folder.path(), 1, &bytes[..bytes.len() - 1]), Err(LogError::Corrupt { .. })));
    assert!(matches!(open_with(folder.path(), 1, &bytes[..frames[3].end]), Err(LogError::Corrupt { .. })));
    assert!(matches!(open_with(folder.path(), 1, &[]), Err(LogError::Corrupt { .. })));
    let copied = copy(folder.path());
    std::fs::remove_file(&segments(copied.path())[1]).unwrap();
    match Embedded::open(config(copied.path()), &mut |_, _| {}).map(|_| ()) {
        Err(LogError::Corrupt { segment, .. }) => {
            assert!(segment.ends_with(name), "the missing one is named: {segment}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_page_lost_with_the_power_is_a_torn_tail_in_the_last_commit_and_damage_in_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(config(folder.path()));
    append(&log, vec![NewRecord::new(0, payload(1))]);
    let batch = (0..60).map(|n| NewRecord::new(n % 4, payload(u64::from(n))));
    append(&log, batch.collect());
    let all = drain(&log, &[0; 4]);
    let path = segments(folder.path())[0].clone();
    let mut bytes = std::fs::read(&path).unwrap();
    let found = frames(&bytes);
    bytes[8192..12288].fill(0);
    let kept = found.iter().position(|frame| frame.end > 8192).unwrap();
    let (torn, records) = open_with(folder.path(), 0, &bytes).unwrap();
    assert_eq!(torn, (bytes.len() - found[kept].start) as u64);
    assert_eq!(records, without(&all, &found[kept..]));
    // The rest of the page in which the commit begins.
    let mut first = std::fs::read(&path).unwrap();
    first[found[1].start..4096].fill(0);
    assert_eq!(open_with(folder.path(), 0, &first).unwrap().1, without(&all, &found[1..]));
    // A damaged commit before the torn one is not taken for a part of it.
    first[found[0].start + 40] ^= 1;
    match open_with(folder.path(), 0, &first) {
        Err(LogError::Corrupt { at, .. }) => assert_eq!(at, found[0].start as u64),
        other => panic!("{other:?}"),
    }
    // Once another commit follows, the same page had been durable.
    append(&log, vec![NewRecord::new(0, payload(2))]);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8192..12288].fill(0);
    match open_with(folder.path(), 0, &bytes) {
        Err(LogError::Corrupt { at, .. }) => assert_eq!(at, found[kept].start as u64),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_torn_footer_or_one_without_a_successor_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut small = config(folder.path());
    small.segment_bytes = 700;
    write(small, 12, 1);
    let paths = segments(folder.path());
    for path in &paths[1..] {
        std::fs::remove_file(path).unwrap();
    }
    let bytes = std::fs::read(&paths[0]).unwrap();
    let found = frames(&bytes);
    let records_end = found.last().unwrap().end;
    assert!(records_end < bytes.len(), "the segment has a footer");
    for cut in records_end..=bytes.len() {
        let (torn, records) = open_with(folder.path(), 0, &bytes[..cut]).unwrap();
        assert_eq!(torn, if cut == bytes.len() { 0 } else { (cut - records_end) as u64 });
        assert_eq!(records.iter().map(Vec::len).sum::<usize>(), found.len());
    }
    std::fs::write(&paths[0], &bytes[..bytes.len() - 1]).unwrap();
    let notices = open(config(folder.path())).1.notices();
    assert!(notices.len() == 1 && !notices[0].contains("commit"), "no commit was cut: {notices:?}");
}
