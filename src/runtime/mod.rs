//! Executes topologies: tasks, epochs, ownership, restore.

pub mod log;
pub mod topics;

pub use log::{
    Blocker, BlockerReport, CommittedOffset, Delivery, Event, FatalCause, GroupMetadata, Isolation,
    Lane, Log, Member, Now, OffsetCommit, OffsetsUnavailable, PartitionBounds, ReadFailure,
    RefusedRecord, Request, RequestId, RestoreEvent, RestoreLog, RestoreRequest,
    TransactionFailure, TransactionState,
};
pub use topics::{TopicAdmin, TopicInfo, TopicSpec, TopicsError};
