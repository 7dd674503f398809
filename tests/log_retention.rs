//! Retention drops whole segments, oldest first, by age and by size, and never what must stay.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure is a panic")]

#[path = "common/log.rs"]
mod log_common;

use log_common::{append, config, drain, open, payload, reopen, segments};
use std::path::Path;
use std::time::Duration;
use weir::log::embedded::{Embedded, EmbeddedConfig};
use weir::log::{Log, LogError, NewRecord};

fn fill(config: &EmbeddedConfig) -> Embedded {
    let (log, _) = open(config.clone());
    for round in 0..200_u64 {
        let record = |n| NewRecord::new((n % 4) as u32, payload(round * 10 + n));
        append(&log, (0..10).map(record).collect());
    }
    log
}

fn small(folder: &Path) -> EmbeddedConfig {
    let mut config = config(folder);
    config.segment_bytes = 100 << 10;
    config.retention_age = Duration::from_secs(60);
    config
}

/// The largest `appended_at` of all records, plus so many seconds.
fn after_newest(log: &Embedded, seconds: u64) -> u64 {
    let newest = drain(log, &log.starts()).concat().iter().map(|record| record.appended_at).max();
    newest.unwrap() + seconds * 1_000
}

#[test]
fn age_lets_sealed_segments_go_and_readers_behind_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = small(folder.path());
    let log = fill(&config);
    let all = drain(&log, &[0; 4]);
    let files = segments(folder.path()).len();
    assert!(files > 5);
    let oldest = all.iter().flatten().map(|record| record.appended_at).min().unwrap();
    let early = log.retain(oldest + 59_999, &log.ends()).unwrap();
    assert_eq!((early.segments_dropped, early.starts, log.starts()), (0, vec![0; 4], vec![0; 4]));

    let mut behind = log.reader(&[0; 4]).unwrap();
    behind.read(10, usize::MAX, &mut Vec::new()).unwrap();
    let dropped = log.retain(after_newest(&log, 60), &log.ends()).unwrap();
    assert_eq!((dropped.segments_dropped, segments(folder.path()).len()), (files - 1, 1), "the active one stays");
    assert_eq!(dropped.starts, log.starts());
    let starts = log.starts();
    assert!(starts.iter().all(|start| *start > 0));
    for result in [behind.read(10, 10, &mut Vec::new()), behind.read_partition(0, 20, &mut Vec::new())] {
        match result {
            Err(LogError::OutOfRange { partition, start, wanted, .. }) => {
                assert_eq!(start, starts[partition as usize]);
                assert_eq!(wanted, behind.offsets()[partition as usize]);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(log.reader(&[0; 4]).map(|_| ()), Err(LogError::OutOfRange { partition: 0, wanted: 0, .. })));
    let rest: Vec<_> =
        all.iter().zip(&starts).map(|(all, start)| all[usize::try_from(*start).unwrap()..].to_vec()).collect();
    assert_eq!(drain(&log, &starts), rest);
    let ends = log.ends();
    let (log, report) = reopen(log, config);
    assert_eq!((report.starts, report.ends), (starts.clone(), ends));
    assert_eq!(drain(&log, &starts), rest);
}

#[test]
fn nothing_from_the_floor_on_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let log = fill(&small(folder.path()));
    let now = after_newest(&log, 3_600);
    assert_eq!(log.retain(now, &[0; 4]).unwrap().segments_dropped, 0);
    let floor = [300, 300, 120, 300];
    let dropped = log.retain(now, &floor).unwrap();
    assert!(dropped.segments_dropped > 0);
    assert!(dropped.starts.iter().zip(floor).all(|(start, floor)| *start <= floor), "{:?}", dropped.starts);
    // The next one is kept for partition 2 alone.
    let again = log.retain(now, &[300, 300, 500, 300]).unwrap();
    assert!(again.starts[2] > 120);
}

#[test]
fn size_lets_the_oldest_go_until_it_fits() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = small(folder.path());
    config.retention_age = Duration::ZERO;
    let log = fill(&config);
    assert_eq!(log.retain(u64::MAX, &log.ends()).unwrap().segments_dropped, 0, "without limits everything stays");
    config.retention_bytes = 350 << 10;
    let (log, _) = reopen(log, config);
    let before = log.bytes();
    let dropped = log.retain(0, &log.ends()).unwrap();
    assert_eq!(log.bytes(), before - dropped.bytes_dropped);
    assert!(log.bytes() <= 350 << 10);
    assert!(log.bytes() > 200 << 10, "and no more than needed");
}

#[test]
fn a_segment_is_sealed_by_age_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.segment_age = Duration::ZERO;
    let (log, _) = open(config);
    for n in 0..3 {
        append(&log, vec![NewRecord::new(0, payload(n))]);
    }
    assert_eq!(segments(folder.path()).len(), 3, "each commit finds a segment with records that is old enough");
    assert_eq!(drain(&log, &[0; 4])[0].len(), 3);
}
