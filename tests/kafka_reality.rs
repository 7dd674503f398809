//! What producers really do to a topic, and what happens to topics, on a real broker: each with what becomes of it.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

#[path = "common/kafka.rs"]
mod kafka;
#[path = "common/engine.rs"]
mod rig;

use kafka::{Broker, Message};
use rig::{Folded, Running, counted, server_config};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;
use weir::engine::{EngineConfig, EngineError, Logs};
use weir::log::kafka::{Kafka, KafkaConfig};
use weir::log::{Change, Log, LogError};
use weir_schemas::row::Value;
use weir_schemas::view::REJECTS;

const EVENTS: &str = "events";
const MORE: &str = "more.events";
const CONTROL: &str = "control";
const BINDINGS: &str = "bindings";

/// A broker with topics of events of so many partitions.
fn broker(partitions: i32) -> Broker {
    let broker = Broker::start();
    for (topic, partitions) in [(EVENTS, partitions), (MORE, partitions), (CONTROL, 1), (BINDINGS, 1)] {
        broker.create_topic(topic, partitions);
    }
    broker
}

fn logs(broker: &Broker) -> Logs {
    let open =
        |topic| -> Arc<dyn Log> { Arc::new(Kafka::open(KafkaConfig::new(topic, broker.properties())).expect("opens")) };
    Logs { events: vec![open(EVENTS), open(MORE)], control: open(CONTROL), bindings: open(BINDINGS) }
}

fn config(workers: usize) -> EngineConfig {
    let mut config = server_config(workers);
    config.dataflow.topics = [EVENTS, CONTROL, MORE].map(str::to_owned).to_vec();
    config
}

fn live(broker: &Broker, config: EngineConfig) -> Running {
    let engine = start(broker, config);
    engine.fold.wait("it is live", |folded| folded.live);
    engine
}

fn start(broker: &Broker, config: EngineConfig) -> Running {
    Running::over(config, logs(broker), rig::Fold::default())
}

fn event(stream: &str, number: u64) -> Vec<u8> {
    serde_json::to_vec(&counted(stream, number)).unwrap()
}

/// How many of the project's tests are finished.
fn finished(folded: &Folded) -> i64 {
    folded.sum("run_progress", "counted", "finished")
}

/// Kind, topic, partition and offset of everything that was rejected with a row of its own.
fn rejected(folded: &Folded) -> BTreeSet<(String, String, i64, i64)> {
    let text = |value: Value<'_>| if let Value::Str(text) = value { text.to_owned() } else { panic!("{value:?}") };
    let number = |value: Value<'_>| if let Value::Int(number) = value { number } else { panic!("{value:?}") };
    let rows = folded.view("rejects").filter(|row| !text(row.column(2)).is_empty());
    rows.map(|row| (text(row.column(1)), text(row.column(2)), number(row.column(3)), number(row.column(4)))).collect()
}

/// How many of the project's events were there before.
fn duplicates(folded: &Folded) -> i64 {
    let column = REJECTS.column("count").unwrap();
    let rows = folded.view("rejects").filter(|row| row.column(1) == Value::Str("duplicate"));
    rows.map(|row| if let Value::Int(count) = row.column(column) { count } else { 0 }).sum()
}

/// A life that ends, and another with another number of workers in which the same times show the same.
fn shows_the_same_again(broker: &Broker, engine: Running) {
    let before = engine.end().look(|folded| (folded.epoch.clone(), folded.history.clone()));
    let after = live(broker, config(4)).end().look(|folded| (folded.epoch.clone(), folded.history.clone()));
    assert_eq!(before.0, after.0);
    assert!(before.1.len() > 1 && before.1.iter().all(|(time, digests)| after.1.get(time) == Some(digests)));
}

const REPORT: &str = r#"<testsuites><testsuite name="s" timestamp="2026-01-01T10:00:00Z">
    <testcase classname="c" name="a" time="1"/><testcase classname="c" name="b" time="2"><failure message="no"/></testcase>
    </testsuite></testsuites>"#;

#[test]
fn records_of_every_shape_count_or_are_rejected_where_they_stand() {
    let broker = broker(2);
    let large =
        EngineConfig { limits: weir_schemas::limits::Limits { record: 5_000, ..Default::default() }, ..config(2) };
    let engine = live(&broker, large.clone());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&event("packed", 1)).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&event("packed", 2)[..], 3).unwrap();
    let report = |message: Message<'static>| {
        message
            .key("job/7")
            .header("content-type", "application/xml")
            .header("weir-project", "counted")
            .header("weir-run", "7")
    };
    let too_large = vec![b' '; 5_001];
    let messages = [
        Message::of(&event("plain", 1)),
        Message::tombstone().key("plain"),
        Message::of(b"\x00\xffgarbage"),
        Message::of(&too_large),
        report(Message::of(REPORT.as_bytes())),
        report(Message::of(REPORT.as_bytes())),
        Message::of(&gzip),
        Message::of(&zstd).header("content-encoding", "zstd"),
        Message::of(&event("plain", 2)).header("content-type", "application/json; charset=utf-8").key("plain"),
        Message::of(b"<svg/>").header("content-type", "image/svg+xml").header("weir-run", "7"),
        Message::of(&event("plain", 3)).header("content-type", "application/avro"),
        Message::of(b"{\"eventId\":7}"),
        Message::of(b""),
    ];
    broker.produce(EVENTS, 1, &[], messages);
    // And whatever producers compress whole batches with.
    for (compression, number) in ["gzip", "snappy", "lz4", "zstd"].into_iter().zip(3..) {
        broker.produce(EVENTS, 1, &[("compression.type", compression)], [Message::of(&event("plain", number))]);
    }
    let at = |kind: &str, offset| (kind.to_owned(), EVENTS.to_owned(), 1, offset);
    let wrong = BTreeSet::from([
        at("malformed", 1),
        at("malformed", 2),
        at("oversize", 3),
        at("malformed", 9),
        at("invalid", 10),
        at("invalid", 11),
        at("malformed", 12),
    ]);
    // Six plain ones, two packed ones, and two cases of the report.
    engine.fold.wait("all of them count or are rejected", |folded| finished(folded) == 10 && rejected(folded) == wrong);
    // The report that came twice: a suite's start, two cases and its end.
    engine.fold.wait("the second report is all duplicates", |folded| duplicates(folded) == 4);
    let before = engine.end().look(|folded| folded.history.clone());
    let after = live(&broker, EngineConfig { workers: 4, ..large }).end().look(|folded| folded.history.clone());
    assert!(before.iter().all(|(time, digests)| after.get(time) == Some(digests)));
}

#[test]
fn a_stream_in_two_partitions_is_reported_and_counts() {
    let broker = broker(2);
    let engine = live(&broker, config(2));
    for (partition, number) in [(0, 1), (1, 2), (0, 3), (1, 4)] {
        broker.produce(EVENTS, partition, &[], [Message::of(&event("astray", number))]);
        let number = i64::try_from(number).unwrap();
        engine.fold.wait("it counts", |folded| finished(folded) == number);
    }
    let moved = BTreeSet::from([("moved".to_owned(), EVENTS.to_owned(), 1, 0)]);
    engine.fold.wait("it is reported once", |folded| rejected(folded) == moved);
    shows_the_same_again(&broker, engine);
}

#[test]
fn several_topics_are_read_and_what_was_aborted_was_never_said() {
    let broker = broker(2);
    let engine = live(&broker, config(2));
    for (topic, commits) in [(EVENTS, true), (MORE, false), (EVENTS, false), (MORE, true)] {
        broker.transaction(topic, 0, &event(&format!("{topic}-{commits}"), 1), commits);
    }
    engine.fold.wait("what was committed counts", |folded| finished(folded) == 2);
    broker.produce(MORE, 1, &[], [Message::of(&event("last", 1))]);
    engine.fold.wait("and so does what comes after it", |folded| finished(folded) == 3);
    shows_the_same_again(&broker, engine);
}

#[test]
fn more_partitions_end_it_and_the_next_life_reads_them() {
    let broker = broker(1);
    let engine = live(&broker, config(1));
    broker.produce(EVENTS, 0, &[], [Message::of(&event("first", 1))]);
    engine.fold.wait("it counts", |folded| finished(folded) == 1);
    let epoch = engine.fold.look(|folded| folded.epoch.clone());
    broker.grow(EVENTS, 3);
    broker.produce(EVENTS, 2, &[], [Message::of(&event("second", 1))]);
    let (error, _) = engine.fails();
    let EngineError::Log(LogError::Changed { topic, change }) = &error else { panic!("{error}") };
    assert_eq!((topic.as_str(), change), (EVENTS, &Change::Partitions { before: 1, now: 3 }));
    let engine = live(&broker, config(2));
    engine.fold.wait("both count", |folded| finished(folded) == 2);
    assert_eq!(engine.fold.look(|folded| folded.epoch.clone()), epoch, "positions stay valid");
    shows_the_same_again(&broker, engine);
}

#[test]
fn a_topic_that_was_deleted_and_made_again_is_not_read() {
    let broker = broker(1);
    let engine = live(&broker, config(1));
    broker.produce(EVENTS, 0, &[], (1..=3).map(|number| Message::of(&event("first", number))));
    engine.fold.wait("they count", |folded| finished(folded) == 3);
    broker.delete_topic(EVENTS);
    broker.create_topic(EVENTS, 1);
    broker.produce(EVENTS, 0, &[], (1..=9).map(|number| Message::of(&event("other", number))));
    let (error, fold) = engine.fails();
    let EngineError::Log(LogError::Changed { topic, change }) = &error else { panic!("{error}") };
    // Between the two there was none.
    assert!(topic == EVENTS && matches!(change, Change::Recreated | Change::Deleted), "{error}");
    assert_eq!(fold.look(finished), 3, "nothing of the other was shown");
    let (error, _) = start(&broker, config(1)).fails();
    assert!(matches!(&error, EngineError::AnotherTopic { topic } if topic == EVENTS), "{error}");
}

#[test]
fn what_retention_dropped_unread_is_named_and_gone_on_without_only_when_that_is_said() {
    let broker = broker(2);
    let engine = live(&broker, config(1));
    for partition in 0..2 {
        let messages = (1..=5).map(|number| Message::of(&event(&format!("read{partition}"), number)));
        broker.produce(EVENTS, partition, &[], messages);
    }
    engine.fold.wait("they count", |folded| finished(folded) == 10);
    engine.end();
    broker.produce(EVENTS, 1, &[], (1..=4).map(|number| Message::of(&event("unread", number))));
    broker.delete_before(EVENTS, 1, 7);
    let (error, _) = start(&broker, config(1)).fails();
    let EngineError::Lost { losses } = &error else { panic!("{error}") };
    let [loss] = &losses[..] else { panic!("{error}") };
    assert_eq!((loss.topic.as_str(), loss.partition, loss.from, loss.to), (EVENTS, 1, 5, 7));
    let said = error.to_string();
    assert!(
        said.contains("events partition 1, offsets 5 to 6;") && said.contains("--accept-loss events/1@7"),
        "{said}"
    );
    let other = EngineConfig { accepted_losses: vec!["events/1@6".to_owned()], ..config(1) };
    assert!(matches!(start(&broker, other).fails().0, EngineError::Lost { .. }), "another loss was accepted");
    let engine = live(&broker, EngineConfig { accepted_losses: vec![loss.name()], ..config(2) });
    engine.fold.wait("what is left counts", |folded| finished(folded) == 2);
    assert!(engine.status.get().notices.iter().any(|notice| notice.contains("shortened")));
    engine.end();
    // It is written down, and need not be said again.
    let engine = live(&broker, config(1));
    broker.produce(EVENTS, 1, &[], [Message::of(&event("unread", 5))]);
    engine.fold.wait("it goes on", |folded| finished(folded) == 3);
    shows_the_same_again(&broker, engine);
}

#[test]
fn what_was_no_record_is_not_missed_when_retention_drops_it() {
    let broker = broker(2);
    let engine = live(&broker, config(1));
    for (partition, commits) in [(0, true), (1, false)] {
        broker.transaction(EVENTS, partition, &event(&format!("stream{partition}"), 1), commits);
    }
    engine.fold.wait("what was committed counts", |folded| finished(folded) == 1);
    let time = engine.fold.look(|folded| folded.time);
    engine.fold.wait("idle ticks pass", |folded| folded.time > time + 2_000);
    engine.end();
    // A record and an end in each.
    for partition in 0..2 {
        broker.delete_before(EVENTS, partition, 2);
    }
    let engine = live(&broker, config(2));
    broker.produce(EVENTS, 1, &[], [Message::of(&event("later", 1))]);
    engine.fold.wait("it goes on", |folded| finished(folded) == 1);
    engine.end();
}
