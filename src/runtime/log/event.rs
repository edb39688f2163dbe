//! What a log tells its stream thread.

use crate::{
    record::{Offset, TopicPartition},
    runtime::{
        BlockerReport, CommittedOffset, Delivery, Lane, Member, Namesake, OffsetsUnavailable,
        RequestId, TopicInfo, TransactionFailure,
    },
};

/// Which end of a partition is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// The last stable offset.
    ReadCommitted,
    /// The high watermark.
    ReadUncommitted,
}

/// The offsets between which a partition can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartitionBounds {
    /// The first offset that still exists.
    pub start: Offset,
    /// The last stable offset: where a read_committed reader stops.
    pub last_stable: Offset,
    /// The high watermark: where a read_uncommitted reader stops.
    pub end: Offset,
}

/// What the log tells a stream thread.
#[derive(Debug, Hash)]
pub enum Event<B> {
    /// Fetched records.
    Records(B),
    /// The group assigned lead partitions: answer with [`Request::Accept`].
    Assigned {
        /// Lead partitions only.
        partitions: Vec<TopicPartition>,
    },
    /// The group wants partitions back: commit, then [`Request::Release`].
    Revoking {
        /// Lead partitions only.
        partitions: Vec<TopicPartition>,
    },
    /// The partitions are already gone: abort, then [`Request::Release`].
    Lost {
        /// Lead partitions only.
        partitions: Vec<TopicPartition>,
    },
    /// The group was left.
    Left,
    /// Answer to [`Request::DescribeGroup`].
    GroupDescribed {
        /// Which question.
        id: RequestId,
        /// Its members; `Ok(None)` while it rebalances.
        result: Result<Option<Vec<Member>>, String>,
    },
    /// Answer to [`Request::FindNamesake`].
    Namesake {
        /// Which question.
        id: RequestId,
        /// Who holds the instance id; `Ok(None)` where nobody does.
        result: Result<Option<Namesake>, String>,
    },
    /// Answer to [`Request::CommittedOffsets`].
    CommittedOffsets {
        /// Which question.
        id: RequestId,
        /// One entry per partition asked for.
        result: Result<Vec<CommittedOffset>, OffsetsUnavailable>,
    },
    /// Answer to [`Request::Bounds`].
    Bounds {
        /// Which question.
        id: RequestId,
        /// One entry per partition asked for.
        result: Result<Vec<(TopicPartition, PartitionBounds)>, OffsetsUnavailable>,
    },
    /// Answer to [`Request::Open`].
    Opened {
        /// Which producer.
        lane: Lane,
        /// Whether it is ready for [`Request::Begin`].
        result: Result<(), TransactionFailure>,
    },
    /// Answer to [`Request::Flush`].
    Flushed {
        /// Which producer.
        lane: Lane,
        /// What was acknowledged; records may have been refused also under `Ok`.
        result: Result<Delivery, TransactionFailure>,
    },
    /// Answer to [`Request::SendOffsets`].
    OffsetsSent {
        /// Which producer.
        lane: Lane,
        /// Whether the group coordinator took them.
        result: Result<(), TransactionFailure>,
    },
    /// Answer to [`Request::Commit`].
    Committed {
        /// Which producer.
        lane: Lane,
        /// Anything but `Ok` is unknown (EOS-4).
        result: Result<(), TransactionFailure>,
    },
    /// Answer to [`Request::Abort`].
    Aborted {
        /// Which producer.
        lane: Lane,
        /// Whether the broker aborted it.
        result: Result<(), TransactionFailure>,
    },
    /// Answer to [`Request::CommitOffsets`].
    OffsetsCommitted {
        /// Which question.
        id: RequestId,
        /// Whether the group coordinator took them.
        result: Result<(), String>,
    },
    /// Answer to [`Request::FindBlockers`].
    Blockers {
        /// Which question.
        id: RequestId,
        /// What the brokers said.
        result: Result<BlockerReport, String>,
    },
    /// Answer to [`Request::Fence`].
    Fenced {
        /// Which question.
        id: RequestId,
        /// Whether the producer is fenced and its transaction decided.
        result: Result<(), String>,
    },
    /// Answer to [`Request::Describe`].
    Described {
        /// Which question.
        id: RequestId,
        /// In the order asked; `None` for a topic that does not exist.
        result: Result<Vec<Option<TopicInfo>>, String>,
    },
    /// A partition cannot be read from where it should be.
    ReadFailed {
        /// The partition.
        partition: TopicPartition,
        /// Why.
        cause: ReadFailure,
    },
    /// The connection is unusable for good.
    Fatal(FatalCause),
}

/// Why a partition cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReadFailure {
    /// The position does not exist any more (or not yet): never skipped silently.
    OutOfRange,
    /// The topic or the partition is gone.
    UnknownPartition,
    /// Anything else; the log goes on trying.
    Other(String),
}

/// Why a connection is unusable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FatalCause {
    /// The group gave this `group.instance.id` to another membership: another process's, or an
    /// older one that a coordinator came back with. [`Request::Renew`] joins anew.
    FencedInstanceId(String),
    /// The broker refuses this client.
    Unauthorized(String),
    /// Anything else.
    Other(String),
}
