//! Real files of public projects (REALDATA_DIR), counted a second time by a parser that is not ours.

use crate::golden::reports;
use crate::said::{cobertura, files, lcov};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use weir::decode::{Decoded, Format, IssueKind, Sniffed, sniff};

const FOLDERS: [&str; 2] = ["lcov", "cobertura"];

fn real_folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::var_os("REALDATA_DIR").map_or_else(|| root.join("../shared/realdata"), PathBuf::from);
    assert!(folder.is_dir(), "no real reports in {}: set REALDATA_DIR", folder.display());
    folder
}

/// All real coverage files of these formats, as folder/name, with their bytes.
fn real_files() -> Vec<(String, Vec<u8>)> {
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

fn read(file: &str, bytes: &[u8]) -> Decoded {
    if file.starts_with("lcov/") || file.ends_with(".info") { lcov(bytes) } else { cobertura(bytes) }
}

#[test]
fn every_file_counts_as_another_parser_counts_it() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/count_coverage.py");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/coverage");
    let folders = FOLDERS.map(|folder| real_folder().join(folder));
    let run = Command::new("python3").arg(script).args(folders).arg(golden).output().expect("python3 runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let theirs: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&run.stdout).expect("prints JSON");
    let real = real_files();
    assert_eq!(real.len(), 15);
    let golden = reports().into_iter().map(|(name, bytes)| (format!("coverage/{name}"), bytes));
    let all: Vec<(String, Vec<u8>)> = real.into_iter().chain(golden).collect();
    assert_eq!(theirs.len(), all.len());
    for (file, bytes) in &all {
        let decoded = read(file, bytes);
        files(&decoded);
        let ours = serde_json::to_value(decoded.coverage.expect("is coverage")).expect("encodes");
        assert_eq!(Some(&ours), theirs.get(file), "{file}: {:?}", decoded.issues);
    }
}

#[test]
fn every_real_file_is_known_by_its_beginning_and_gives_the_same_events_each_time() {
    for (file, bytes) in real_files() {
        let format = if file.starts_with("lcov/") { Format::Lcov } else { Format::Cobertura };
        assert_eq!(sniff(&bytes), Some(Sniffed::Report(format)), "{file}");
        let (one, two) = (read(&file, &bytes), read(&file, &bytes));
        assert_eq!(serde_json::to_string(&one.events).ok(), serde_json::to_string(&two.events).ok(), "{file}");
        assert_eq!(one.issues, two.issues, "{file}");
    }
}

#[test]
fn a_report_that_names_no_lines_is_a_bare_percentage() {
    for (file, covered, total, percentage) in [
        ("lcov/cargo-llvm-cov__real1_all.lcov.info", 23, 31, 74.19),
        ("cobertura/hafner__cobertura_empty.xml", 63, 82, 76.83),
    ] {
        let decoded = read(file, &std::fs::read(real_folder().join(file)).expect("is there"));
        assert!(files(&decoded).is_empty());
        let said = decoded.events[0].data.coverage.as_ref().and_then(|coverage| coverage.percentage);
        assert_eq!((decoded.events.len(), said), (1, Some(percentage)), "{file}");
        let words = format!("it names no lines, only that {covered} of {total} are covered");
        assert!(decoded.issues.iter().any(|issue| issue.message.contains(&words)), "{:?}", decoded.issues);
    }
}

#[test]
fn a_report_of_another_tool_is_refused_in_words() {
    for folder in ["clover", "jacoco", "junit"] {
        for entry in std::fs::read_dir(real_folder().join(folder)).expect("the folder is there") {
            let path = entry.expect("is readable").path();
            let decoded = cobertura(std::fs::read(&path).expect("is readable"));
            let issue = decoded.issues.iter().find(|issue| issue.kind == IssueKind::NotThisFormat);
            let issue = issue.unwrap_or_else(|| panic!("{}: {:?}", path.display(), decoded.issues));
            assert!(
                decoded.events.is_empty() && (folder != "clover") ^ issue.message.contains("a Clover report"),
                "{issue}"
            );
        }
    }
}
