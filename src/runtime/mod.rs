//! Executes topologies: tasks, epochs, ownership, restore.

pub mod log;
mod settings;
mod status;
mod stop;
pub mod topics;

pub use log::{
    Blocker, BlockerReport, CommittedOffset, Delivery, Event, FatalCause, GroupMetadata, Isolation,
    Lane, Log, Member, Now, OffsetCommit, OffsetsUnavailable, PartitionBounds, ReadFailure,
    RefusedRecord, Request, RequestId, RestoreEvent, RestoreLog, RestoreRequest,
    TransactionFailure, TransactionState,
};
pub use settings::{EpochSettings, Guarantee, StateSettings};
pub use status::{Counters, EpochSample, StatusBoard, TaskPhase, TaskStatus, ThreadStatus};
pub use stop::StopSignal;
pub use topics::{TopicAdmin, TopicInfo, TopicSpec, TopicsError};
