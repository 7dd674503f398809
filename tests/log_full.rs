//! A full disk: nothing is acknowledged that is not durable, and the log goes on by itself when space returns.
//!
//! The disk is full by a limit on the size of files, set in a child process: the system's own partial writes and errors, in
//! any container, without rights to mount anything. A shell starts the child with the limit's signal ignored, because by
//! default it ends the process.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure is a panic")]

#[path = "common/log.rs"]
mod log_common;

use bytes::Bytes;
use log_common::{config, drain, open, payload};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use weir::log::embedded::Embedded;
use weir::log::{AppendError, Log, NewRecord, Position};

const CHILD: &str = "WEIR_TEST_LOG_FULL_CHILD";
const NAME: &str = "a_full_disk_takes_nothing_and_is_left_behind_without_a_restart";

fn limit_files_to(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

fn append(log: &Embedded, first: u64) -> Result<Vec<Position>, AppendError> {
    let record = |n| NewRecord::new((n % 4) as u32, payload(n));
    log.append((first..first + 40).map(record).collect())?.wait()
}

fn fill_and_free(folder: &Path) {
    let mut config = config(folder);
    config.segment_bytes = 300 << 10;
    let (log, _) = open(config.clone());
    let mut taken = 0;
    for limit in [50 << 10, 250 << 10, 301 << 10] {
        limit_files_to(Some(limit));
        // In the segments that come, the same limit is met at another record, or by the footer.
        while append(&log, taken).is_ok() {
            taken += 40;
        }
        let ends = log.ends();
        assert_eq!(append(&log, taken).unwrap_err(), AppendError::Full);
        assert!(log.disk_full());
        assert_eq!((log.ends(), ends.iter().sum()), (ends.clone(), taken), "nothing of it counts");
        assert_eq!(drain(&log, &[0; 4]).concat().len() as u64, taken, "and all before it is read");
        limit_files_to(Some(1 << 30));
        if limit == 50 << 10 {
            // Nothing is appended, as nobody is sent here while the log is not ready.
            assert!(!log.wait_disk(true, Duration::from_secs(60)), "the probe finds the space");
        }
        append(&log, taken).unwrap();
        taken += 40;
        assert!(!log.disk_full());
    }
    // A record too large for the disk fails alone.
    limit_files_to(Some(1 << 20));
    let large = NewRecord::new(0, Bytes::from(vec![1; 3 << 20]));
    assert_eq!(log.append(vec![large]).unwrap().wait().unwrap_err(), AppendError::Full);
    append(&log, taken).unwrap();
    taken += 40;
    let all = drain(&log, &[0; 4]);
    drop(log);
    let (log, report) = open(config);
    assert_eq!(report.torn, None, "what did not fit was cut off at once");
    assert_eq!(drain(&log, &[0; 4]), all);
    let mut expected: Vec<Bytes> = (0..taken).map(payload).collect();
    let mut found: Vec<Bytes> = all.concat().into_iter().map(|record| record.payload).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_full_disk_takes_nothing_and_is_left_behind_without_a_restart() {
    if let Ok(folder) = std::env::var(CHILD) {
        return fill_and_free(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(CHILD, folder.path())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{output}");
    assert!(output.contains("1 passed"), "{output}");
}
