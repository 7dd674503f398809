//! The engine on a real Kafka broker on the same machine, one node with a heap of 384 MB. `cargo bench --bench kafka`.
//!
//! - catch-up: a topic with a million events of 12 partitions is read, decoded and run through all views; then the processor
//!   time of this process by stage (fetch: librdkafka's threads and the sequencer; decode and dataflow: the workers; output).
//! - restart: the same topic once more, through the bindings that were written.
//! - live: a producer of this process at a rate; one event every 10 ms is a marker, and what is measured is from the moment
//!   before it is given to the producer to the frame that has its run.
//! - bindings: the same, with the bindings in Kafka, and in memory, where they count at once: what waiting for them costs.
//!
//! `-- catch-up`, `-- live`, `-- bindings` run one of them.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../tests/common/kafka.rs"]
mod kafka;
mod memory;
mod stages;

use common::fleet::Fleet;
use kafka::Broker;
use memory::Memory;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use stages::Stages;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use weir::config::Config;
use weir::engine::{self, EngineConfig, FrameSink, Logs, Rejected};
use weir::log::kafka::{Kafka, KafkaConfig, partition_of};
use weir::log::{Log, Position};
use weir::shutdown::Shutdown;
use weir::status::Status;
use weir::verdicts::Verdicts;
use weir_schemas::row::{Row, Value};
use weir_schemas::update::{Digest, Frame};
use weir_schemas::view::view_index;

const EVENTS: &str = "weir.events";
const CONTROL: &str = "weir.control";
const BINDINGS: &str = "weir.bindings";
const PARTITIONS: u32 = 12;
const CATCH_UP: u64 = 1_000_000;
const BATCH: Duration = Duration::from_millis(10);
const SECONDS: u64 = 15;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    if wanted("catch-up") {
        catch_up();
    }
    if wanted("live") {
        for rate in [20_000, 60_000] {
            live(rate, EngineConfig::default().tick_min, EngineConfig::default().tick_max, true);
        }
    }
    if wanted("bindings") {
        for tick_ms in [20, 50] {
            for bound in [true, false] {
                let tick = Duration::from_millis(tick_ms);
                live(1_000, tick, tick, bound);
            }
        }
    }
}

fn broker() -> Broker {
    let broker = Broker::start();
    for (topic, partitions) in [(EVENTS, PARTITIONS), (CONTROL, 1), (BINDINGS, 1)] {
        broker.create_topic(topic, i32::try_from(partitions).expect("few"));
    }
    broker
}

/// When markers were sent, how long they took, and the time of the last frame.
#[derive(Default)]
struct Seen {
    sent: HashMap<String, Instant>,
    took: Vec<Duration>,
}

struct Sink(Mutex<Seen>, Condvar);

impl FrameSink for Sink {
    fn epoch(&self, _: Arc<str>) {}
    fn frame(&self, frame: Frame) {
        let now = Instant::now();
        let mut seen = self.0.lock().expect("unpoisoned");
        for update in &frame.views[view_index("run_progress").expect("a view")].updates {
            if let Value::Str(run) = update.row.column(1)
                && let Some(sent) = seen.sent.remove(run)
            {
                seen.took.push(now - sent);
            }
        }
        drop(seen);
        self.1.notify_all();
    }
    fn rejected(&self, _: u64, _: &[Rejected]) {}
    fn rows(&self) -> Vec<Vec<Row>> {
        Vec::new()
    }
    fn restore(&self, _: u64, _: Vec<Vec<Row>>, _: &[Digest]) {}
    fn live(&self) {}
}

struct Running {
    sink: Arc<Sink>,
    status: Status,
    verdicts: Arc<Verdicts>,
    shutdown: Shutdown,
    handle: engine::EngineHandle,
    events: Arc<dyn Log>,
}

fn start(broker: &Broker, tick_min: Duration, tick_max: Duration, bound: bool) -> Running {
    let open = |topic: &str, linger: &str| -> Arc<dyn Log> {
        let mut properties = broker.properties();
        properties.insert("linger.ms".to_owned(), linger.to_owned());
        // To try others: WEIR_KAFKA_PROPERTIES=name=value,…
        let tried = std::env::var("WEIR_KAFKA_PROPERTIES").unwrap_or_default();
        properties.extend(
            tried.split(',').filter_map(|pair| pair.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())),
        );
        Arc::new(Kafka::open(KafkaConfig::new(topic, properties)).expect("opens"))
    };
    let bindings: Arc<dyn Log> = if bound { open(BINDINGS, "0") } else { Arc::new(Memory::new(BINDINGS)) };
    let logs = Logs { events: vec![open(EVENTS, "2")], control: open(CONTROL, "2"), bindings };
    let dataflow = Config::default().dataflow(&[EVENTS, CONTROL]);
    let config = EngineConfig { tick_min, tick_max, dataflow, ..EngineConfig::default() };
    let (sink, status, shutdown) =
        (Arc::new(Sink(Mutex::default(), Condvar::new())), Status::default(), Shutdown::default());
    let events = Arc::clone(&logs.events[0]);
    let verdicts = Arc::<Verdicts>::default();
    let asked = (Arc::clone(&verdicts), Arc::default());
    let handle = engine::start(config, logs, Arc::clone(&sink) as _, status.clone(), asked, shutdown.clone());
    Running { sink, status, verdicts, shutdown, handle: handle.expect("starts"), events }
}

fn producer(broker: &Broker) -> BaseProducer {
    let config = rdkafka::ClientConfig::from_iter(
        broker.properties().into_iter().chain(
            [
                ("linger.ms", "2"),
                ("enable.idempotence", "true"),
                ("compression.type", "lz4"),
                ("client.id", "producer"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        ),
    );
    config.create().expect("a producer")
}

fn produce(producer: &BaseProducer, stream: &str, payload: &[u8]) {
    let partition = i32::try_from(partition_of(stream.as_bytes(), PARTITIONS)).expect("few");
    loop {
        let record: BaseRecord<'_, str, [u8]> =
            BaseRecord::to(EVENTS).partition(partition).key(stream).payload(payload);
        match producer.send(record) {
            Ok(()) => return,
            // Its queue is full.
            Err(_) => {
                producer.poll(Duration::from_millis(1));
            }
        }
    }
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis()).expect("fits")
}

fn catch_up() {
    let broker = broker();
    let producer = producer(&broker);
    let (mut fleet, mut count, mut bytes) = (Fleet::new(), 0, 0);
    while count < CATCH_UP {
        for event in fleet.test(now_ms()).1 {
            let payload = serde_json::to_vec(&event).expect("plain data");
            produce(&producer, &event.stream_id, &payload);
            (count, bytes) = (count + 1, bytes + payload.len() as u64);
        }
    }
    producer.flush(Duration::from_secs(60)).expect("is acknowledged");
    drop(producer);
    for life in ["catch-up", "restart"] {
        read_all(&broker, life, count, bytes);
    }
}

fn read_all(broker: &Broker, life: &str, count: u64, bytes: u64) {
    let before = Stages::now();
    let began = Instant::now();
    let running = start(broker, EngineConfig::default().tick_min, EngineConfig::default().tick_max, true);
    let last = running.events.ends().into_iter().zip(0..).filter(|(end, _)| *end > 0);
    for (end, partition) in last {
        let position = Position { partition, offset: end - 1 };
        if let Some(released) = running.verdicts.wait_for(EVENTS, position) {
            drop(released.blocking_recv());
        }
    }
    let (took, used) = (began.elapsed().as_secs_f64(), Stages::now().since(&before));
    let per_million = 1e6 / count as f64;
    println!(
        "{life}: {count} events of {} bytes in {took:.1} s: {:.0}/s; {:.1} GB resident; CPU seconds a million events: {}",
        bytes / count,
        count as f64 / took,
        common::process::resident_bytes() as f64 / 1e9,
        used.line(per_million)
    );
    end(running);
}

fn wait_until(status: &mut tokio::sync::watch::Receiver<weir::status::EngineStatus>, mut done: impl FnMut() -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let until = Instant::now() + Duration::from_secs(300);
        while !done() {
            assert!(Instant::now() < until, "it does not come to an end");
            drop(tokio::time::timeout(Duration::from_millis(50), status.changed()).await);
        }
    });
}

fn live(rate: u64, tick_min: Duration, tick_max: Duration, bound: bool) {
    let broker = broker();
    let running = start(&broker, tick_min, tick_max, bound);
    let (producer, mut fleet) = (producer(&broker), Fleet::new());
    let mut status = running.status.subscribe();
    wait_until(&mut status, || running.status.get().time > 0);
    let (before, began) = (Stages::now(), Instant::now());
    let (mut count, mut beats, a_beat) = (0, 0_u64, rate / 100);
    let mut waiting = Vec::new();
    while began.elapsed() < Duration::from_secs(SECONDS) {
        let until = began + BATCH * u32::try_from(beats).expect("few");
        std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
        beats += 1;
        let marker = format!("marker-{beats}");
        running.sink.0.lock().expect("unpoisoned").sent.insert(marker.clone(), Instant::now());
        produce(&producer, &marker, marker_event(&marker).as_bytes());
        let mut left = a_beat.saturating_sub(1);
        while left > 0 {
            if waiting.is_empty() {
                waiting = fleet.test(now_ms()).1;
                waiting.reverse();
            }
            let Some(event) = waiting.pop() else { continue };
            produce(&producer, &event.stream_id, &serde_json::to_vec(&event).expect("plain data"));
            left -= 1;
        }
        count += a_beat.max(1);
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(60)).expect("is acknowledged");
    let sending = began.elapsed().as_secs_f64();
    wait_until(&mut status, || running.sink.0.lock().expect("unpoisoned").sent.is_empty());
    let (took, used) = (began.elapsed().as_secs_f64(), Stages::now().since(&before));
    let mut latencies = std::mem::take(&mut running.sink.0.lock().expect("unpoisoned").took);
    latencies.sort_unstable();
    let at = |quantile: f64| latencies[(latencies.len() as f64 * quantile) as usize].as_secs_f64() * 1e3;
    println!(
        "live: {:.0}/s of {rate}/s wanted, all shown {:.1} s later; ticks of {} to {} ms; bindings in {}: produced → frame p50 {:.1}, \
         p95 {:.1}, p99 {:.1} ms; CPU seconds a million events: {}",
        count as f64 / sending,
        took - sending,
        tick_min.as_millis(),
        tick_max.as_millis(),
        if bound { "Kafka" } else { "memory" },
        at(0.5),
        at(0.95),
        at(0.99),
        used.line(1e6 / count as f64)
    );
    drop(producer);
    end(running);
}

fn marker_event(run: &str) -> String {
    format!(
        r#"{{"eventId":"{run}","eventType":"test_passed","streamId":"{run}","version":1,"timestamp":{},"correlationId":"{run}",
            "data":{{"testName":"t","testSuiteName":"marker","duration":2.5}},"metadata":{{"project":"markers"}}}}"#,
        now_ms()
    )
}

fn end(running: Running) {
    running.shutdown.trigger();
    running.handle.join().expect("ends in order");
    running.events.close();
}
