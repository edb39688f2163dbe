//! librdkafka's errors, taken over into owned values.

use std::ffi::CStr;

use rdkafka_sys as sys;

/// Error codes by the names that librdkafka and the protocol give them, as plain numbers: a code
/// that the bindings do not know must not become an invalid enum value.
pub(in crate::kafka) mod code {
    #![allow(missing_docs)]
    pub(in crate::kafka) const OK: i32 = 0;
    pub(in crate::kafka) const OFFSET_OUT_OF_RANGE: i32 = 1;
    pub(in crate::kafka) const INVALID_MSG: i32 = 2;
    pub(in crate::kafka) const UNKNOWN_TOPIC_OR_PART: i32 = 3;
    pub(in crate::kafka) const INVALID_MSG_SIZE: i32 = 4;
    pub(in crate::kafka) const LEADER_NOT_AVAILABLE: i32 = 5;
    pub(in crate::kafka) const NOT_LEADER_FOR_PARTITION: i32 = 6;
    pub(in crate::kafka) const REPLICA_NOT_AVAILABLE: i32 = 9;
    pub(in crate::kafka) const MSG_SIZE_TOO_LARGE: i32 = 10;
    pub(in crate::kafka) const COORDINATOR_NOT_AVAILABLE: i32 = 15;
    pub(in crate::kafka) const NOT_COORDINATOR: i32 = 16;
    pub(in crate::kafka) const RECORD_LIST_TOO_LARGE: i32 = 18;
    pub(in crate::kafka) const ILLEGAL_GENERATION: i32 = 22;
    pub(in crate::kafka) const UNKNOWN_MEMBER_ID: i32 = 25;
    pub(in crate::kafka) const TOPIC_AUTHORIZATION_FAILED: i32 = 29;
    pub(in crate::kafka) const GROUP_AUTHORIZATION_FAILED: i32 = 30;
    pub(in crate::kafka) const CLUSTER_AUTHORIZATION_FAILED: i32 = 31;
    pub(in crate::kafka) const INVALID_TIMESTAMP: i32 = 32;
    pub(in crate::kafka) const UNSUPPORTED_SASL_MECHANISM: i32 = 33;
    pub(in crate::kafka) const ILLEGAL_SASL_STATE: i32 = 34;
    pub(in crate::kafka) const TOPIC_ALREADY_EXISTS: i32 = 36;
    pub(in crate::kafka) const OUT_OF_ORDER_SEQUENCE: i32 = 45;
    pub(in crate::kafka) const INVALID_PRODUCER_EPOCH: i32 = 47;
    pub(in crate::kafka) const INVALID_PRODUCER_ID_MAPPING: i32 = 49;
    pub(in crate::kafka) const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i32 = 53;
    pub(in crate::kafka) const KAFKA_STORAGE_ERROR: i32 = 56;
    pub(in crate::kafka) const SASL_AUTHENTICATION_FAILED: i32 = 58;
    pub(in crate::kafka) const UNKNOWN_PRODUCER_ID: i32 = 59;
    pub(in crate::kafka) const GROUP_ID_NOT_FOUND: i32 = 69;
    pub(in crate::kafka) const FENCED_LEADER_EPOCH: i32 = 74;
    pub(in crate::kafka) const UNKNOWN_LEADER_EPOCH: i32 = 75;
    pub(in crate::kafka) const FENCED_INSTANCE_ID: i32 = 82;
    pub(in crate::kafka) const INVALID_RECORD: i32 = 87;
    pub(in crate::kafka) const UNSTABLE_OFFSET_COMMIT: i32 = 88;
    pub(in crate::kafka) const PRODUCER_FENCED: i32 = 90;
    pub(in crate::kafka) const UNKNOWN_TOPIC_ID: i32 = 100;
    pub(in crate::kafka) const TRANSPORT: i32 = -195;
    pub(in crate::kafka) const PARTITION_EOF: i32 = -191;
    pub(in crate::kafka) const UNKNOWN_PARTITION: i32 = -190;
    pub(in crate::kafka) const UNKNOWN_TOPIC: i32 = -188;
    pub(in crate::kafka) const ALL_BROKERS_DOWN: i32 = -187;
    pub(in crate::kafka) const INVALID_ARGUMENT: i32 = -186;
    pub(in crate::kafka) const TIMED_OUT: i32 = -185;
    pub(in crate::kafka) const QUEUE_FULL: i32 = -184;
    pub(in crate::kafka) const SSL: i32 = -181;
    pub(in crate::kafka) const ASSIGN_PARTITIONS: i32 = -175;
    pub(in crate::kafka) const AUTHENTICATION: i32 = -169;
    pub(in crate::kafka) const NO_LEADERS: i32 = -156;
    pub(in crate::kafka) const GAPLESS_GUARANTEE: i32 = -148;
    pub(in crate::kafka) const FENCED: i32 = -144;
    pub(in crate::kafka) const AUTO_OFFSET_RESET: i32 = -140;
}

/// An error as librdkafka reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka) struct Error {
    /// librdkafka's or the broker's error code.
    pub(in crate::kafka) code: i32,
    /// librdkafka's words.
    pub(in crate::kafka) reason: String,
    /// The same call may be made again.
    pub(in crate::kafka) retriable: bool,
    /// The client instance is dead.
    pub(in crate::kafka) fatal: bool,
    /// The transaction must be aborted.
    pub(in crate::kafka) requires_abort: bool,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", code_name(self.code), self.reason)
    }
}

impl Error {
    /// An error of this layer or of a call that reports a code only.
    pub(in crate::kafka) fn new(code: i32, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { code, reason, retriable: false, fatal: false, requires_abort: false }
    }

    /// The error behind a response code; `Ok` for none.
    pub(super) fn check(response: sys::rd_kafka_resp_err_t) -> Result<(), Self> {
        match response as i32 {
            code::OK => Ok(()),
            other => Err(Self::new(other, code_text(other))),
        }
    }

    /// Takes over what a call returned: null is success.
    ///
    /// # Safety
    /// `error` is null or was returned by librdkafka to the caller, who gives it away here.
    pub(super) unsafe fn take(error: *mut sys::rd_kafka_error_t) -> Result<(), Self> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: a non-null error object stays valid until it is destroyed at the end of this
        // block; the getters only read it, its string is copied before.
        let taken = unsafe {
            let taken = Self {
                code: sys::rd_kafka_error_code(error) as i32,
                reason: text(sys::rd_kafka_error_string(error)),
                retriable: sys::rd_kafka_error_is_retriable(error) != 0,
                fatal: sys::rd_kafka_error_is_fatal(error) != 0,
                requires_abort: sys::rd_kafka_error_txn_requires_abort(error) != 0,
            };
            sys::rd_kafka_error_destroy(error);
            taken
        };
        Err(taken)
    }
}

/// A C string as an owned one; empty for null.
///
/// # Safety
/// `pointer` is null or points to a NUL-terminated string that outlives the call.
pub(super) unsafe fn text(pointer: *const std::ffi::c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: by the contract it is NUL-terminated and alive.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

unsafe extern "C" {
    // Declared here with plain numbers: the bindings take an enum, and a broker's new code must
    // not be transmuted into one.
    #[link_name = "rd_kafka_err2name"]
    fn err2name_raw(code: std::ffi::c_int) -> *const std::ffi::c_char;
    #[link_name = "rd_kafka_err2str"]
    fn err2str_raw(code: std::ffi::c_int) -> *const std::ffi::c_char;
}

/// The code's name as librdkafka and the protocol spell it, for example `ILLEGAL_GENERATION`.
pub(in crate::kafka) fn code_name(code: i32) -> String {
    // SAFETY: takes any number and returns a static string or one in thread-local storage.
    unsafe { text(err2name_raw(code)) }
}

/// The code's meaning in librdkafka's words.
pub(in crate::kafka) fn code_text(code: i32) -> String {
    // SAFETY: as for `code_name`.
    unsafe { text(err2str_raw(code)) }
}
