//! Back-pressure: what cannot be taken soon is refused with `Retry-After`, before it costs memory.

#[path = "common/http.rs"]
mod http_common;
#[path = "common/ingest.rs"]
mod ingest_common;

use futures_util::StreamExt;
use http_common::{LIMITS, ask, client, serve};
use ingest_common::{event, start};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir::log::Log;
use weir::status::{EngineStatus, Phase};

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_the_engine_decides() {
    let ingest = start(|parts| parts.behind_max = 10);
    type Change = fn(&mut EngineStatus);
    let cases: [(Change, u16, &str); 8] = [
        (|status| status.phase = Phase::Starting, 503, "not_taking"),
        (|status| status.phase = Phase::Draining, 503, "not_taking"),
        (|status| status.disk_full = true, 503, "disk_full"),
        (|status| status.log_silent = true, 503, "log_silent"),
        (|status| status.behind_records = 11, 429, "engine_behind"),
        (|status| status.behind_records = 10, 202, ""),
        (|status| status.phase = Phase::Recovering { replayed: 1, total: 9 }, 202, ""),
        (|_| (), 202, ""),
    ];
    for (index, (change, code, word)) in cases.into_iter().enumerate() {
        let before = ingest.log.ends();
        ingest.status.update(|status| {
            *status = EngineStatus { phase: Phase::Live, ..EngineStatus::default() };
            change(status);
        });
        let (status, retry_after, said) = ask(ingest.post("events", event("s", 1).to_string())).await;
        assert_eq!(status.as_u16(), code, "case {index}: {said}");
        let refused = code != 202;
        assert_eq!(retry_after.is_some(), refused, "case {index}");
        assert_eq!(ingest.log.ends() == before, refused, "case {index}: a refused request takes nothing");
        if refused {
            assert_eq!(said["code"], word);
            assert!(said["remedy"].is_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_recovering_no_more_is_taken_than_may_wait() {
    let ingest = start(|parts| parts.behind_max = 10);
    ingest.status.update(|status| status.phase = Phase::Recovering { replayed: 0, total: 9 });
    let mut taken = 0;
    for version in 1..=20 {
        let (status, _, _) = ask(ingest.post("events", event("s", version).to_string())).await;
        taken += u32::from(status == 202);
    }
    assert_eq!(taken, 11, "up to the limit and the one that passes it");
    ingest.status.update(|status| status.phase = Phase::Live);
    let (status, _, _) = ask(ingest.post("events", event("s", 21).to_string())).await;
    assert_eq!(status, 202, "live again");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_cannot_fill_the_memory() {
    let ingest = start(|parts| parts.room_bytes = 64 << 10);
    let big = |version| event("s", version).to_string() + &" ".repeat(40 << 10);
    // Each sends 40 KiB and then holds still until told to go on: there is room for one.
    let (go, _) = tokio::sync::watch::channel(false);
    let mut slow = Vec::new();
    for version in 0..4 {
        let (mut gone, first) = (go.subscribe(), big(version));
        let body = futures_util::stream::once(async move { std::io::Result::Ok(first) }).chain(
            futures_util::stream::once(async move {
                gone.wait_for(|go| *go).await.map_err(std::io::Error::other)?;
                Ok("\n".to_owned())
            }),
        );
        let request = ingest.post("events", reqwest::Body::wrap_stream(body));
        slow.push(weir::task::spawn("slow client", ask(request)));
    }
    // Until one of them holds the room others are served; then they are turned away at once.
    let refused = async {
        loop {
            let (status, retry_after, said) = ask(ingest.post("events", big(9))).await;
            if status != 202 {
                break (status.as_u16(), said["code"].clone(), retry_after);
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await.expect("the room is taken at last");
    assert_eq!(refused, (429, json!("memory_in_use"), Some("1".to_owned())));
    go.send_replace(true);
    for client in slow {
        let status = client.await.expect("ends").0;
        assert!(status == 202 || status == 429, "{status}");
    }
    let (status, _, _) = ask(ingest.post("events", big(10))).await;
    assert_eq!(status, 202, "the room was given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_over_the_limit_is_told_so() {
    let router = axum::Router::new().route("/", axum::routing::get(async || "here"));
    let served = serve(router, weir::http::Limits { connections_max: 2, ..LIMITS });
    let address = served.url.trim_start_matches("http://").to_owned();
    let held =
        [TcpStream::connect(&address).await.expect("connects"), TcpStream::connect(&address).await.expect("connects")];
    let (status, retry_after, said) = ask(client().get(&served.url)).await;
    assert_eq!((status.as_u16(), &said["code"]), (503, &json!("too_many_connections")));
    assert!(retry_after.is_some());
    drop(held);
    // The place is free once the server has seen the end of a connection.
    let free = async { while client().get(&served.url).send().await.expect("is answered").status() != 200 {} };
    tokio::time::timeout(PATIENCE, free).await.expect("a place becomes free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_head_that_does_not_come_ends_the_connection() {
    let router = axum::Router::new().route("/", axum::routing::get(async || "here"));
    let served = serve(router, weir::http::Limits { header_timeout: Duration::from_millis(50), ..LIMITS });
    let mut stream = TcpStream::connect(served.url.trim_start_matches("http://")).await.expect("connects");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: ").await.expect("is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("the server closes");
    assert!(!String::from_utf8_lossy(&answer).contains("200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_lets_open_requests_finish() {
    let (arrived, mut has_arrived) = tokio::sync::mpsc::channel::<()>(1);
    let (go, _) = tokio::sync::watch::channel(false);
    let going = go.clone();
    let handler = async move || {
        arrived.send(()).await.expect("the test listens");
        going.subscribe().wait_for(|go| *go).await.expect("the test says so");
        "done"
    };
    let mut served = serve(axum::Router::new().route("/", axum::routing::get(handler)), LIMITS);
    let open = weir::task::spawn("open request", client().get(&served.url).send());
    has_arrived.recv().await.expect("it arrives");
    served.shutdown.trigger();
    // No new connection gets in any more, at the latest when the listener is gone.
    let closed = async { while TcpStream::connect(served.url.trim_start_matches("http://")).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, closed).await.expect("the listener goes");
    assert!(!served.task.is_finished(), "one request is open");
    go.send_replace(true);
    let answer = open.await.expect("ends").expect("is answered");
    assert_eq!(answer.text().await.expect("has a body"), "done");
    (&mut served.task).await.expect("ends");
}

/// Sends a head and all of a large body before it reads: what the server says.
async fn obstinate(url: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.expect("connects");
    let body = vec![b' '; 8 << 20];
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("is sent");
    stream.write_all(&body).await.expect("the connection stays until all is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("is answered");
    String::from_utf8(answer).expect("is text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_those_who_send_all_before_they_listen() {
    let ingest = start(|parts| parts.behind_max = 10);
    ingest.status.update(|status| status.behind_records = 11);
    for (path, status) in [("/v1/events", "429"), ("/v1/reports?run=r", "429"), ("/v1/events?wait=x", "400")] {
        let answer = obstinate(&ingest.served.url, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert_eq!(answer.contains("retry-after: "), status == "429", "{path}: {answer}");
    }
    let nobody = axum::Router::new().route("/", axum::routing::post(async || axum::http::StatusCode::UNAUTHORIZED));
    let served = serve(nobody, LIMITS);
    let answer = obstinate(&served.url, "/").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}
