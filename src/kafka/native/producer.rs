//! A transactional producer: raw calls, delivery reports as events.

use std::{
    ffi::{CString, c_int, c_void},
    sync::Arc,
    time::Duration,
};

use rdkafka_sys as sys;

use super::{
    client::{Client, ClientErrors},
    config::Config,
    error::{Error, text},
    partition_list::PartitionList,
    queue::Queue,
    record_buffer::tag_pointer,
    wake::Wake,
};
use crate::record::{Header, OutputRecord, TopicName};

/// A producer. The transaction calls block; all else does not.
pub(in crate::kafka) struct Producer {
    queue: Queue,
    client: Arc<Client>,
}

/// A producer's handle of a topic; cheap to produce to.
pub(in crate::kafka) struct TopicHandle {
    raw: *mut sys::rd_kafka_topic_t,
    /// Topic handles must be gone before their client.
    client: Arc<Client>,
}

// SAFETY: librdkafka's topic handles are guarded by their own locks.
unsafe impl Send for TopicHandle {}

/// One delivery report.
#[derive(Debug, Clone, Copy)]
pub(in crate::kafka) struct Report {
    /// The topic, as [`TopicHandle::identity`] names it.
    pub(in crate::kafka) topic: usize,
    pub(in crate::kafka) partition: i32,
    pub(in crate::kafka) offset: i64,
    /// 0 for an acknowledged record.
    pub(in crate::kafka) error: i32,
    pub(in crate::kafka) tag: u64,
}

/// Who commits offsets: the group's view of the member.
#[derive(Debug, Clone)]
pub(in crate::kafka) struct GroupIdentity {
    pub(in crate::kafka) group: String,
    pub(in crate::kafka) generation: i32,
    pub(in crate::kafka) member: String,
    pub(in crate::kafka) instance: Option<String>,
}

impl Producer {
    /// A producer that notifies `wake` when delivery reports wait.
    pub(in crate::kafka) fn new(config: Config, wake: &Arc<Wake>) -> Result<Self, Error> {
        let client = Arc::new(Client::producer(config)?);
        // SAFETY: the handle is alive; the reference is given to the `Queue`.
        let mut queue = unsafe { Queue::own(sys::rd_kafka_queue_get_main(client.raw()), &client) };
        queue.wakes(wake);
        Ok(Self { queue, client })
    }

    /// A handle of the topic, which need not exist.
    pub(in crate::kafka) fn topic(&self, name: &TopicName) -> Result<TopicHandle, Error> {
        let text = CString::new(&**name)
            .map_err(|_| Error::new(-186, format!("topic {name:?} contains a NUL")))?;
        // SAFETY: handle and name are alive; no topic configuration is given.
        let raw = unsafe {
            sys::rd_kafka_topic_new(self.client.raw(), text.as_ptr(), std::ptr::null_mut())
        };
        if raw.is_null() {
            // SAFETY: reads the thread's last error.
            let last = unsafe { sys::rd_kafka_last_error() } as i32;
            return Err(Error::new(last, format!("no handle of topic {name}")));
        }
        Ok(TopicHandle { raw, client: self.client.clone() })
    }

    /// Takes all waiting delivery reports, in order, and records errors. Never waits.
    pub(in crate::kafka) fn drain(&self, mut report: impl FnMut(Report)) {
        const PIECE: usize = 512;
        let mut messages: [*const sys::rd_kafka_message_t; PIECE] = [std::ptr::null(); PIECE];
        loop {
            // SAFETY: the queue is alive; a returned event is owned and destroyed below.
            let event = unsafe { sys::rd_kafka_queue_poll(self.queue.raw(), 0) };
            if event.is_null() {
                return;
            }
            // SAFETY: the event is valid until destroyed; so are its messages, read here only.
            unsafe {
                match sys::rd_kafka_event_type(event) {
                    sys::RD_KAFKA_EVENT_DR => loop {
                        let count =
                            sys::rd_kafka_event_message_array(event, messages.as_mut_ptr(), PIECE);
                        if count == 0 {
                            break;
                        }
                        for message in &messages[..count.min(PIECE)] {
                            report(report_of(&**message));
                        }
                    },
                    sys::RD_KAFKA_EVENT_ERROR => {
                        let error = sys::rd_kafka_event_error(event) as i32;
                        let reason = text(sys::rd_kafka_event_error_string(event));
                        self.client.record_error(error, reason);
                    }
                    _ => {}
                }
                sys::rd_kafka_event_destroy(event);
            }
        }
    }

    /// Records without a delivery report that was taken.
    pub(in crate::kafka) fn queued(&self) -> u64 {
        // SAFETY: the handle is alive.
        u64::try_from(unsafe { sys::rd_kafka_outq_len(self.client.raw()) }).unwrap_or(0)
    }

    /// Client-wide errors since the last call.
    pub(in crate::kafka) fn errors(&self) -> ClientErrors {
        self.client.take_errors()
    }

    /// The error that made the producer unusable.
    pub(in crate::kafka) fn fatal_error(&self) -> Option<Error> {
        self.client.fatal_error()
    }

    /// Whether a request timed out or a connection broke since `clear_disturbed`.
    pub(in crate::kafka) fn is_disturbed(&self) -> bool {
        self.client.is_disturbed()
    }

    /// See [`Producer::is_disturbed`].
    pub(in crate::kafka) fn clear_disturbed(&self) {
        self.client.clear_disturbed();
    }

    /// Asks for the brokers, so that what follows finds them (facts 9.2). Blocks.
    pub(in crate::kafka) fn find_brokers(&self, timeout: Duration) -> Result<(), Error> {
        let mut metadata: *const sys::rd_kafka_metadata = std::ptr::null();
        // SAFETY: the handle is alive; what is returned is owned and destroyed once.
        unsafe {
            let response = sys::rd_kafka_metadata(
                self.client.raw(),
                0,
                std::ptr::null_mut(),
                &raw mut metadata,
                millis(timeout),
            );
            if !metadata.is_null() {
                sys::rd_kafka_metadata_destroy(metadata);
            }
            Error::check(response)
        }
    }

    /// Takes the transactional id over, fencing its last holder. Blocks.
    pub(in crate::kafka) fn init_transactions(&self, timeout: Duration) -> Result<(), Error> {
        // SAFETY: the handle is alive; the error is taken over. So for all calls below.
        unsafe { Error::take(sys::rd_kafka_init_transactions(self.client.raw(), millis(timeout))) }
    }

    /// Begins a transaction. Local.
    pub(in crate::kafka) fn begin(&self) -> Result<(), Error> {
        // SAFETY: see `init_transactions`.
        unsafe { Error::take(sys::rd_kafka_begin_transaction(self.client.raw())) }
    }

    /// Waits until every record is acknowledged or refused, and its report drained. Blocks.
    pub(in crate::kafka) fn flush(&self, timeout: Duration) -> Result<(), Error> {
        // SAFETY: the handle is alive.
        Error::check(unsafe { sys::rd_kafka_flush(self.client.raw(), millis(timeout)) })
    }

    /// Adds offsets to the transaction. Blocks, possibly beyond the time-out (facts 2.2).
    pub(in crate::kafka) fn send_offsets(
        &self,
        offsets: &PartitionList,
        group: &GroupIdentity,
        timeout: Duration,
    ) -> Result<(), Error> {
        let metadata = GroupObject::new(group)?;
        // SAFETY: see `init_transactions`; list and group object are alive and copied.
        unsafe {
            Error::take(sys::rd_kafka_send_offsets_to_transaction(
                self.client.raw(),
                offsets.raw(),
                metadata.raw,
                millis(timeout),
            ))
        }
    }

    /// Commits. Blocks.
    pub(in crate::kafka) fn commit(&self, timeout: Duration) -> Result<(), Error> {
        // SAFETY: see `init_transactions`.
        unsafe { Error::take(sys::rd_kafka_commit_transaction(self.client.raw(), millis(timeout))) }
    }

    /// Aborts, purging what is queued. Blocks.
    pub(in crate::kafka) fn abort(&self, timeout: Duration) -> Result<(), Error> {
        // SAFETY: see `init_transactions`.
        unsafe { Error::take(sys::rd_kafka_abort_transaction(self.client.raw(), millis(timeout))) }
    }
}

impl TopicHandle {
    /// Names the topic in [`Report`]s.
    pub(in crate::kafka) fn identity(&self) -> usize {
        self.raw.addr()
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_topic_t {
        self.raw
    }

    /// Queues one record with timestamp and headers. The code is `QUEUE_FULL` where there is no
    /// room now.
    pub(in crate::kafka) fn produce(
        &self,
        record: &OutputRecord<'_>,
        tag: u64,
    ) -> Result<(), Error> {
        let names: Result<Vec<CString>, Error> = record.headers.iter().map(header_name).collect();
        let names = names?;
        let mut arguments: smallvec::SmallVec<[sys::rd_kafka_vu_t; 12]> = smallvec::SmallVec::new();
        arguments.push(argument(
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_RKT,
            sys::rd_kafka_vu_s__bindgen_ty_1 { rkt: self.raw },
        ));
        arguments.push(argument(
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION,
            sys::rd_kafka_vu_s__bindgen_ty_1 { i32_: record.partition },
        ));
        arguments.push(argument(
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY,
            sys::rd_kafka_vu_s__bindgen_ty_1 { mem: memory(record.key) },
        ));
        arguments.push(argument(
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
            sys::rd_kafka_vu_s__bindgen_ty_1 { mem: memory(record.value) },
        ));
        arguments.push(argument(
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS,
            sys::rd_kafka_vu_s__bindgen_ty_1 { i: sys::RD_KAFKA_MSG_F_COPY },
        ));
        arguments.push(argument(
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_OPAQUE,
            sys::rd_kafka_vu_s__bindgen_ty_1 { ptr: tag_pointer(tag) },
        ));
        if let Some(timestamp) = record.timestamp {
            arguments.push(argument(
                sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TIMESTAMP,
                sys::rd_kafka_vu_s__bindgen_ty_1 { i64_: timestamp.0 },
            ));
        }
        for (header, name) in record.headers.iter().zip(&names) {
            let value = header.value.as_deref();
            arguments.push(argument(
                sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADER,
                sys::rd_kafka_vu_s__bindgen_ty_1 {
                    header: sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 {
                        name: name.as_ptr(),
                        val: value_pointer(value).cast_const(),
                        size: isize::try_from(value.map_or(0, <[u8]>::len)).unwrap_or(0),
                    },
                },
            ));
        }
        // SAFETY: the arguments are tagged with the member that is set; what they point to lives
        // until the call returns, and is copied (F_COPY; headers always are).
        unsafe {
            Error::take(sys::rd_kafka_produceva(
                self.client.raw(),
                arguments.as_ptr(),
                arguments.len(),
            ))
        }
    }
}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        // SAFETY: owned, and given back once; the client is alive.
        unsafe { sys::rd_kafka_topic_destroy(self.raw) }
    }
}

struct GroupObject {
    raw: *mut sys::rd_kafka_consumer_group_metadata_t,
}

impl GroupObject {
    fn new(group: &GroupIdentity) -> Result<Self, Error> {
        let string = |text: &str| {
            CString::new(text).map_err(|_| Error::new(-186, format!("{text:?} contains a NUL")))
        };
        let (name, member) = (string(&group.group)?, string(&group.member)?);
        let instance = group.instance.as_deref().map(string).transpose()?;
        // SAFETY: the strings are alive and copied; a null instance id means none.
        let raw = unsafe {
            sys::rd_kafka_consumer_group_metadata_new_with_genid(
                name.as_ptr(),
                group.generation,
                member.as_ptr(),
                instance.as_ref().map_or(std::ptr::null(), |i| i.as_ptr()),
            )
        };
        Ok(Self { raw })
    }
}

impl Drop for GroupObject {
    fn drop(&mut self) {
        // SAFETY: owned, and destroyed once.
        unsafe { sys::rd_kafka_consumer_group_metadata_destroy(self.raw) }
    }
}

/// A pointer for librdkafka, which tells null from empty by the pointer.
pub(super) fn value_pointer(value: Option<&[u8]>) -> *mut c_void {
    value.map_or(std::ptr::null_mut(), |v| v.as_ptr().cast_mut().cast())
}

fn memory(value: Option<&[u8]>) -> sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
    sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
        ptr: value_pointer(value),
        size: value.map_or(0, <[u8]>::len),
    }
}

fn argument(
    vtype: sys::rd_kafka_vtype_t,
    u: sys::rd_kafka_vu_s__bindgen_ty_1,
) -> sys::rd_kafka_vu_t {
    sys::rd_kafka_vu_t { vtype, u }
}

fn header_name(header: &Header) -> Result<CString, Error> {
    CString::new(&*header.name)
        .map_err(|_| Error::new(-186, format!("header {:?} contains a NUL", header.name)))
}

fn report_of(message: &sys::rd_kafka_message_t) -> Report {
    // SAFETY: reads the enum's memory as the number it is, valid for any code.
    let error = unsafe { (&raw const message.err).cast::<i32>().read() };
    Report {
        topic: message.rkt.addr(),
        partition: message.partition,
        offset: message.offset,
        error,
        tag: message._private.addr() as u64,
    }
}

fn millis(timeout: Duration) -> c_int {
    c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX)
}
