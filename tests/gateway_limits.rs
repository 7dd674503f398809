//! What one client can take from the others: nothing. Clients that say nothing, read nothing, read slowly, or say what the
//! protocol does not have.

#[path = "common/client.rs"]
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
mod client;
#[path = "common/frames.rs"]
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
mod frames;
#[path = "common/server.rs"]
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
mod server;

use client::Client;
use frames::Frames;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use server::{Server, live_hub};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use weir::gateway::Config;
use weir::gateway::auth::Auth;
use weir_schemas::protocol::{ClientMessage, Hello, ServerMessage, Subscribe};
use weir_schemas::row::RowWriter;
use weir_schemas::view::MISSING;

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

fn subscribe(id: &str, filters: Value) -> Subscribe {
    let Value::Object(filters) = filters else { panic!("filters are an object") };
    let (subscription_id, channel) = (id.to_owned(), "missing".to_owned());
    Subscribe { subscription_id, channel, filters, options: Map::new(), since: None }
}

/// A server that holds more rows than sockets hold on their way: 60 runs of 60 rows with 3,000 bytes.
async fn full(config: Config) -> Server {
    let server = Server::with(live_hub(weir::hub::Config::default()), config, Auth::open()).await;
    let mut frames = Frames::new(31);
    let mut writer = RowWriter::default();
    for run in 0..60 {
        let rows = (0..60).map(|n| {
            writer.str("project1").str(&format!("run{run}")).str("one").str(&format!("{n:04}-{}", "x".repeat(3_000)));
            writer.int(1).int(5).null();
            writer.finish(&MISSING)
        });
        server.hub.publish(frames.adding(&MISSING, rows.collect()));
    }
    server
}

async fn rendered(metric: &str) {
    let metrics = weir::telemetry::metrics();
    let shown = async {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while !metrics.render().contains(metric) {
            look.tick().await;
        }
    };
    tokio::time::timeout(MINUTE, shown).await.unwrap_or_else(|_| panic!("no {metric} within a minute"));
}

async fn raw(address: SocketAddr) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    connect_async(format!("ws://{address}/v1/stream")).await.expect("connects").0
}

/// Processor time of this thread, in hundredths of a second.
fn spent() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux shows it");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    // User and system time are the 14th and 15th field, the name the 2nd.
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

#[tokio::test]
async fn a_client_without_a_token_that_says_nothing_costs_nothing() {
    let auth = Auth::parse("read 0123456789abcdef board").expect("parses");
    let config = Config {
        hello_timeout: Duration::from_secs(2),
        progress_interval: Duration::from_millis(10),
        ..Config::default()
    };
    // Server and client are on this thread.
    let server = Server::with(live_hub(weir::hub::Config::default()), config, auth).await;
    let mut client = Client::connect(server.address).await;
    let before = spent();
    assert_eq!(client.ended().await, Some(4408));
    let cost = spent() - before;
    assert!(cost < 20, "two seconds of waiting took {cost} hundredths of a second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_its_snapshot_stops_nobody_elses_and_is_closed_in_time() {
    let config = Config {
        snapshots_max: 1,
        snapshot_timeout: Duration::from_secs(1),
        drain_timeout: HOUR,
        close_timeout: MINUTE,
        ..Config::default()
    };
    weir::telemetry::metrics();
    let server = full(config).await;
    let mut slow = Client::narrow(server.address).await;
    slow.say(&ClientMessage::Subscribe(subscribe("all", json!({})))).await;
    slow.find(|message| matches!(message, ServerMessage::SubscriptionConfirmed(_)).then_some(())).await;
    let mut other = Client::connect(server.address).await;
    other.say(&ClientMessage::Subscribe(subscribe("some", json!({"run": "run7"})))).await;
    other.find(|message| matches!(message, ServerMessage::InitialData(part) if part.last).then_some(())).await;
    rendered(r#"weir_gateway_closes_total{code="4108"} 1"#).await;
    assert_eq!(slow.ended().await, Some(4108));
}

/// Asks for a page over a connection that holds little on its way.
async fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8_192).expect("a small buffer");
    let mut stream = socket.connect(address).await.expect("connects");
    let text = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.expect("sends");
    stream
}

async fn head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).await.expect("answers");
        head.extend(byte);
    }
    String::from_utf8(head).expect("is text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_under_way_are_bounded_and_one_that_is_not_read_is_given_up() {
    let config =
        Config { pages_max: 1, page_wait: Duration::from_millis(50), snapshot_timeout: MINUTE, ..Config::default() };
    let server = full(config).await;
    let mut slow = ask(server.address, "/v1/views/missing").await;
    assert!(head(&mut slow).await.starts_with("HTTP/1.1 200"));
    let refused = head(&mut ask(server.address, "/v1/views/missing?limit=1").await).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1"), "{refused}");
    drop(slow);
    let answered = async {
        while !head(&mut ask(server.address, "/v1/views/missing?limit=1").await).await.starts_with("HTTP/1.1 200") {}
    };
    tokio::time::timeout(MINUTE, answered).await.expect("its place is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_with_too_many_subscriptions_is_answered_once() {
    let config = Config { subscriptions_max: 12, ..Config::default() };
    let server = Server::with(live_hub(weir::hub::Config::default()), config, Auth::open()).await;
    let mut client = Client::connect(server.address).await;
    let resume = vec![subscribe("s", json!({"no such column": "x"})); 13];
    client.say(&ClientMessage::Hello(Hello { v: 1, resume, ..Hello::default() })).await;
    client.say(&ClientMessage::Ping { id: Some(1) }).await;
    assert!(matches!(client.next().await, Ok(ServerMessage::Welcome { .. })));
    match client.next().await {
        Ok(ServerMessage::Error(error)) => {
            assert_eq!((error.code.as_str(), error.subscription_id), ("too_many_subscriptions", None));
        }
        other => panic!("{other:?}"),
    }
    let next = client.next().await;
    assert!(matches!(next, Ok(ServerMessage::Pong { .. })), "{next:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_gets_its_close_frame_back_and_one_that_vanishes_is_gone() {
    weir::telemetry::metrics();
    let server = Server::start().await;
    let mut socket = raw(server.address).await;
    let frame = CloseFrame { code: 1001.into(), reason: "the page is left".into() };
    socket.send(Message::Close(Some(frame.clone()))).await.expect("is connected");
    let answered = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(answer))) => return answer,
                Some(Ok(_)) => {}
                other => panic!("no close frame came: {other:?}"),
            }
        }
    };
    let answer = tokio::time::timeout(MINUTE, answered).await.expect("is answered");
    assert_eq!(answer, Some(frame));
    rendered(r#"weir_gateway_closes_total{code="left"}"#).await;
    let mut socket = raw(server.address).await;
    socket.next().await.expect("a welcome").expect("a welcome");
    drop(socket);
    rendered(r#"weir_gateway_closes_total{code="gone"}"#).await;
    tokio::time::timeout(MINUTE, server.gateway.drained()).await.expect("both have left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_messages_are_answered_and_counted_and_control_frames_are_bounded() {
    let server = Server::start().await;
    let mut socket = raw(server.address).await;
    for _ in 0..10 {
        socket.send(Message::binary(vec![1, 2, 3])).await.expect("is connected");
    }
    let mut client = Client::over(socket);
    for _ in 0..9 {
        let error = client.find(|message| match message {
            ServerMessage::Error(error) => Some(error),
            _ => None,
        });
        assert_eq!(error.await.code, "invalid_message");
    }
    assert_eq!(client.ended().await, Some(4400));

    let mut socket = raw(server.address).await;
    for _ in 0..1_000 {
        // The server may have had enough of it by now.
        if socket.send(Message::Pong(Vec::new().into())).await.is_err() {
            break;
        }
    }
    assert_eq!(Client::over(socket).ended().await, Some(4429));
}
