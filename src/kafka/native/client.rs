//! A librdkafka instance, and what its callbacks leave behind for its owner.

use std::{
    ffi::{c_char, c_int, c_void},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rdkafka_sys as sys;

use super::{
    config::Config,
    error::{Error, code, code_name, text},
    partition_list,
};
use crate::record::TopicPartition;

/// What a rebalance asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) enum RebalanceKind {
    /// New partitions.
    Assign,
    /// Partitions are wanted back.
    Revoke,
    /// Partitions are gone.
    Lost,
}

/// A rebalance that librdkafka waits for an answer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka) struct Rebalance {
    pub(in crate::kafka) kind: RebalanceKind,
    pub(in crate::kafka) partitions: Vec<TopicPartition>,
}

/// Client-wide errors since the last look: code and words.
pub(in crate::kafka) type ClientErrors = Vec<(i32, String)>;

/// What callbacks record. Lives exactly as long as its client.
#[derive(Default)]
struct Recorded {
    /// A request timed out or a connection broke since this was last cleared.
    disturbed: AtomicBool,
    rebalances: Mutex<Vec<Rebalance>>,
    errors: Mutex<ClientErrors>,
}

/// One librdkafka instance.
pub(super) struct Client {
    raw: *mut sys::rd_kafka_t,
    recorded: Arc<Recorded>,
    is_consumer: bool,
}

// SAFETY: librdkafka's handle may be used from any thread at the same time; what the callbacks
// write is behind locks and atomics.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// A consumer; its rebalances are recorded, never answered by itself.
    pub(super) fn consumer(mut config: Config) -> Result<Self, Error> {
        // SAFETY: the configuration is alive, and the callback has the type that is asked for.
        unsafe { sys::rd_kafka_conf_set_rebalance_cb(config.raw(), Some(on_rebalance)) }
        Self::new(config, sys::rd_kafka_type_t::RD_KAFKA_CONSUMER)
    }

    /// A producer whose delivery reports and errors come as events of its main queue.
    pub(super) fn producer(mut config: Config) -> Result<Self, Error> {
        // SAFETY: the configuration is alive.
        unsafe {
            sys::rd_kafka_conf_set_events(
                config.raw(),
                sys::RD_KAFKA_EVENT_DR | sys::RD_KAFKA_EVENT_ERROR,
            );
        }
        Self::new(config, sys::rd_kafka_type_t::RD_KAFKA_PRODUCER)
    }

    fn new(mut config: Config, kind: sys::rd_kafka_type_t) -> Result<Self, Error> {
        let recorded = Arc::<Recorded>::default();
        let is_consumer = kind == sys::rd_kafka_type_t::RD_KAFKA_CONSUMER;
        let mut message = [0u8; 512];
        // SAFETY: the opaque pointer is the content of the `Arc`, which does not move and outlives
        // the instance (`Dead` destroys the instance first). On success `rd_kafka_new` owns the
        // configuration; on failure it does not, and it is destroyed here.
        let raw = unsafe {
            sys::rd_kafka_conf_set_opaque(config.raw(), Arc::as_ptr(&recorded).cast_mut().cast());
            sys::rd_kafka_conf_set_error_cb(config.raw(), Some(on_error));
            sys::rd_kafka_conf_set_log_cb(config.raw(), Some(on_log));
            let conf = config.into_raw();
            let raw = sys::rd_kafka_new(kind, conf, message.as_mut_ptr().cast(), message.len());
            if raw.is_null() {
                sys::rd_kafka_conf_destroy(conf);
            }
            raw
        };
        if raw.is_null() {
            let end = message.iter().position(|b| *b == 0).unwrap_or(message.len());
            let reason = String::from_utf8_lossy(&message[..end]).into_owned();
            // SAFETY: takes nothing; tells why the call before on this thread failed.
            let failed = unsafe { sys::rd_kafka_last_error() } as i32;
            return Err(Error::new(failed, reason));
        }
        Ok(Self { raw, recorded, is_consumer })
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_t {
        self.raw
    }

    /// The rebalances recorded since the last call, in order.
    pub(super) fn take_rebalances(&self) -> Vec<Rebalance> {
        std::mem::take(&mut *lock(&self.recorded.rebalances))
    }

    /// The errors recorded since the last call, in order.
    pub(super) fn take_errors(&self) -> ClientErrors {
        std::mem::take(&mut *lock(&self.recorded.errors))
    }

    pub(super) fn record_error(&self, error: i32, reason: String) {
        note(&self.recorded, error, reason);
    }

    /// Whether a request timed out or a connection broke since the flag was last cleared.
    pub(super) fn is_disturbed(&self) -> bool {
        self.recorded.disturbed.load(Ordering::SeqCst)
    }

    pub(super) fn clear_disturbed(&self) {
        self.recorded.disturbed.store(false, Ordering::SeqCst);
    }

    /// The error that made the instance unusable.
    pub(super) fn fatal_error(&self) -> Option<Error> {
        let mut message = [0u8; 512];
        // SAFETY: the handle is alive, the buffer is as long as said.
        let raised = unsafe {
            sys::rd_kafka_fatal_error(self.raw, message.as_mut_ptr().cast(), message.len())
        };
        let raised = raised as i32;
        if raised == code::OK {
            return None;
        }
        let end = message.iter().position(|b| *b == 0).unwrap_or(message.len());
        let reason = String::from_utf8_lossy(&message[..end]).into_owned();
        Some(Error { fatal: true, ..Error::new(raised, reason) })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let dead = Dead { raw: self.raw, _recorded: self.recorded.clone() };
        if !self.is_consumer {
            return dead.destroy(0);
        }
        // A consumer that was not closed goes without a word, so that a static member keeps its
        // partitions. librdkafka may wait for its own threads: not on the caller's.
        let flags = sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE;
        let spawned = std::thread::Builder::new()
            .name("dispose".to_owned())
            .spawn(move || dead.destroy(flags));
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread to dispose of a consumer: it is leaked");
        }
    }
}

/// An instance that nobody uses any more, with what its callbacks write to.
struct Dead {
    raw: *mut sys::rd_kafka_t,
    _recorded: Arc<Recorded>,
}

// SAFETY: as for `Client`.
unsafe impl Send for Dead {}

impl Dead {
    fn destroy(self, flags: i32) {
        // SAFETY: the last owner; queues, topics and messages hold an `Arc` of the client and are
        // gone. No callback runs after this returns, so `_recorded` may go then.
        unsafe {
            if flags == 0 {
                let all = sys::RD_KAFKA_PURGE_F_QUEUE
                    | sys::RD_KAFKA_PURGE_F_INFLIGHT
                    | sys::RD_KAFKA_PURGE_F_NON_BLOCKING;
                sys::rd_kafka_purge(self.raw, all);
            }
            sys::rd_kafka_destroy_flags(self.raw, flags);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Errors that are kept until they are looked at; beyond that only the count would matter.
const ERRORS_MAX: usize = 64;

fn note(recorded: &Recorded, error: i32, reason: String) {
    if matches!(error, code::TRANSPORT | code::TIMED_OUT) {
        recorded.disturbed.store(true, Ordering::SeqCst);
    }
    let mut errors = lock(&recorded.errors);
    if errors.len() < ERRORS_MAX {
        errors.push((error, reason));
    }
}

/// Records a rebalance. Answering it (assign, unassign) is legal later, from outside.
unsafe extern "C" fn on_rebalance(
    client: *mut sys::rd_kafka_t,
    error: sys::rd_kafka_resp_err_t,
    partitions: *mut sys::rd_kafka_topic_partition_list_t,
    opaque: *mut c_void,
) {
    // SAFETY: librdkafka passes its own handle and list, alive during the callback, and the
    // opaque pointer of `Client::new`, which outlives the instance.
    let (recorded, partitions, lost) = unsafe {
        let recorded = &*opaque.cast::<Recorded>();
        let lost = sys::rd_kafka_assignment_lost(client) != 0;
        (recorded, partition_list::copy(partitions), lost)
    };
    let kind = match error as i32 {
        code::ASSIGN_PARTITIONS => RebalanceKind::Assign,
        _ if lost => RebalanceKind::Lost,
        _ => RebalanceKind::Revoke,
    };
    lock(&recorded.rebalances).push(Rebalance { kind, partitions });
}

/// Records a client-wide error.
unsafe extern "C" fn on_error(
    _client: *mut sys::rd_kafka_t,
    error: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: the string is alive during the callback, the opaque pointer as in `on_rebalance`.
    let (recorded, reason) = unsafe { (&*opaque.cast::<Recorded>(), text(reason)) };
    tracing::debug!(target: "tidemill::kafka", code = %code_name(error), %reason, "client error");
    note(recorded, error, reason);
}

/// Passes librdkafka's log on, and watches it for broken connections and late answers.
unsafe extern "C" fn on_log(
    client: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    message: *const c_char,
) {
    // SAFETY: handle and strings are alive during the callback. The opaque pointer was set in the
    // configuration before the instance existed; null-checked all the same.
    let (recorded, name, facility, message) = unsafe {
        let recorded = sys::rd_kafka_opaque(client).cast::<Recorded>().cast_const().as_ref();
        (recorded, text(sys::rd_kafka_name(client)), text(facility), text(message))
    };
    if let Some(recorded) = recorded
        && matches!(facility.as_str(), "FAIL" | "REQTMOUT")
    {
        recorded.disturbed.store(true, Ordering::SeqCst);
    }
    pass_on(level, &name, &facility, &message);
}

/// Passes a line of librdkafka's log on.
pub(super) fn pass_on(level: i32, name: &str, facility: &str, message: &str) {
    match level {
        0..=3 => tracing::error!(target: "librdkafka", %name, %facility, "{message}"),
        4 => tracing::warn!(target: "librdkafka", %name, %facility, "{message}"),
        5..=6 => tracing::info!(target: "librdkafka", %name, %facility, "{message}"),
        _ => tracing::debug!(target: "librdkafka", %name, %facility, "{message}"),
    }
}
