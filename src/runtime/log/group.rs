//! What a group knows: the capability to commit, committed offsets, its members, and who blocks a
//! partition.

use crate::record::{Offset, TopicPartition};

/// Proof of a live group membership, taken by the thread that owns the partitions.
///
/// A transaction without it is not fenced by the group (EOS-3), so it cannot be built with a
/// negative generation or without a member id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupMetadata {
    generation: i32,
    member_id: String,
}

impl GroupMetadata {
    /// `None` unless the generation is at least 0 and the member id is not empty.
    pub fn new(generation: i32, member_id: String) -> Option<Self> {
        (generation >= 0 && !member_id.is_empty()).then_some(Self { generation, member_id })
    }

    /// Mutant: what a client without a membership sends, which no group fences.
    #[cfg(feature = "mutants")]
    pub fn missing() -> Self {
        Self { generation: -1, member_id: String::new() }
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OffsetCommit {
    /// The input partition.
    pub partition: TopicPartition,
    /// The next record to read.
    pub offset: Offset,
    /// See `runtime::offset_metadata`.
    pub metadata: String,
}

/// A stable committed offset as the group has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommittedOffset {
    /// The input partition.
    pub partition: TopicPartition,
    /// The committed position; `None` where the group has none.
    pub offset: Option<Offset>,
    /// The metadata string; empty where there is none.
    pub metadata: String,
}

/// Why a question about offsets has no answer now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OffsetsUnavailable {
    /// A transaction on one of the partitions is undecided (KIP-447's barrier).
    Unstable,
    /// Any other reason that passes.
    Retriable(String),
}

/// A current member of the consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    /// `group.instance.id`, where it has one.
    pub instance_id: Option<String>,
    /// The partitions that the group assigned to it (of subscribed topics only).
    pub partitions: Vec<TopicPartition>,
}

/// The member that holds this thread's instance id, as the coordinator has it now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Namesake {
    /// The member id that the coordinator gave it.
    pub member_id: String,
    /// Whose it is.
    pub process: Standing,
}

/// A process, seen from the one that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// The asker itself, under an earlier membership or this one.
    Ours,
    /// One that started before the asker did, as clocks tell.
    Older,
    /// One that started after the asker did.
    Newer,
    /// It does not say when it started.
    Unknown,
}

/// An open transaction that blocks a partition, as the broker describes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Blocker {
    /// The producer id that holds back the partition.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// Where its transaction begins in the partition: together with the producer id, which one.
    pub start: Offset,
    /// Its transactional id; `None` where no coordinator knows the producer id.
    pub transactional_id: Option<String>,
    /// What the transaction coordinator says of it.
    pub state: TransactionState,
}

/// A transaction's state as its coordinator describes it (KIP-664's names).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// Who blocks a partition, and who is in the group: what a fencing decision needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BlockerReport {
    /// The partition asked about.
    pub partition: TopicPartition,
    /// Open transactions on it, oldest first.
    pub blockers: Vec<Blocker>,
    /// The group's members at about the same time; `None` while the group rebalances.
    pub members: Option<Vec<Member>>,
}

impl BlockerReport {
    /// The oldest blocker whose transaction is complete, yet open here: its marker is under way at
    /// best, else missing (facts 9.6). Producer id, and where its transaction begins.
    pub fn without_marker(&self) -> Option<(i64, Offset)> {
        let complete = |b: &&Blocker| b.state == TransactionState::Complete;
        self.blockers.iter().find(complete).map(|b| (b.producer_id, b.start))
    }
}
