//! The requests that faults can be aimed at, by the names that people type.

use std::fmt;

use kafka_protocol::messages::ApiKey;

/// A request of Kafka's protocol, known by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Api(pub i16);

impl Api {
    /// Records.
    pub const PRODUCE: Self = Self(ApiKey::Produce as i16);
    /// Reading records.
    pub const FETCH: Self = Self(ApiKey::Fetch as i16);
    /// Where partitions end.
    pub const LIST_OFFSETS: Self = Self(ApiKey::ListOffsets as i16);
    /// Brokers and topics.
    pub const METADATA: Self = Self(ApiKey::Metadata as i16);
    /// Committed offsets.
    pub const OFFSET_FETCH: Self = Self(ApiKey::OffsetFetch as i16);
    /// Who coordinates a group or a transactional id.
    pub const FIND_COORDINATOR: Self = Self(ApiKey::FindCoordinator as i16);
    /// Into the group.
    pub const JOIN_GROUP: Self = Self(ApiKey::JoinGroup as i16);
    /// Alive.
    pub const HEARTBEAT: Self = Self(ApiKey::Heartbeat as i16);
    /// Out of the group.
    pub const LEAVE_GROUP: Self = Self(ApiKey::LeaveGroup as i16);
    /// The group's assignment.
    pub const SYNC_GROUP: Self = Self(ApiKey::SyncGroup as i16);
    /// What the broker speaks.
    pub const API_VERSIONS: Self = Self(ApiKey::ApiVersions as i16);
    /// A producer's identity, and the fencing of the one before.
    pub const INIT_PRODUCER_ID: Self = Self(ApiKey::InitProducerId as i16);
    /// Partitions into a transaction.
    pub const ADD_PARTITIONS_TO_TXN: Self = Self(ApiKey::AddPartitionsToTxn as i16);
    /// A group into a transaction.
    pub const ADD_OFFSETS_TO_TXN: Self = Self(ApiKey::AddOffsetsToTxn as i16);
    /// Commit or abort.
    pub const END_TXN: Self = Self(ApiKey::EndTxn as i16);
    /// Offsets into a transaction.
    pub const TXN_OFFSET_COMMIT: Self = Self(ApiKey::TxnOffsetCommit as i16);
    /// Brokers.
    pub const DESCRIBE_CLUSTER: Self = Self(ApiKey::DescribeCluster as i16);

    /// The request of that name, in kebab case: `end-txn`.
    pub fn parse(name: &str) -> Option<Self> {
        ApiKey::iter().map(|key| Self(key as i16)).find(|api| api.to_string() == name)
    }

    /// What the codec calls it; `None` for a request that it does not know.
    pub(super) fn key(self) -> Option<ApiKey> {
        ApiKey::try_from(self.0).ok()
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(key) = self.key() else { return write!(f, "api-{}", self.0) };
        for (index, letter) in format!("{key:?}").chars().enumerate() {
            if letter.is_ascii_uppercase() && index > 0 {
                f.write_str("-")?;
            }
            write!(f, "{}", letter.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_found_by_its_own_name() {
        assert_eq!(Api::END_TXN.to_string(), "end-txn");
        assert_eq!(Api::INIT_PRODUCER_ID.to_string(), "init-producer-id");
        for key in ApiKey::iter() {
            let api = Api(key as i16);
            assert_eq!(Api::parse(&api.to_string()), Some(api));
        }
        assert_eq!(Api::parse("commit"), None);
        assert_eq!(Api(999).to_string(), "api-999");
    }
}
