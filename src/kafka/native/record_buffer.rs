//! Records of one partition on their way to a producer, gathered so that one call takes many.

use rdkafka_sys as sys;

use super::{
    error::code,
    producer::{TopicHandle, value_pointer},
};

#[derive(Clone, Copy)]
struct Entry {
    key: Option<(u32, u32)>,
    value: Option<(u32, u32)>,
    tag: u64,
}

/// Copied records without timestamp and headers, in order.
#[derive(Default)]
pub(in crate::kafka) struct RecordBuffer {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// How many of `entries` the client has taken.
    taken: usize,
}

impl RecordBuffer {
    /// Records that the client has not taken.
    pub(in crate::kafka) fn len(&self) -> usize {
        self.entries.len() - self.taken
    }

    /// Bytes held.
    pub(in crate::kafka) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a record.
    pub(in crate::kafka) fn push(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, tag: u64) {
        let key = key.map(|key| self.copy(key));
        let value = value.map(|value| self.copy(value));
        self.entries.push(Entry { key, value, tag });
    }

    /// Drops everything.
    pub(in crate::kafka) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.taken = 0;
    }

    fn copy(&mut self, part: &[u8]) -> (u32, u32) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(part);
        (u32::try_from(start).unwrap_or(u32::MAX), u32::try_from(part.len()).unwrap_or(u32::MAX))
    }

    /// Hands records to the client until all are taken or its queue is full (false). A record
    /// that the client refuses by itself is reported with its error code.
    pub(in crate::kafka) fn hand_over(
        &mut self,
        topic: &TopicHandle,
        partition: i32,
        scratch: &mut ProduceScratch,
        mut refused: impl FnMut(u64, i32),
    ) -> bool {
        if self.len() == 0 {
            return true;
        }
        scratch.0.clear();
        for entry in &self.entries[self.taken..] {
            scratch.0.push(message(entry, &self.bytes));
        }
        let count = i32::try_from(scratch.0.len()).unwrap_or(i32::MAX);
        // SAFETY: the topic handle is alive; the array has `count` messages whose pointers lead
        // into `self.bytes`, which is not touched before the call returns; F_COPY makes
        // librdkafka copy them.
        unsafe {
            sys::rd_kafka_produce_batch(
                topic.raw(),
                partition,
                sys::RD_KAFKA_MSG_F_COPY,
                scratch.0.as_mut_ptr(),
                count,
            );
        }
        for (sent, entry) in scratch.0.iter().zip(&self.entries[self.taken..]) {
            // SAFETY: reads the enum's memory as the number it is, valid for any code.
            let error = unsafe { (&raw const sent.err).cast::<i32>().read() };
            match error {
                code::OK => {}
                // This one and all that follow were not taken: order is kept.
                code::QUEUE_FULL => break,
                other => refused(entry.tag, other),
            }
            self.taken += 1;
        }
        let all = self.len() == 0;
        if all {
            self.clear();
        }
        all
    }
}

/// Space for the messages of one call, reused.
#[derive(Default)]
pub(in crate::kafka) struct ProduceScratch(Vec<sys::rd_kafka_message_t>);

// SAFETY: the pointers in it are used only within `hand_over`.
unsafe impl Send for ProduceScratch {}

fn message(entry: &Entry, bytes: &[u8]) -> sys::rd_kafka_message_t {
    let part = |range: Option<(u32, u32)>| {
        range.map(|(start, len)| &bytes[start as usize..start as usize + len as usize])
    };
    let (key, value) = (part(entry.key), part(entry.value));
    sys::rd_kafka_message_t {
        err: sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: std::ptr::null_mut(),
        partition: 0,
        payload: value_pointer(value),
        len: value.map_or(0, <[u8]>::len),
        key: value_pointer(key),
        key_len: key.map_or(0, <[u8]>::len),
        offset: 0,
        _private: tag_pointer(entry.tag),
    }
}

/// The tag as librdkafka's opaque, never followed.
pub(super) fn tag_pointer(tag: u64) -> *mut std::ffi::c_void {
    std::ptr::without_provenance_mut(usize::try_from(tag).unwrap_or(usize::MAX))
}
