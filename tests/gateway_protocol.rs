//! The protocol's corners over real sockets: resume, restart, slow readers, every error and close code, limits, queries.

#[path = "common/client.rs"]
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
mod client;
#[path = "common/frames.rs"]
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
mod frames;
#[path = "common/server.rs"]
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
mod server;

use client::{Client, Fold};
use frames::{Frames, json};
use serde_json::{Map, Value, json};
use server::{Server, live_hub};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir::gateway::Config;
use weir::gateway::auth::Auth;
use weir::hub::Hub;
use weir_schemas::protocol::{ClientMessage, ErrorMessage, Hello, Mode, ServerMessage, Since, Subscribe};
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::{MISSING, RUN_PROGRESS, VIEWS};

fn subscribe(id: &str, channel: &str, since: Option<(&str, u64)>) -> ClientMessage {
    ClientMessage::Subscribe(Subscribe {
        subscription_id: id.to_owned(),
        channel: channel.to_owned(),
        filters: Map::new(),
        options: Map::new(),
        since: since.map(|(epoch, time)| Since { epoch: epoch.to_owned(), time }),
    })
}

fn quick() -> Config {
    Config { progress_interval: Duration::from_millis(20), ..Config::default() }
}

fn error(message: ServerMessage) -> Option<ErrorMessage> {
    if let ServerMessage::Error(error) = message { Some(error) } else { None }
}

fn mode(message: ServerMessage) -> Option<(Mode, u64)> {
    if let ServerMessage::SubscriptionConfirmed(confirmed) = message {
        Some((confirmed.mode, confirmed.time))
    } else {
        None
    }
}

fn assert_equal(fold: &Fold, frames: &Frames) {
    for kept in fold.kept.values() {
        assert!(kept.moving);
        for (view, rows) in &kept.views {
            let index = VIEWS.iter().position(|known| known.name == view).expect("a view");
            let mut expected: Vec<String> = frames.history[&fold.time][index]
                .values()
                .map(|row| serde_json::to_string(&json(VIEWS[index], row)).expect("JSON"))
                .collect();
            let mut shown: Vec<String> = rows.values().map(|row| serde_json::to_string(row).expect("JSON")).collect();
            expected.sort_unstable();
            shown.sort_unstable();
            assert_eq!(shown, expected, "{view} at {}", fold.time);
        }
    }
}

async fn hello(client: &mut Client, fold: &mut Fold) {
    client.say(&ClientMessage::Hello(Hello { v: 1, resume: fold.resume(), ..Hello::default() })).await;
}

/// Reads until every subscription moves and is at `time`, comparing at each batch.
async fn fold_to(client: &mut Client, fold: &mut Fold, frames: &Frames, time: u64) {
    let folded = async {
        while fold.time < time || !fold.kept.values().all(|kept| kept.moving) {
            let message = client.next().await.expect("stays open");
            if fold.apply(&message) && fold.kept.values().all(|kept| kept.moving) {
                assert_equal(fold, frames);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), folded).await.expect("all subscriptions move within 60 s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_is_good_within_the_ring_and_ahead_and_nowhere_else() {
    let config = weir::hub::Config { ring_span_ms: 500, ..weir::hub::Config::default() };
    let server = Server::with(live_hub(config), quick(), Auth::open()).await;
    let mut frames = Frames::new(7);
    for _ in 0..60 {
        server.hub.publish(frames.next());
    }
    let now = frames.time();
    let mut client = Client::connect(server.address).await;
    for (since, expected) in [
        (None, Mode::Snapshot),
        (Some(("e1", now)), Mode::Resumed),
        (Some(("e1", server.hub.ring_stats().start)), Mode::Resumed),
        (Some(("e1", server.hub.ring_stats().start - 10)), Mode::Snapshot),
        (Some(("e0", now)), Mode::Snapshot),
    ] {
        client.say(&subscribe("s", "run_progress", since)).await;
        let (mode, time) = client.find(mode).await;
        assert_eq!(mode, expected, "{since:?}");
        assert_eq!(time, if mode == Mode::Resumed { since.expect("resumed").1 } else { now });
        client.say_text(r#"{"type":"unsubscribe","subscriptionId":"s"}"#).await;
    }
    // Ahead: nothing is confirmed until it is reached.
    let ahead = {
        let mut probe = Frames::new(7);
        for _ in 0..63 {
            probe.next();
        }
        probe.time()
    };
    client.say(&subscribe("s", "run_progress", Some(("e1", ahead)))).await;
    client.say_text(r#"{"type":"ping","id":5}"#).await;
    let mut ponged = false;
    let confirmed = loop {
        match client.next().await.expect("stays open") {
            ServerMessage::Pong { .. } => {
                ponged = true;
                for _ in 0..5 {
                    server.hub.publish(frames.next());
                }
            }
            ServerMessage::SubscriptionConfirmed(confirmed) => break confirmed,
            _ => {}
        }
    };
    assert!(ponged, "confirmed only after time went on");
    assert_eq!((confirmed.mode, confirmed.time), (Mode::Resumed, ahead));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_resumes_and_another_history_starts_over() {
    let mut frames = Frames::new(8);
    let first = Server::with(live_hub(weir::hub::Config::default()), quick(), Auth::open()).await;
    for _ in 0..30 {
        first.hub.publish(frames.next());
    }
    let mut fold = Fold::default();
    for view in VIEWS {
        fold.add(view.name, view.name, json!({}));
    }
    let mut client = Client::connect(first.address).await;
    hello(&mut client, &mut fold).await;
    fold_to(&mut client, &mut fold, &frames, frames.time()).await;
    first.shutdown.trigger();
    assert_eq!(client.ended().await, Some(4101));
    tokio::time::timeout(Duration::from_secs(20), first.gateway.drained()).await.expect("sessions end");

    // The next server replays the past, from further back than the client is, and is asked while it does.
    let hub = Hub::new(weir::hub::Config::default());
    let second = Server::with(hub.clone(), quick(), Auth::open()).await;
    let mut client = Client::connect(second.address).await;
    hello(&mut client, &mut fold).await;
    hub.start_epoch("e1".into());
    for frame in frames.made.clone() {
        hub.publish(frame);
    }
    hub.publish(frames.next());
    hub.set_live();
    fold_to(&mut client, &mut fold, &frames, frames.time()).await;
    assert!(fold.kept.values().all(|kept| kept.snapshots == 1 && kept.resumes == 1), "no second snapshot");

    // Another history under the same connection: all rows are replaced before anything moves.
    let mut other = Frames::new(9);
    hub.start_epoch("e2".into());
    for _ in 0..10 {
        hub.publish(other.next());
    }
    hub.set_live();
    while !(fold.epoch == "e2" && fold.time == other.time()) {
        let message = client.next().await.expect("stays open");
        if fold.apply(&message) && fold.epoch == "e2" {
            assert_equal(&fold, &other);
        }
    }
    assert!(fold.kept.values().all(|kept| kept.snapshots == 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_resumes_behind_its_group_brings_its_own_changes() {
    let server = Server::with(live_hub(weir::hub::Config::default()), quick(), Auth::open()).await;
    let mut frames = Frames::new(14);
    server.hub.publish(frames.next());
    let mut fold = Fold::default();
    fold.add("ahead", "run_progress", json!({}));
    fold.add("behind", "test_results", json!({}));
    let mut client = Client::connect(server.address).await;
    hello(&mut client, &mut fold).await;
    fold_to(&mut client, &mut fold, &frames, frames.time()).await;
    for _ in 0..20 {
        server.hub.publish(frames.next());
    }
    let mut client = Client::connect(server.address).await;
    let wishes = fold.resume();
    assert!(wishes[1].since.as_ref().is_some_and(|since| since.time < frames.time()));
    client.say(&ClientMessage::Subscribe(Subscribe { since: None, ..wishes[0].clone() })).await;
    while !(fold.kept["ahead"].moving && fold.time == frames.time()) {
        fold.apply(&client.next().await.expect("stays open"));
    }
    client.say(&ClientMessage::Subscribe(wishes[1].clone())).await;
    fold_to(&mut client, &mut fold, &frames, frames.time()).await;
    assert_equal(&fold, &frames);
    assert_eq!((fold.kept["behind"].resumes, fold.kept["behind"].snapshots), (1, 1), "it did resume");
}

fn wide_rows(count: i64, version: i64) -> Vec<Row> {
    let mut writer = RowWriter::default();
    (0..count)
        .map(|n| {
            let id = format!("{n:04}-{version}-{}", "x".repeat(3_000));
            writer.str("project1").str("run1").str("one").str(&id).int(version).int(5).null();
            writer.finish(&MISSING)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_costs_a_position_and_comes_back_with_a_snapshot() {
    let config = weir::hub::Config { ring_bytes: 1 << 20, ..weir::hub::Config::default() };
    let server = Server::with(live_hub(config.clone()), quick(), Auth::open()).await;
    let mut frames = Frames::new(10);
    server.hub.publish(frames.next());
    let mut fold = Fold::default();
    for view in VIEWS {
        fold.add(view.name, view.name, json!({}));
    }
    let mut client = Client::narrow(server.address).await;
    hello(&mut client, &mut fold).await;
    fold_to(&mut client, &mut fold, &frames, frames.time()).await;
    // Far more than all buffers of the system between here and there hold.
    for version in 0..60 {
        server.hub.publish(frames.adding(&MISSING, wide_rows(60, version)));
        let stats = server.hub.ring_stats();
        assert!(stats.bytes <= config.ring_bytes && stats.entry_bytes <= config.ring_bytes / 4, "{stats:?}");
        tokio::task::yield_now().await;
    }
    fold_to(&mut client, &mut fold, &frames, frames.time()).await;
    assert!(fold.kept.values().all(|kept| kept.snapshots == 2 && kept.moving), "off the ring: new rows for all");
    assert_equal(&fold, &frames);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_not_one_byte_is_left() {
    let config = Config { drain_timeout: Duration::from_millis(200), ..quick() };
    let server = Server::with(live_hub(weir::hub::Config::default()), config, Auth::open()).await;
    let mut frames = Frames::new(11);
    let mut client = Client::narrow(server.address).await;
    client.say(&subscribe("s", "missing", None)).await;
    for version in 0..200 {
        server.hub.publish(frames.adding(&MISSING, wide_rows(60, version)));
    }
    tokio::time::timeout(Duration::from_secs(20), server.gateway.drained()).await.expect("the session ends");
    assert_eq!(server.gateway.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_is_said_by_name_and_the_connection_stays() {
    let hub = live_hub(weir::hub::Config { snapshot_rows_max: 100, ..weir::hub::Config::default() });
    let config = Config { subscribes_per_second: 1_000, inbound_per_second: 1_000, ..quick() };
    let server = Server::with(hub, config, Auth::open()).await;
    let mut frames = Frames::new(12);
    server.hub.publish(frames.adding(&MISSING, wide_rows(150, 1)));
    let mut client = Client::connect(server.address).await;
    client.say(&subscribe("taken", "run_progress", None)).await;
    for (body, code, named) in [
        (json!({"channel": "nope"}), "unknown_channel", "nope"),
        (json!({"channel": "missing", "filters": {"colour": "red"}}), "unknown_filter", "colour"),
        (json!({"channel": "missing", "filters": {"tags": "db"}}), "filter_not_applicable", "tags"),
        (json!({"channel": "test_results", "filters": {"outcome": "odd"}}), "invalid_filter_value", "odd"),
        (json!({"channel": "missing", "options": {"throttleMs": 250}}), "unsupported_option", "throttleMs"),
        (json!({"channel": "missing", "options": {"bufferSize": 9}}), "unsupported_option", "bufferSize"),
        (
            json!({"channel": "missing", "options": {"aggregateResults": true}}),
            "unsupported_option",
            "aggregateResults",
        ),
        (json!({"channel": "missing", "options": {"patch": true}}), "unsupported_option", "patch"),
        (json!({"channel": "missing", "options": {"format": "diff"}}), "unsupported_option", "diff"),
        (json!({"channel": "missing", "options": {"format": 7}}), "invalid_option", "format"),
        (json!({"channel": "missing", "options": {"loud": true}}), "unknown_option", "loud"),
        (json!({"channel": "missing", "extra": 1}), "invalid_message", "extra"),
        (json!({"channel": "missing", "since": {"epoch": "e1"}}), "invalid_message", "time"),
        (json!({"subscriptionId": "taken", "channel": "missing"}), "subscription_exists", "taken"),
        (json!({"type": "unsubscribe", "subscriptionId": "other"}), "unknown_subscription", "other"),
        (json!({"channel": "missing"}), "too_large", "project, run, kind, id"),
    ] {
        let Value::Object(body) = body else { panic!("an object") };
        let mut message =
            Map::from_iter([("type".to_owned(), json!("subscribe")), ("subscriptionId".to_owned(), json!("s1"))]);
        message.extend(body);
        client.say_text(&Value::Object(message.clone()).to_string()).await;
        let error = client.find(error).await;
        assert_eq!(error.code, code, "{message:?}: {}", error.error);
        assert!(error.error.contains(named), "{message:?}: {}", error.error);
        assert_eq!(error.subscription_id.as_deref(), message["subscriptionId"].as_str(), "{message:?}");
    }
    // Narrowed, the same is small enough; and the first subscription still stands.
    client.say_text(r#"{"type":"subscribe","subscriptionId":"s1","channel":"missing","filters":{"run":"none"}}"#).await;
    let (mode, _) = client.find(mode).await;
    assert_eq!(mode, Mode::Snapshot);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_answer_and_those_who_ignore_them_are_closed() {
    let server = Server::with(
        live_hub(weir::hub::Config::default()),
        Config { connections_max: 2, subscriptions_max: 12, subscribes_per_second: 2, ..quick() },
        Auth::open(),
    )
    .await;
    // Ten messages that are not understood: each is answered, then the connection is closed.
    let mut client = Client::connect(server.address).await;
    for _ in 0..10 {
        client.say_text("{}").await;
    }
    for _ in 0..9 {
        assert_eq!(client.find(error).await.code, "invalid_message");
    }
    assert_eq!(client.ended().await, Some(4400));

    let mut client = Client::connect(server.address).await;
    client.say_text(&"x".repeat((64 << 10) + 1)).await;
    assert_eq!(client.ended().await, Some(4400), "a message over the limit");

    let mut client = Client::connect(server.address).await;
    for n in 0..9 {
        client.say(&subscribe(&format!("s{n}"), "run_progress", None)).await;
    }
    let limited = client.find(error).await;
    assert_eq!((limited.code.as_str(), limited.temporary), ("rate_limited", true));
    assert!(limited.retry_after_ms.is_some_and(|wait| wait <= 501), "{limited:?}");
    assert_eq!(limited.error, "Subscription rate limit exceeded");
    let resume: Vec<Subscribe> = (0..13)
        .map(|n| {
            let ClientMessage::Subscribe(one) = subscribe(&format!("h{n}"), "missing", None) else { panic!() };
            one
        })
        .collect();
    client.say(&ClientMessage::Hello(Hello { v: 1, resume, ..Hello::default() })).await;
    let refused = |message| error(message).filter(|error| error.code != "rate_limited");
    assert_eq!(client.find(refused).await.code, "too_many_subscriptions", "thirteen at once");
    drop(client);

    let config = Config { inbound_per_second: 2, ..quick() };
    let strict = Server::with(live_hub(weir::hub::Config::default()), config, Auth::open()).await;
    let mut client = Client::connect(strict.address).await;
    for _ in 0..150 {
        client.say_text(r#"{"type":"ping"}"#).await;
    }
    assert_eq!(client.ended().await, Some(4429));

    tokio::time::timeout(Duration::from_secs(20), server.gateway.drained()).await.expect("all have left");
    let (one, two) = (Client::connect(server.address).await, Client::connect(server.address).await);
    let third = request(server.address, &handshake(server.address, "")).await;
    assert!(third.starts_with("HTTP/1.1 503") && third.contains("retry-after: 5"), "{third}");
    drop((one, two));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_tokens_are_needed_they_decide() {
    let auth = Auth::parse("read 0123456789abcdef board\nwrite fedcba9876543210 ci").expect("parses");
    let config = Config { hello_timeout: Duration::from_millis(100), ..quick() };
    let server = Server::with(live_hub(weir::hub::Config::default()), config, auth).await;
    let address = server.address;
    let mut silent = Client::connect(address).await;
    assert_eq!(silent.ended().await, Some(4408), "no token in time");
    for (text, code) in [
        (r#"{"type":"auth","token":"wrong-wrong-wrong"}"#, 4401),
        (r#"{"type":"hello","v":1}"#, 4401),
        (r#"{"type":"subscribe","subscriptionId":"s","channel":"missing"}"#, 4401),
        (r#"{"type":"auth","token":"fedcba9876543210"}"#, 4403),
        (r#"{"type":"hello","v":2,"token":"0123456789abcdef"}"#, 4400),
    ] {
        let mut client = Client::connect(address).await;
        client.say_text(text).await;
        assert_eq!(client.ended().await, Some(code), "{text}");
    }
    for text in
        [r#"{"type":"hello","v":1,"token":"0123456789abcdef"}"#, r#"{"type":"auth","token":"0123456789abcdef"}"#]
    {
        let mut client = Client::connect(address).await;
        client.say_text(text).await;
        let welcome = client.next().await.expect("is let in");
        assert!(matches!(welcome, ServerMessage::Welcome { .. }), "{welcome:?}");
    }
    for (header, status) in [
        ("Authorization: Bearer 0123456789abcdef\r\n", "101"),
        ("Sec-WebSocket-Protocol: weir.v1, bearer.MDEyMzQ1Njc4OWFiY2RlZg\r\n", "101"),
        ("Authorization: Bearer nobody-knows-this\r\n", "401"),
        ("Authorization: Bearer fedcba9876543210\r\n", "403"),
        ("Authorization: Bearer 0123456789abcdef\r\nOrigin: https://evil.example\r\n", "403"),
    ] {
        let answer = request(address, &handshake(address, header)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{header}: {answer}");
        if header.contains("weir.v1") {
            assert!(answer.contains("sec-websocket-protocol: weir.v1\r\n"), "{answer}");
        }
    }
    assert!(get(address, "/v1/digests").await.0.starts_with("HTTP/1.1 401"));
}

fn handshake(address: SocketAddr, headers: &str) -> String {
    format!(
        "GET /v1/stream HTTP/1.1\r\nHost: {address}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// Sends a request as it stands and reads the head of the answer, or all of it when the server closes.
async fn request(address: SocketAddr, text: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
    stream.write_all(text.as_bytes()).await.expect("sends");
    let mut answer = Vec::new();
    let to_the_end = text.contains("Connection: close");
    let mut buffer = [0; 4_096];
    loop {
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer));
        let count = read.await.expect("answers within 20 s").expect("reads");
        answer.extend_from_slice(&buffer[..count]);
        if count == 0 || (!to_the_end && answer.windows(4).any(|window| window == b"\r\n\r\n")) {
            return String::from_utf8_lossy(&answer).into_owned();
        }
    }
}

/// The head and the body of a GET.
async fn get(address: SocketAddr, path: &str) -> (String, Value) {
    let text = request(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).await;
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), serde_json::from_str(body).unwrap_or(Value::Null))
}

/// A row of `run_progress` as it stands in `.td` files.
fn run_row(project: &str, run: &str, state: &str, numbers: [Option<i64>; 5]) -> Row {
    let mut writer = RowWriter::default();
    for column in RUN_PROGRESS.columns {
        let [planned, started, streams, open_streams, planned_shards] = numbers;
        match column.name {
            "project" => writer.str(project),
            "run" => writer.str(run),
            "state" => writer.str(state),
            "planned" => writer.opt_int(planned),
            "started" => writer.opt_int(started),
            "streams" => writer.opt_int(streams),
            "open_streams" => writer.opt_int(open_streams),
            "planned_shards" => writer.opt_int(planned_shards),
            _ => writer.null(),
        };
    }
    writer.finish(&RUN_PROGRESS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completeness_is_said_of_everything_of_a_project_and_of_a_run() {
    let server = Server::with(live_hub(weir::hub::Config::default()), quick(), Auth::open()).await;
    let mut frames = Frames::new(17);
    let rows = vec![
        // Two streams of four shards, one of them complete; eight tests announced, three seen.
        run_row("web", "r1", "running", [Some(8), Some(3), Some(2), Some(1), Some(4)]),
        // More than was announced.
        run_row("web", "r2", "running", [Some(1), Some(2), Some(2), Some(2), Some(1)]),
        run_row("web", "r3", "failed", [Some(8), Some(3), Some(2), Some(1), Some(4)]),
        run_row("app", "r1", "running", [None, Some(5), Some(1), Some(1), None]),
        run_row("idle", "r1", "passed", [None, Some(5), Some(1), Some(0), None]),
    ];
    let frame = frames.adding(&RUN_PROGRESS, rows);
    server.hub.publish(frame);
    server.hub.publish(frames.quiet());
    let (address, time) = (server.address, frames.time());
    let open = |project: Option<&str>, run: Option<(&str, &str)>, numbers: [i64; 4]| {
        let [running, streams, shards, tests] = numbers;
        let mut open = json!({"runningRuns": running, "openStreams": streams, "shardsNotSeen": shards,
            "openShards": streams + shards, "notSeen": tests});
        project.into_iter().for_each(|project| open["project"] = json!(project));
        run.into_iter().for_each(|(run, state)| (open["run"], open["state"]) = (json!(run), json!(state)));
        open
    };
    let (head, all) = get(address, "/v1/completeness").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!((&all["epoch"], &all["time"]), (&json!("e1"), &json!(time)));
    assert_eq!(all["total"], open(None, None, [3, 4, 2, 5]));
    assert_eq!(all["projects"], json!([open(Some("app"), None, [1, 1, 0, 0]), open(Some("web"), None, [2, 3, 2, 5])]));
    assert!(all.get("runs").is_none(), "nobody asked for them");
    for view in VIEWS {
        let exact = time.checked_div(view.cadence_ms).map_or(time, |points| points * view.cadence_ms);
        assert_eq!(all["exact"][view.name], json!(exact), "{}", view.name);
    }
    let r1 = open(Some("web"), Some(("r1", "running")), [1, 1, 2, 5]);
    let (_, web) = get(address, "/v1/completeness?project=web").await;
    assert_eq!(web["total"], open(None, None, [2, 3, 2, 5]));
    assert_eq!(web["runs"], json!([r1, open(Some("web"), Some(("r2", "running")), [1, 2, 0, 0])]));
    let (_, one) = get(address, "/v1/completeness?project=web&run=r3&run=r1").await;
    assert_eq!(
        one["runs"],
        json!([r1, open(Some("web"), Some(("r3", "failed")), [0, 0, 0, 0])]),
        "nothing is owed by what ended"
    );
    let (head, body) = get(address, "/v1/completeness?colour=red").await;
    assert!(head.starts_with("HTTP/1.1 400") && body["code"] == "invalid_query", "{head} {body}");
    // The same, told to whoever is connected.
    let mut client = Client::connect(address).await;
    let progress = |message| if let ServerMessage::Progress(progress) = message { Some(progress) } else { None };
    let said = client.find(progress).await.completeness;
    assert_eq!((said.up_to, said.running_runs, said.open_streams, said.open_shards, said.not_seen), (time, 3, 4, 6, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_page_through_a_view_and_say_what_is_wrong() {
    let server = Server::start().await;
    let mut frames = Frames::new(13);
    frames.updates_max = 60;
    for _ in 0..20 {
        server.hub.publish(frames.next());
    }
    let address = server.address;
    let index = VIEWS.iter().position(|view| view.name == "missing").expect("a view");
    let expected: Vec<Vec<Value>> =
        frames.history[&frames.time()][index].values().map(|row| json(&MISSING, row)).collect();
    let (mut rows, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let (head, page) = get(address, &format!("/v1/views/missing?limit=7{cursor}")).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(
            (&page["view"], &page["epoch"], &page["time"]),
            (&json!("missing"), &json!("e1"), &json!(frames.time()))
        );
        assert_eq!(page["schema"]["columns"][4], json!(["count", "int"]));
        assert_eq!(page["schema"]["key"], json!([0, 1, 2, 3]));
        rows.extend(page["rows"].as_array().expect("rows").clone());
        pages += 1;
        match page.get("cursor") {
            Some(next) => cursor = format!("&cursor={}", next.as_str().expect("a cursor")),
            None => break,
        }
    }
    assert_eq!(rows, expected.iter().map(|row| json!(row)).collect::<Vec<_>>(), "in key order, none twice");
    assert_eq!(pages, expected.len().div_ceil(7));
    let (_, some) = get(address, "/v1/views/missing?project=project1&run=run0&run=run2").await;
    let wanted = |row: &&Vec<Value>| row[0] == "project1" && (row[1] == "run0" || row[1] == "run2");
    assert_eq!(some["rows"], json!(expected.iter().filter(wanted).collect::<Vec<_>>()));
    // A channel may have a view's name, and more views than that one.
    for view in VIEWS {
        let (head, page) = get(address, &format!("/v1/views/{}?limit=1", view.name)).await;
        assert!(head.starts_with("HTTP/1.1 200") && page["view"] == view.name, "{}: {head} {page}", view.name);
    }
    for (path, status, code) in [
        ("/v1/views/nope", "404", "unknown_view"),
        ("/v1/views/missing?colour=red", "400", "unknown_filter"),
        ("/v1/views/test_results?outcome=odd", "400", "invalid_filter_value"),
        ("/v1/views/missing?limit=0", "400", "invalid_limit"),
        ("/v1/views/missing?cursor=*", "400", "invalid_cursor"),
        ("/v1/stream", "426", "not_a_websocket"),
    ] {
        let (head, body) = get(address, path).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")) && body["code"] == code, "{path}: {head} {body}");
    }
    let (_, digests) = get(address, "/v1/digests").await;
    for (name, digest, _) in server.hub.digests().views {
        assert_eq!(digests["views"][name], json!(digest.to_string()));
    }
    let (_, views) = get(address, "/v1/views").await;
    assert_eq!(views["views"].as_array().map(Vec::len), Some(VIEWS.len()));
    let rebound = "GET /v1/views HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert!(request(address, rebound).await.starts_with("HTTP/1.1 403"), "a name that was pointed here");
}
