//! What a Kafka topic promises as a log, on a real broker.

#[path = "common/kafka.rs"]
mod kafka;

use bytes::Bytes;
use kafka::{Broker, properties};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::sync::Arc;
use std::time::{Duration, Instant};
use weir::log::kafka::{Kafka, KafkaConfig};
use weir::log::{Bell, Log, LogError, NewRecord, Position, Reader, Record};

const PATIENCE: Duration = Duration::from_secs(60);

fn open(broker: &Broker, topic: &str) -> Kafka {
    let mut config = KafkaConfig::new(topic, broker.properties());
    config.properties.insert("message.timeout.ms".to_owned(), "300000".to_owned());
    Kafka::open(config).expect("opens")
}

fn payload(n: u64) -> Bytes {
    Bytes::from(format!("{n:0width$}", width = 20 + usize::try_from(n % 300).expect("small")))
}

/// Reads until every partition's offset is at `ends`.
fn read_to(log: &Kafka, reader: &mut dyn Reader, ends: &[u64]) -> Vec<Record> {
    let (until, bell, mut out) = (Instant::now() + PATIENCE, Arc::new(Bell::default()), Vec::new());
    log.ring(&bell);
    loop {
        let rung = bell.rung();
        while reader.read(500, 1 << 20, &mut out).expect("reads") > 0 {}
        if reader.offsets() == ends {
            return out;
        }
        assert!(Instant::now() < until, "read to {:?} of {ends:?}", reader.offsets());
        bell.wait(rung, Duration::from_millis(500));
    }
}

#[test]
fn what_is_appended_stands_in_its_order_and_is_read_from_every_offset() {
    let broker = Broker::start();
    broker.create_topic("events", 3);
    let log = open(&broker, "events");
    assert_eq!((log.topic(), log.partitions(), log.starts(), log.ends()), ("events", 3, vec![0; 3], vec![0; 3]));
    let mut appended: Vec<Vec<Bytes>> = vec![Vec::new(); 3];
    let mut commits = Vec::new();
    for round in 0..40_u64 {
        let records: Vec<NewRecord> =
            (0..50).map(|n| NewRecord::new(u32::try_from((round * n) % 3).unwrap(), payload(round * 50 + n))).collect();
        commits.push((log.append(records.clone()).expect("taken"), records));
    }
    for (commit, records) in commits {
        for (position, record) in commit.wait().expect("durable").into_iter().zip(records) {
            let of = &mut appended[record.partition as usize];
            assert_eq!(position, Position { partition: record.partition, offset: of.len() as u64 });
            of.push(record.payload);
        }
    }
    let ends: Vec<u64> = appended.iter().map(|of| of.len() as u64).collect();
    assert_eq!(log.ends(), ends, "what is acknowledged is known");
    // Another process knows nothing of the first.
    let other = open(&broker, "events");
    assert_eq!((other.identity(), other.ends()), (log.identity(), ends.clone()));
    for step in 0..5 {
        let from: Vec<u64> = ends.iter().map(|end| end * step / 4).collect();
        let mut reader = other.reader(&from).expect("a reader");
        let mut expected: Vec<_> =
            from.iter().zip(&appended).map(|(from, of)| of[usize::try_from(*from).unwrap()..].iter()).collect();
        let mut next = from.clone();
        for record in read_to(&other, &mut *reader, &ends) {
            let index = record.partition as usize;
            assert_eq!((Some(&record.payload), record.offset), (expected[index].next(), next[index]));
            assert!(record.appended_at > 1_600_000_000_000);
            next[index] += 1;
        }
        assert!(expected.iter().all(|left| left.len() == 0));
    }
    // One partition at a time, up to a given offset, and then the others.
    let mut reader = other.reader(&[0; 3]).expect("a reader");
    let mut out = Vec::new();
    assert_eq!(reader.read_partition(1, 7, &mut out).expect("reads"), 7);
    assert_eq!(reader.read_partition(2, ends[2], &mut out).expect("reads") as u64, ends[2]);
    assert_eq!(reader.offsets(), [0, 7, ends[2]]);
    let rest = read_to(&other, &mut *reader, &ends);
    assert_eq!(rest.len() as u64, ends[0] + ends[1] - 7);
}

#[test]
fn a_partition_is_read_alone_though_the_others_are_long() {
    let broker = Broker::start();
    broker.create_topic("events", 3);
    let log = open(&broker, "events");
    let large = |partition| NewRecord::new(partition, Bytes::from(vec![b'x'; 1 << 20]));
    for partition in [0, 2] {
        for _ in 0..24 {
            log.append(vec![large(partition)]).expect("taken").wait().expect("durable");
        }
    }
    let few = (0..5).map(|n| NewRecord::new(1, payload(n))).collect();
    log.append(few).expect("taken").wait().expect("durable");
    let mut reader = log.reader(&[0; 3]).expect("a reader");
    for (partition, end) in [(1, 5), (2, 20), (0, 1), (2, 24)] {
        let (mut out, from) = (Vec::new(), reader.offsets()[partition as usize]);
        assert_eq!(reader.read_partition(partition, end, &mut out).expect("reads") as u64, end - from);
        let offsets: Vec<_> = out.iter().map(|record| (record.partition, record.offset)).collect();
        assert_eq!(offsets, (from..end).map(|offset| (partition, offset)).collect::<Vec<_>>());
    }
    let rest = read_to(&log, &mut *reader, &[24, 5, 24]);
    assert_eq!(rest.iter().map(|record| record.offset).collect::<Vec<_>>(), (1..24).collect::<Vec<_>>());
}

#[test]
fn the_end_of_a_transaction_is_no_record_and_is_passed() {
    let broker = Broker::start();
    broker.create_topic("events", 1);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("transactional.id", "a reporter")
        .create()
        .expect("a producer");
    producer.init_transactions(PATIENCE).expect("ready");
    for (commit, text) in [(true, "kept"), (false, "aborted"), (true, "kept too")] {
        producer.begin_transaction().expect("begun");
        for n in 0..3 {
            let record: BaseRecord<'_, (), _> = BaseRecord::to("events").partition(0).payload(text);
            producer.send(record).map_err(|(error, _)| error).unwrap_or_else(|error| panic!("{n}: {error}"));
        }
        match commit {
            true => producer.commit_transaction(PATIENCE).expect("committed"),
            false => {
                producer.flush(PATIENCE).expect("sent");
                producer.abort_transaction(PATIENCE).expect("aborted");
            }
        }
    }
    let log = open(&broker, "events");
    assert_eq!(log.ends(), [12], "three times three records and an end");
    let mut reader = log.reader(&[0]).expect("a reader");
    let texts: Vec<_> =
        read_to(&log, &mut *reader, &[12]).into_iter().map(|record| (record.offset, record.payload)).collect();
    let expected =
        [0, 1, 2].map(|offset| (offset, "kept")).into_iter().chain([8, 9, 10].map(|offset| (offset, "kept too")));
    assert_eq!(texts, expected.map(|(offset, text)| (offset, Bytes::from(text))).collect::<Vec<_>>());
    let mut reader = log.reader(&[0]).expect("a reader");
    let mut out = Vec::new();
    assert_eq!(reader.read_partition(0, 4, &mut out).expect("reads"), 3);
    assert_eq!(reader.read_partition(0, 12, &mut out).expect("reads"), 3);
    assert_eq!(reader.offsets(), [12]);
}

#[test]
fn offsets_that_are_not_there_are_named() {
    let broker = Broker::start();
    broker.create_topic("events", 2);
    let log = open(&broker, "events");
    let records = (0..10).map(|n| NewRecord::new(1, payload(n))).collect();
    log.append(records).expect("taken").wait().expect("durable");
    let refused = log.reader(&[0, 11]).err().expect("past the end");
    assert_eq!(
        refused.to_string(),
        "the Kafka topic events, partition 1, has offsets 0 to 10, and 11 was to be read next: it does not reach so far any more"
    );
    let mut reader = log.reader(&[0, 4]).expect("a reader");
    assert_eq!(reader.read_partition(1, 50, &mut Vec::new()).expect("reads"), 6, "what there is of it");
    assert_eq!((reader.read_partition(1, 50, &mut Vec::new()).expect("reads"), reader.offsets()), (0, &[0, 10][..]));
}

#[test]
fn a_reader_that_retention_overtook_says_what_is_lost() {
    let broker = Broker::start();
    broker.create_topic("events", 1);
    let mut config = KafkaConfig::new("events", broker.properties());
    // No more than a few records are fetched ahead.
    for (name, value) in [("queued.max.messages.kbytes", "1024"), ("max.partition.fetch.bytes", "1024")] {
        config.properties.insert(name.to_owned(), value.to_owned());
    }
    let log = Kafka::open(config).expect("opens");
    for _ in 0..24 {
        let large = NewRecord::new(0, Bytes::from(vec![b'x'; 1 << 20]));
        log.append(vec![large]).expect("taken").wait().expect("durable");
    }
    let mut reader = log.reader(&[0]).expect("a reader");
    broker.delete_before("events", 0, 20);
    let (until, bell, mut read) = (Instant::now() + PATIENCE, Arc::new(Bell::default()), Vec::new());
    log.ring(&bell);
    let error = loop {
        let rung = bell.rung();
        match reader.read(500, 1 << 20, &mut read) {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < until, "nothing is said after {} records", read.len()),
        }
        bell.wait(rung, Duration::from_millis(500));
    };
    assert!(error.to_string().starts_with("the Kafka topic events, partition 0, has offsets 20 to 24, "), "{error}");
    assert!(read.iter().zip(0..20).all(|(record, offset)| record.offset == offset), "none is left out in silence");
    let error = log.reader(&[19]).err().expect("gone");
    assert_eq!(
        error.to_string(),
        "the Kafka topic events, partition 0, has offsets 20 to 24, and 19 was to be read next: retention has dropped it; the next start \
         says what is lost"
    );
}

#[test]
fn a_topic_that_was_made_again_is_another_one() {
    let broker = Broker::start();
    broker.create_topic("events", 1);
    let first = open(&broker, "events").identity();
    assert_eq!(open(&broker, "events").identity(), first);
    broker.delete_topic("events");
    let missing = Kafka::open(KafkaConfig::new("events", broker.properties())).err().expect("not there");
    assert!(missing.to_string().starts_with("cannot open the Kafka topic events: "), "{missing}");
    broker.create_topic("events", 1);
    assert_ne!(open(&broker, "events").identity(), first);
}

#[test]
fn properties_that_would_break_exactness_are_refused_by_name() {
    for (name, value) in [("acks", "1"), ("enable.idempotence", "false"), ("auto.offset.reset", "latest")] {
        let mut config = KafkaConfig::new("events", properties("127.0.0.1:1"));
        config.properties.insert(name.to_owned(), value.to_owned());
        let error = Kafka::open(config).err().expect("refused");
        assert!(matches!(error, LogError::Property(_)));
        assert!(
            error.to_string().starts_with(&format!("the Kafka property {name} = {value:?} cannot be set: ")),
            "{error}"
        );
    }
    let mut config = KafkaConfig::new("events", properties("127.0.0.1:1"));
    config.patience = Duration::from_millis(300);
    config.properties.insert("no.such.property".to_owned(), "1".to_owned());
    let error = Kafka::open(config.clone()).err().expect("refused");
    assert!(error.to_string().contains("no.such.property"), "{error}");
    config.properties.remove("no.such.property");
    let error = Kafka::open(config).err().expect("nobody answers");
    assert!(error.to_string().starts_with("cannot open the Kafka topic events: "), "{error}");
}

#[test]
fn what_was_acknowledged_stands_once_over_kills_of_the_broker() {
    let mut broker = Broker::start();
    broker.create_topic("events", 2);
    let log = Arc::new(open(&broker, "events"));
    let mut reader = log.reader(&[0, 0]).expect("a reader");
    let kills = if std::env::var_os("WEIR_LONG").is_some() { 20 } else { 3 };
    let mut acknowledged = 0;
    for _ in 0..kills {
        let commits: Vec<_> = (0..40)
            .map(|batch| {
                let record = |n: u32| NewRecord::new(n % 2, payload(acknowledged + batch * 100 + u64::from(n)));
                log.append((0..100).map(record).collect()).expect("taken")
            })
            .collect();
        broker.kill();
        broker.restart();
        for commit in commits {
            commit.wait().expect("durable in the end");
        }
        acknowledged += 4_000;
    }
    let all = read_to(&log, &mut *reader, &[acknowledged / 2; 2]);
    let mut numbers: Vec<Vec<u64>> = vec![Vec::new(); 2];
    for record in all {
        let text = std::str::from_utf8(&record.payload).expect("digits");
        numbers[record.partition as usize].push(text.parse().expect("a number"));
    }
    for (partition, numbers) in (0..).zip(numbers) {
        let expected: Vec<u64> = (0..acknowledged).filter(|n| n % 2 == partition).collect();
        assert_eq!(numbers, expected, "partition {partition}");
    }
}

#[test]
fn single_records_are_looked_up_whole_and_those_that_are_gone_are_none() {
    let broker = Broker::start();
    broker.create_topic("events", 2);
    let log = open(&broker, "events");
    let records = (0..300).map(|n| NewRecord::new(1, payload(n)).with_key(format!("key{n}")));
    log.append(records.collect()).expect("taken").wait().expect("durable");
    let mut lookup = log.lookup().expect("a lookup");
    // Ahead, near, far, back, and past the end.
    for offset in [5, 6, 40, 299, 7, 8] {
        let found = lookup.record(1, offset).expect("reads").expect("is there");
        let key = found.envelope.as_ref().and_then(|envelope| envelope.key.clone());
        assert_eq!(
            (found.offset, found.payload, key),
            (offset, payload(offset), Some(Bytes::from(format!("key{offset}"))))
        );
    }
    assert!(lookup.record(1, 300).expect("reads").is_none());
    broker.delete_before("events", 1, 100);
    for (offset, there) in [(50, false), (51, false), (99, false), (100, true), (3, false), (150, true)] {
        assert_eq!(lookup.record(1, offset).expect("reads").is_some(), there, "{offset}");
    }
    lookup.tend();
    log.close();
}
