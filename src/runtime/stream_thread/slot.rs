//! What a stream thread keeps: of its tasks, of the epochs in flight, of its open questions.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    record::{Offset, TopicName, TopicPartition},
    runtime::{
        CommittedOffset, EpochSample, OffsetCommit, RequestId,
        output::EpochBuffer,
        plan::TaskId,
        stream_thread::{blocked::BlockedTask, mismatches::Mismatches},
        task::Task,
    },
    state::TaskState,
};

/// A batch whose records are not all processed.
pub(super) struct Pending<B> {
    pub(super) batch: B,
    pub(super) next: usize,
}

/// What the thread keeps of an epoch in flight.
pub(super) struct EpochData {
    pub(super) number: u64,
    pub(super) buffer: EpochBuffer,
    pub(super) tasks: BTreeSet<TaskId>,
    pub(super) records: u64,
    /// Timers fired in RUN.
    pub(super) fired: u64,
    /// Control records written at its end.
    pub(super) control: u64,
    /// Of the records: what changed values have grown by is not known before they are encoded.
    pub(super) input_bytes: u64,
    /// What its tasks have changed, as of the last record.
    pub(super) dirty: u64,
    /// How many of them the counters have.
    pub(super) counted: u64,
    pub(super) sealed: bool,
    pub(super) delivered: Vec<(TopicPartition, Offset)>,
    pub(super) sample: EpochSample,
    pub(super) since: Duration,
}

/// A task from assignment to running.
pub(super) enum Slot {
    /// Stable committed offsets are being asked for.
    Asking { retry_at: Option<Duration>, question: Option<RequestId> },
    /// The changelog is being read.
    Restoring { offsets: Vec<CommittedOffset>, remaining: i64 },
    /// Start positions of inputs without a committed offset are being asked for.
    Bounds { offsets: Vec<CommittedOffset>, state: Option<Box<TaskState>>, question: RequestId },
    /// Open. `starting`: its start position is not committed yet (EOS-8). `recommit_at`: when its
    /// offsets are committed again if nothing happens.
    Open {
        task: Box<Task>,
        starting: bool,
        /// After a failure it takes no part before its last commit is seen in the changelog.
        checking: Option<Check>,
        recommit_at: Duration,
        spilled_at: Duration,
    },
    /// Stopped with a reason; looked at again now and then.
    Stopped { reason: String, retry_at: Duration },
}

/// Whether the marker of a task's last commit has reached its changelog (facts 9.6).
#[derive(Debug)]
pub(super) struct Check {
    pub(super) question: Option<RequestId>,
    pub(super) retry_at: Duration,
}

/// A task's slot with what is known about its being blocked.
pub(super) struct SlotState {
    pub(super) slot: Slot,
    pub(super) blocked: Option<BlockedTask>,
    pub(super) mismatches: Mismatches,
}

/// What an outstanding question was about.
#[derive(Debug, Clone)]
pub(super) enum Question {
    Offsets(TaskId),
    Bounds(TaskId),
    Marker(TaskId),
    Resolve {
        epoch: u64,
    },
    Commit(Vec<OffsetCommit>),
    OutOfRange(TopicPartition),
    Blockers {
        task: TaskId,
        changelog: bool,
    },
    Fence {
        task: TaskId,
        transactional_id: String,
    },
    Describe(Vec<TopicName>),
    Group,
    Namesake,
    /// Where the inputs of these end, which stand still.
    Ends(Vec<TaskId>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    New,
    Running,
    Draining { leave: bool },
    Leaving,
    Ended,
}
