//! All real JUnit files, counted by us and by another parser. Every difference stands in `differences.tsv` with its
//! reason; one that does not, and one that is no more, fail.

use crate::tally::{Tally, junit, tally};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use weir::decode::Decoded;
use weir_schemas::outcome::Outcome;

const FOLDERS: [&str; 2] = ["junit", "junit_malformed"];

pub(crate) fn real_folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::var_os("REALDATA_DIR").map_or_else(|| root.join("../shared/realdata"), PathBuf::from);
    assert!(folder.is_dir(), "no real reports in {}: set REALDATA_DIR", folder.display());
    folder
}

/// All real JUnit files, as folder/name, with their bytes.
pub(crate) fn real_files() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        for entry in std::fs::read_dir(real_folder().join(folder)).expect("the folder is there") {
            let path = entry.expect("is readable").path();
            let name = path.file_name().expect("has a name").to_string_lossy().into_owned();
            files.push((format!("{folder}/{name}"), std::fs::read(&path).expect("is readable")));
        }
    }
    files.sort();
    files
}

#[derive(serde::Deserialize)]
struct Theirs {
    #[serde(flatten)]
    tally: Tally,
    /// Name and outcome of each case.
    cases: Vec<(String, String)>,
}

fn counted_by_python() -> BTreeMap<String, Theirs> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/count_junit.py");
    let run = Command::new("python3")
        .arg(script)
        .args(FOLDERS.map(|folder| real_folder().join(folder)))
        .output()
        .expect("python3 runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).expect("prints JSON")
}

/// Whether our tests are their cases: each name with its outcome. Ours may have the class before the name and an ordinal
/// behind it.
fn same_cases(ours: &Decoded, theirs: &[(String, String)]) -> bool {
    let mut left: Vec<(&str, &str)> = Vec::new();
    let mut last: BTreeMap<(&str, Option<&str>), (&str, Outcome)> = BTreeMap::new();
    for event in &ours.events {
        if let (Some(outcome), Some(id), Some(name)) = (event.outcome(), &event.data.test_id, &event.data.test_name) {
            last.insert((id, event.metadata.variant.as_deref()), (name, outcome));
        }
    }
    for (name, outcome) in last.into_values() {
        let word = match outcome {
            Outcome::Error | Outcome::Timeout => "errored",
            other => other.as_str(),
        };
        left.push((name, word));
    }
    let ends = |ours: &str, theirs: &str| {
        ours.ends_with(theirs) || ours.rsplit_once(" #").is_some_and(|(stem, _)| stem.ends_with(theirs))
    };
    // One name may be the end of another: the longest first, each to the shortest that fits.
    let mut theirs: Vec<&(String, String)> = theirs.iter().collect();
    theirs.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, outcome) in theirs {
        let fits = left.iter().enumerate().filter(|(_, (ours, word))| ends(ours, name) && word == outcome);
        match fits.min_by_key(|(_, (ours, _))| ours.len()).map(|(at, _)| at) {
            Some(at) => left.swap_remove(at),
            None => return false,
        };
    }
    left.is_empty()
}

fn listed() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/junit/differences.tsv");
    let table = std::fs::read_to_string(path).expect("the table is there");
    let mut rows = BTreeSet::new();
    for row in table.lines().skip(1) {
        let cells: Vec<&str> = row.split('\t').collect();
        assert!(cells.len() == 5 && cells[4].len() > 20, "file, field, ours, theirs, reason: {row}");
        assert!(rows.insert(cells[..4].join("\t")), "twice: {row}");
    }
    rows
}

#[test]
fn every_real_file_counts_as_another_parser_counts_it() {
    let theirs = counted_by_python();
    let files = real_files();
    assert_eq!(files.len(), 52, "41 sound or odd files and 11 malformed ones");
    let mut found = BTreeSet::new();
    for (file, bytes) in &files {
        let decoded = junit(bytes);
        let theirs = theirs.get(file).unwrap_or_else(|| panic!("{file} was not counted"));
        let ours = tally(&decoded);
        assert!(ours != theirs.tally || same_cases(&decoded, &theirs.cases), "{file}: equal counts of other cases");
        for ((field, ours), (_, theirs)) in ours.fields().into_iter().zip(theirs.tally.fields()) {
            if ours != theirs {
                found.insert(format!("{file}\t{field}\t{ours}\t{theirs}"));
            }
        }
    }
    let listed = listed();
    let unlisted: Vec<_> = found.difference(&listed).collect();
    let stale: Vec<_> = listed.difference(&found).collect();
    assert!(unlisted.is_empty() && stale.is_empty(), "unlisted: {unlisted:#?}\nstale: {stale:#?}");
}

#[test]
fn the_same_file_gives_the_same_events_at_any_time() {
    for (file, bytes) in real_files() {
        let (one, two) = (junit(&bytes), junit(&bytes));
        assert_eq!(serde_json::to_string(&one.events).ok(), serde_json::to_string(&two.events).ok(), "{file}");
        assert_eq!(one.issues, two.issues, "{file}");
    }
}

#[test]
fn malformed_files_say_what_is_wrong() {
    for (name, words) in [
        ("launchable__broken.xml", "not a JUnit report"),
        ("launchable__cucumber_dummy.xml", "not a JUnit report"),
        ("mikepenz__web-test-runner_expectedRetries.xml", "`<<computed>>` is no duration"),
        ("enricomi__no-cases-but-tests.xml", "declares 6 tests and has 0"),
        ("hafner__junit_empty.xml", "declares 1 tests and has 0"),
    ] {
        let bytes = std::fs::read(real_folder().join("junit_malformed").join(name)).expect("is there");
        let issues = junit(&bytes).issues;
        assert!(issues.iter().any(|issue| issue.message.contains(words)), "{name}: {issues:?}");
    }
}

/// The web test runner repeats a case for each try; TestNG marks the try before the last as skipped.
#[test]
fn retries_written_as_repeated_cases_are_attempts() {
    let outcomes = |folder: &str, name: &str, test: &str| -> Vec<&'static str> {
        let decoded = junit(&std::fs::read(real_folder().join(folder).join(name)).expect("is there"));
        let of_test =
            decoded.events.iter().filter(|event| event.data.test_id.as_deref().is_some_and(|id| id.ends_with(test)));
        of_test.filter_map(|event| event.outcome()).map(|outcome| outcome.as_str()).collect()
    };
    assert_eq!(
        outcomes("junit_malformed", "mikepenz__web-test-runner_expectedRetries.xml", "retried flaky test"),
        ["failed", "passed"]
    );
    assert_eq!(
        outcomes("junit", "dorny__TEST-org.apache.pulsar.AddMissingPatchVersionTest.xml", "testVersionStrings"),
        ["skipped", "failed"]
    );
    assert_eq!(outcomes("junit", "mikepenz__surefire-flaky.xml", "createWebhook"), ["failed", "passed"]);
    let reruns = "hafner__TEST-org.jenkinsci.plugins.jvctb.perform.JvctbPerformerTest.xml";
    assert_eq!(outcomes("junit", reruns, "testThatAllAttributesAreExpanded"), ["failed"; 5]);
}
