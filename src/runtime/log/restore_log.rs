//! A reader of changelogs, apart from the group.

use std::time::Duration;

use crate::{
    record::{Offset, RecordBatch, TopicPartition},
    runtime::{PartitionBounds, ReadFailure},
};

/// What a restore asks of its reader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RestoreRequest {
    /// Ask for the changelog's bounds; answered by [`RestoreEvent::Bounds`].
    Bounds {
        /// A changelog partition.
        partition: TopicPartition,
    },
    /// Read a changelog partition, read_committed, from `offset` on.
    Read {
        /// A changelog partition.
        partition: TopicPartition,
        /// The first record wanted.
        offset: Offset,
    },
    /// Stop reading it; nothing of it is delivered afterwards.
    Stop {
        /// A changelog partition.
        partition: TopicPartition,
    },
}

/// What a restore is told.
#[derive(Debug, Hash)]
pub enum RestoreEvent<B> {
    /// Answer to [`RestoreRequest::Bounds`].
    Bounds {
        /// The changelog partition.
        partition: TopicPartition,
        /// Its bounds, or why they are not to be had now.
        result: Result<PartitionBounds, String>,
    },
    /// Committed changelog records.
    Records(B),
    /// Everything below `position` that is committed has been delivered (the reader stands at
    /// the last stable offset). May repeat.
    CaughtUp {
        /// The changelog partition.
        partition: TopicPartition,
        /// The next offset that would be read; may lie behind control records.
        position: Offset,
    },
    /// The partition cannot be read from where it should be.
    Failed {
        /// The changelog partition.
        partition: TopicPartition,
        /// Why.
        cause: ReadFailure,
    },
}

/// A reader of changelogs, apart from the group. Reads read_committed.
pub trait RestoreLog {
    /// Fetched records.
    type Batch: RecordBatch;

    /// Submit a request. Never blocks.
    fn submit(&mut self, request: RestoreRequest);

    /// The next event, waiting for it until `deadline` at the latest.
    fn poll(&mut self, deadline: Duration) -> Option<RestoreEvent<Self::Batch>>;

    /// Records that wait in the client; none where nobody counts them.
    fn queued(&self) -> u64 {
        0
    }
}
