//! What a stream thread shows of itself: plain numbers, published for `ops` and for tests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{record::TopicPartition, runtime::memory::MemoryUse};

/// The lifecycle of a task.
///
/// ```text
/// Created ─▶ Restoring ─▶ Starting ─▶ Running ─▶ Closed
///               │            │           │
///               └────────────┴───────────┴──▶ Stopped (with a reason)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TaskPhase {
    /// Assigned; committed offsets are being asked for.
    #[default]
    Created,
    /// The changelog is being read.
    Restoring,
    /// Its start position is being committed (EOS-8).
    Starting,
    /// Processing.
    Running,
}

impl TaskPhase {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Created, Self::Restoring, Self::Starting, Self::Running];

    /// The word in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Restoring => "restoring",
            Self::Starting => "starting",
            Self::Running => "running",
        }
    }
}

/// One task.
#[derive(Debug, Clone, Default)]
pub struct TaskStatus {
    /// `<subtopology>_<partition>`.
    pub name: String,
    /// Where it is in its life.
    pub phase: TaskPhase,
    /// Records between position and the end of its inputs, as far as known.
    pub lag: i64,
    /// Changelog records still to be restored, as far as known.
    pub restore_remaining: i64,
    /// Bytes in the committed layer and the byte store.
    pub state_bytes: u64,
    /// Bytes of typed resident entries.
    pub resident_bytes: u64,
    /// Why it does not advance, where it does not.
    pub blocked: Option<String>,
}

/// Counters since the thread started; they only grow.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Input records processed (again counted when replayed).
    pub records_in: u64,
    /// Output records emitted to user topics and repartition topics.
    pub records_out: u64,
    /// Changelog records written, markers included.
    pub changelog_records: u64,
    /// Elements dropped under the policy `skip`, by operator.
    pub skipped: BTreeMap<String, u64>,
    /// Epochs committed.
    pub epochs_committed: u64,
    /// Epochs aborted.
    pub epochs_aborted: u64,
    /// Commits whose outcome was unknown and had to be resolved.
    pub epochs_resolved: u64,
    /// Times that the broker refused this thread as a zombie (any of its forms).
    pub fenced: u64,
    /// Producers of dead owners that this thread fenced.
    pub takeovers: u64,
    /// Assignments and revocations.
    pub rebalances: u64,
    /// Partitions lost without having been revoked.
    pub partitions_lost: u64,
    /// Memberships lost: whatever was owned, at once and without being asked.
    pub memberships_lost: u64,
    /// Times that the thread joined anew with a fresh client, after its instance id was fenced.
    pub memberships_renewed: u64,
    /// Rebalances that this thread asked for, since a partition had no owner.
    pub rebalances_forced: u64,
    /// Times that a task had made no progress for a minute although it should have.
    pub stalls: u64,
    /// Changelog records read by restores.
    pub restored_records: u64,
    /// Spills of committed layers to the byte store.
    pub spills: u64,
    /// Steps in which records waited for memory (MEM-1).
    pub memory_waits: u64,
    /// Timers fired.
    pub timers_fired: u64,
}

/// How long one epoch spent where, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct EpochSample {
    /// Processing.
    pub run: f64,
    /// Sealing.
    pub seal: f64,
    /// Waiting for acknowledgements.
    pub flush: f64,
    /// Offsets into the transaction.
    pub offsets: f64,
    /// Ending the transaction.
    pub commit: f64,
    /// Moving the overlay.
    pub apply: f64,
}

/// What one stream thread shows.
#[derive(Debug, Clone, Default)]
pub struct ThreadStatus {
    /// Whether it has joined the group, with an assignment (also an empty one).
    pub joined: bool,
    /// The epoch's phase in one word.
    pub epoch_phase: &'static str,
    /// The running epoch's number.
    pub epoch: u64,
    /// The pause before it joined, or joins, again after its last lost membership.
    pub rejoin_pause: Duration,
    /// Its tasks.
    pub tasks: Vec<TaskStatus>,
    /// Its counters.
    pub counters: Counters,
    /// What it holds in memory.
    pub memory: MemoryUse,
    /// Epoch durations since they were last taken; at most 4,096 are kept.
    pub epochs: Vec<EpochSample>,
    /// Input positions, for tests and `/status`.
    pub positions: Vec<(TopicPartition, i64)>,
    /// Why the thread has ended, where it has.
    pub ended: Option<String>,
}

/// Where a thread publishes and `ops` reads.
#[derive(Debug, Clone, Default)]
pub struct StatusBoard {
    threads: Arc<Mutex<BTreeMap<usize, ThreadStatus>>>,
}

impl StatusBoard {
    /// Changes what thread number `thread` shows.
    pub fn update(&self, thread: usize, change: impl FnOnce(&mut ThreadStatus)) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        change(threads.entry(thread).or_default());
    }

    /// A copy of what all threads show; takes the epoch samples away.
    pub fn take(&self) -> BTreeMap<usize, ThreadStatus> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = threads.clone();
        for status in threads.values_mut() {
            status.epochs.clear();
        }
        copy
    }

    /// A copy of what all threads show.
    pub fn view(&self) -> BTreeMap<usize, ThreadStatus> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
