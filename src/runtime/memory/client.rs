//! What the client's queues may hold.

use crate::runtime::memory::plan::{FETCH, FETCH_MAX, LIMIT_DEFAULT_MAX};

/// Client-side cost of a record beside its bytes: librdkafka's message and operation.
pub(super) const CLIENT_RECORD_OVERHEAD: u64 = 320;

/// Records that wait in the client's queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueuedRecords {
    /// Fetched and not taken.
    pub fetch: u64,
    /// Produced, and not reported as delivered; of all producers.
    pub produce: u64,
}

/// What so many records of a mean size cost in the client, in bytes.
pub fn queued_bytes(records: u64, mean_bytes: u64) -> u64 {
    records * (mean_bytes + CLIENT_RECORD_OVERHEAD)
}

/// How much a queue of the client may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimit {
    /// Bytes of the records.
    pub bytes: u64,
    /// Records, since each costs the client memory beside its bytes.
    pub records: u64,
}

impl QueueLimit {
    /// Half for the records' bytes, half for what they cost beside.
    pub(super) fn of(share: u64) -> Self {
        let half = share / 2;
        Self { bytes: half.max(64 * 1024), records: (half / CLIENT_RECORD_OVERHEAD).max(256) }
    }
}

/// The client's queues, of one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientMemory {
    /// All memory of the process, of which this is a part.
    pub limit: u64,
    /// Fetched records; as much again is with the thread, and in requests on their way.
    pub fetch: QueueLimit,
    /// Records of one of two producers.
    pub produce: QueueLimit,
    /// Changelog records of restores.
    pub restore: QueueLimit,
}

impl Default for ClientMemory {
    /// Of the default limit on a large machine.
    fn default() -> Self {
        let share = LIMIT_DEFAULT_MAX * FETCH / 100;
        Self {
            limit: LIMIT_DEFAULT_MAX,
            fetch: QueueLimit::of(share.min(FETCH_MAX) / 4),
            produce: QueueLimit::of(share / 2),
            restore: QueueLimit::of(share / 4),
        }
    }
}
