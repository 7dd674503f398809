//! The real `weir serve` on a real Kafka broker: killed at any moment, its broker killed at any moment, stopped and replaced,
//! while reporters post to it, clients watch it, and a producer writes to its topic all the time, some of it twice.
//!
//! What is acknowledged is counted exactly once, and what any client saw at any time is what an uninterrupted engine computes
//! from the same topics and bindings. `WEIR_LONG=1` makes it 200 ends, and `WEIR_SEED` repeats one run's choices.
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
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use reporter::PROJECT;
use rig::counted;
use serde_json::json;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::time::timeout;
use weir::engine::Logs;
use weir::log::Log;
use weir::log::kafka::{Kafka, KafkaConfig, partition_of};
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

/// The project of what is produced.
const PRODUCED: &str = "produced";
/// Events produced at once, every [`Firehose::BEAT`].
const AT_ONCE: u64 = 20;

/// A producer that writes to the topic all the time, and every tenth event twice.
struct Firehose {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<(u64, u64)>,
}

impl Firehose {
    const BEAT: Duration = Duration::from_millis(10);

    fn start(brokers: &str) -> Firehose {
        let ends = Arc::new(AtomicBool::new(false));
        let (told, mut config) = (Arc::clone(&ends), rdkafka::ClientConfig::new());
        config.set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("message.timeout.ms", "0");
        let producer: BaseProducer = config.create().expect("a producer");
        let produces = move || {
            let (mut events, mut twice) = (0, 0);
            while !told.load(Ordering::SeqCst) {
                for _ in 0..AT_ONCE {
                    events += 1;
                    Firehose::send(&producer, events);
                    if events % 10 == 0 {
                        twice += 1;
                        Firehose::send(&producer, events);
                    }
                }
                producer.poll(Firehose::BEAT);
            }
            producer.flush(PATIENCE).expect("is acknowledged");
            assert_eq!(producer.in_flight_count(), 0);
            (events, twice)
        };
        let thread = std::thread::Builder::new().name("firehose".to_owned()).spawn(produces).expect("a thread");
        Firehose { ends, thread }
    }

    /// One of four streams of a run of its own every ten thousand events.
    fn send(producer: &BaseProducer, number: u64) {
        let (run, number) = ((number - 1) / 10_000, (number - 1) % 10_000);
        let (stream, version) = (format!("produced{run}-{}", number % 4), number / 4 + 1);
        let event = json!({
            "eventId": format!("{stream}#{version}"), "eventType": "test_passed", "streamId": stream, "version": version,
            "timestamp": 5, "correlationId": format!("run{run}"),
            "data": { "testName": format!("t{number}"), "testSuiteName": format!("suite{}", number % 7), "duration": 1 },
            "metadata": { "project": PRODUCED },
        });
        let payload = event.to_string();
        let partition = i32::try_from(partition_of(stream.as_bytes(), 4)).unwrap();
        let mut record = BaseRecord::to(EVENTS_TOPIC).key(&stream).payload(&payload).partition(partition);
        while let Err((_, again)) = producer.send(record) {
            // Its queue is full while the broker is away.
            producer.poll(Firehose::BEAT);
            record = again;
        }
    }

    /// Ends; gives how many events it produced, and how many of them twice.
    fn end(self) -> (u64, u64) {
        self.ends.store(true, Ordering::SeqCst);
        self.thread.join().expect("everything was acknowledged")
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("does not panic")
}

/// Holds all that clients saw, and what was acknowledged, against engines of the test's own over the same topics.
async fn check(lives: Lives, broker: Broker, (produced, twice): (u64, u64)) {
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
    println!(
        "{produced} events produced, {twice} of them twice; {records} records, {resent} batches sent again, {:?} seen",
        seen.counts()
    );
    let once = acknowledged_once(&reporters, &logged);
    for workers in [1, 4] {
        let (seen, broker) = (Arc::clone(&seen), Arc::clone(&broker));
        let replayed = blocking(move || seen.check_over(logs(&broker), workers)).await;
        shows_once(&replayed, &once, records);
        let (finished, duplicates) = replayed.look(|folded| {
            (
                folded.sum("run_progress", PRODUCED, "finished"),
                folded.sum("rejects", PRODUCED, "count") - folded.late(PRODUCED),
            )
        });
        assert_eq!((finished.cast_unsigned(), duplicates.cast_unsigned()), (produced, twice), "with {workers} workers");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_and_its_broker_too_it_shows_the_same_numbers() {
    let ends = if std::env::var_os("WEIR_LONG").is_some() { 200 } else { 8 };
    let seed = seed();
    println!("WEIR_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut broker = blocking(broker).await;
    let address = broker.address().to_owned();
    let firehose = Firehose::start(&address);
    let mut lives = Lives::new(seed, move || on(&address));
    let mut counts = [0; 3];
    for life in 0..ends {
        let ms = |rng: &mut StdRng, range| Duration::from_millis(rng.random_range(range));
        let workers = 1 + life % 3;
        let after = ms(&mut rng, 0..1_500);
        let way = usize::try_from(life % 8).unwrap();
        if way == 2 || way == 5 {
            counts[1] += 1;
            broker = lives.outlive(workers, after, broker).await;
        } else if way == 4 {
            counts[2] += 1;
            lives.be_replaced(workers, after).await;
        } else {
            counts[0] += 1;
            let dies = match rng.random_range(0..10) {
                0..2 => Dies::Beginning(ms(&mut rng, 5..1_000)),
                2..6 => Dies::Taking(ms(&mut rng, 0..900)),
                6..8 => Dies::Showing(ms(&mut rng, 0..1_500), 0),
                _ => Dies::Shown(rng.random_range(0..1_500)),
            };
            lives.live_and_die(workers, dies).await;
        }
    }
    let [killed, outlived, replaced] = counts;
    println!(
        "{ends} ends: {killed} servers killed, {outlived} brokers outlived by a server that was killed then, {replaced} replaced"
    );
    let produced = blocking(move || firehose.end()).await;
    let settled = lives.settle().await;
    lives.go_on_from_all(2, settled).await;
    check(lives, broker, produced).await;
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
            lives::becomes_live(&http, server).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_goes_on_from_a_snapshot() {
    let (broker, http, folder) = (blocking(broker).await, http_common::client(), tempfile::tempdir().unwrap());
    let command = |workers: u32| {
        let mut command = on(broker.address());
        command.env("WEIR_SNAPSHOTS_FOLDER", folder.path()).env("WEIR_SNAPSHOTS_EVERY", "10s");
        command.env("WEIR_HUB_RING_AGE", "1s").env("WEIR_ENGINE_WORKERS", workers.to_string());
        command
    };
    let (mut shown, mut version) = (Vec::new(), 0);
    for workers in [2, 1, 3] {
        let (server, at) = listening(command(workers)).await;
        lives::becomes_live(&http, at).await;
        let readyz =
            || async { timeout(PATIENCE, ask(http.get(format!("http://{at}/readyz")))).await.expect("is answered").2 };
        let from = readyz().await["snapshotAt"].as_u64().unwrap_or(0);
        assert_eq!(from > 0, version > 0, "the first has none to go on from");
        let events: Vec<_> = (version + 1..version + 200).map(|number| counted("s", number)).collect();
        version += 200;
        let post = |query: &str, body: String| ask(http.post(format!("http://{at}/v1/events{query}")).body(body));
        let taken = timeout(PATIENCE, post("", serde_json::to_string(&events).unwrap())).await.expect("is answered").0;
        assert!(taken.is_success(), "{taken}");
        // One stream, and so one after the other.
        let last = serde_json::to_string(&counted("s", version)).unwrap();
        assert_eq!(timeout(PATIENCE, post("?wait=admitted", last)).await.expect("is answered").0, 201);
        let shown_at = readyz().await["time"].as_u64().unwrap();
        // One that has the events, and is older than the ring.
        let made = async {
            loop {
                let said = readyz().await;
                let made_at = said["snapshotAt"].as_u64().unwrap_or(0);
                if made_at >= shown_at && said["time"].as_u64().unwrap_or(0) > made_at + 2_000 {
                    break;
                }
            }
        };
        timeout(PATIENCE, made).await.expect("a snapshot is made");
        let digests = timeout(PATIENCE, ask(http.get(format!("http://{at}/v1/digests")))).await.expect("is answered").2;
        shown.push(digests);
        server.kill();
    }
    let replayed = blocking(move || {
        let engine = rig::Running::over(rig::server_config(2), logs(&broker), rig::Fold::default());
        engine.fold.wait("the past is replayed", |folded| folded.live);
        engine.end()
    })
    .await;
    replayed.look(|folded| {
        assert_eq!(folded.sum("run_progress", "counted", "finished"), i64::try_from(version).unwrap());
        for digests in &shown {
            let time = digests["time"].as_u64().unwrap();
            let at = folded.history.range(..=time).next_back().expect("a frame before it").1;
            for (digest, view) in at.iter().zip(weir_schemas::view::VIEWS) {
                assert_eq!(digests["views"][view.name], digest.to_string(), "{} at {time}", view.name);
            }
            assert_eq!(digests["epoch"], folded.epoch.as_str());
        }
    });
}

async fn listening(command: Command) -> (Running, SocketAddr) {
    let mut server = Running::spawn(command);
    let address = timeout(PATIENCE, server.listening()).await.expect("it listens in time");
    (server, address)
}
