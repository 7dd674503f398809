//! What the embedded log promises while it is open and from one opening to the next.

#[path = "common/log.rs"]
mod log_common;

use bytes::Bytes;
use log_common::{append, config, drain, open, payload, reopen};
use std::time::Duration;
use weir::log::embedded::{Embedded, partition_of};
use weir::log::{AppendError, Log, LogError, NewRecord, Position};

#[test]
fn appended_records_are_read_back_in_order_also_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let (log, report) = open(config(folder.path()));
    assert!(report.created && report.torn.is_none() && report.notices().is_empty());
    let identity = log.identity();
    for round in 0..50_u64 {
        let records: Vec<NewRecord> =
            (0..7).map(|n| NewRecord::new(u32::try_from((round + n) % 4).unwrap(), payload(round * 7 + n))).collect();
        let before = log.ends();
        let positions = log.append(records.clone()).unwrap().wait().unwrap();
        let mut next = before;
        for (record, position) in records.iter().zip(positions) {
            let offset = next[record.partition as usize];
            assert_eq!(position, Position { partition: record.partition, offset });
            next[record.partition as usize] += 1;
        }
        assert_eq!(log.ends(), next, "what is acknowledged is visible");
    }
    let read = drain(&log, &[0; 4]);
    let (log, report) = reopen(log, config(folder.path()));
    assert!(!report.created && report.torn.is_none());
    assert_eq!((log.identity(), log.topic(), log.partitions()), (identity, "events", 4));
    assert_eq!(report.ends, log.ends());
    assert_eq!(drain(&log, &[0; 4]), read);
    assert_eq!(read.iter().map(Vec::len).sum::<usize>(), 350);
}

#[test]
fn every_offset_can_be_begun_at_and_every_limit_kept_over_many_segments() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.segment_bytes = 600 << 10;
    let (log, _) = open(config.clone());
    for round in 0..60_u64 {
        // Partition 3 is rare and its records are large, partition 0 is common.
        let records = (0..100).map(|n| match (round, n) {
            (_, 0) if round % 20 == 5 => NewRecord::new(3, Bytes::from(vec![7; 300_000])),
            _ => NewRecord::new(u32::try_from(n % 3).unwrap(), payload(round * 100 + n)),
        });
        append(&log, records.collect());
    }
    let (log, report) = reopen(log, config);
    assert!(report.segments > 3, "{} segments", report.segments);
    let all = drain(&log, &[0; 4]);
    for step in 0..40 {
        let from: Vec<u64> = all.iter().map(|records| (records.len() as u64 * step).div_ceil(39)).collect();
        let mut reader = log.reader(&from).unwrap();
        let mut got = Vec::new();
        // One partition from the middle of the others', then small reads of all.
        let middle = from[1] + (log.ends()[1] - from[1]) / 2;
        let count = reader.read_partition(1, middle, &mut got).unwrap() as u64;
        assert_eq!(count, middle - from[1]);
        loop {
            let before = got.len();
            let count = reader.read(37, 20_000, &mut got).unwrap();
            assert_eq!(count, got.len() - before);
            assert!(count <= 37);
            let bytes: usize = got[before..].iter().map(|record| record.payload.len()).sum();
            assert!(count <= 1 || bytes - got[got.len() - 1].payload.len() < 20_000);
            if count == 0 {
                break;
            }
        }
        assert_eq!(reader.offsets(), log.ends());
        for partition in 0..4_u32 {
            let wanted = &all[partition as usize][usize::try_from(from[partition as usize]).unwrap()..];
            let got: Vec<_> = got.iter().filter(|record| record.partition == partition).cloned().collect();
            assert_eq!(got, wanted, "partition {partition}, step {step}");
        }
    }
}

#[test]
fn bindings_are_replayed_part_by_part() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.segment_bytes = 400 << 10;
    let (log, _) = open(config);
    let mut ticks = vec![log.ends()];
    for round in 0..300_u64 {
        append(&log, (0..20).map(|n| NewRecord::new(log.partition_of(&[n]), payload(round))).collect());
        ticks.push(log.ends());
    }
    let mut reader = log.reader(&[0; 4]).unwrap();
    let mut replayed = vec![Vec::new(); 4];
    for tick in ticks {
        for partition in 0..4_u32 {
            let end = tick[partition as usize];
            let part = &mut replayed[partition as usize];
            reader.read_partition(partition, end, part).unwrap();
            assert_eq!(part.len() as u64, end, "exactly up to the binding");
        }
    }
    assert_eq!(replayed, drain(&log, &[0; 4]));
}

#[test]
fn readers_see_only_what_is_durable_and_see_it_as_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.segment_bytes = 300 << 10;
    let (log, _) = open(config);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut reader = log.reader(&[0; 4]).unwrap();
            let (mut seen, mut got) = (vec![0; 4], Vec::new());
            while got.len() < 20_000 {
                seen = log.wait_past(&seen, Duration::from_secs(30));
                while reader.read(1_000, 1 << 20, &mut got).unwrap() > 0 {}
                assert!(reader.offsets().iter().zip(log.ends()).all(|(offset, end)| *offset <= end));
            }
            got
        });
        for round in 0..400_u64 {
            let records = (0..50).map(|n| NewRecord::new((n % 4) as u32, payload(round * 50 + n)));
            append(&log, records.collect());
        }
        let mut got = reading.join().unwrap();
        got.sort_by_key(|record| (record.partition, record.offset));
        assert_eq!(got, drain(&log, &[0; 4]).concat());
    });
}

#[test]
fn a_second_opener_is_told_who_has_it_and_the_lock_ends_with_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(config(folder.path()));
    match Embedded::open(config(folder.path()), &mut |_, _| {}) {
        Err(LogError::Locked { path, holder }) => {
            assert_eq!(path, folder.path().display().to_string());
            assert_eq!(holder, format!("process {}", std::process::id()));
        }
        other => panic!("{other:?}"),
    }
    drop(log);
    open(config(folder.path()));
}

#[test]
fn the_partition_of_a_key_never_changes() {
    // XXH3-64, seed 0: the empty input and "a" from the algorithm's published vectors, modulo.
    assert_eq!(partition_of(b"", 1000), u32::try_from(0x2D06_8005_38D3_94C2_u64 % 1000).unwrap());
    assert_eq!(partition_of(b"a", 1000), u32::try_from(0xE6C6_32B6_1E96_4E1F_u64 % 1000).unwrap());
    let four: Vec<u32> = (0..8).map(|n| partition_of(format!("stream-{n}").as_bytes(), 4)).collect();
    assert_eq!(four, [1, 3, 1, 1, 1, 2, 0, 0]);
}

#[test]
fn the_number_of_partitions_is_fixed_when_the_topic_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(config(folder.path()));
    let mut other = config(folder.path());
    other.partitions = 9;
    let (log, report) = reopen(log, other);
    assert_eq!((log.partitions(), report.partitions_ignored), (4, Some(9)));
    assert_eq!(report.notices().len(), 1);
}

#[test]
fn what_is_too_large_or_too_much_is_refused_and_nothing_of_it_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.record_bytes_max = 1_000;
    config.queue_bytes = 10_000;
    config.commit_interval = Duration::from_secs(3600);
    let (log, _) = open(config);
    let record = |bytes: usize| NewRecord::new(0, Bytes::from(vec![1; bytes]));
    assert_eq!(
        log.append(vec![record(10), record(1_001)]).unwrap_err(),
        AppendError::Oversize { bytes: 1_001, limit: 1_000 }
    );
    // The first commit goes at once; the next waits an hour, unless half of the queue waits with it.
    log.append(vec![record(10)]).unwrap().wait().unwrap();
    let waiting = log.append(vec![record(500)]).unwrap();
    let ends = log.wait_past(&[1, 0, 0, 0], Duration::from_millis(100));
    assert_eq!(ends, [1, 0, 0, 0], "not durable, so not to be seen");
    let early = log.append((0..9).map(|_| record(500)).collect()).unwrap();
    assert_eq!(waiting.wait().unwrap(), [Position { partition: 0, offset: 1 }]);
    assert_eq!(early.wait().unwrap().len(), 9);
    // A close makes durable what waits, and takes no more.
    let last = log.append(vec![record(1)]).unwrap();
    log.close();
    log.close();
    assert_eq!(last.wait().unwrap(), [Position { partition: 0, offset: 11 }]);
    assert_eq!(log.append(vec![record(1)]).unwrap_err(), AppendError::Closed);
    assert_eq!(log.wait_past(&log.ends(), Duration::from_secs(3600)), log.ends(), "a close ends the waiting");
}

#[test]
fn an_offset_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(config(folder.path()));
    append(&log, vec![NewRecord::new(2, payload(1))]);
    match log.reader(&[0, 0, 2, 0]).map(|_| ()) {
        Err(LogError::OutOfRange { partition: 2, start: 0, end: 1, wanted: 2 }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_newer_format_another_topic_and_a_damaged_identity_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(config(folder.path())));
    let mut other = config(folder.path());
    other.topic = "bindings".to_owned();
    assert!(matches!(Embedded::open(other, &mut |_, _| {}), Err(LogError::Io { .. })));
    let path = folder.path().join("topic.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from));
        std::fs::write(&path, text.replace(from, to)).unwrap();
        Embedded::open(config(folder.path()), &mut |_, _| {}).map(|_| ()).unwrap_err()
    };
    assert!(matches!(with("\"format\": 1", "\"format\": 2"), LogError::Version { found: 2, expected: 1, .. }));
    assert!(matches!(with("\"partitions\": 4", "\"partitions\": 5"), LogError::Corrupt { .. }));
    std::fs::remove_file(&path).unwrap();
    let (log, report) = open(config(folder.path()));
    assert!(report.created, "a first segment without records is a creation that was interrupted");
    append(&log, vec![NewRecord::new(0, payload(1))]);
    drop(log);
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(Embedded::open(config(folder.path()), &mut |_, _| {}), Err(LogError::Corrupt { .. })));
}

#[test]
fn progress_goes_up_to_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.segment_bytes = 100 << 10;
    let (log, _) = open(config.clone());
    for round in 0..20 {
        append(&log, (0..100).map(|_| NewRecord::new(0, payload(round))).collect());
    }
    drop(log);
    let (mut last, mut whole) = (0, 0);
    let opened = Embedded::open(config, &mut |done, total| {
        assert!(done >= last && done <= total);
        (last, whole) = (done, total);
    });
    opened.unwrap();
    assert!(whole > 0);
    assert_eq!(last, whole);
}
