//! A rebalance on demand, and the partition that holds its offsets.

use bytes::BytesMut;
use kafka_protocol::{
    messages::{
        ConsumerProtocolSubscription, GroupId, JoinGroupRequest, LeaveGroupRequest,
        join_group_request::JoinGroupRequestProtocol, leave_group_request::MemberIdentity,
    },
    protocol::Encodable,
};

use super::{
    client::{CoordinatorKind, WireClient, text},
    connection::WireError,
};

const JOIN_GROUP: i16 = 5;
const LEAVE_GROUP: i16 = 3;

const MEMBER_ID_REQUIRED: i16 = 79;

impl WireClient {
    /// Makes a classic group rebalance, which librdkafka does not offer: a member that subscribes
    /// to nothing joins, which sends everybody back to join, and leaves at once.
    pub(in crate::kafka) fn force_rebalance(&mut self, group: &str) -> Result<(), WireError> {
        let kind = CoordinatorKind::Group;
        let mut metadata = BytesMut::from(&1i16.to_be_bytes()[..]);
        ConsumerProtocolSubscription::default().encode(&mut metadata, 1).map_err(|error| {
            WireError::Codec { address: format!("group {group}"), reason: error.to_string() }
        })?;
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("cooperative-sticky"))
            .with_metadata(metadata.freeze());
        let mut join = JoinGroupRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let named = self.call_coordinator(kind, group, &join, JOIN_GROUP)?;
        if named.error_code != MEMBER_ID_REQUIRED {
            return WireError::check(named.error_code, || format!("group {group}"));
        }
        join.member_id = named.member_id.clone();
        // Its answer comes when everybody has joined; this member is gone by then.
        let coordinator = self.coordinator(kind, group)?;
        self.send_to_broker(coordinator, &join, JOIN_GROUP)?;
        let leaving = MemberIdentity::default().with_member_id(named.member_id);
        let leave = LeaveGroupRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_members(vec![leaving]);
        let left = self.call_coordinator(kind, group, &leave, LEAVE_GROUP)?;
        WireError::check(left.error_code, || format!("group {group}"))
    }
}

/// The partition of `__consumer_offsets` that holds a group, as the broker computes it: Java's
/// string hash, its absolute value (0 for the one that has none), modulo the partition count.
pub(super) fn offsets_partition(group: &str, partitions: i32) -> i32 {
    let hash = group
        .encode_utf16()
        .fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_s_offsets_lie_where_java_s_hash_says() {
        // "hello".hashCode() is 99162322, "tidemill-x".hashCode() is -1273084867.
        assert_eq!(offsets_partition("hello", 50), 99_162_322 % 50);
        assert_eq!(offsets_partition("tidemill-x", 50), 1_273_084_867 % 50);
        assert_eq!(offsets_partition("", 8), 0);
        // "polygenelubricants".hashCode() is i32::MIN.
        assert_eq!(offsets_partition("polygenelubricants", 50), 0);
    }
}
