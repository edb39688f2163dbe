//! What the runtime needs from Kafka: one narrow seam that never blocks.
//!
//! [`Log`] is one stream thread's connection: membership, fetched records, two transactional
//! producers ([`Lane`]). [`RestoreLog`] reads changelogs for restores. Calls *submit*; outcomes
//! come back as [`Event`]s from `poll`. Two adapters implement it: `kafka` (the real one) and
//! `testing`'s in-memory log (virtual clock, faults by seed).
//!
//! Ordering required of implementors: requests for one lane take effect in the order of their
//! submission; `produce` calls before a `Flush` are covered by it; after `Read` or `Release` no
//! record of that partition that was fetched before is delivered.

use std::{fmt, time::Duration};

use crate::{
    record::{Offset, OutputRecord, RecordBatch, Timestamp, TopicName, TopicPartition},
    runtime::TopicInfo,
};

/// The two transactional producers of a stream thread: epochs alternate between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Transactional id `<app>.<instance>.<thread>.a`.
    A,
    /// Transactional id `<app>.<instance>.<thread>.b`.
    B,
}

impl Lane {
    /// Both, for tables and loops.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// 0 or 1.
    pub fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }

    /// The last letter of the lane's transactional id.
    pub fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.letter())
    }
}

/// The time as a step sees it: an argument, never asked for inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Monotonic time since an arbitrary start; for deadlines.
    pub mono: Duration,
    /// Wall-clock time; for processing-time timers and record timestamps.
    pub wall: Timestamp,
}

/// Proof of a live group membership, taken by the thread that owns the partitions.
///
/// A transaction without it is not fenced by the group (EOS-3), so it cannot be built with a
/// negative generation or without a member id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetadata {
    generation: i32,
    member_id: String,
}

impl GroupMetadata {
    /// `None` unless the generation is at least 0 and the member id is not empty.
    pub fn new(generation: i32, member_id: String) -> Option<Self> {
        (generation >= 0 && !member_id.is_empty()).then_some(Self { generation, member_id })
    }

    /// The group's generation (a classic group) or the member's epoch (KIP-848).
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// The member id that the coordinator gave.
    pub fn member_id(&self) -> &str {
        &self.member_id
    }
}

/// An offset to commit: the next record to read, with the engine's metadata string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetCommit {
    /// The input partition.
    pub partition: TopicPartition,
    /// The next record to read.
    pub offset: Offset,
    /// See `runtime::offset_metadata`.
    pub metadata: String,
}

/// A stable committed offset as the group has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The input partition.
    pub partition: TopicPartition,
    /// The committed position; `None` where the group has none.
    pub offset: Option<Offset>,
    /// The metadata string; empty where there is none.
    pub metadata: String,
}

/// Which end of a partition is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// The last stable offset.
    ReadCommitted,
    /// The high watermark.
    ReadUncommitted,
}

/// The offsets between which a partition can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionBounds {
    /// The first offset that still exists.
    pub start: Offset,
    /// The last stable offset: where a read_committed reader stops.
    pub last_stable: Offset,
    /// The high watermark: where a read_uncommitted reader stops.
    pub end: Offset,
}

/// An open transaction that blocks a partition, as the broker describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// The producer id that holds back the partition.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// Its transactional id; `None` where no coordinator knows the producer id.
    pub transactional_id: Option<String>,
    /// What the transaction coordinator says of it.
    pub state: TransactionState,
}

/// A transaction's state as its coordinator describes it (KIP-664's names).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionState {
    /// Open.
    Ongoing,
    /// Decided, markers under way: wait.
    PrepareCommit,
    /// Decided, markers under way: wait.
    PrepareAbort,
    /// Finished; a partition that it still blocks was left without a marker (facts 9.6).
    Complete,
    /// Anything else, or no answer.
    Unknown,
}

/// A current member of the consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// `group.instance.id`, where it has one.
    pub instance_id: Option<String>,
    /// The partitions that the group assigned to it (of subscribed topics only).
    pub partitions: Vec<TopicPartition>,
}

/// Who blocks a partition, and who is in the group: what a fencing decision needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockerReport {
    /// The partition asked about.
    pub partition: TopicPartition,
    /// Open transactions on it, oldest first.
    pub blockers: Vec<Blocker>,
    /// The group's members at about the same time; `None` while the group rebalances.
    pub members: Option<Vec<Member>>,
}

/// Names one outstanding question, so that a late answer to an old one is told apart.
pub type RequestId = u64;

/// What a stream thread asks of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Join the group, subscribed to the lead topics.
    Join {
        /// The lead topics, one per subtopology.
        topics: Vec<TopicName>,
    },
    /// Leave the group for good (also a static member); answered by [`Event::Left`].
    Leave,
    /// Make the group rebalance: a partition has no owner. No answer but the rebalance itself.
    Rejoin,
    /// Ask who is in the group, and what it assigned to whom; answered by
    /// [`Event::GroupDescribed`].
    DescribeGroup {
        /// Names the question.
        id: RequestId,
    },
    /// Take the partitions that [`Event::Assigned`] named, and their co-partitioned ones. They
    /// are paused until [`Request::Read`].
    Accept {
        /// Lead partitions and co-partitioned ones.
        partitions: Vec<TopicPartition>,
    },
    /// Give back the partitions that [`Event::Revoking`] or [`Event::Lost`] named.
    Release {
        /// Lead partitions and co-partitioned ones.
        partitions: Vec<TopicPartition>,
    },
    /// Read an accepted partition from `offset` on (also to rewind).
    Read {
        /// An accepted partition.
        partition: TopicPartition,
        /// The first record wanted.
        offset: Offset,
    },
    /// Stop delivering an accepted partition until the next [`Request::Read`].
    Pause {
        /// An accepted partition.
        partition: TopicPartition,
    },
    /// Ask for the group's stable committed offsets; answered by [`Event::CommittedOffsets`].
    CommittedOffsets {
        /// Names the question.
        id: RequestId,
        /// Input partitions.
        partitions: Vec<TopicPartition>,
    },
    /// Ask for the bounds of partitions; answered by [`Event::Bounds`].
    Bounds {
        /// Names the question.
        id: RequestId,
        /// Any partitions.
        partitions: Vec<TopicPartition>,
    },
    /// Make a new producer on the lane's transactional id, in place of one that may exist, and
    /// run `init_transactions` on it: fences the old one and finishes its transaction. Answered
    /// by [`Event::Opened`].
    Open {
        /// Which producer.
        lane: Lane,
    },
    /// Begin a transaction. Local and immediate; a failure shows in the next outcome.
    Begin {
        /// Which producer.
        lane: Lane,
    },
    /// Send what is queued and wait for every acknowledgement; answered by [`Event::Flushed`].
    Flush {
        /// Which producer.
        lane: Lane,
    },
    /// Add offsets to the transaction; answered by [`Event::OffsetsSent`].
    SendOffsets {
        /// Which producer.
        lane: Lane,
        /// At least one (EOS-3).
        offsets: Vec<OffsetCommit>,
        /// The capability.
        group: GroupMetadata,
    },
    /// Commit offsets beside any transaction (at-least-once only); answered by
    /// [`Event::OffsetsCommitted`].
    CommitOffsets {
        /// Names the question.
        id: RequestId,
        /// At least one.
        offsets: Vec<OffsetCommit>,
        /// The capability.
        group: GroupMetadata,
    },
    /// Commit the transaction; answered by [`Event::Committed`].
    Commit {
        /// Which producer.
        lane: Lane,
    },
    /// Abort the transaction, purging what is queued; answered by [`Event::Aborted`].
    Abort {
        /// Which producer.
        lane: Lane,
    },
    /// Find who blocks a partition; answered by [`Event::Blockers`].
    FindBlockers {
        /// Names the question.
        id: RequestId,
        /// A changelog partition; or partition -1 of `__consumer_offsets`, which stands for the
        /// one that holds the group's offsets.
        partition: TopicPartition,
    },
    /// Describe topics again, to see partition counts, ids and limits change; answered by
    /// [`Event::Described`].
    Describe {
        /// Names the question.
        id: RequestId,
        /// Topics.
        topics: Vec<TopicName>,
    },
    /// Delete the consumed records of a repartition partition below `before`. No answer: it is
    /// repeated anyway.
    Purge {
        /// A repartition partition.
        partition: TopicPartition,
        /// The first record to keep.
        before: Offset,
    },
    /// Fence exactly this producer; answered by [`Event::Fenced`].
    Fence {
        /// Names the question.
        id: RequestId,
        /// Its transactional id.
        transactional_id: String,
        /// The producer id that is expected to hold it.
        producer_id: i64,
        /// The epoch that is expected.
        producer_epoch: i16,
    },
}

/// Why a transaction call failed, by what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionFailure {
    /// The transaction must be aborted; the producer can go on afterwards.
    Abortable(String),
    /// Another producer has taken the transactional id, or the transaction timed out: this
    /// producer is dead, the outcome of a commit is unknown.
    Fenced(String),
    /// Anything else: the outcome is unknown (EOS-4), the producer must be replaced.
    Unknown(String),
}

impl TransactionFailure {
    /// The broker's or the client's words, error code first.
    pub fn reason(&self) -> &str {
        match self {
            Self::Abortable(reason) | Self::Fenced(reason) | Self::Unknown(reason) => reason,
        }
    }
}

impl fmt::Display for TransactionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abortable(reason) => write!(f, "abortable: {reason}"),
            Self::Fenced(reason) => write!(f, "fenced: {reason}"),
            Self::Unknown(reason) => write!(f, "unknown outcome: {reason}"),
        }
    }
}

/// What was acknowledged since the transaction began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The highest acknowledged offset per partition written.
    pub last_offsets: Vec<(TopicPartition, Offset)>,
    /// Records that were refused, at most a handful (the first ones).
    pub refused: Vec<RefusedRecord>,
}

/// A record that the broker did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRecord {
    /// The tag given to [`Log::produce`].
    pub tag: u64,
    /// Where it was to go.
    pub partition: TopicPartition,
    /// Whether the record itself is the cause (size, timestamp, validation), not the broker.
    pub caused_by_record: bool,
    /// The broker's words.
    pub reason: String,
}

/// Why a question about offsets has no answer now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OffsetsUnavailable {
    /// A transaction on one of the partitions is undecided (KIP-447's barrier).
    Unstable,
    /// Any other reason that passes.
    Retriable(String),
}

/// What the log tells a stream thread.
#[derive(Debug)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadFailure {
    /// The position does not exist any more (or not yet): never skipped silently.
    OutOfRange,
    /// The topic or the partition is gone.
    UnknownPartition,
    /// Anything else; the log goes on trying.
    Other(String),
}

/// Why a connection is unusable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FatalCause {
    /// Another process has joined with this `group.instance.id`.
    FencedInstanceId(String),
    /// The broker refuses this client.
    Unauthorized(String),
    /// Anything else.
    Other(String),
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

    /// The current membership; `None` while there is none that may commit (EOS-3).
    fn group(&self) -> Option<GroupMetadata>;
}

/// What a restore asks of its reader.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug)]
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
}
