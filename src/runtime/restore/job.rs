//! What a stream thread asks of a restore, and what it hears.

use crate::{
    record::{Offset, TopicPartition},
    runtime::plan::TaskId,
    state::{ByteStore, EpochId, EpochMarker, SharedMemory, StateError},
};

/// What is to be restored.
#[derive(Debug, Clone)]
pub struct RestoreJob {
    /// The task.
    pub task: TaskId,
    /// `<subtopology>_<partition>`.
    pub name: String,
    /// Its changelog partition.
    pub changelog: TopicPartition,
    /// The changelog topic's id.
    pub topic_id: String,
    /// The changelog's `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// The epoch that the committed offsets name: its marker must be seen.
    pub expected: Option<EpochId>,
}

/// How a restore ended, or where it stands.
pub enum RestoreOutcome {
    /// The state is whole and stands at the expected epoch.
    Done {
        /// The task.
        task: TaskId,
        /// Its store.
        store: Box<dyn ByteStore>,
        /// The last marker; `None` for an empty changelog.
        marker: Option<EpochMarker>,
        /// The changelog's position behind what was read.
        changelog_next: Offset,
        /// Changelog records read.
        records: u64,
        /// Bytes of their keys and values.
        bytes: u64,
    },
    /// It cannot be restored.
    Failed {
        /// The task.
        task: TaskId,
        /// Why.
        error: RestoreError,
    },
    /// How much is left.
    Progress {
        /// The task.
        task: TaskId,
        /// Offsets still to be read, roughly.
        remaining: i64,
        /// Whether an open transaction holds it back: the last stable offset is below the target.
        blocked: bool,
    },
}

/// Why a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The state store.
    #[error(transparent)]
    State(#[from] StateError),
    /// The changelog does not end with the epoch that the committed offsets name (EOS-5).
    #[error(
        "task {task}: the committed offsets name epoch {expected}, the changelog {changelog} \
         ends with {found}: offsets or changelog were changed by somebody else; `tidemill reset` \
         starts over"
    )]
    EpochMismatch {
        /// The task.
        task: String,
        /// The changelog partition.
        changelog: String,
        /// The epoch that was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// The changelog cannot be read.
    #[error("task {task}: changelog {changelog} cannot be read: {reason}")]
    Unreadable {
        /// The task.
        task: String,
        /// The changelog partition.
        changelog: String,
        /// Why.
        reason: String,
    },
}

/// What the restores of a thread hold, in bytes, roughly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RestoreMemory {
    /// Changes that are read and not written.
    pub changes: u64,
    /// Of the changes, what is beyond the share of restores.
    pub borrowed: u64,
    /// Records in the client.
    pub queue: u64,
    /// What their stores share with all others of the process.
    pub byte_store: SharedMemory,
}

/// Where a stream thread sends its restores, and hears of them.
pub trait RestoreService {
    /// Starts a restore.
    fn submit(&mut self, job: RestoreJob);

    /// Gives a restore up; nothing of it is heard any more, and its store is closed soon.
    fn cancel(&mut self, task: TaskId);

    /// The next outcome.
    fn poll(&mut self) -> Option<RestoreOutcome>;

    /// Lets restores hold so many bytes beyond their share, until this is called again: a thread
    /// without tasks needs little. What is taken back is written down soon, see
    /// [`RestoreMemory::borrowed`].
    fn lend(&mut self, _bytes: u64) {}

    /// What restores hold; nothing where the service does not know.
    fn memory(&self) -> RestoreMemory {
        RestoreMemory::default()
    }
}

impl RestoreOutcome {
    /// Which task it is about.
    pub fn task(&self) -> TaskId {
        match self {
            Self::Done { task, .. } | Self::Failed { task, .. } | Self::Progress { task, .. } => {
                *task
            }
        }
    }
}
