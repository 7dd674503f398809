//! `POST /v1/events`: what the log holds afterwards is what was sent, and the answer says where.

#[path = "common/http.rs"]
mod http_common;
#[path = "common/ingest.rs"]
mod ingest_common;

use http_common::ask;
use ingest_common::{Ingest, event, start};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use weir::log::{Log, Position};
use weir::verdicts::Verdict;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("compresses");
    encoder.finish().expect("compresses")
}

/// A body of random items: their bytes, and which of them are bad.
fn random_body(random: &mut StdRng) -> (Vec<u8>, Vec<String>, Vec<usize>) {
    let array = random.random_bool(0.5);
    let (mut items, mut bad) = (Vec::new(), Vec::new());
    for index in 0..random.random_range(1..200_usize) {
        let mut item = event(&format!("s{}", random.random_range(0..5)), index as u64 + 1);
        let breakage = random.random_range(0..8);
        match breakage {
            0 => item["version"] = json!(0),
            1 => item["eventType"] = json!("test_exploded"),
            2 => item["data"]["duration"] = json!("long"),
            _ => (),
        }
        let mut text = item.to_string();
        // Only lines may be broken JSON: a broken item makes a whole array unreadable. The first line stays sound, since
        // it says what the body is.
        let torn = breakage == 3 && !array && index > 0;
        if torn {
            text.truncate(text.len() / 2);
        }
        if breakage < 3 || torn {
            bad.push(index);
        }
        items.push(text);
    }
    let body = if array { format!("[{}]", items.join(",\n")) } else { items.join("\n") + "\n" };
    (body.into_bytes(), items, bad)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_item_is_in_the_log_as_it_came_and_bad_ones_are_named() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let ingest = start(|_| ());
    let mut partitions: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..40 {
        let (body, items, bad) = random_body(&mut random);
        let request = match round % 4 {
            0 => ingest.post("events", body.clone()),
            1 => ingest.post("events", gzip(&body)).header("content-encoding", "gzip"),
            2 => ingest
                .post("events", zstd::encode_all(body.as_slice(), 3).expect("compresses"))
                .header("content-encoding", "zstd"),
            _ => {
                let pieces: Vec<std::io::Result<Vec<u8>>> = body.chunks(777).map(|piece| Ok(piece.to_vec())).collect();
                ingest.post("events", reqwest::Body::wrap_stream(futures_util::stream::iter(pieces)))
            }
        };
        let (status, _, said) = ask(request).await;
        assert_eq!(status, 202, "{said}");
        assert_eq!(said["accepted"], json!(items.len() - bad.len()));
        assert_eq!(said["rejectedCount"], json!(bad.len()));
        let taken = ingest.items(&said["positions"]);
        assert_eq!(taken, items, "the very bytes, in order");
        let rejected = said["rejected"].as_array().expect("a list");
        let named: Vec<u64> = rejected.iter().filter_map(|item| item["index"].as_u64()).collect();
        assert_eq!(named, bad.iter().map(|index| *index as u64).collect::<Vec<_>>());
        for item in rejected {
            check_offset(&body, item);
        }
        for placed in said["positions"].as_array().expect("a list") {
            note_partitions(&items, placed, &mut partitions);
        }
    }
    assert_eq!(partitions.len(), 5);
}

/// The offset of a rejected item points at the value that is wrong.
fn check_offset(body: &[u8], item: &Value) {
    let offset = usize::try_from(item["offset"].as_u64().expect("a number")).expect("fits");
    let at = String::from_utf8_lossy(&body[offset.min(body.len())..]).into_owned();
    match item["field"].as_str().expect("a text") {
        "version" => assert!(at.starts_with('0'), "{item}: {at:.20}"),
        "eventType" => assert!(at.starts_with("\"test_exploded\""), "{item}: {at:.20}"),
        "data.duration" => assert!(at.starts_with("\"long\""), "{item}: {at:.20}"),
        _ => assert_eq!(item["kind"], "malformed", "{item}"),
    }
    assert!(!item["reason"].as_str().expect("a text").is_empty());
}

/// All readable items of one stream stand in one partition.
fn note_partitions(items: &[String], placed: &Value, partitions: &mut BTreeMap<String, u64>) {
    let number = |name: &str| placed[name].as_u64().expect(name);
    let first = usize::try_from(number("index")).expect("fits");
    let count = usize::try_from(number("count")).expect("fits");
    for item in &items[first..first + count] {
        if let Ok(item) = serde_json::from_str::<Value>(item) {
            let stream = item["streamId"].as_str().expect("has a stream").to_owned();
            let partition = *partitions.entry(stream).or_insert(number("partition"));
            assert_eq!(partition, number("partition"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_or_refused_body_takes_nothing() {
    let ingest = start(|parts| {
        parts.limits.batch_events = 3;
        parts.limits.record = 4_000;
        parts.limits.decompressed = 9_000;
    });
    let batch = |count: u64| Value::Array((1..=count).map(|version| event("s", version)).collect()).to_string();
    let long = json!({ "text": "x".repeat(5_000) }).to_string();
    let cases = [
        (ingest.post("events", ""), 400, "body_empty"),
        (ingest.post("events", "  \n"), 400, "body_empty"),
        (ingest.post("events", format!("[{}", event("s", 1))), 400, "body_unreadable"),
        (ingest.post("events", "<html></html>"), 400, "body_unreadable"),
        (ingest.post("events", "not gzip").header("content-encoding", "gzip"), 400, "bad_compression"),
        (ingest.post("events", "{}").header("content-encoding", "br"), 415, "unknown_encoding"),
        (ingest.post("events", batch(4)), 413, "too_many_events"),
        (ingest.post("events", "x".repeat(4_001)), 413, "body_too_large"),
        (ingest.post("events", gzip(&vec![b' '; 9_001])).header("content-encoding", "gzip"), 413, "body_too_large"),
        (ingest.post("events", gzip(long.as_bytes())).header("content-encoding", "gzip"), 413, "event_too_large"),
        (ingest.post("events?wait=done", batch(1)), 400, "bad_query"),
        (ingest.post("events?wiat=admitted", batch(1)), 400, "bad_query"),
        (ingest.post("events?wait=admitted", batch(2)), 400, "wait_for_one"),
    ];
    for (index, (request, status, code)) in cases.into_iter().enumerate() {
        let (found, _, said) = ask(request).await;
        assert_eq!((found.as_u16(), &said["code"]), (status, &json!(code)), "case {index}: {said}");
        assert!(!said["error"].as_str().expect("a text").is_empty());
    }
    let (status, _, said) = ask(ingest.post("events", "[]")).await;
    assert_eq!((status.as_u16(), &said["accepted"]), (202, &json!(0)));
    assert_eq!(ingest.log.ends(), [0, 0, 0, 0]);
}

/// Answers waiters as the engine would: by a rule on the record's bytes, some time after it is durable.
fn judge(ingest: &Ingest, rule: impl Fn(&str) -> Option<Verdict> + Send + 'static) -> std::thread::JoinHandle<()> {
    let (log, verdicts) = (Arc::clone(&ingest.log), Arc::clone(&ingest.verdicts));
    let judging = move || {
        let mut seen = log.starts();
        let mut reader = log.reader(&seen).expect("opens");
        loop {
            let ends = log.wait_past(&seen, std::time::Duration::from_secs(10));
            if ends == seen {
                return;
            }
            let mut records = Vec::new();
            while reader.read(1_000, 1 << 20, &mut records).expect("reads") > 0 {}
            let refusals: Vec<(Position, Verdict)> = records
                .iter()
                .filter_map(|record| {
                    let position = Position { partition: record.partition, offset: record.offset };
                    Some((position, rule(std::str::from_utf8(&record.payload).expect("is text"))?))
                })
                .collect();
            seen = reader.offsets().to_vec();
            verdicts.released(log.topic(), 10, refusals, &seen);
        }
    };
    std::thread::Builder::new().name("judge".to_owned()).spawn(judging).expect("starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_learns_the_verdict() {
    let ingest = start(|_| ());
    let judging = judge(&ingest, |record| match record {
        record if record.contains("-2\"") => Some(Verdict::Duplicate),
        record if record.contains("-3\"") => Some(Verdict::Conflict { expected: 9 }),
        record if record.contains("-4\"") => Some(Verdict::Refused { kind: "late".into(), reason: "too late".into() }),
        _ => None,
    });
    // Again and again: the verdict may come before its waiter does.
    for _ in 0..30 {
        for (version, expected) in [(1, 201), (2, 200), (3, 409), (4, 422)] {
            let (status, _, said) = ask(ingest.post("events?wait=admitted", event("s", version).to_string())).await;
            assert_eq!(status.as_u16(), expected, "{said}");
            match expected {
                200 => assert_eq!((&said["duplicate"], &said["accepted"]), (&json!(true), &json!(0))),
                201 => assert_eq!((&said["accepted"], said.get("duplicate")), (&json!(1), None)),
                409 => assert_eq!(said["expected"], 9),
                _ => assert_eq!((&said["kind"], &said["reason"]), (&json!("late"), &json!("too late"))),
            }
        }
    }
    let (status, _, said) = ask(ingest.post("events?wait=admitted", r#"{"eventId":"e"}"#)).await;
    assert_eq!((status.as_u16(), &said["kind"]), (422, &json!("invalid")));
    assert!(said["position"]["offset"].is_u64(), "it is in the log as it came: {said}");
    ingest.log.close();
    judging.join().expect("judged");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_verdict_in_time_the_event_is_accepted_as_such() {
    let ingest = start(|parts| parts.verdict_timeout = std::time::Duration::from_millis(30));
    let (status, _, said) = ask(ingest.post("events?wait=admitted", event("s", 1).to_string())).await;
    assert_eq!((status.as_u16(), &said["accepted"]), (202, &json!(1)));
    assert_eq!(ingest.items(&said["positions"]), [event("s", 1).to_string()]);
}
