//! Appending: from [`super::Log::append`] to acknowledged.
//!
//! Contract: all records of a call are taken, or none. Its commit resolves when Kafka has all of them, with their positions,
//! or when one could not be delivered: the others may stand then, and so may that one.
//!
//! # Invariants
//! What is on its way is counted and bounded here, and librdkafka's own queue is not bounded: so no call is broken off in its
//! middle. A batch over the bound is taken when nothing else is on its way, as by the embedded log.
//!
//! # Failure
//! An idempotent producer that has lost its place (a fatal error of librdkafka) takes no more.

use super::super::{AppendError, Commit, LogError, NewRecord, Position};
use super::client::{Properties, Said};
use super::ends::Ends;
use super::{KafkaConfig, failed};
use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the close waits for what is on its way.
const DRAIN: Duration = Duration::from_secs(3);

/// See the module.
pub(super) struct Producing {
    producer: ThreadedProducer<Context>,
    on_its_way: Arc<OnItsWay>,
    closed: AtomicBool,
    /// Held while the records of a call are handed over.
    turn: Mutex<()>,
}

#[derive(Default)]
struct OnItsWay {
    records: AtomicUsize,
    bytes: AtomicUsize,
}

pub(super) struct Context {
    ends: Arc<Ends>,
    on_its_way: Arc<OnItsWay>,
}

/// What a client says goes to Weir's log.
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Said { level: level as i32, facility, message }.trace();
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the Kafka client goes on");
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Quiet.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Quiet.error(error, reason);
    }
}

/// The records of one call.
struct Batch {
    left: AtomicUsize,
    outcome: Mutex<Outcome>,
}

struct Outcome {
    positions: Vec<Position>,
    failed: Option<String>,
    tell: Option<oneshot::Sender<Result<Vec<Position>, AppendError>>>,
}

/// One of them.
pub(super) struct Delivery {
    batch: Arc<Batch>,
    index: usize,
    bytes: usize,
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Delivery>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery: Box<Delivery>) {
        self.on_its_way.records.fetch_sub(1, Ordering::Relaxed);
        self.on_its_way.bytes.fetch_sub(delivery.bytes, Ordering::Relaxed);
        let position = match result {
            Ok(message) => {
                let partition = message.partition().cast_unsigned();
                let offset = message.offset().cast_unsigned();
                self.ends.learn(partition, 0, offset + 1);
                Ok(Position { partition, offset })
            }
            Err((error, _)) => Err(error.to_string()),
        };
        delivery.batch.tell(delivery.index, position);
    }
}

impl Batch {
    fn tell(&self, index: usize, position: Result<Position, String>) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match position {
            Ok(position) => outcome.positions[index] = position,
            Err(reason) => drop(outcome.failed.get_or_insert(reason)),
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(tell) = outcome.tell.take()
        {
            let told = match outcome.failed.take() {
                None => Ok(std::mem::take(&mut outcome.positions)),
                Some(reason) => Err(AppendError::Unacknowledged { reason }),
            };
            // Who appended may have stopped waiting.
            drop(tell.send(told));
        }
    }
}

impl Producing {
    pub(super) fn new(config: &KafkaConfig, properties: &Properties, ends: Arc<Ends>) -> Result<Producing, LogError> {
        let on_its_way = Arc::new(OnItsWay::default());
        let context = Context { ends, on_its_way: Arc::clone(&on_its_way) };
        let producer = properties
            .producer()
            .create_with_context(context)
            .map_err(|error: KafkaError| failed(&config.topic, "open", &error))?;
        Ok(Producing { producer, on_its_way, closed: AtomicBool::new(false), turn: Mutex::new(()) })
    }

    /// The client that is always looked after: by the producer's own thread.
    pub(super) fn client(&self) -> &Client<Context> {
        self.producer.client()
    }

    /// The first offset of a partition and the one after its last, asked of its leader.
    pub(super) fn offsets(&self, topic: &str, partition: u32, patience: Duration) -> KafkaResult<(u64, u64)> {
        let (start, end) = self.client().fetch_watermarks(topic, partition.cast_signed(), patience)?;
        Ok((start.max(0).cast_unsigned(), end.max(0).cast_unsigned()))
    }

    /// `bytes`: those of all payloads.
    pub(super) fn append(
        &self,
        config: &KafkaConfig,
        records: &[NewRecord],
        bytes: usize,
    ) -> Result<Commit, AppendError> {
        let (tell, told) = oneshot::channel();
        if records.is_empty() {
            drop(tell.send(Ok(Vec::new())));
            return Ok(Commit::new(told));
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Acquire) {
            return Err(AppendError::Closed);
        }
        if let Some((_, reason)) = self.producer.client().fatal_error() {
            return Err(AppendError::Failed { reason });
        }
        let waiting = self.on_its_way.records.load(Ordering::Relaxed);
        let full = waiting + records.len() > config.queue_records
            || self.on_its_way.bytes.load(Ordering::Relaxed) + bytes > config.queue_bytes;
        if full && waiting > 0 {
            return Err(AppendError::Busy);
        }
        self.on_its_way.records.fetch_add(records.len(), Ordering::Relaxed);
        self.on_its_way.bytes.fetch_add(bytes, Ordering::Relaxed);
        let positions = vec![Position { partition: 0, offset: 0 }; records.len()];
        let outcome = Mutex::new(Outcome { positions, failed: None, tell: Some(tell) });
        let batch = Arc::new(Batch { left: AtomicUsize::new(records.len()), outcome });
        for (index, record) in records.iter().enumerate() {
            let delivery = Box::new(Delivery { batch: Arc::clone(&batch), index, bytes: record.payload.len() });
            let partition = record.partition.cast_signed();
            let to = BaseRecord::with_opaque_to(&config.topic, delivery).partition(partition);
            let mut to: BaseRecord<'_, [u8], [u8], _> = to.payload(&record.payload[..]);
            to.key = (!record.key.is_empty()).then_some(&record.key[..]);
            if !record.headers.is_empty() {
                let none = OwnedHeaders::new_with_capacity(record.headers.len());
                to.headers = Some(record.headers.iter().fold(none, |headers, (name, value)| {
                    headers.insert(Header { key: name, value: Some(&value[..]) })
                }));
            }
            if let Err((error, refused)) = self.producer.send(to) {
                self.refuse(&error, *refused.delivery_opaque);
            }
        }
        Ok(Commit::new(told))
    }

    /// A record that librdkafka did not take, for a reason of its own: nobody else will speak of it.
    fn refuse(&self, error: &KafkaError, delivery: Delivery) {
        self.on_its_way.records.fetch_sub(1, Ordering::Relaxed);
        self.on_its_way.bytes.fetch_sub(delivery.bytes, Ordering::Relaxed);
        delivery.batch.tell(delivery.index, Err(error.to_string()));
    }

    pub(super) fn close(&self) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.closed.swap(true, Ordering::AcqRel)
            && let Err(error) = self.producer.flush(DRAIN)
        {
            tracing::warn!(%error, "what was on its way was not acknowledged in time");
        }
    }
}
