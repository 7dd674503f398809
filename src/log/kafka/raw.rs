//! The calls of librdkafka that its Rust crate has no safe form of.
//!
//! Contract: [`take`] moves what a consumer has fetched out in one call, for three quarters of the processor time that one
//! call a record takes; [`Events`] has what a consumer says besides records, which that call would print; [`watermarks`] says what a consumer
//! knows already; [`describe`] gives a topic's identity. No other file of Weir has unsafe code; each block says why it is sound.

#![allow(unsafe_code, reason = "the crate has no safe form of these")]

use super::client::Said;
use bytes::Bytes;
use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use std::ffi::{CStr, CString, c_char, c_void};
use std::time::Duration;

/// Something of librdkafka's that is ours to destroy.
struct Owned<T> {
    pointer: *mut T,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// `None` for a null pointer.
    ///
    /// # Safety
    /// What it points to is ours to destroy, by `destroy`, once.
    unsafe fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Option<Owned<T>> {
        (!pointer.is_null()).then_some(Owned { pointer, destroy })
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: promised to `new`.
        unsafe { (self.destroy)(self.pointer) }
    }
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for Owned<sys::rd_kafka_queue_t> {}

/// A consumer's queue of records. It must be dropped before the consumer.
pub(super) struct Queue(Owned<sys::rd_kafka_queue_t>);

impl Queue {
    pub(super) fn of<C: ClientContext>(client: &Client<C>) -> Option<Queue> {
        // SAFETY: the client is alive, and the reference that is given is ours.
        let queue =
            unsafe { Owned::new(sys::rd_kafka_queue_get_consumer(client.native_ptr()), sys::rd_kafka_queue_destroy) };
        queue.map(Queue)
    }
}

/// What a consumer says besides records. It must be dropped before the consumer.
pub(super) struct Events(Owned<sys::rd_kafka_queue_t>);

impl Events {
    /// Takes them apart from the consumer's records.
    pub(super) fn of<C: ClientContext>(client: &Client<C>) -> Option<Events> {
        // SAFETY: the client is alive, and the reference that is given is ours.
        unsafe {
            let main = sys::rd_kafka_queue_get_main(client.native_ptr());
            let queue = Owned::new(main, sys::rd_kafka_queue_destroy)?;
            sys::rd_kafka_queue_forward(queue.pointer, std::ptr::null_mut());
            Some(Events(queue))
        }
    }

    /// The next thing that was said.
    fn next(&self) -> Option<Owned<sys::rd_kafka_event_t>> {
        // SAFETY: the queue is alive, and the event that is given is ours.
        unsafe { Owned::new(sys::rd_kafka_queue_poll(self.0.pointer, 0), sys::rd_kafka_event_destroy) }
    }

    /// Says what was said since it was last looked at in Weir's log, and gives statistics to `statistics`.
    pub(super) fn tell(&self, mut statistics: impl FnMut(&str)) {
        while let Some(event) = self.next() {
            // SAFETY: the event is alive, and its texts are while it is.
            unsafe {
                match sys::rd_kafka_event_type(event.pointer) {
                    sys::RD_KAFKA_EVENT_LOG => {
                        let (mut facility, mut message, mut level) = (std::ptr::null(), std::ptr::null(), 0);
                        sys::rd_kafka_event_log(event.pointer, &raw mut facility, &raw mut message, &raw mut level);
                        Said { level, facility: &text(facility), message: &text(message) }.trace();
                    }
                    sys::RD_KAFKA_EVENT_ERROR => {
                        let reason = text(sys::rd_kafka_event_error_string(event.pointer));
                        tracing::debug!(%reason, "the Kafka consumer goes on");
                    }
                    sys::RD_KAFKA_EVENT_STATS => statistics(&text(sys::rd_kafka_event_stats(event.pointer))),
                    _ => {}
                }
            }
        }
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
    Record {
        partition: i32,
        offset: i64,
        appended_at: i64,
        payload: Option<&'a [u8]>,
        key: Option<&'a [u8]>,
        headers: Vec<(String, Bytes)>,
    },
    Error {
        partition: i32,
        offset: i64,
        code: RDKafkaErrorCode,
    },
}

/// Gives to `each` at most as many as `room` has place for; waits for the first at most so long. Of headers those are given that
/// `wanted` has a name for.
pub(super) fn take(
    queue: &Queue,
    room: &mut Room,
    timeout: Duration,
    wanted: fn(&[u8]) -> Option<String>,
    mut each: impl FnMut(Fetched<'_>),
) {
    let size = room.0.len();
    let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the queue is alive and `room` has place for `size` pointers.
    let count = unsafe { sys::rd_kafka_consume_batch_queue(queue.0.pointer, timeout, room.0.as_mut_ptr(), size) };
    let count = usize::try_from(count).unwrap_or(0);
    for message in &room.0[..count] {
        // SAFETY: librdkafka filled in `count` pointers to messages, which live until they are destroyed below; the payload,
        // where there is one, has `len` bytes.
        unsafe {
            let found = &**message;
            each(if found.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                let payload = bytes(found.payload, found.len);
                let key = bytes(found.key, found.key_len);
                let headers = headers(*message, wanted);
                let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
                let appended_at = sys::rd_kafka_message_timestamp(*message, &raw mut kind);
                Fetched::Record { partition: found.partition, offset: found.offset, appended_at, payload, key, headers }
            } else {
                Fetched::Error { partition: found.partition, offset: found.offset, code: found.err.into() }
            });
            sys::rd_kafka_message_destroy(*message);
        }
    }
}

/// # Safety
/// Null, or so many bytes that live as long as is said.
unsafe fn bytes<'a>(at: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: as above.
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at.cast::<u8>(), len) })
}

/// The wanted headers of a message.
///
/// # Safety
/// The message is alive.
unsafe fn headers(
    message: *const sys::rd_kafka_message_t,
    wanted: fn(&[u8]) -> Option<String>,
) -> Vec<(String, Bytes)> {
    let (mut all, mut headers) = (std::ptr::null_mut(), Vec::new());
    // SAFETY: as above; names end with a zero, and both live as long as the message.
    unsafe {
        if sys::rd_kafka_message_headers(message, &raw mut all) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return headers;
        }
        for index in 0.. {
            let (mut name, mut value, mut len) = (std::ptr::null(), std::ptr::null(), 0);
            let found = sys::rd_kafka_header_get_all(all, index, &raw mut name, &raw mut value, &raw mut len);
            if found != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                break;
            }
            let name = CStr::from_ptr(name).to_bytes();
            if let Some(name) = wanted(name) {
                headers.push((name, Bytes::copy_from_slice(bytes(value, len).unwrap_or_default())));
            }
        }
    }
    headers
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
    let name = CString::new(topic).map_err(|_| KafkaError::MetadataFetch(RDKafkaErrorCode::InvalidTopic))?;
    let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let silent = || KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
    // SAFETY: the client is alive; whatever is made is ours, and outlives the calls that it is given to.
    unsafe {
        let (client, mut names) = (client.native_ptr(), [name.as_ptr()]);
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let topics = Owned::new(topics, sys::rd_kafka_TopicCollection_destroy).ok_or_else(silent)?;
        let queue = Owned::new(sys::rd_kafka_queue_new(client), sys::rd_kafka_queue_destroy).ok_or_else(silent)?;
        let what = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = sys::rd_kafka_AdminOptions_new(client, what);
        let options = Owned::new(options, sys::rd_kafka_AdminOptions_destroy).ok_or_else(silent)?;
        let mut why = [0; 256];
        sys::rd_kafka_AdminOptions_set_request_timeout(options.pointer, timeout, why.as_mut_ptr(), why.len());
        sys::rd_kafka_DescribeTopics(client, topics.pointer, options.pointer, queue.pointer);
        let event = sys::rd_kafka_queue_poll(queue.pointer, timeout);
        let event = Owned::new(event, sys::rd_kafka_event_destroy).ok_or_else(silent)?;
        no_error(sys::rd_kafka_event_error(event.pointer))?;
        described(sys::rd_kafka_event_DescribeTopics_result(event.pointer))
    }
}

fn no_error(code: sys::rd_kafka_resp_err_t) -> Result<(), KafkaError> {
    match code {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(KafkaError::MetadataFetch(code.into())),
    }
}

/// # Safety
/// `result` is null or of an event that is alive.
unsafe fn described(result: *const sys::rd_kafka_DescribeTopics_result_t) -> Result<Description, KafkaError> {
    let unknown = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopic);
    if result.is_null() {
        return Err(unknown);
    }
    // SAFETY: as above; the array has as many elements as it says.
    unsafe {
        let (mut topics_found, mut partitions) = (0, 0);
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut topics_found);
        if topics_found == 0 {
            return Err(unknown);
        }
        let topic = *topics;
        no_error(sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic)))?;
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let most = sys::rd_kafka_Uuid_most_significant_bits(id).cast_unsigned();
        let least = sys::rd_kafka_Uuid_least_significant_bits(id).cast_unsigned();
        sys::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
        let identity = (u128::from(most) << 64) | u128::from(least);
        Ok(Description { identity, partitions: u32::try_from(partitions).expect("as many as Kafka has") })
    }
}
