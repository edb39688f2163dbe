//! librdkafka as it is: the calls that the limit ladder needs, and nothing of the engine's.
//!
//! The only file of the benchmark with `unsafe`. Must never use `src/kafka`: a slow wrapper there
//! would slow the denominator that it is measured by.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};

use anyhow::{Context, Result, anyhow, bail};
use rdkafka_sys as sys;

/// How long a call may take.
const CALL_MS: i32 = 60_000;

/// A producer or consumer.
pub(crate) struct Client {
    raw: *mut sys::rd_kafka_t,
}

// SAFETY: librdkafka's handles may be used from any thread.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

/// A topic to produce to; must not outlive its client.
pub(crate) struct Topic {
    raw: *mut sys::rd_kafka_topic_t,
}

/// A fetched record, valid until the batch is let go.
#[derive(Clone, Copy)]
pub(crate) struct Fetched<'a> {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// Messages of one fetch.
pub(crate) struct Fetch {
    messages: Vec<*mut sys::rd_kafka_message_t>,
    count: usize,
}

fn text(raw: *const c_char) -> String {
    if raw.is_null() {
        return String::new();
    }
    // SAFETY: librdkafka's strings are NUL-terminated and valid while they are copied here.
    unsafe { CStr::from_ptr(raw) }.to_string_lossy().into_owned()
}

fn check(response: sys::rd_kafka_resp_err_t, what: &str) -> Result<()> {
    if response as i32 == 0 {
        return Ok(());
    }
    // SAFETY: takes a number, returns a static string.
    bail!("{what}: {}", text(unsafe { sys::rd_kafka_err2str(response) }))
}

/// Takes over an error object; null is success.
fn take(error: *mut sys::rd_kafka_error_t, what: &str) -> Result<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the object is ours, read before it is destroyed once.
    let reason = unsafe {
        let reason = text(sys::rd_kafka_error_string(error));
        sys::rd_kafka_error_destroy(error);
        reason
    };
    Err(anyhow!("{what}: {reason}"))
}

impl Client {
    /// A client of `kind` with these properties.
    fn new(kind: sys::rd_kafka_type_t, properties: &[(&str, &str)]) -> Result<Self> {
        let mut message = [0_u8; 512];
        // SAFETY: the configuration is owned until `rd_kafka_new` takes it; strings are alive and
        // copied; the buffer is as long as said.
        unsafe {
            let conf = sys::rd_kafka_conf_new();
            for (name, value) in properties {
                let (name, value) = (CString::new(*name)?, CString::new(*value)?);
                let set = sys::rd_kafka_conf_set(
                    conf,
                    name.as_ptr(),
                    value.as_ptr(),
                    message.as_mut_ptr().cast(),
                    message.len(),
                );
                if set != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                    bail!("{}", text(message.as_ptr().cast()));
                }
            }
            let raw = sys::rd_kafka_new(kind, conf, message.as_mut_ptr().cast(), message.len());
            if raw.is_null() {
                bail!("{}", text(message.as_ptr().cast()));
            }
            Ok(Self { raw })
        }
    }

    /// A producer; with a transactional id it is initialised.
    pub(crate) fn producer(bootstrap: &str, transactional_id: Option<&str>) -> Result<Self> {
        let mut properties = vec![
            ("bootstrap.servers", bootstrap),
            ("linger.ms", "60"),
            ("batch.size", "1000000"),
            ("batch.num.messages", "10000"),
            ("retry.backoff.ms", "10"),
            ("queue.buffering.max.messages", "2000000"),
            ("queue.buffering.max.kbytes", "262144"),
        ];
        properties.extend(transactional_id.map(|id| ("transactional.id", id)));
        let producer = Self::new(sys::rd_kafka_type_t::RD_KAFKA_PRODUCER, &properties)?;
        if transactional_id.is_some() {
            // SAFETY: the handle is alive; so for all calls below.
            let error = unsafe { sys::rd_kafka_init_transactions(producer.raw, CALL_MS) };
            take(error, "init_transactions")?;
        }
        Ok(producer)
    }

    /// A consumer of all `partitions` of `topic`, each from its first record on.
    pub(crate) fn consumer(
        bootstrap: &str,
        group: &str,
        topic: &str,
        partitions: i32,
    ) -> Result<Self> {
        let properties = [
            ("bootstrap.servers", bootstrap),
            ("group.id", group),
            ("isolation.level", "read_committed"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            ("fetch.queue.backoff.ms", "5"),
            ("check.crcs", "true"),
        ];
        let consumer = Self::new(sys::rd_kafka_type_t::RD_KAFKA_CONSUMER, &properties)?;
        let list = Offsets::new((0..partitions).map(|partition| (partition, 0)), topic)?;
        // SAFETY: see `producer`.
        unsafe {
            check(sys::rd_kafka_poll_set_consumer(consumer.raw), "poll_set_consumer")?;
            check(sys::rd_kafka_assign(consumer.raw, list.raw), "assign")?;
        }
        Ok(consumer)
    }

    /// A topic to produce to.
    pub(crate) fn topic(&self, name: &str) -> Result<Topic> {
        let name = CString::new(name)?;
        // SAFETY: handle and name are alive; no configuration is given.
        let raw = unsafe { sys::rd_kafka_topic_new(self.raw, name.as_ptr(), std::ptr::null_mut()) };
        if raw.is_null() {
            bail!("no handle of topic {name:?}");
        }
        Ok(Topic { raw })
    }

    /// Fetches up to the capacity of `into`, waiting up to `wait_ms` for a first record.
    pub(crate) fn fetch(&self, into: &mut Fetch, wait_ms: i32) {
        into.clear();
        // SAFETY: the queue reference is taken and given back; the array is as long as said.
        let count = unsafe {
            let queue = sys::rd_kafka_queue_get_consumer(self.raw);
            let size = into.messages.len();
            let count =
                sys::rd_kafka_consume_batch_queue(queue, wait_ms, into.messages.as_mut_ptr(), size);
            sys::rd_kafka_queue_destroy(queue);
            count
        };
        into.count = usize::try_from(count).unwrap_or(0);
    }

    /// Serves callbacks of a producer.
    pub(crate) fn poll(&self) {
        // SAFETY: the handle is alive.
        unsafe { sys::rd_kafka_poll(self.raw, 0) };
    }

    /// Begins a transaction.
    pub(crate) fn begin(&self) -> Result<()> {
        // SAFETY: see `producer`.
        take(unsafe { sys::rd_kafka_begin_transaction(self.raw) }, "begin")
    }

    /// Waits until all is acknowledged.
    pub(crate) fn flush(&self) -> Result<()> {
        // SAFETY: the handle is alive.
        check(unsafe { sys::rd_kafka_flush(self.raw, CALL_MS) }, "flush")
    }

    /// Offsets into the transaction, then its commit.
    pub(crate) fn commit(&self, offsets: &Offsets, group: &str) -> Result<()> {
        let group = CString::new(group)?;
        // SAFETY: all handles are alive; the group object is destroyed once.
        let sent = unsafe {
            let metadata = sys::rd_kafka_consumer_group_metadata_new(group.as_ptr());
            let sent =
                sys::rd_kafka_send_offsets_to_transaction(self.raw, offsets.raw, metadata, CALL_MS);
            sys::rd_kafka_consumer_group_metadata_destroy(metadata);
            sent
        };
        take(sent, "send_offsets")?;
        // SAFETY: see `producer`.
        take(unsafe { sys::rd_kafka_commit_transaction(self.raw, CALL_MS) }, "commit")
    }

    /// Commits offsets outside of a transaction.
    pub(crate) fn commit_offsets(&self, offsets: &Offsets) -> Result<()> {
        // SAFETY: handle and list are alive.
        check(unsafe { sys::rd_kafka_commit(self.raw, offsets.raw, 0) }, "commit offsets")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { sys::rd_kafka_destroy(self.raw) }
    }
}

impl Topic {
    /// Queues one record; waits while the queue is full.
    pub(crate) fn produce(
        &self,
        client: &Client,
        partition: i32,
        key: &[u8],
        value: &[u8],
    ) -> Result<()> {
        loop {
            // SAFETY: the topic is alive; the bytes are copied (F_COPY).
            let failed = unsafe {
                sys::rd_kafka_produce(
                    self.raw,
                    partition,
                    sys::RD_KAFKA_MSG_F_COPY,
                    value.as_ptr().cast_mut().cast(),
                    value.len(),
                    key.as_ptr().cast(),
                    key.len(),
                    std::ptr::null_mut::<c_void>(),
                )
            };
            if failed == 0 {
                return Ok(());
            }
            // SAFETY: reads the thread's last error.
            let last = unsafe { sys::rd_kafka_last_error() };
            if last != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__QUEUE_FULL {
                check(last, "produce")?;
            }
            // SAFETY: the handle is alive; waits up to 5 ms.
            unsafe { sys::rd_kafka_poll(client.raw, 5) };
        }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: owned, given back once, before its client.
        unsafe { sys::rd_kafka_topic_destroy(self.raw) }
    }
}

impl Fetch {
    /// Room for `capacity` messages.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { messages: vec![std::ptr::null_mut(); capacity], count: 0 }
    }

    /// The records, in fetch order; an error in a record's place fails.
    pub(crate) fn records(&self) -> impl Iterator<Item = Result<Fetched<'_>>> {
        self.messages.iter().take(self.count).map(|&message| {
            // SAFETY: written by the last fetch, and not destroyed before the next one.
            let message = unsafe { &*message };
            check(message.err, "fetch")?;
            Ok(Fetched {
                partition: message.partition,
                offset: message.offset,
                key: bytes(message.key, message.key_len),
                value: bytes(message.payload, message.len),
            })
        })
    }

    /// Whether the last fetch gave nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn clear(&mut self) {
        for &message in self.messages.iter().take(self.count) {
            // SAFETY: owned, destroyed once: `count` is reset.
            unsafe { sys::rd_kafka_message_destroy(message) };
        }
        self.count = 0;
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.clear();
    }
}

fn bytes<'a>(pointer: *mut c_void, len: usize) -> &'a [u8] {
    if pointer.is_null() {
        return &[];
    }
    // SAFETY: key and payload of a message that is alive as long as its `Fetch`.
    unsafe { std::slice::from_raw_parts(pointer.cast(), len) }
}

/// Positions of a topic's partitions.
pub(crate) struct Offsets {
    raw: *mut sys::rd_kafka_topic_partition_list_t,
}

// SAFETY: plain memory, owned.
unsafe impl Send for Offsets {}

impl Offsets {
    /// The list of these (partition, next offset).
    pub(crate) fn new(offsets: impl Iterator<Item = (i32, i64)>, topic: &str) -> Result<Self> {
        let topic = CString::new(topic).context("topic")?;
        // SAFETY: the list is owned; the element is written before the next `add`.
        unsafe {
            let raw = sys::rd_kafka_topic_partition_list_new(8);
            for (partition, offset) in offsets {
                let element =
                    sys::rd_kafka_topic_partition_list_add(raw, topic.as_ptr(), partition);
                (*element).offset = offset;
            }
            Ok(Self { raw })
        }
    }
}

impl Drop for Offsets {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.raw) }
    }
}
