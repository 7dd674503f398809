//! How well failures of one cause meet and different ones stay apart: our own pairs, which must all hold, and real texts.

use std::path::{Path, PathBuf};
use weir_dataflows::fingerprint::failure;
use weir_dataflows::input::ErrorText;
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;

fn fingerprint(text: &str) -> Id {
    let error = ErrorText { message: text.into(), ..ErrorText::default() };
    failure(&error, Outcome::Failed, &[]).fingerprint
}

#[test]
fn our_pairs_hold() {
    let table = include_str!("../fingerprint_pairs.tsv");
    let mut wrong = Vec::new();
    let mut counts = [0, 0];
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [verdict, reason, one, other] = fields[..] else { panic!("four fields: {line}") };
        let expected = match verdict {
            "meet" => true,
            "apart" => false,
            _ => panic!("meet or apart: {line}"),
        };
        counts[usize::from(expected)] += 1;
        let [one, other] = [one, other]
            .map(|text| fingerprint(&text.replace("\\n", "\n").replace("\\t", "\t").replace("\\e", "\u{1b}")));
        if (one == other) != expected {
            wrong.push(format!("{verdict}: {reason}"));
        }
    }
    assert!(counts.iter().all(|count| *count >= 10), "both kinds are there: {counts:?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn real_data() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::var_os("REALDATA_DIR").map_or_else(|| root.join("../shared/realdata"), PathBuf::from)
}

/// (name of the cause, text): texts of one name should meet, texts of two names stay apart.
fn real_texts() -> Vec<(String, String)> {
    let mut texts = Vec::new();
    let folder = real_data().join("failures_reportportal");
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let text = std::fs::read_to_string(&path).expect("readable");
            let name = path.file_stem().expect("a name").to_string_lossy().replace("_prepared", "");
            // One text in several dresses.
            let name = name.replace("_equality", "").replace("_underscore", "");
            // Their normaliser's marks, as something that it would have marked so.
            let text = text.replace("TEXTDELIMITER", "-----").replace("SPECIALHEX", "0x7f1c2d3e4f5a");
            texts.push((name, text.replace("SPECIALUUID", "2e24e003-9ffd-4e78-852c-9dcb6cbef493")));
        }
    }
    let triage = real_data().join("failures_k8s_triage/normalize_cluster_golden.jsonl");
    for line in std::fs::read_to_string(triage).expect("readable").lines() {
        let pair: serde_json::Value = serde_json::from_str(line).expect("JSON");
        if let (Some(both), Some(same)) = (pair["in"].as_array(), pair["same_cluster"].as_bool()) {
            for (index, text) in both.iter().enumerate() {
                let cause = if same { 0 } else { index };
                texts.push((format!("triage {} {cause}", both[0]), text.as_str().expect("text").to_owned()));
            }
        }
    }
    for (name, text) in [
        ("luci pointer", "Null pointer exception at ip 0x45637271"),
        ("luci pointer", "Null pointer exception at ip 0x12345678"),
        ("luci test", "Exception in TestMethod"),
        ("luci other", "Exception in MethodUnderTest"),
    ] {
        texts.push((name.to_owned(), text.to_owned()));
    }
    texts.sort();
    texts
}

#[test]
fn real_failures_meet_and_stay_apart() {
    let texts: Vec<(String, Id)> = real_texts().into_iter().map(|(name, text)| (name, fingerprint(&text))).collect();
    let (mut met, mut same, mut wrong) = (0, 0, 0);
    for (index, (name, one)) in texts.iter().enumerate() {
        for (other_name, other) in &texts[..index] {
            match (name == other_name, one == other) {
                (true, true) => (met, same) = (met + 1, same + 1),
                (true, false) => {
                    same += 1;
                    println!("apart, though of one cause: {name}");
                }
                (false, true) => {
                    wrong += 1;
                    println!("met, though different: {other_name} and {name}");
                }
                (false, false) => {}
            }
        }
    }
    println!("{} texts: recall {met} of {same} pairs, precision {met} of {} pairs that met", texts.len(), met + wrong);
    assert!(met * 10 >= same * 6, "recall {met} of {same}");
    assert!(wrong <= 4, "{wrong} pairs met that are different");
}
