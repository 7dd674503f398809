//! `POST /v1/reports`: real reports become events of the log, the same ones each time.

#[path = "common/http.rs"]
mod http_common;
#[path = "common/ingest.rs"]
mod ingest_common;

use http_common::ask;
use ingest_common::start;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use weir::decode::event::decode_event;
use weir::log::Log;
use weir_schemas::limits::Limits;

/// The real report files.
fn reports() -> Vec<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/realdata");
    let folder = std::env::var_os("REALDATA_DIR").map_or_else(beside, PathBuf::from).join("junit");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("is readable").path()).collect();
    files.retain(|file| file.is_file());
    files.sort();
    assert!(!files.is_empty());
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_sent_twice_is_the_same_events() {
    let ingest = start(|_| ());
    for (index, file) in reports().iter().enumerate() {
        let bytes = std::fs::read(file).expect("is readable");
        let path = format!("reports?run=r{index}&project=web%20app&shard=2");
        let mut sent = Vec::new();
        for format in ["", "&format=junit"] {
            let (status, _, said) = ask(ingest.post(&format!("{path}{format}"), bytes.clone())).await;
            assert_eq!(status, 202, "{}: {said}", file.display());
            let items = ingest.items(&said["positions"]);
            assert_eq!(json!(items.len()), said["events"], "{said}");
            let url = said["url"].as_str().expect("a link");
            assert_eq!(url, format!("{}/#/runs/web%20app/r{index}", ingest.served.url));
            let mut cases = 0;
            for (item, version) in items.iter().zip(1..) {
                let event = decode_event(item, &Limits::default()).expect("is acceptable");
                assert_eq!((event.version, event.run()), (version, format!("r{index}").as_str()));
                assert_eq!(event.metadata.project.as_str(), "web app");
                cases += u64::from(event.event_type == weir_schemas::event::EventType::TestCaseCompleted);
            }
            assert_eq!(json!(cases), said["cases"]);
            // Times that the report lacks are those of its arrival; identities are not.
            let identities: Vec<Value> = items
                .iter()
                .map(|item| serde_json::from_slice::<Value>(item).expect("is JSON"))
                .map(|item| json!([item["eventId"], item["streamId"], item["version"]]))
                .collect();
            sent.push(identities);
        }
        assert_eq!(sent[0], sent[1], "{}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_is_named() {
    let ingest = start(|_| ());
    let report = "<testsuite name='s'><testcase name='t'/></testsuite>";
    let cases = [
        (ingest.post("reports", report), 400, "bad_query", "run"),
        (ingest.post("reports?run=", report), 400, "bad_query", "run"),
        (ingest.post("reports?run=r&format=trx", report), 400, "bad_query", "format"),
        (ingest.post("reports?run=r&attempt=0", report), 400, "bad_query", "attempt"),
        (ingest.post("reports?run=r&brunch=main", report), 400, "bad_query", "brunch"),
        (ingest.post("reports?run=r", "{}"), 422, "report_unreadable", ""),
        (ingest.post("reports?run=r", "ok 1"), 422, "report_unreadable", ""),
        (ingest.post("reports?run=r&format=junit", "<html><p>404</p></html>"), 422, "report_unreadable", ""),
    ];
    for (index, (request, status, code, field)) in cases.into_iter().enumerate() {
        let (found, _, said) = ask(request).await;
        assert_eq!((found.as_u16(), &said["code"]), (status, &json!(code)), "case {index}: {said}");
        assert_eq!(said["field"].as_str().unwrap_or_default(), field, "case {index}: {said}");
        assert!(said["remedy"].is_string(), "case {index}: {said}");
    }
    assert_eq!(ingest.log.ends(), [0, 0, 0, 0]);
    let cut = "<testsuite name='s'><testcase name='t'/><testcase name='u'><fail";
    let (status, _, said) = ask(ingest.post("reports?run=r", cut)).await;
    assert_eq!(status, 202, "what could be read is taken: {said}");
    assert!(said["cases"].as_u64() >= Some(1) && said["issueCount"].as_u64() >= Some(1), "{said}");
}
