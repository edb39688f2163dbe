//! Fetched messages, owned: their bytes stay where librdkafka received them.

use std::{
    ffi::{CStr, c_char, c_void},
    sync::Arc,
};

use rdkafka_sys as sys;

use super::{
    client::Client,
    error::{code, text},
};
use crate::record::{Header, Offset, RecordRef, Timestamp, TopicName};

/// A message with what is asked of it again and again.
#[derive(Clone, Copy)]
struct Slot {
    message: *mut sys::rd_kafka_message_t,
    timestamp: i64,
    /// Index into the batch's topics.
    topic: u32,
    /// Its headers in the side table; most messages have none.
    headers_start: u32,
    headers_end: u32,
}

/// Messages of a consumer, destroyed on drop.
pub(in crate::kafka) struct Batch {
    slots: Vec<Slot>,
    topics: Vec<TopicName>,
    headers: Vec<Header>,
    /// Messages must be gone before their client.
    client: Arc<Client>,
}

// SAFETY: the messages are owned by the batch, and librdkafka lets any thread read and destroy
// them.
unsafe impl Send for Batch {}

/// An error that came in a message's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka) struct PartitionError {
    /// Empty where the error concerns no topic.
    pub(in crate::kafka) topic: String,
    /// -1 where it concerns no partition.
    pub(in crate::kafka) partition: i32,
    pub(in crate::kafka) offset: i64,
    pub(in crate::kafka) code: i32,
    pub(in crate::kafka) reason: String,
}

/// Of consecutive messages of one partition: which are wanted.
pub(super) struct Wanted {
    pub(super) topic: TopicName,
    pub(super) from: i64,
}

/// The partition of consecutive messages, and what to do with them.
struct Run {
    handle: *mut sys::rd_kafka_topic_t,
    partition: i32,
    topic: u32,
    /// `None`: not wanted at all.
    from: Option<i64>,
}

impl Batch {
    pub(super) fn new(client: &Arc<Client>) -> Self {
        Self { slots: vec![], topics: vec![], headers: vec![], client: client.clone() }
    }

    /// The number of messages.
    pub(in crate::kafka) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Takes over what a batch call returned. `wanted` is asked once per run of messages of one
    /// partition; `kept` is told the last offset kept of each run.
    ///
    /// # Safety
    /// `messages` were returned by a consume call of the batch's client, and are given away here.
    pub(super) unsafe fn take(
        &mut self,
        messages: &[*mut sys::rd_kafka_message_t],
        errors: &mut Vec<PartitionError>,
        filter: &mut dyn RunFilter,
    ) {
        self.slots.reserve(messages.len());
        let mut run: Option<Run> = None;
        for &message in messages {
            // SAFETY: by the contract, valid and owned; read here only.
            let raw = unsafe { &*message };
            // SAFETY: reads the enum's memory as the number it is, valid for any code.
            let error = unsafe { (&raw const raw.err).cast::<i32>().read() };
            if error != code::OK {
                // SAFETY: an error message with its topic handle, valid until destroyed below.
                errors.push(unsafe { error_of(message, error) });
                // SAFETY: owned, and destroyed once.
                unsafe { sys::rd_kafka_message_destroy(message) };
                continue;
            }
            let same =
                run.as_ref().is_some_and(|r| r.handle == raw.rkt && r.partition == raw.partition);
            if !same {
                // SAFETY: a message without error has a topic handle with a valid name.
                let name = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(raw.rkt)) };
                run = Some(self.start_run(raw, &name.to_string_lossy(), filter));
            }
            let Some(current) = &run else { continue };
            if current.from.is_some_and(|from| raw.offset >= from) {
                filter.kept(raw.offset);
                // SAFETY: valid and owned, and given to the slot.
                unsafe { self.push(message, current.topic) };
            } else {
                // SAFETY: owned, and destroyed once.
                unsafe { sys::rd_kafka_message_destroy(message) };
            }
        }
    }

    fn start_run(
        &mut self,
        raw: &sys::rd_kafka_message_t,
        name: &str,
        filter: &mut dyn RunFilter,
    ) -> Run {
        let wanted = filter.start(name, raw.partition);
        let from = wanted.as_ref().map(|w| w.from);
        let topic = wanted.map_or(0, |w| self.topic_index(&w.topic));
        Run { handle: raw.rkt, partition: raw.partition, topic, from }
    }

    fn topic_index(&mut self, topic: &TopicName) -> u32 {
        let known = self.topics.iter().position(|t| Arc::ptr_eq(t, topic) || t == topic);
        let index = known.unwrap_or_else(|| {
            self.topics.push(topic.clone());
            self.topics.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// # Safety
    /// `message` is valid and owned, and given away here.
    unsafe fn push(&mut self, message: *mut sys::rd_kafka_message_t, topic: u32) {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        let mut table: *mut sys::rd_kafka_headers_t = std::ptr::null_mut();
        let start = u32::try_from(self.headers.len()).unwrap_or(u32::MAX);
        // SAFETY: the message is valid; the header list, where there is one, belongs to it.
        let timestamp = unsafe {
            let timestamp = sys::rd_kafka_message_timestamp(message, &raw mut kind);
            let found = sys::rd_kafka_message_headers(message, &raw mut table);
            if found as i32 == code::OK && !table.is_null() {
                copy_headers(table, &mut self.headers);
            }
            timestamp
        };
        let end = u32::try_from(self.headers.len()).unwrap_or(u32::MAX);
        self.slots.push(Slot { message, timestamp, topic, headers_start: start, headers_end: end });
    }

    /// Destroys the messages of this partition.
    pub(in crate::kafka) fn remove(&mut self, topic: &str, partition: i32) {
        let topics = &self.topics;
        self.slots.retain(|slot| {
            // SAFETY: a slot's message is valid as long as it is in the batch.
            let number = unsafe { (*slot.message).partition };
            let other = number != partition || &*topics[slot.topic as usize] != topic;
            if !other {
                // SAFETY: owned, and removed from the batch here.
                unsafe { sys::rd_kafka_message_destroy(slot.message) };
            }
            other
        });
    }

    /// Takes the messages out, leaving the batch empty.
    pub(in crate::kafka) fn split_off(&mut self) -> Self {
        let client = self.client.clone();
        std::mem::replace(self, Self { slots: vec![], topics: vec![], headers: vec![], client })
    }

    /// The record at `index`, which must be below [`Batch::len`].
    pub(in crate::kafka) fn record(&self, index: usize) -> RecordRef<'_> {
        let slot = &self.slots[index];
        // SAFETY: the message is valid as long as the batch, which the result borrows.
        let message = unsafe { &*slot.message };
        RecordRef {
            topic: &self.topics[slot.topic as usize],
            partition: message.partition,
            offset: Offset(message.offset),
            timestamp: Timestamp(slot.timestamp),
            // SAFETY: librdkafka's pointers and lengths describe memory of the message.
            key: unsafe { bytes(message.key, message.key_len) },
            // SAFETY: as above.
            value: unsafe { bytes(message.payload, message.len) },
            headers: &self.headers[slot.headers_start as usize..slot.headers_end as usize],
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        for slot in &self.slots {
            // SAFETY: owned, and destroyed once; the client is alive (`self.client`).
            unsafe { sys::rd_kafka_message_destroy(slot.message) };
        }
    }
}

/// Decides about runs of messages of one partition.
pub(super) trait RunFilter {
    /// A run begins: the topic's shared name and the first wanted offset; `None` drops the run.
    fn start(&mut self, topic: &str, partition: i32) -> Option<Wanted>;

    /// A message of the current run was kept.
    fn kept(&mut self, offset: i64);
}

/// # Safety
/// `pointer` is null or points to `len` bytes that live as long as the caller says.
unsafe fn bytes<'a>(pointer: *const c_void, len: usize) -> Option<&'a [u8]> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: by the contract.
    Some(unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), len) })
}

/// # Safety
/// `message` is a valid message with an error.
unsafe fn error_of(message: *mut sys::rd_kafka_message_t, error: i32) -> PartitionError {
    // SAFETY: by the contract; the topic handle is null where the error concerns no topic. The
    // payload of an error message is its text, not necessarily terminated: `errstr` returns a
    // terminated one, owned by the message or static.
    unsafe {
        let raw = &*message;
        let topic =
            if raw.rkt.is_null() { String::new() } else { text(sys::rd_kafka_topic_name(raw.rkt)) };
        PartitionError {
            topic,
            partition: raw.partition,
            offset: raw.offset,
            code: error,
            reason: text(sys::rd_kafka_message_errstr(message)),
        }
    }
}

/// # Safety
/// `table` is a valid header list.
unsafe fn copy_headers(table: *mut sys::rd_kafka_headers_t, headers: &mut Vec<Header>) {
    // SAFETY: by the contract; name and value are valid until the message is destroyed, and are
    // copied here.
    unsafe {
        for index in 0..sys::rd_kafka_header_cnt(table) {
            let mut name: *const c_char = std::ptr::null();
            let mut value: *const c_void = std::ptr::null();
            let mut size = 0usize;
            let found = sys::rd_kafka_header_get_all(
                table,
                index,
                &raw mut name,
                &raw mut value,
                &raw mut size,
            );
            if found as i32 != code::OK {
                break;
            }
            let value = bytes(value, size).map(<[u8]>::to_vec);
            headers.push(Header { name: text(name).into(), value });
        }
    }
}
