//! Rejects in Kafka, by a whole server on a real broker: each stands once in its topic, as it was, whatever happened to the server,
//! and can be sent again.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

#[path = "common/kafka.rs"]
mod kafka;
#[path = "common/process.rs"]
mod process;

use kafka::{Broker, Message};
use process::{Running, weir};
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weir::engine::Rejected;
use weir::log::kafka::{Kafka, KafkaConfig};
use weir::log::{Log, Position};
use weir::rejects::sink::{self, Sink};
use weir::rejects::{Entry, resend};
use weir::shutdown::Shutdown;

const PATIENCE: Duration = Duration::from_secs(60);
const EVENTS: &str = "weir.events";
const REJECTED: &str = "weir.events.rejected";

fn run(broker: &Broker, arguments: &[&str]) -> String {
    let mut command: Command = weir();
    let ended = command.args(arguments).env("WEIR_KAFKA_BROKERS", broker.address()).output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(ended.status.success(), "{arguments:?}: {said}");
    said
}

fn serve(broker: &Broker) -> Running {
    let mut command = weir();
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("WEIR_KAFKA_BROKERS", broker.address());
    Running::start(command).0
}

/// The topic of rejects.
fn rejected(broker: &Broker) -> Kafka {
    Kafka::open(KafkaConfig::new(REJECTED, broker.properties())).expect("opens")
}

/// Waits until so many rejects stand there; gives their partitions and offsets.
fn positions(rejected: &Kafka, count: usize) -> Vec<(u32, u64)> {
    let until = Instant::now() + PATIENCE;
    loop {
        let ends = rejected.ends();
        if ends[0] >= count as u64 {
            let of = |(entry, _)| match entry {
                Entry::Reject { partition, offset, .. } => Some((partition, offset)),
                Entry::Resent(_) => None,
            };
            let found: Vec<_> = resend::last(rejected, 10_000).unwrap().into_iter().filter_map(of).collect();
            if found.len() >= count {
                return found;
            }
        }
        assert!(Instant::now() < until, "{} of {count}", ends[0]);
        rejected.wait_past(&ends, Duration::from_secs(1));
    }
}

#[test]
fn each_reject_stands_once_in_its_topic_over_any_number_of_lives() {
    let broker = Broker::start();
    run(&broker, &["topics", "create", "--partitions", "3"]);
    let (rejected, mut sent) = (rejected(&broker), BTreeSet::new());
    for life in 0..6 {
        let mut server = serve(&broker);
        for partition in 0..3 {
            let numbers = life * 20..life * 20 + 20;
            let texts: Vec<String> = numbers.clone().map(|number| format!("no event {number}")).collect();
            broker.produce(EVENTS, partition, &[], texts.iter().map(|text| Message::of(text.as_bytes())));
            sent.extend(numbers.map(|number| (u32::try_from(partition).unwrap(), number)));
        }
        // Not all of them, so that it dies in the middle; in the last life it ends in order, and the next one has nothing to do.
        let least = if life < 4 { sent.len() - 30 } else { sent.len() };
        positions(&rejected, least);
        if life < 4 {
            server.kill();
        } else {
            server.signal("-TERM");
            let (code, said) = server.end();
            assert_eq!(code, Some(0), "{said}");
        }
    }
    let found = positions(&rejected, sent.len());
    assert_eq!(found.len(), sent.len(), "each stands once");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), sent);
}

#[test]
fn a_frame_of_which_some_rejects_stand_there_gets_the_others_once() {
    let broker = Broker::start();
    broker.create_topic(EVENTS, 2);
    broker.create_topic(REJECTED, 1);
    for partition in 0..2 {
        broker.produce(EVENTS, partition, &[], (0..5).map(|_| Message::of(b"no event")));
    }
    let at = |partition, offset| Rejected {
        topic: EVENTS.into(),
        position: Position { partition, offset },
        kind: "malformed",
        reason: "no JSON".into(),
    };
    let told = [(10, vec![at(0, 0), at(1, 0)]), (20, vec![at(0, 1), at(0, 2), at(1, 1)]), (30, vec![at(1, 2)])];
    // The first life writes the first frame and a part of the second; each further one is told of everything again.
    for (frames, of_the_last) in [(2, 1), (2, 2), (3, 1), (3, 1)] {
        let open = |topic: &str| Kafka::open(KafkaConfig::new(topic, broker.properties()));
        let pair = sink::pair(&Arc::new(open(EVENTS).expect("opens")), open).expect("is there");
        let sink = Sink::start(vec![pair], Shutdown::default()).expect("starts");
        for (index, (upper, rejected)) in told[..frames].iter().enumerate() {
            let count = if index + 1 == frames { of_the_last.min(rejected.len()) } else { rejected.len() };
            sink.rejected(*upper, &rejected[..count]);
        }
        sink.finish();
    }
    let expected: Vec<_> = told.iter().flat_map(|(_, rejected)| rejected).map(|rejected| rejected.position).collect();
    let expected: Vec<_> = expected.into_iter().map(|position| (position.partition, position.offset)).collect();
    assert_eq!(positions(&rejected(&broker), expected.len()), expected, "each once, in order");
}

#[test]
fn a_reject_that_is_too_large_costs_no_other() {
    let broker = Broker::start();
    run(&broker, &["topics", "create", "--partitions", "1"]);
    let rejected = rejected(&broker);
    let large = vec![b' '; 100_000];
    broker.produce(EVENTS, 0, &[], [Message::of(b"one"), Message::of(&large), Message::of(b"two")]);
    let mut command = weir();
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("WEIR_KAFKA_BROKERS", broker.address());
    command.env("WEIR_LIMITS_RECORD", "2KiB").env("WEIR_LIMITS_DECOMPRESSED", "8KiB");
    let mut server = Running::start(command).0;
    assert_eq!(positions(&rejected, 2), [(0, 0), (0, 2)]);
    server.signal("-TERM");
    let (code, said) = server.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("weir.events/0@1") && said.contains("too large for its topic"), "{said}");
}

#[test]
fn a_server_ends_in_order_though_its_brokers_are_away() {
    let mut broker = Broker::start();
    run(&broker, &["topics", "create", "--partitions", "1"]);
    let rejected = rejected(&broker);
    let mut server = serve(&broker);
    broker.produce(EVENTS, 0, &[], [Message::of(b"one")]);
    positions(&rejected, 1);
    broker.kill();
    server.signal("-TERM");
    let (code, said) = server.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_reject_is_shown_as_it_was_and_sent_again_once() {
    let broker = Broker::start();
    run(&broker, &["topics", "create", "--partitions", "2"]);
    let mut server = serve(&broker);
    let messages = [
        Message::of(b"\xff\xfe no text").key("binary"),
        Message::of(b"{\"eventId\":7}")
            .key("job-1")
            .header("traceparent", "00-1")
            .header("content-type", "application/json"),
    ];
    broker.produce(EVENTS, 1, &[], messages);
    let rejected = rejected(&broker);
    assert_eq!(positions(&rejected, 2), [(1, 0), (1, 1)]);
    let said = run(&broker, &["rejects"]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].starts_with("weir.events/1@0  malformed: ") && lines[1] == "    (10 bytes that are no text)",
        "{said}"
    );
    assert!(lines[2].starts_with("weir.events/1@1  invalid: eventId: "), "{said}");
    assert_eq!(lines[3], r#"    {"eventId":7}"#.escape_debug().to_string());
    let json: serde_json::Value =
        serde_json::from_str(run(&broker, &["rejects", "--json", "--last", "1"]).trim()).unwrap();
    assert_eq!((json["original"]["text"].as_str(), json["offset"].as_u64()), (Some(r#"{"eventId":7}"#), Some(1)));
    server.signal("-TERM");
    assert_eq!(server.end().0, Some(0));
    assert_eq!(run(&broker, &["rejects", "--resend"]).trim(), "weir.events: 2 sent again");
    assert_eq!(run(&broker, &["rejects", "--resend"]).trim(), "weir.events: 0 sent again", "once");
    // They are where they came from, with what they had.
    let events = Kafka::open(KafkaConfig::new(EVENTS, broker.properties())).expect("opens");
    assert_eq!(events.ends(), [0, 4]);
    let mut lookup = events.lookup().unwrap();
    let (before, after) = (lookup.record(1, 1).unwrap().unwrap(), lookup.record(1, 3).unwrap().unwrap());
    assert_eq!((before.payload, before.envelope), (after.payload, after.envelope.clone()));
    let envelope = after.envelope.unwrap();
    assert_eq!((envelope.key.as_deref(), envelope.header("traceparent")), (Some(&b"job-1"[..]), Some(&b"00-1"[..])));
    events.close();
    // Nothing was mended: they are rejects again.
    let mut server = serve(&broker);
    assert_eq!(positions(&rejected, 4)[2..], [(1, 2), (1, 3)]);
    server.signal("-TERM");
    assert_eq!(server.end().0, Some(0));
}
