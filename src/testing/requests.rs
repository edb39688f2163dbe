//! What clients ask of the brokers, and what they are answered.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use crate::{
    record::{Offset, TopicName, TopicPartition},
    runtime::{Event, GroupMetadata, OffsetCommit, RequestId, RestoreEvent},
    testing::{
        assignor::Claim, batch::SimBatch, client::ClientId, codes::ErrorCode,
        faults::CoordinatorRequest, partition::RecordData, settings::ClientSettings,
        transactions::ProducerEpoch,
    },
};

/// What is answered by one event, however it ends.
#[derive(Debug, Clone, Hash)]
pub(super) enum Question {
    CommittedOffsets {
        id: RequestId,
        partitions: Vec<TopicPartition>,
        /// Whether undecided ones are no answer (KIP-447).
        stable: bool,
    },
    CommitOffsets {
        id: RequestId,
        proof: MemberProof,
        offsets: Vec<OffsetCommit>,
    },
    Bounds {
        id: RequestId,
        partitions: Vec<TopicPartition>,
    },
    FindBlockers {
        id: RequestId,
        partition: TopicPartition,
    },
    Describe {
        id: RequestId,
        topics: Vec<TopicName>,
    },
    Fence {
        id: RequestId,
        transactional_id: Rc<str>,
        expected: ProducerEpoch,
        aborting: bool,
    },
    /// DescribeGroups.
    DescribeGroup {
        id: RequestId,
    },
    /// DescribeGroups, for the one that holds the asker's instance id.
    Namesake {
        id: RequestId,
        asker: ClientId,
        instance_id: Option<String>,
    },
}

/// A request as the broker gets it.
#[derive(Debug, Clone, Hash)]
pub(super) enum BrokerRequest {
    Init {
        id: Rc<str>,
        timeout: Duration,
    },
    Produce {
        id: Rc<str>,
        producer: ProducerEpoch,
        partition: TopicPartition,
        records: Vec<Rc<RecordData>>,
        /// Whether the client has the partition's AddPartitionsToTxn behind it.
        registered: bool,
    },
    CommitOffsets {
        id: Rc<str>,
        producer: ProducerEpoch,
        proof: MemberProof,
        offsets: Vec<OffsetCommit>,
    },
    End {
        id: Rc<str>,
        producer: ProducerEpoch,
        commit: bool,
    },
    Join(JoinRequest),
    Heartbeat(MemberProof),
    Leave {
        member_id: String,
        instance_id: Option<String>,
    },
    DeleteRecords {
        partition: TopicPartition,
        before: Offset,
    },
    Question(Question),
    RestoreBounds {
        partition: TopicPartition,
    },
}

impl BrokerRequest {
    /// Which of a coordinator's requests that is, if it is one that may be late.
    pub(super) fn to_coordinator(&self) -> Option<CoordinatorRequest> {
        Some(match self {
            Self::Init { .. } => CoordinatorRequest::InitProducer,
            Self::CommitOffsets { .. } => CoordinatorRequest::SendOffsets,
            Self::End { .. } => CoordinatorRequest::EndTransaction,
            Self::Question(Question::CommittedOffsets { .. }) => CoordinatorRequest::FetchOffsets,
            Self::Join(_) => CoordinatorRequest::Join,
            Self::Heartbeat(_) => CoordinatorRequest::Heartbeat,
            Self::Leave { .. } => CoordinatorRequest::Leave,
            _ => return None,
        })
    }

    /// In a few words, for the trace.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Init { id, .. } => format!("InitProducerId of {id}"),
            Self::CommitOffsets { id, producer, proof, .. } => format!(
                "TxnOffsetCommit of {id} (producer epoch {}, generation {})",
                producer.epoch, proof.generation
            ),
            Self::End { id, producer, commit } => {
                let word = if *commit { "commit" } else { "abort" };
                format!("EndTxn({word}) of {id} (producer epoch {})", producer.epoch)
            }
            Self::Question(Question::CommittedOffsets { id, .. }) => {
                format!("OffsetFetch (question {id})")
            }
            Self::Join(join) => format!("JoinGroup of {:?}", join.member_id),
            Self::Heartbeat(proof) => format!("Heartbeat of {:?}", proof.member_id),
            Self::Leave { member_id, .. } => format!("LeaveGroup of {member_id:?}"),
            _ => "another request".to_owned(),
        }
    }
}

/// Why a batch of records was not taken.
#[derive(Debug, Clone, Hash)]
pub(super) struct ProduceRefusal {
    pub(super) code: ErrorCode,
    /// The records in the batch that are the cause; empty where none is.
    pub(super) culprits: Vec<usize>,
}

/// What the broker answers.
#[derive(Debug, Hash)]
pub(super) enum Answer {
    /// `CONCURRENT_TRANSACTIONS`: send this again.
    Retry(BrokerRequest),
    Producer(Result<ProducerEpoch, ErrorCode>),
    Produced(Result<Offset, ProduceRefusal>),
    OffsetsAdded(Result<(), ErrorCode>),
    Ended(Result<(), ErrorCode>),
    Joined(Result<JoinAnswer, ErrorCode>),
    Heartbeat(Result<(), ErrorCode>),
    Left,
    Event(Event<SimBatch>),
    Restore(RestoreEvent<SimBatch>),
}

/// JoinGroup.
#[derive(Debug, Clone, Hash)]
pub(super) struct JoinRequest {
    /// Names the client's question: comes back with the answer, however late.
    pub(super) token: u64,
    pub(super) member_id: String,
    pub(super) instance_id: Option<String>,
    pub(super) claim: Claim,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
}

/// Who speaks, in heartbeats and offset commits.
#[derive(Debug, Clone, Hash)]
pub(super) struct MemberProof {
    pub(super) generation: i32,
    pub(super) member_id: String,
    pub(super) instance_id: Option<String>,
}

impl MemberProof {
    /// What a client sends along with offsets.
    pub(super) fn new(group: &GroupMetadata, settings: &ClientSettings) -> Self {
        Self {
            generation: group.generation(),
            member_id: group.member_id().to_owned(),
            // A mutant has no membership at all.
            instance_id: settings.group_instance_id().filter(|_| group.generation() >= 0),
        }
    }
}

/// The answer to JoinGroup and SyncGroup.
#[derive(Debug, Clone, Hash)]
pub(super) struct JoinAnswer {
    pub(super) generation: i32,
    pub(super) member_id: String,
    pub(super) assigned: BTreeSet<TopicPartition>,
}
