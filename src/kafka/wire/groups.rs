//! The group's members, and the partition that holds its offsets.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ConsumerProtocolAssignment, ConsumerProtocolSubscription, DeleteGroupsRequest,
        DescribeGroupsRequest, GroupId, JoinGroupRequest, LeaveGroupRequest,
        describe_groups_response::DescribedGroup, join_group_request::JoinGroupRequestProtocol,
        leave_group_request::MemberIdentity,
    },
    protocol::{Decodable, Encodable},
};

use super::{
    client::{CoordinatorKind, WireClient, is_coordinator_gone, text},
    connection::WireError,
};
use crate::{record::TopicPartition, runtime::Member};

const DESCRIBE_GROUPS: i16 = 5;
const DELETE_GROUPS: i16 = 2;
const JOIN_GROUP: i16 = 5;
const LEAVE_GROUP: i16 = 3;

const GROUP_ID_NOT_FOUND: i16 = 69;
const MEMBER_ID_REQUIRED: i16 = 79;

impl WireClient {
    /// The group's members; `None` while it rebalances.
    pub(in crate::kafka) fn members(
        &mut self,
        group: &str,
    ) -> Result<Option<Vec<Member>>, WireError> {
        let Some(described) = self.describe_group(group)? else { return Ok(None) };
        match described.group_state.as_str() {
            // `Dead` is a group that does not exist: nobody is in it.
            "Stable" | "Empty" | "Dead" => {}
            _ => return Ok(None),
        }
        described
            .members
            .iter()
            .map(|member| {
                Ok(Member {
                    instance_id: member.group_instance_id.as_ref().map(|id| id.to_string()),
                    partitions: assignment(&member.member_assignment).map_err(|reason| {
                        WireError::Codec { address: format!("group {group}"), reason }
                    })?,
                })
            })
            .collect::<Result<Vec<_>, _>>()
            .map(Some)
    }

    /// Each member in a few words; `None` where there is no such group.
    pub(in crate::kafka) fn member_words(
        &mut self,
        group: &str,
    ) -> Result<Option<Vec<String>>, WireError> {
        let Some(described) = self.describe_group(group)? else { return Ok(None) };
        if described.group_state.as_str() == "Dead" {
            return Ok(None);
        }
        let words = described.members.iter().map(|member| {
            let name = member.group_instance_id.as_ref().unwrap_or(&member.member_id);
            format!("{} ({}, {})", &**name, &*member.client_id, &*member.client_host)
        });
        Ok(Some(words.collect()))
    }

    /// Deletes a group without members; one that does not exist is no error.
    pub(in crate::kafka) fn delete_group(&mut self, group: &str) -> Result<(), WireError> {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(group))]);
        let response =
            self.call_coordinator(CoordinatorKind::Group, group, &request, DELETE_GROUPS)?;
        for result in response.results.iter().filter(|r| r.error_code != GROUP_ID_NOT_FOUND) {
            self.check_group(group, result.error_code)?;
        }
        Ok(())
    }

    fn describe_group(&mut self, group: &str) -> Result<Option<DescribedGroup>, WireError> {
        let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
        let response =
            self.call_coordinator(CoordinatorKind::Group, group, &request, DESCRIBE_GROUPS)?;
        let Some(described) = response.groups.into_iter().next() else { return Ok(None) };
        if described.error_code == GROUP_ID_NOT_FOUND {
            return Ok(Some(described.with_group_state(text("Dead"))));
        }
        self.check_group(group, described.error_code)?;
        Ok(Some(described))
    }

    fn check_group(&mut self, group: &str, code: i16) -> Result<(), WireError> {
        if is_coordinator_gone(code) {
            self.forget_coordinator(CoordinatorKind::Group, group);
        }
        WireError::check(code, || format!("group {group}"))
    }

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

/// What a member was assigned.
fn assignment(bytes: &Bytes) -> Result<Vec<TopicPartition>, String> {
    let mut bytes = bytes.clone();
    if bytes.len() < 2 {
        return Ok(vec![]);
    }
    let version = bytes.get_i16().min(3);
    let decoded =
        ConsumerProtocolAssignment::decode(&mut bytes, version).map_err(|e| e.to_string())?;
    Ok(decoded
        .assigned_partitions
        .iter()
        .flat_map(|topic| {
            topic.partitions.iter().map(|p| TopicPartition::new(topic.topic.as_str(), *p))
        })
        .collect())
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
    use bytes::BytesMut;
    use kafka_protocol::{
        messages::consumer_protocol_assignment::TopicPartition as AssignedTopic,
        protocol::Encodable,
    };

    use super::*;
    use crate::kafka::wire::client::topic_name;

    #[test]
    fn a_group_s_offsets_lie_where_java_s_hash_says() {
        // "hello".hashCode() is 99162322, "tidemill-x".hashCode() is -1273084867.
        assert_eq!(offsets_partition("hello", 50), 99_162_322 % 50);
        assert_eq!(offsets_partition("tidemill-x", 50), 1_273_084_867 % 50);
        assert_eq!(offsets_partition("", 8), 0);
        // "polygenelubricants".hashCode() is i32::MIN.
        assert_eq!(offsets_partition("polygenelubricants", 50), 0);
    }

    #[test]
    fn assignments_are_read() {
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&1i16.to_be_bytes());
        let topic =
            AssignedTopic::default().with_topic(topic_name("lines")).with_partitions(vec![3, 1]);
        ConsumerProtocolAssignment::default()
            .with_assigned_partitions(vec![topic])
            .encode(&mut bytes, 1)
            .unwrap();
        assert_eq!(
            assignment(&bytes.freeze()).unwrap(),
            [TopicPartition::new("lines", 3), TopicPartition::new("lines", 1)]
        );
        assert_eq!(assignment(&Bytes::new()).unwrap(), []);
        assert!(assignment(&Bytes::from_static(&[0, 1, 0, 0, 0, 9])).is_err());
    }
}
