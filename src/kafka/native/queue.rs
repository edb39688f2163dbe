//! A queue of librdkafka, owned.

use std::sync::Arc;

use rdkafka_sys as sys;

use super::{
    client::Client,
    wake::{PAYLOAD, Wake},
};

/// A reference to one of a client's queues.
pub(super) struct Queue {
    raw: *mut sys::rd_kafka_queue_t,
    /// Keeps the descriptor open that the queue writes to.
    wake: Option<Arc<Wake>>,
    /// Keeps the client alive: queues must be gone before it.
    _client: Arc<Client>,
}

// SAFETY: librdkafka's queues are guarded by their own lock, any thread may use them.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// Takes over a queue reference that the client gave out.
    ///
    /// # Safety
    /// `raw` is a reference to a queue of `client` that the caller owns and gives away here.
    pub(super) unsafe fn own(raw: *mut sys::rd_kafka_queue_t, client: &Arc<Client>) -> Self {
        Self { raw, wake: None, _client: client.clone() }
    }

    /// From now on `wake` is notified when the queue, empty or served before, gets an entry.
    pub(super) fn wakes(&mut self, wake: &Arc<Wake>) {
        // SAFETY: the queue is owned; the payload is copied; the descriptor stays open until the
        // notifications are switched off in `drop`.
        unsafe {
            sys::rd_kafka_queue_io_event_enable(
                self.raw,
                wake.raw(),
                PAYLOAD.as_ptr().cast(),
                PAYLOAD.len(),
            );
        }
        self.wake = Some(wake.clone());
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_queue_t {
        self.raw
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the reference is owned and given back once; with -1 librdkafka stops writing to
        // the descriptor, which may be closed afterwards.
        unsafe {
            if self.wake.is_some() {
                sys::rd_kafka_queue_io_event_enable(self.raw, -1, std::ptr::null(), 0);
            }
            sys::rd_kafka_queue_destroy(self.raw);
        }
    }
}
