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

/// A report of coverage is told from one of tests by its beginning, and becomes one session of its flag.
#[tokio::test(flavor = "multi_thread")]
async fn coverage_is_taken_with_its_flag_and_seen_from_its_root() {
    let ingest = start(|_| ());
    let lcov = "SF:/ci/web/src/a.ts\nDA:1,1\nDA:2,0\nend_of_record\n";
    let cobertura = "<coverage><sources><source>/ci/web/src</source></sources><class filename='a.ts'>\
                     <line number='1' hits='0'/><line number='3' hits='1'/></class></coverage>";
    let mut streams = Vec::new();
    for (report, format, flag, lines) in [
        (lcov, "lcov", "unit", json!({"files": 1, "linesCovered": 1, "linesTotal": 2})),
        (lcov, "lcov", "e2e", json!({"files": 1, "linesCovered": 1, "linesTotal": 2})),
        (cobertura, "cobertura", "unit", json!({"files": 1, "linesCovered": 1, "linesTotal": 2})),
    ] {
        for named in ["auto", format] {
            let path = format!("reports?run=r1&project=web&root=%2Fci%2Fweb&flag={flag}&format={named}");
            let (status, _, said) = ask(ingest.post(&path, report)).await;
            assert_eq!((status.as_u16(), &said["format"], &said["coverage"]), (202, &json!(format), &lines), "{said}");
            let items = ingest.items(&said["positions"]);
            let event = decode_event(&items[0], &Limits::default()).expect("is acceptable");
            let coverage = event.data.coverage.as_ref().expect("says it");
            assert_eq!((items.len(), coverage.flag.as_deref()), (1, Some(flag)));
            assert_eq!(coverage.files[0].path.as_str(), "src/a.ts");
            streams.push(event.stream_id.to_string());
        }
    }
    assert!(streams.chunks(2).all(|same| same[0] == same[1]), "{streams:?}");
    streams.dedup();
    assert_eq!(streams.len(), 3, "{streams:?}");
    let (status, _, said) =
        ask(ingest.post("reports?run=r1", "<testsuite name='s'><testcase name='t'/></testsuite>")).await;
    assert!(status == 202 && said.get("coverage").is_none(), "{said}");
    let (status, _, said) = ask(ingest.post("reports?run=r1", "<coverage clover='3.2.0'><project/></coverage>")).await;
    assert!(status == 422 && said["error"].as_str().is_some_and(|error| error.contains("a Clover report")), "{said}");
    let (status, _, said) = ask(ingest.post("reports?run=r1&format=lcov", cobertura)).await;
    assert!(
        status == 422 && said["error"].as_str().is_some_and(|error| error.contains("not an LCOV report")),
        "{said}"
    );
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
