//! What a stream thread asks of its log.

use crate::{
    record::{Offset, TopicName, TopicPartition},
    runtime::{GroupMetadata, Lane, OffsetCommit},
};

/// Names one outstanding question, so that a late answer to an old one is told apart.
pub type RequestId = u64;

/// What a stream thread asks of the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// Join anew, with a fresh client, in place of a membership that came to its end with
    /// [`FatalCause::FencedInstanceId`](crate::runtime::FatalCause). Nothing of the old one is delivered any more; what it
    /// had is lost, and released before this is asked.
    Renew,
    /// Ask which member of the group holds this thread's instance id; answered by
    /// [`Event::Namesake`].
    FindNamesake {
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
