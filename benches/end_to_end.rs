//! From an event posted to the frame received, through everything: HTTP, the log with its syncs, bindings, the dataflow, the
//! hub and a WebSocket on loopback. `cargo bench --bench end_to_end`.
//!
//! Events are posted as NDJSON, a batch every 10 ms; one event of each batch is a marker, and a client that subscribes to the
//! markers' suite notes when each arrives. Server, sender and client share the machine and the process. Prints p50, p95
//! and p99 of post → frame, and the processor time of all three an event.

mod common;

use common::process::cpu_time;
use futures_util::{SinkExt, StreamExt};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::tungstenite::Message;
use weir::config::Config;
use weir::serve;
use weir::shutdown::Shutdown;
use weir::status::Phase;

const BATCH_MS: u64 = 10;
const BATCH: Duration = Duration::from_millis(BATCH_MS);
const SECONDS: u64 = 10;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// When each marker was posted, and how long it took to arrive.
#[derive(Default)]
struct Markers {
    posted: HashMap<String, Instant>,
    took: Vec<Duration>,
}

#[tokio::main]
async fn main() {
    // The client speaks no TLS here, and wants to know how all the same.
    rustls::crypto::ring::default_provider().install_default().expect("the first to say so");
    for rate in [1_000, 10_000, 50_000] {
        measure(rate).await;
    }
}

async fn measure(rate: u64) {
    let data = tempfile::tempdir().expect("a folder");
    let mut config = Config::default();
    config.server.listen = "127.0.0.1:0".parse().expect("an address");
    config.data.folder = data.path().join("data");
    let shutdown = Shutdown::default();
    let listener = serve::listen(config.server.listen).expect("a free port");
    let server = serve::start(&config, listener, shutdown.clone()).await.expect("starts");
    server.status.subscribe().wait_for(|status| status.phase == Phase::Live).await.expect("becomes live");

    let markers = Arc::new(Mutex::new(Markers::default()));
    let url = format!("ws://{}/v1/stream", server.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("connects");
    let subscribe =
        r#"{"type":"subscribe","subscriptionId":"m","channel":"test_results","filters":{"testSuiteId":"marker"}}"#;
    socket.send(Message::text(subscribe)).await.expect("subscribes");
    let seen = Arc::clone(&markers);
    let reader = weir::task::spawn("reader", async move {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message {
                arrived(&seen, &text);
            }
        }
    });

    let (cpu, began) = (cpu_time(), Instant::now());
    let refused = post(&format!("http://{}/v1/events", server.address), rate, &markers).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut status = server.status.subscribe();
    while markers.lock().expect("unpoisoned").posted.len() > refused && Instant::now() < deadline {
        let _changed = tokio::time::timeout(BATCH, status.changed()).await;
    }
    let (cpu, seconds) = (cpu_time() - cpu, began.elapsed().as_secs_f64());
    print(rate, refused, (cpu, seconds), std::mem::take(&mut markers.lock().expect("unpoisoned").took));
    reader.abort();
    shutdown.trigger();
    server.ended().await.expect("ends in order");
}

/// Prints a rate's line.
fn print(rate: u64, refused: usize, (cpu, seconds): (Duration, f64), mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or_default().as_secs_f64() * 1e3;
    println!(
        "{rate:>6} events/s: post to frame p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms over {} markers ({refused} batches \
         refused); {:.1} µs CPU an event; {seconds:.1} s",
        at(50),
        at(95),
        at(99),
        took.len(),
        cpu.as_secs_f64() * 1e6 / (rate * SECONDS) as f64,
    );
}

/// Posts at the rate; returns how many batches were refused.
async fn post(url: &str, rate: u64, markers: &Arc<Mutex<Markers>>) -> usize {
    let client = reqwest::Client::new();
    let mut clock = tokio::time::interval(BATCH);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let a_batch = rate * BATCH_MS / 1_000;
    let mut posts = Vec::new();
    for batch in 0..SECONDS * 1_000 / BATCH_MS {
        clock.tick().await;
        let body = batch_of(batch, a_batch);
        let (request, markers) = (client.post(url), Arc::clone(markers));
        markers.lock().expect("unpoisoned").posted.insert(format!("m{batch}"), Instant::now());
        posts.push(weir::task::spawn("post", async move {
            let answer = request.body(body).send().await;
            !answer.is_ok_and(|answer| answer.status().is_success())
        }));
    }
    let mut refused = 0;
    for post in posts {
        refused += usize::from(post.await.unwrap_or(true));
    }
    refused
}

/// A batch of `count` events: a marker, and others of eight streams. Each batch is streams of its own, so batches that
/// overtake each other are in order all the same.
fn batch_of(batch: u64, count: u64) -> String {
    let mut body = String::new();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    for n in 0..count {
        let (suite, test) = if n == 0 {
            ("marker".to_owned(), format!("m{batch}"))
        } else {
            (format!("s{}", n % 50), format!("t{batch}-{n}"))
        };
        let stream = format!("b{batch}-{}", n % 8);
        let _infallible = writeln!(
            body,
            r#"{{"eventId":"{stream}-{n}","eventType":"test_case_completed","streamId":"{stream}","version":{},"timestamp":{now},"correlationId":"run-{}","data":{{"testId":"{test}","testName":"a test of the fleet number {n}","testSuiteId":"{suite}","result":"passed","duration":12.5}},"metadata":{{"project":"web","framework":"pytest","branch":"main","commit":"1f6888190168e92dedaf6491f07b83af7fd96434","worker":"worker-{}","userId":"ann"}}}}"#,
            n / 8 + 1,
            batch / 100,
            n % 40,
        );
    }
    body
}

/// Notes the markers that a message brings.
fn arrived(markers: &Mutex<Markers>, text: &str) {
    let now = Instant::now();
    let mut markers = markers.lock().expect("unpoisoned");
    for part in text.split("\"m").skip(1) {
        let Some(end) = part.find('"') else { continue };
        if let Some(posted) = markers.posted.remove(&format!("m{}", &part[..end])) {
            markers.took.push(now - posted);
        }
    }
}
