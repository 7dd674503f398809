//! What a client learns of its server and its connection while it is busy, quiet or stuck: a changed phase, staleness, a
//! WebSocket ping's answer, the close code of a client that did not read.

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
use serde_json::Map;
use server::{Server, live_hub};
use std::time::Duration;
use weir::gateway::Config;
use weir::gateway::auth::Auth;
use weir::status::Phase;
use weir_schemas::protocol::{ClientMessage, Progress, ServerMessage, Subscribe};
use weir_schemas::row::RowWriter;
use weir_schemas::view::MISSING;

fn subscribe(channel: &str) -> ClientMessage {
    ClientMessage::Subscribe(Subscribe {
        subscription_id: channel.to_owned(),
        channel: channel.to_owned(),
        filters: Map::new(),
        options: Map::new(),
        since: None,
    })
}

fn progress(message: ServerMessage) -> Option<Progress> {
    if let ServerMessage::Progress(progress) = message { Some(progress) } else { None }
}

/// A gateway that says nothing by the clock within a test.
fn silent() -> Config {
    let hour = Duration::from_secs(3_600);
    Config { progress_interval: hour, heartbeat: hour, ping_interval: hour, ..Config::default() }
}

/// A client whose group moves.
async fn moving(server: &Server, frames: &mut Frames) -> Client {
    server.hub.publish(frames.next());
    let mut client = Client::connect(server.address).await;
    client.say(&subscribe("run_progress")).await;
    client.find(|message| matches!(message, ServerMessage::InitialData(part) if part.last).then_some(())).await;
    server.hub.publish(frames.next());
    client.find(|message| matches!(message, ServerMessage::Batch(_)).then_some(())).await;
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_gets_batches_all_the_time_learns_at_once_of_another_phase() {
    let server = Server::with(live_hub(weir::hub::Config::default()), silent(), Auth::open()).await;
    let mut frames = Frames::new(21);
    let mut client = moving(&server, &mut frames).await;
    let recovering = Phase::Recovering { replayed: 1, total: 2 };
    for (phase, word, stale) in
        [(Phase::Draining, "draining", true), (Phase::Live, "live", false), (recovering, "recovering", true)]
    {
        let mut time = 0;
        server.status.update(|status| status.phase = phase);
        let said = loop {
            // There is always more to send than was read.
            (0..3).for_each(|_| server.hub.publish(frames.next()));
            match client.next().await.expect("stays open") {
                ServerMessage::Batch(batch) if time < frames.time() => time = batch.time,
                ServerMessage::Progress(progress) => break progress,
                other => panic!("{other:?}"),
            }
            assert!(
                time < 5_000 + frames.history.keys().next().expect("began"),
                "told before a hundred frames went by"
            );
        };
        assert_eq!((said.phase.as_str(), said.stale), (word, stale));
        assert!(said.time >= time, "it is where its batches are: {} after {time}", said.time);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_gets_batches_all_the_time_learns_at_once_that_they_lag_behind_the_log() {
    let server = Server::with(live_hub(weir::hub::Config::default()), silent(), Auth::open()).await;
    let mut frames = Frames::new(24);
    let mut client = moving(&server, &mut frames).await;
    for (behind_ms, stale) in [(30_000, true), (4_000, true), (0, false), (4_000, false), (6_000, true)] {
        let told = server.status.lagging() != stale;
        server.status.update(|status| status.behind_ms = behind_ms);
        assert_eq!(server.status.lagging(), stale, "at {behind_ms} ms");
        if !told {
            continue;
        }
        (0..3).for_each(|_| server.hub.publish(frames.next()));
        let said = client.find(progress).await;
        assert_eq!((said.phase.as_str(), said.stale, said.completeness.behind_ms), ("live", stale, behind_ms));
    }
    // Who comes now hears it, though the server's time moves.
    let mut client = Client::connect(server.address).await;
    client.say(&subscribe("run_progress")).await;
    assert!(client.find(progress).await.stale);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_client_learns_at_once_of_another_phase_and_in_time_of_numbers_that_stand_still() {
    let server = Server::with(live_hub(weir::hub::Config::default()), silent(), Auth::open()).await;
    let mut frames = Frames::new(22);
    let mut client = moving(&server, &mut frames).await;
    let mut told = async |wanted: (&str, bool)| {
        let said = client.find(progress).await;
        assert_eq!((said.phase.as_str(), said.stale), wanted);
    };
    // Nothing but time itself says so.
    told(("live", true)).await;
    server.hub.publish(frames.quiet());
    told(("live", false)).await;
    server.status.update(|status| status.phase = Phase::Draining);
    told(("draining", true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_of_the_websocket_is_answered_also_before_hello_and_with_nothing_else_to_say() {
    let auth = Auth::parse("read 0123456789abcdef board").expect("parses");
    let server = Server::with(live_hub(weir::hub::Config::default()), silent(), auth).await;
    let mut client = Client::connect(server.address).await;
    client.pinged(b"before").await;
    client.say_text(r#"{"type":"auth","token":"0123456789abcdef"}"#).await;
    assert!(matches!(client.next().await, Ok(ServerMessage::Welcome { .. })));
    client.pinged(b"").await;
    client.pinged(&[7; 125]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_took_not_one_byte_reads_4108_once_it_reads_again() {
    let minute = Duration::from_secs(60);
    let config = Config { drain_timeout: Duration::from_millis(100), close_timeout: minute, ..silent() };
    let server = Server::with(live_hub(weir::hub::Config::default()), config, Auth::open()).await;
    let metrics = weir::telemetry::metrics();
    let mut frames = Frames::new(23);
    let mut client = Client::narrow(server.address).await;
    client.say(&subscribe("missing")).await;
    let mut writer = RowWriter::default();
    for version in 0..200 {
        let rows = (0..60).map(|n| {
            let id = format!("{n:04}-{version}-{}", "x".repeat(3_000));
            writer.str("project1").str("run1").str("one").str(&id).int(version).int(5).null();
            writer.finish(&MISSING)
        });
        let frame = frames.adding(&MISSING, rows.collect());
        server.hub.publish(frame);
    }
    let closing = async {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while !metrics.render().contains(r#"weir_gateway_closes_total{code="4108"} 1"#) {
            look.tick().await;
        }
    };
    tokio::time::timeout(minute, closing).await.expect("the session is given up");
    assert_eq!(server.gateway.connections(), 1, "its close is on its way");
    assert_eq!(client.ended().await, Some(4108));
    drop(client);
    tokio::time::timeout(minute, server.gateway.drained()).await.expect("the session ends");
}
