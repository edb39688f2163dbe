//! The trait itself: one stream thread's connection, which never blocks.

use std::time::Duration;

use crate::{
    record::{OutputRecord, RecordBatch, Timestamp},
    runtime::{Event, GroupMetadata, Lane, Request, memory::QueuedRecords},
};

/// The time as a step sees it: an argument, never asked for inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Monotonic time since an arbitrary start; for deadlines.
    pub mono: Duration,
    /// Wall-clock time; for processing-time timers and record timestamps.
    pub wall: Timestamp,
}

/// The client's queue is full: let `poll` work, then try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

/// One stream thread's connection to Kafka. See the module's head for the ordering required.
pub trait Log {
    /// Fetched records.
    type Batch: RecordBatch;

    /// Submit a request. Never blocks; the outcome comes as an [`Event`].
    fn submit(&mut self, request: Request);

    /// Queue a record on the lane's open transaction. `tag` comes back in [`RefusedRecord`].
    fn produce(&mut self, lane: Lane, record: &OutputRecord<'_>, tag: u64)
    -> Result<(), QueueFull>;

    /// The next event, waiting for it until `deadline` (monotonic) at the latest; `None` at the
    /// deadline. `want_records` is false while the thread cannot take more input: membership and
    /// outcomes are still served.
    fn poll(&mut self, deadline: Duration, want_records: bool) -> Option<Event<Self::Batch>>;

    /// Records that wait in the client's queues; none where nobody counts them.
    fn queued(&self) -> QueuedRecords {
        QueuedRecords::default()
    }

    /// The current membership; `None` while there is none that may commit (EOS-3).
    fn group(&self) -> Option<GroupMetadata>;
}
