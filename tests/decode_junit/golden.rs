//! Reports of our own, made by real tools (`tests/golden/junit/make.sh`), and the events that they become.
//! `WEIR_REWRITE=1` writes the events anew: read the difference before you keep it.

use crate::tally::{Tally, junit, tally};
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/junit")
}

fn report(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).expect("the report is there")
}

#[test]
fn each_report_becomes_the_events_beside_it() {
    let mut reports: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("the folder is there")
        .map(|entry| entry.expect("is readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "xml"))
        .collect();
    reports.sort();
    assert!(reports.len() >= 6, "{reports:?}");
    for path in reports {
        let decoded = junit(&std::fs::read(&path).expect("is readable"));
        let mut lines = String::new();
        for event in &decoded.events {
            writeln!(lines, "{}", serde_json::to_string(event).expect("encodes")).expect("is a string");
        }
        for issue in &decoded.issues {
            writeln!(lines, "{}", serde_json::json!({ "issue": issue })).expect("is a string");
        }
        let golden = path.with_extension("ndjson");
        if std::env::var_os("WEIR_REWRITE").is_some() {
            std::fs::write(&golden, &lines).expect("writes the events");
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert!(lines == expected, "{} differs; now:\n{lines}", golden.display());
    }
}

/// What the tools themselves said at the end of these runs.
#[test]
fn the_counts_are_those_that_the_tools_printed() {
    let counts =
        |tests, passed, failed, errored, skipped, flaky| Tally { tests, passed, failed, errored, skipped, flaky };
    for (name, expected) in [
        // "5 failed, 6 passed, 1 skipped, 1 xfailed, 4 errors, 1 rerun": a teardown that fails is an error of its test, which
        // pytest counts as passed or failed besides.
        ("pytest.xml", counts(15, 5, 4, 4, 2, 0)),
        // "Tests run: 9, Failures: 2, Errors: 2, Skipped: 1, Flakes: 1" for both.
        ("surefire-CartTest.xml", counts(8, 4, 2, 1, 1, 1)),
        ("surefire-SetupTest.xml", counts(1, 0, 0, 1, 0, 0)),
        // "pass 2, fail 3, cancelled 1, skipped 1, todo 1"
        ("node.xml", counts(8, 2, 4, 0, 2, 0)),
        ("go-junit-report.xml", counts(9, 4, 4, 0, 1, 0)),
        // "4 tests run: 2 passed (1 flaky), 1 failed, 1 timed out, 1 skipped": the skipped one is not in its report.
        ("nextest.xml", counts(4, 2, 1, 1, 0, 1)),
    ] {
        assert_eq!(tally(&junit(&report(name))), expected, "{name}");
    }
}
