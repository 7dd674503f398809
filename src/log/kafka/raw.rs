//! The calls of librdkafka that its Rust crate has no safe form of.
//!
//! Contract: [`take`] moves what a consumer has fetched out in one call, for three quarters of the processor time that one call a record
//! takes; [`Events`] has what a consumer says besides records, which that call would print; [`watermarks`] says what a consumer
//! knows already; [`describe`] gives a topic's identity. No other file of Weir has unsafe code; each block says why it is sound.

#![allow(unsafe_code, reason = "the crate has no safe form of these")]

use super::client::Said;
use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use std::ffi::{CStr, CString, c_char};
use std::time::Duration;

/// A consumer's queue.
pub(super) struct Queue(*mut sys::rd_kafka_queue_t);

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for Queue {}

impl Queue {
    /// The queue of a consumer's records. It must be dropped before the consumer.
    pub(super) fn of<C: ClientContext>(client: &Client<C>) -> Option<Queue> {
        // SAFETY: the client is alive, and the queue that is given is ours to destroy.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(client.native_ptr()) };
        (!queue.is_null()).then_some(Queue(queue))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_queue_get_consumer`, destroyed once.
        unsafe { sys::rd_kafka_queue_destroy(self.0) }
    }
}

/// What a consumer says besides records.
pub(super) struct Events(*mut sys::rd_kafka_queue_t);

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for Events {}

impl Events {
    /// Takes them apart from the consumer's records. It must be dropped before the consumer.
    pub(super) fn of<C: ClientContext>(client: &Client<C>) -> Events {
        // SAFETY: the client is alive, its main queue is never null, and the reference that is given is ours to destroy.
        unsafe {
            let queue = sys::rd_kafka_queue_get_main(client.native_ptr());
            sys::rd_kafka_queue_forward(queue, std::ptr::null_mut());
            Events(queue)
        }
    }

    /// Says what was said since it was last looked at in Weir's log.
    pub(super) fn trace(&self) {
        // SAFETY: the queue is alive; an event's texts live until it is destroyed, which is done once, below.
        unsafe {
            loop {
                let event = sys::rd_kafka_queue_poll(self.0, 0);
                if event.is_null() {
                    return;
                }
                match sys::rd_kafka_event_type(event) {
                    sys::RD_KAFKA_EVENT_LOG => {
                        let (mut facility, mut message, mut level) = (std::ptr::null(), std::ptr::null(), 0);
                        let found = sys::rd_kafka_event_log(event, &raw mut facility, &raw mut message, &raw mut level);
                        if found == 0 {
                            let (facility, message) = (text(facility), text(message));
                            Said { level, facility: &facility, message: &message }.trace();
                        }
                    }
                    sys::RD_KAFKA_EVENT_ERROR => {
                        let reason = text(sys::rd_kafka_event_error_string(event));
                        tracing::debug!(%reason, "the Kafka consumer goes on");
                    }
                    _ => {}
                }
                sys::rd_kafka_event_destroy(event);
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_queue_get_main`, destroyed once.
        unsafe { sys::rd_kafka_queue_destroy(self.0) }
    }
}

/// # Safety
/// Null, or a text that ends with a zero.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// What was fetched of a partition.
pub(super) enum Fetched<'a> {
    Record { partition: i32, offset: i64, appended_at: i64, payload: Option<&'a [u8]> },
    Error { partition: i32, offset: i64, code: RDKafkaErrorCode },
}

/// Gives to `each` at most as many as `room` has place for; waits for the first at most so long.
pub(super) fn take(queue: &Queue, room: &mut Room, timeout: Duration, mut each: impl FnMut(Fetched<'_>)) {
    let size = room.0.len();
    let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the queue is alive and `room` has place for `size` pointers.
    let count = unsafe { sys::rd_kafka_consume_batch_queue(queue.0, timeout, room.0.as_mut_ptr(), size) };
    let count = usize::try_from(count).unwrap_or(0);
    for message in &room.0[..count] {
        // SAFETY: librdkafka filled in `count` pointers to messages, which live until they are destroyed below; the payload, where there is
        // one, has `len` bytes.
        unsafe {
            let found = &**message;
            each(if found.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                let payload = (!found.payload.is_null())
                    .then(|| std::slice::from_raw_parts(found.payload.cast::<u8>(), found.len));
                let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
                let appended_at = sys::rd_kafka_message_timestamp(*message, &raw mut kind);
                Fetched::Record { partition: found.partition, offset: found.offset, appended_at, payload }
            } else {
                Fetched::Error { partition: found.partition, offset: found.offset, code: found.err.into() }
            });
            sys::rd_kafka_message_destroy(*message);
        }
    }
}

/// The first offset of a partition and the one after its last, as of the last answer that a consumer had; `None`: it had none.
pub(super) fn watermarks<C: ClientContext>(client: &Client<C>, topic: &CStr, partition: i32) -> Option<(u64, u64)> {
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client is alive, the name ends with a zero, and both places are ours.
    let error = unsafe {
        sys::rd_kafka_get_watermark_offsets(client.native_ptr(), topic.as_ptr(), partition, &raw mut low, &raw mut high)
    };
    if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return None;
    }
    Some((u64::try_from(low).ok()?, u64::try_from(high).ok()?))
}

/// Place for what is fetched at once.
pub(super) struct Room(Vec<*mut sys::rd_kafka_message_t>);

// SAFETY: it holds pointers only while `take` runs.
unsafe impl Send for Room {}

impl Room {
    pub(super) fn new(messages: usize) -> Room {
        Room(vec![std::ptr::null_mut(); messages])
    }
}

/// What a topic is.
pub(super) struct Description {
    /// Its identity, which another topic of the same name does not have.
    pub(super) identity: u128,
    pub(super) partitions: u32,
}

/// Asks the brokers what a topic is.
///
/// # Errors
/// They do not answer in time, or there is no such topic.
pub(super) fn describe<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Description, KafkaError> {
    let unknown = || KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopic);
    let name = CString::new(topic).map_err(|_| KafkaError::MetadataFetch(RDKafkaErrorCode::InvalidTopic))?;
    let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: every pointer is checked or given by the call before it, and destroyed once, in the reverse order; what the event owns is
    // read while it lives.
    unsafe {
        let mut names = [name.as_ptr()];
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
        let queue = sys::rd_kafka_queue_new(client.native_ptr());
        let options = sys::rd_kafka_AdminOptions_new(
            client.native_ptr(),
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        let mut why = [0; 256];
        sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout, why.as_mut_ptr(), why.len());
        sys::rd_kafka_DescribeTopics(client.native_ptr(), topics, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, timeout);
        let described = if event.is_null() {
            Err(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut))
        } else {
            let error = sys::rd_kafka_event_error(event);
            if error == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                described(sys::rd_kafka_event_DescribeTopics_result(event)).unwrap_or_else(|| Err(unknown()))
            } else {
                Err(KafkaError::MetadataFetch(error.into()))
            }
        };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_TopicCollection_destroy(topics);
        described
    }
}

/// # Safety
/// `result` is null or of an event that is alive.
unsafe fn described(result: *const sys::rd_kafka_DescribeTopics_result_t) -> Option<Result<Description, KafkaError>> {
    // SAFETY: as above; the arrays have as many elements as they say.
    unsafe {
        if result.is_null() {
            return None;
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if count == 0 || topics.is_null() {
            return None;
        }
        let topic = *topics;
        let error = sys::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() {
            let code = sys::rd_kafka_error_code(error);
            if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Some(Err(KafkaError::MetadataFetch(code.into())));
            }
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let most = sys::rd_kafka_Uuid_most_significant_bits(id).cast_unsigned();
        let least = sys::rd_kafka_Uuid_least_significant_bits(id).cast_unsigned();
        let mut partitions = 0;
        sys::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
        let identity = (u128::from(most) << 64) | u128::from(least);
        Some(Ok(Description { identity, partitions: u32::try_from(partitions).unwrap_or(u32::MAX) }))
    }
}
