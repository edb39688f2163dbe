//! Topics with their ids, and a group's members: questions that the safe crate does not have.

use std::{
    ffi::{CString, c_char},
    time::Duration,
};

use rdkafka_sys as sys;

use super::{
    ask::{Handle, ask, part_error, results},
    error::{Error, code, text},
    partition_list,
};
use crate::record::TopicPartition;

/// A topic as the brokers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka) struct TopicDescription {
    /// Its id as 32 hex digits.
    pub(in crate::kafka) id: String,
    /// How many partitions it has.
    pub(in crate::kafka) partitions: usize,
    /// Replicas of its first partition.
    pub(in crate::kafka) replication: usize,
    /// Every partition has a leader.
    pub(in crate::kafka) is_led: bool,
}

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka) struct GroupDescription {
    pub(in crate::kafka) state: GroupState,
    pub(in crate::kafka) members: Vec<MemberDescription>,
}

/// What a group is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) enum GroupState {
    /// It has members, or none, and its assignment holds.
    Settled,
    /// It rebalances, or the broker says something that is not known.
    Rebalancing,
    /// It does not exist.
    Absent,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka) struct MemberDescription {
    /// The member id that the coordinator gave.
    pub(in crate::kafka) id: String,
    /// `group.instance.id`, where it has one.
    pub(in crate::kafka) instance: Option<String>,
    /// `client.id`.
    pub(in crate::kafka) client: String,
    /// Where it is.
    pub(in crate::kafka) host: String,
    /// What the group assigned to it.
    pub(in crate::kafka) partitions: Vec<TopicPartition>,
}

/// Describes topics, each by itself, in the order asked; a name must not come twice.
pub(in crate::kafka) fn topics(
    handle: Handle<'_>,
    names: &[&str],
    timeout: Duration,
) -> Result<Vec<Result<TopicDescription, Error>>, Error> {
    let names = c_strings(names)?;
    let mut pointers = pointers(&names);
    let api = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let answer = ask(handle, api, timeout, |options, queue| {
        // SAFETY: the strings are alive and copied into the collection, which is copied into the
        // request and destroyed once; handle, options and queue are alive.
        unsafe {
            let collection =
                sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            sys::rd_kafka_DescribeTopics(handle.raw(), collection, options.raw(), queue.raw());
            sys::rd_kafka_TopicCollection_destroy(collection);
        }
        Ok(())
    })?;
    // SAFETY: the answer is of this kind (the only request on its queue) and owns all that is read
    // here, and outlives it.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(answer.raw());
        if result.is_null() {
            return Err(not_understood());
        }
        let mut count = 0;
        let array = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        Ok(results(array, count).iter().map(|topic| describe_topic(*topic)).collect())
    }
}

/// # Safety
/// `topic` is a description that its answer owns.
unsafe fn describe_topic(
    topic: *const sys::rd_kafka_TopicDescription_t,
) -> Result<TopicDescription, Error> {
    // SAFETY: by the contract; partitions, nodes and id belong to the same answer.
    unsafe {
        part_error(sys::rd_kafka_TopicDescription_error(topic))?;
        let mut count = 0;
        let array = sys::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
        let partitions = results(array, count);
        let mut replication = 0;
        if let Some(first) = partitions.first() {
            sys::rd_kafka_TopicPartitionInfo_replicas(*first, &raw mut replication);
        }
        let has_leader = |partition: &*const sys::rd_kafka_TopicPartitionInfo_t| {
            !sys::rd_kafka_TopicPartitionInfo_leader(*partition).is_null()
        };
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let id = format!(
            "{:016x}{:016x}",
            sys::rd_kafka_Uuid_most_significant_bits(id),
            sys::rd_kafka_Uuid_least_significant_bits(id)
        );
        let is_led = partitions.iter().all(has_leader);
        Ok(TopicDescription { id, partitions: count, replication, is_led })
    }
}

/// Describes a group; one that does not exist is a description too.
pub(in crate::kafka) fn group(
    handle: Handle<'_>,
    name: &str,
    timeout: Duration,
) -> Result<GroupDescription, Error> {
    let names = c_strings(&[name])?;
    let mut pointers = pointers(&names);
    let api = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    let answer = ask(handle, api, timeout, |options, queue| {
        // SAFETY: the strings are alive and copied; handle, options and queue are alive.
        unsafe {
            sys::rd_kafka_DescribeConsumerGroups(
                handle.raw(),
                pointers.as_mut_ptr(),
                pointers.len(),
                options.raw(),
                queue.raw(),
            );
        }
        Ok(())
    })?;
    // SAFETY: as in `topics`.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(answer.raw());
        if result.is_null() {
            return Err(not_understood());
        }
        let mut count = 0;
        let array = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        let group = results(array, count).first().copied().ok_or_else(not_understood)?;
        describe_group(group)
    }
}

/// # Safety
/// `group` is a description that its answer owns.
unsafe fn describe_group(
    group: *const sys::rd_kafka_ConsumerGroupDescription_t,
) -> Result<GroupDescription, Error> {
    use sys::rd_kafka_consumer_group_state_t as State;
    // SAFETY: by the contract; members belong to the same answer. The state is librdkafka's own
    // translation of the broker's word: a value of the enum.
    unsafe {
        match part_error(sys::rd_kafka_ConsumerGroupDescription_error(group)) {
            Err(error) if error.code == code::GROUP_ID_NOT_FOUND => {
                return Ok(GroupDescription { state: GroupState::Absent, members: vec![] });
            }
            other => other?,
        }
        let state = match sys::rd_kafka_ConsumerGroupDescription_state(group) {
            State::RD_KAFKA_CONSUMER_GROUP_STATE_STABLE
            | State::RD_KAFKA_CONSUMER_GROUP_STATE_EMPTY => GroupState::Settled,
            State::RD_KAFKA_CONSUMER_GROUP_STATE_DEAD => GroupState::Absent,
            _ => GroupState::Rebalancing,
        };
        let count = sys::rd_kafka_ConsumerGroupDescription_member_count(group);
        let members = (0..count)
            .map(|index| {
                describe_member(sys::rd_kafka_ConsumerGroupDescription_member(group, index))
            })
            .collect();
        Ok(GroupDescription { state, members })
    }
}

/// # Safety
/// `member` is a description that its answer owns.
unsafe fn describe_member(member: *const sys::rd_kafka_MemberDescription_t) -> MemberDescription {
    // SAFETY: by the contract; strings and list belong to the same answer and are copied.
    unsafe {
        let instance = text(sys::rd_kafka_MemberDescription_group_instance_id(member));
        let assignment = sys::rd_kafka_MemberDescription_assignment(member);
        let partitions = if assignment.is_null() {
            vec![]
        } else {
            partition_list::copy(sys::rd_kafka_MemberAssignment_partitions(assignment).cast_mut())
        };
        MemberDescription {
            id: text(sys::rd_kafka_MemberDescription_consumer_id(member)),
            instance: (!instance.is_empty()).then_some(instance),
            client: text(sys::rd_kafka_MemberDescription_client_id(member)),
            host: text(sys::rd_kafka_MemberDescription_host(member)),
            partitions,
        }
    }
}

fn c_strings(names: &[&str]) -> Result<Vec<CString>, Error> {
    let contains_nul = |name: &str| Error::new(-186, format!("{name:?} contains a NUL"));
    names.iter().map(|name| CString::new(*name).map_err(|_| contains_nul(name))).collect()
}

fn pointers(names: &[CString]) -> Vec<*const c_char> {
    names.iter().map(|name| name.as_ptr()).collect()
}

pub(super) fn not_understood() -> Error {
    /// `_BAD_MSG`.
    const BAD_MESSAGE: i32 = -199;
    Error::new(BAD_MESSAGE, "an answer of another kind")
}
