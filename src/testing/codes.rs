//! Kafka's error codes, as far as the model answers with them.

use crate::runtime::TransactionFailure;

/// An error code of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ErrorCode {
    ProducerFenced,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    ConcurrentTransactions,
    InvalidTxnState,
    IllegalGeneration,
    UnknownMemberId,
    FencedInstanceId,
    RebalanceInProgress,
    UnknownTopicOrPartition,
    InvalidTimestamp,
    MessageTooLarge,
}

impl ErrorCode {
    /// Kafka's name of it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ProducerFenced => "PRODUCER_FENCED",
            Self::InvalidProducerEpoch => "INVALID_PRODUCER_EPOCH",
            Self::InvalidProducerIdMapping => "INVALID_PRODUCER_ID_MAPPING",
            Self::ConcurrentTransactions => "CONCURRENT_TRANSACTIONS",
            Self::InvalidTxnState => "INVALID_TXN_STATE",
            Self::IllegalGeneration => "ILLEGAL_GENERATION",
            Self::UnknownMemberId => "UNKNOWN_MEMBER_ID",
            Self::FencedInstanceId => "FENCED_INSTANCE_ID",
            Self::RebalanceInProgress => "REBALANCE_IN_PROGRESS",
            Self::UnknownTopicOrPartition => "UNKNOWN_TOPIC_OR_PARTITION",
            Self::InvalidTimestamp => "INVALID_TIMESTAMP",
            Self::MessageTooLarge => "MESSAGE_TOO_LARGE",
        }
    }

    /// What librdkafka makes of it in a transaction call (facts 2.2).
    pub(super) fn transaction_failure(self) -> TransactionFailure {
        let reason = self.name().to_owned();
        match self {
            Self::ProducerFenced | Self::InvalidProducerEpoch => TransactionFailure::Fenced(reason),
            Self::IllegalGeneration | Self::UnknownMemberId | Self::FencedInstanceId => {
                TransactionFailure::Membership(reason)
            }
            Self::InvalidProducerIdMapping => TransactionFailure::ProducerIdLost(reason),
            Self::InvalidTimestamp | Self::MessageTooLarge => {
                TransactionFailure::RecordRefused(reason)
            }
            Self::UnknownTopicOrPartition => TransactionFailure::Abortable(reason),
            Self::ConcurrentTransactions => TransactionFailure::Retriable(reason),
            Self::InvalidTxnState | Self::RebalanceInProgress => {
                TransactionFailure::Unknown(reason)
            }
        }
    }

    /// Whether it blames the producer's epoch.
    pub(super) fn is_fencing(self) -> bool {
        matches!(self, Self::ProducerFenced | Self::InvalidProducerEpoch)
    }

    /// Whether it blames the group metadata.
    pub(super) fn is_membership(self) -> bool {
        matches!(self, Self::IllegalGeneration | Self::UnknownMemberId | Self::FencedInstanceId)
    }
}
