//! Executes topologies: tasks, epochs, ownership, restore.

mod application_admin;
pub mod epoch;
pub mod event_time;
pub mod hooks;
pub mod log;
pub mod memory;
pub mod mutants;
pub mod namesake;
pub mod offset_metadata;
pub mod output;
pub mod plan;
mod rejoining;
pub mod restore;
mod settings;
mod stalls;
mod status;
pub mod stream_thread;
pub mod supervisor;
pub mod takeover;
pub mod task;
mod task_run;
pub mod topics;

pub use application_admin::ApplicationAdmin;
pub use log::{
    Blocker, BlockerReport, CommittedOffset, Delivery, Event, FatalCause, GroupMetadata, Isolation,
    Lane, Log, Member, Namesake, Now, OffsetCommit, OffsetsUnavailable, PartitionBounds,
    ReadFailure, RefusedRecord, Request, RequestId, RestoreEvent, RestoreLog, RestoreRequest,
    Standing, TransactionFailure, TransactionState,
};
pub use settings::{EpochSettings, Guarantee, StateSettings, TimeSettings};
pub use status::{Counters, EpochSample, StatusBoard, TaskPhase, TaskStatus, ThreadStatus};
pub use topics::{TopicAdmin, TopicInfo, TopicSpec, TopicsError};
