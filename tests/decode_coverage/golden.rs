//! Reports of our own, made by real tools (`tests/golden/coverage/make.sh`), and the events that they become.
//! `WEIR_REWRITE=1` writes the events anew: read the difference before you keep it.

use crate::said::{Files, cobertura, files, lcov};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use weir::decode::{Decoded, Format, Sniffed, sniff};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/coverage")
}

/// Each report, by its name, with its bytes.
pub(crate) fn reports() -> Vec<(String, Vec<u8>)> {
    let mut reports: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder())
        .expect("the folder is there")
        .map(|entry| entry.expect("is readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "xml" || extension == "info"))
        .map(|path| (path.file_name().expect("has a name").to_string_lossy().into_owned(), path))
        .map(|(name, path)| (name, std::fs::read(path).expect("is readable")))
        .collect();
    reports.sort();
    assert_eq!(reports.len(), 8, "of four tools, two each");
    reports
}

pub(crate) fn decoded(name: &str, bytes: &[u8]) -> Decoded {
    if name.ends_with(".xml") { cobertura(bytes) } else { lcov(bytes) }
}

#[test]
fn each_report_becomes_the_events_beside_it() {
    for (name, bytes) in reports() {
        let decoded = decoded(&name, &bytes);
        files(&decoded);
        let mut lines = String::new();
        for event in &decoded.events {
            writeln!(lines, "{}", serde_json::to_string(event).expect("encodes")).expect("is a string");
        }
        for issue in &decoded.issues {
            writeln!(lines, "{}", serde_json::json!({ "issue": issue })).expect("is a string");
        }
        let golden = folder().join(format!("{name}.ndjson"));
        if std::env::var_os("WEIR_REWRITE").is_some() {
            std::fs::write(&golden, &lines).expect("writes the events");
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert!(lines == expected, "{} differs; now:\n{lines}", golden.display());
    }
}

#[test]
fn each_report_is_known_by_its_beginning() {
    for (name, bytes) in reports() {
        let format = if name.ends_with(".xml") { Format::Cobertura } else { Format::Lcov };
        assert_eq!(sniff(&bytes), Some(Sniffed::Report(format)), "{name}");
    }
}

/// Two formats of one run of one tool say the same of each line. (Of the two tools for Go one takes the lesser of two blocks
/// that meet in a line: line 14 ran.)
#[test]
fn both_formats_of_one_run_say_the_same() {
    let of = |name: &str| -> Files {
        let bytes = std::fs::read(folder().join(name)).expect("is there");
        // Some write paths from the current folder, some from the root.
        let last = |path: &str| path.rsplit('/').next().expect("has a last part").to_owned();
        files(&decoded(name, &bytes)).into_iter().map(|(path, lines)| (last(&path), lines)).collect()
    };
    for tool in ["c8", "coveragepy", "gcovr"] {
        let lcov = of(&format!("{tool}.info"));
        assert!(lcov.len() > 1);
        assert_eq!(lcov, of(&format!("{tool}.xml")), "{tool}");
    }
    let (mut xml, info) = (of("gocover-cobertura.xml"), of("gcov2lcov.info"));
    assert!(xml.get_mut("cart.go").expect("is there").covered.insert(14));
    assert_eq!(xml, info);
}
