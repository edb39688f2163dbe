//! One question to a cluster through a client's handle, and its answer: the mechanism.
//!
//! Any thread may ask, several at the same time; each call has a queue of its own and blocks until
//! the answer or the time-out.

use std::{ffi::c_int, marker::PhantomData, time::Duration};

use rdkafka_sys as sys;

use super::{
    client::Client,
    error::{Error, code, code_text, text},
};

/// A client's handle for the time of a borrow: what questions are asked through.
#[derive(Clone, Copy)]
pub(in crate::kafka) struct Handle<'a> {
    raw: *mut sys::rd_kafka_t,
    _client: PhantomData<&'a ()>,
}

impl<'a> Handle<'a> {
    pub(super) fn of(client: &'a Client) -> Self {
        Self { raw: client.raw(), _client: PhantomData }
    }

    /// The handle of a client of the safe crate.
    pub(in crate::kafka) fn of_safe<C: rdkafka::ClientContext>(
        client: &'a rdkafka::client::Client<C>,
    ) -> Self {
        // The pointer is valid as long as the client, which outlives the borrow.
        Self { raw: client.native_ptr(), _client: PhantomData }
    }

    pub(super) fn raw(self) -> *mut sys::rd_kafka_t {
        self.raw
    }
}

/// The options of one request.
pub(super) struct Options {
    raw: *mut sys::rd_kafka_AdminOptions_t,
}

impl Options {
    fn new(handle: Handle<'_>, api: sys::rd_kafka_admin_op_t) -> Self {
        // SAFETY: the handle is alive; aborts rather than returning null.
        Self { raw: unsafe { sys::rd_kafka_AdminOptions_new(handle.raw(), api) } }
    }

    fn within(&mut self, timeout: Duration) -> Result<(), Error> {
        let timeout = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        let mut message = [0u8; 256];
        // SAFETY: the options are owned and alive; the buffer is as long as said.
        let response = unsafe {
            sys::rd_kafka_AdminOptions_set_request_timeout(
                self.raw,
                timeout,
                message.as_mut_ptr().cast(),
                message.len(),
            )
        };
        Error::check(response)
    }

    /// Asks for committed offsets that no open transaction can change (KIP-447).
    pub(super) fn require_stable(&mut self) -> Result<(), Error> {
        // SAFETY: the options are owned and alive; the error is taken over.
        unsafe { Error::take(sys::rd_kafka_AdminOptions_set_require_stable_offsets(self.raw, 1)) }
    }

    /// Which end of a partition is meant.
    pub(super) fn isolation(&mut self, level: sys::rd_kafka_IsolationLevel_t) -> Result<(), Error> {
        // SAFETY: the options are owned and alive; the error is taken over.
        unsafe { Error::take(sys::rd_kafka_AdminOptions_set_isolation_level(self.raw, level)) }
    }

    pub(super) fn raw(&self) -> *const sys::rd_kafka_AdminOptions_t {
        self.raw
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: owned and destroyed once; a request copies its options.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.raw) }
    }
}

/// A queue for one answer.
pub(super) struct AnswerQueue {
    raw: *mut sys::rd_kafka_queue_t,
}

impl AnswerQueue {
    pub(super) fn raw(&self) -> *mut sys::rd_kafka_queue_t {
        self.raw
    }
}

impl Drop for AnswerQueue {
    fn drop(&mut self) {
        // SAFETY: owned and destroyed once; an answer that comes later finds the queue closed and
        // is freed by librdkafka.
        unsafe { sys::rd_kafka_queue_destroy(self.raw) }
    }
}

/// An answer; what is read from it lives as long as it does.
pub(super) struct Answer {
    raw: *mut sys::rd_kafka_event_t,
}

impl Answer {
    /// Takes over a non-null event that a queue gave out.
    pub(super) fn own(raw: *mut sys::rd_kafka_event_t) -> Self {
        Self { raw }
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_event_t {
        self.raw
    }

    /// The error of the whole; `Ok` for none.
    pub(super) fn error(&self) -> Result<(), Error> {
        // SAFETY: the event is owned and alive; the string belongs to it and is copied.
        let (error, reason) = unsafe {
            (event_error_raw(self.raw), text(sys::rd_kafka_event_error_string(self.raw)))
        };
        if error == code::OK {
            return Ok(());
        }
        Err(Error::new(error, if reason.is_empty() { code_text(error) } else { reason }))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: owned and destroyed once.
        unsafe { sys::rd_kafka_event_destroy(self.raw) }
    }
}

/// Asks and waits. `submit` makes the request with the options, to be answered on the queue.
///
/// Fails with librdkafka's code for the request as a whole, and with `_TIMED_OUT`.
pub(super) fn ask(
    handle: Handle<'_>,
    api: sys::rd_kafka_admin_op_t,
    timeout: Duration,
    submit: impl FnOnce(&mut Options, &AnswerQueue) -> Result<(), Error>,
) -> Result<Answer, Error> {
    /// librdkafka answers by itself at the time-out: this is for the way back.
    const MARGIN: Duration = Duration::from_secs(1);
    let mut options = Options::new(handle, api);
    options.within(timeout)?;
    // SAFETY: the handle is alive; the queue is owned.
    let queue = AnswerQueue { raw: unsafe { sys::rd_kafka_queue_new(handle.raw()) } };
    submit(&mut options, &queue)?;
    let wait = c_int::try_from((timeout + MARGIN).as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: the queue is owned and alive; the event is owned by the caller from here on.
    let event = unsafe { sys::rd_kafka_queue_poll(queue.raw(), wait) };
    if event.is_null() {
        return Err(Error::new(code::TIMED_OUT, code_text(code::TIMED_OUT)));
    }
    let answer = Answer { raw: event };
    answer.error().map(|()| answer)
}

/// What an answer gives out: an array of pointers to things that it owns.
///
/// # Safety
/// `array` is null or points to `count` pointers that live as long as the caller's slice.
pub(super) unsafe fn results<'a, T>(array: *mut *const T, count: usize) -> &'a [*const T] {
    if array.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: by the contract.
    unsafe { std::slice::from_raw_parts(array, count) }
}

/// The error that is part of an answer; `Ok` for none.
///
/// # Safety
/// `error` is null or an error object that the answer owns.
pub(super) unsafe fn part_error(error: *const sys::rd_kafka_error_t) -> Result<(), Error> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: by the contract; the string is copied.
    let (error, reason) =
        unsafe { (error_code_raw(error), text(sys::rd_kafka_error_string(error.cast_mut()))) };
    if error == code::OK { Ok(()) } else { Err(Error::new(error, reason)) }
}

/// What a client has met beside the answers to its questions.
#[derive(Debug, Default)]
pub(in crate::kafka) struct Met {
    /// Client-wide errors.
    pub(in crate::kafka) errors: Vec<Error>,
    /// Why connections broke, in librdkafka's words.
    pub(in crate::kafka) broken: Vec<String>,
}

/// Takes what has gathered on a safe client's main queue, which its admin client never serves:
/// errors, and logs, which are passed on.
pub(in crate::kafka) fn drain_main_queue(handle: Handle<'_>) -> Met {
    let mut met = Met::default();
    // SAFETY: the handle is alive; the queue reference is owned and given back by `AnswerQueue`.
    let queue = AnswerQueue { raw: unsafe { sys::rd_kafka_queue_get_main(handle.raw()) } };
    loop {
        // SAFETY: the queue is alive; the event is owned from here on.
        let raw = unsafe { sys::rd_kafka_queue_poll(queue.raw(), 0) };
        if raw.is_null() {
            return met;
        }
        let event = Answer { raw };
        // SAFETY: the event is alive.
        match unsafe { sys::rd_kafka_event_type(event.raw) } {
            sys::RD_KAFKA_EVENT_ERROR => met.errors.extend(event.error().err()),
            sys::RD_KAFKA_EVENT_LOG => met.broken.extend(log(&event)),
            _ => {}
        }
    }
}

/// Passes a line on; gives it back where it says that a connection broke.
fn log(event: &Answer) -> Option<String> {
    let (mut facility, mut message, mut level) = (std::ptr::null(), std::ptr::null(), 0);
    // SAFETY: the event is alive and owns the strings, which are copied.
    let (facility, message) = unsafe {
        let (f, m, l) = (&raw mut facility, &raw mut message, &raw mut level);
        if sys::rd_kafka_event_log(event.raw, f, m, l) != 0 {
            return None;
        }
        (text(facility), text(message))
    };
    super::client::pass_on(level, "admin", &facility, &message);
    (facility == "FAIL").then_some(message)
}

unsafe extern "C" {
    // Declared here with plain numbers, as in `error`: a broker's new code must not become an
    // invalid enum value.
    #[link_name = "rd_kafka_event_error"]
    fn event_error_raw(event: *mut sys::rd_kafka_event_t) -> c_int;
    #[link_name = "rd_kafka_error_code"]
    fn error_code_raw(error: *const sys::rd_kafka_error_t) -> c_int;
}
