//! A whole server that is behind: what is over the limit is refused with 429 and `Retry-After`, and once the engine has caught
//! up everything is taken again, what was acknowledged is counted, and what was refused is not.

#[path = "common/http.rs"]
mod http_common;
#[path = "common/whole.rs"]
mod whole;

use bytes::Bytes;
use http_common::ask;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use weir::log::embedded::{Embedded, EmbeddedConfig};
use weir::log::{Log, NewRecord};
use weir::serve::EVENTS_TOPIC;
use whole::Whole;

/// More than the engine takes into two ticks.
const WAITING: u64 = 150_000;
const TESTS: u64 = 5_000;

/// The `version`th passed test of a stream that is a run of its own.
fn event(stream: &str, version: u64) -> Value {
    json!({
        "eventId": format!("{stream}#{version}"), "eventType": "test_passed", "streamId": stream, "version": version,
        "timestamp": 5, "data": { "testId": format!("t{}", version % TESTS), "attempt": version / TESTS + 1 },
    })
}

/// A log that waits to be read.
fn fill(folder: &Path) {
    let config = EmbeddedConfig::new(folder.join("data").join("events"), EVENTS_TOPIC);
    let (log, _) = Embedded::open(config, &mut |_, _| {}).expect("opens");
    for first in (1..=WAITING).step_by(10_000) {
        let record = |version| NewRecord::new(0, Bytes::from(event("waiting", version).to_string()));
        let commit = log.append((first..first + 10_000).map(record).collect()).expect("takes");
        commit.wait().expect("is written");
    }
    log.close();
}

fn post(whole: &Whole, version: u64) -> RequestBuilder {
    whole.client.post(whole.url("/v1/events?wait=admitted")).body(event("small", version).to_string())
}

/// How many tests of each run are finished.
async fn finished(whole: &Whole) -> BTreeMap<String, u64> {
    let (_, _, answer) = ask(whole.client.get(whole.url("/v1/views/run_progress"))).await;
    let columns = answer["schema"]["columns"].as_array().expect("columns");
    let column = |name: &str| columns.iter().position(|column| column[0] == name).expect("a column");
    let (run, finished) = (column("run"), column("finished"));
    let rows = answer["rows"].as_array().expect("rows").iter();
    rows.map(|row| (row[run].as_str().expect("text").to_owned(), row[finished].as_u64().expect("a number"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn above_the_limit_senders_are_told_when_to_come_again_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    tokio::task::spawn_blocking(move || fill(&path)).await.expect("fills");
    let whole = Whole::start(folder.path(), |config| config.engine.max_behind = 1_000).await;
    // Without waiting for a verdict: what is taken before the first batch is full is behind it.
    let mut taken = 0;
    let refused = async {
        loop {
            let request = whole.client.post(whole.url("/v1/events")).body(event("small", taken + 1).to_string());
            match ask(request).await {
                (status, ..) if status == 202 => taken += 1,
                other => break other,
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(60), refused).await;
    let (status, retry_after, said) = refused.expect("the limit is met within 60 s");
    assert_eq!((status.as_u16(), &said["code"]), (429, &json!("engine_behind")), "{said}");
    assert!(retry_after.is_some_and(|seconds| seconds.parse::<u64>().is_ok_and(|seconds| seconds > 0)), "{said}");
    let again = async {
        loop {
            match ask(post(&whole, taken + 1)).await {
                (status, ..) if status == 201 => break,
                (status, retry_after, said) => assert!(status == 429 && retry_after.is_some(), "{status}: {said}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), again).await.expect("it is taken once the engine has caught up");
    let expected = [("small".to_owned(), taken + 1), ("waiting".to_owned(), TESTS)];
    assert_eq!(finished(&whole).await, BTreeMap::from(expected), "what was refused left nothing behind");
    whole.end().await;
}
