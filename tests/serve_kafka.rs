//! The real `weir serve` on a real Kafka broker: killed at any moment, its broker killed at any moment, stopped and replaced.
//!
//! What is acknowledged is counted exactly once, and what any client saw at any time is what an uninterrupted engine computes
//! from the same topics and bindings. `WEIR_LONG=1` makes it 60 kills, and `WEIR_SEED` repeats one run's choices.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

#[path = "common/client.rs"]
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
mod client;
#[path = "common/http.rs"]
mod http_common;
#[path = "common/kafka.rs"]
mod kafka;
#[path = "common/lives.rs"]
mod lives;
#[path = "common/oracle.rs"]
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
mod oracle;
#[path = "common/process.rs"]
mod process;
#[path = "common/reporter.rs"]
mod reporter;
#[path = "common/engine.rs"]
mod rig;

use http_common::ask;
use kafka::Broker;
use lives::{Dies, Lives, Mortal, PATIENCE, Watcher, acknowledged_once, seed, shows_once};
use process::{Running, weir};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reporter::PROJECT;
use rig::counted;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use weir::engine::Logs;
use weir::log::Log;
use weir::log::kafka::{Kafka, KafkaConfig};
use weir::serve::{BINDINGS_TOPIC, CONTROL_TOPIC, EVENTS_TOPIC};

impl Mortal for Broker {
    fn die_and_come_back(mut self) -> Broker {
        self.kill();
        self.restart();
        self
    }
}

/// A broker with Weir's topics.
fn broker() -> Broker {
    let broker = Broker::start();
    for (topic, partitions) in [(EVENTS_TOPIC, 4), (CONTROL_TOPIC, 1), (BINDINGS_TOPIC, 1)] {
        broker.create_topic(topic, partitions);
    }
    broker
}

/// The server on it.
fn on(brokers: &str) -> Command {
    let mut command = weir();
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("WEIR_KAFKA_BROKERS", brokers);
    command
}

/// The topics, as an engine of the test's own reads them.
fn logs(broker: &Broker) -> Logs {
    let open = |topic: &str| Arc::new(Kafka::open(KafkaConfig::new(topic, broker.properties())).expect("opens"));
    Logs {
        events: vec![open(EVENTS_TOPIC) as Arc<dyn Log>],
        control: open(CONTROL_TOPIC),
        bindings: open(BINDINGS_TOPIC),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("does not panic")
}

/// Holds all that clients saw, and what was acknowledged, against engines of the test's own over the same topics.
async fn check(lives: Lives, broker: Broker) {
    let Lives { reporters, watchers, seen, .. } = lives;
    assert_eq!(watchers.iter().map(Watcher::lost).sum::<u32>(), 0, "no life and no kill cost anybody a position");
    let seen = Arc::new(Arc::into_inner(seen).expect("nobody watches any more").into_inner().unwrap());
    let (broker, logged) = blocking(move || {
        let logged = rig::versions(&*logs(&broker).events[0], PROJECT);
        (Arc::new(broker), logged)
    })
    .await;
    let records = logged.values().map(Vec::len).sum::<usize>();
    let resent: u64 = reporters.iter().map(|one| one.resent).sum();
    println!("{records} records, {resent} batches sent again, {:?} seen", seen.counts());
    let once = acknowledged_once(&reporters, &logged);
    for workers in [1, 4] {
        let (seen, broker) = (Arc::clone(&seen), Arc::clone(&broker));
        let replayed = blocking(move || seen.check_over(logs(&broker), workers)).await;
        shows_once(&replayed, &once, records);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_and_its_broker_too_it_shows_the_same_numbers() {
    let kills = if std::env::var_os("WEIR_LONG").is_some() { 60 } else { 8 };
    let seed = seed();
    println!("WEIR_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut broker = blocking(broker).await;
    let address = broker.address().to_owned();
    let mut lives = Lives::new(seed, move || on(&address));
    for life in 0..kills {
        let ms = |rng: &mut StdRng, range| Duration::from_millis(rng.random_range(range));
        let workers = 1 + life % 3;
        if life % 3 == 2 {
            let after = ms(&mut rng, 0..1_500);
            broker = lives.outlive(workers, after, broker).await;
        } else {
            let dies = match rng.random_range(0..10) {
                0..2 => Dies::Beginning(ms(&mut rng, 5..1_000)),
                2..6 => Dies::Taking(ms(&mut rng, 0..900)),
                6..8 => Dies::Showing(ms(&mut rng, 0..1_500), 0),
                _ => Dies::Shown(rng.random_range(0..1_500)),
            };
            lives.live_and_die(workers, dies).await;
        }
    }
    let settled = lives.settle().await;
    lives.go_on_from_all(2, settled).await;
    check(lives, broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_replaced_while_it_stood_still_ends_and_shows_nothing_more() {
    let (broker, http) = (blocking(broker).await, http_common::client());
    let address = broker.address().to_owned();
    let (mut first, at) = listening(on(&address)).await;
    let released = |server: SocketAddr, version| {
        let post = http.post(format!("http://{server}/v1/events?wait=admitted"));
        let body = serde_json::to_string(&counted("zombie", version)).unwrap();
        async move { timeout(PATIENCE, ask(post.body(body))).await.expect("is answered").0 }
    };
    let live = |server: SocketAddr| {
        let http = http.clone();
        async move {
            let live = async { while ask(http.get(format!("http://{server}/readyz"))).await.0 != 200 {} };
            timeout(PATIENCE, live).await.expect("becomes live");
        }
    };
    live(at).await;
    assert_eq!(released(at, 1).await, 201);
    first.signal("-STOP");
    let (mut second, next) = listening(on(&address)).await;
    live(next).await;
    assert_eq!(released(next, 2).await, 201);
    first.signal("-CONT");
    let (code, said) = blocking(move || first.end()).await;
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("another Weir has taken over this log"), "{said}");
    assert_eq!(released(next, 3).await, 201, "the second goes on");
    second.signal("-TERM");
    let (code, said) = blocking(move || second.end()).await;
    assert_eq!(code, Some(0), "{said}");
}

async fn listening(command: Command) -> (Running, SocketAddr) {
    let mut server = Running::spawn(command);
    let address = timeout(PATIENCE, server.listening()).await.expect("it listens in time");
    (server, address)
}
