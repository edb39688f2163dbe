//! Committed offsets, bounds of partitions, deletion of records.

use std::collections::BTreeMap;

use kafka_protocol::messages::{
    BrokerId, DeleteRecordsRequest, GroupId, ListOffsetsRequest, OffsetCommitRequest,
    OffsetFetchRequest,
    delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    offset_fetch_request::OffsetFetchRequestTopic,
};

use super::{
    client::{CoordinatorKind, WireClient, is_coordinator_gone, text, topic_name},
    connection::WireError,
};
use crate::{
    record::{Offset, TopicPartition},
    runtime::{
        CommittedOffset, GroupMetadata, Isolation, OffsetCommit, OffsetsUnavailable,
        PartitionBounds,
    },
};

const OFFSET_FETCH: i16 = 7;
const OFFSET_COMMIT: i16 = 8;
const LIST_OFFSETS: i16 = 6;
const DELETE_RECORDS: i16 = 2;

const UNSTABLE_OFFSET_COMMIT: i16 = 88;
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

impl WireClient {
    /// The group's stable committed offsets: an undecided transaction on one of the partitions is
    /// an error of its own (KIP-447).
    pub(in crate::kafka) fn committed_offsets(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<CommittedOffset>, OffsetsUnavailable> {
        let retriable = |error: WireError| match error.code() {
            UNSTABLE_OFFSET_COMMIT => OffsetsUnavailable::Unstable,
            _ => OffsetsUnavailable::Retriable(error.to_string()),
        };
        let topics = by_topic(partitions)
            .into_iter()
            .map(|(topic, numbers)| {
                OffsetFetchRequestTopic::default()
                    .with_name(topic_name(topic))
                    .with_partition_indexes(numbers)
            })
            .collect();
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_topics(Some(topics))
            .with_require_stable(true);
        let response = self
            .call_coordinator(CoordinatorKind::Group, group, &request, OFFSET_FETCH)
            .map_err(retriable)?;
        self.check_coordinator(group, response.error_code).map_err(retriable)?;
        let mut found = BTreeMap::new();
        for topic in &response.topics {
            for answer in &topic.partitions {
                let place = || format!("offset of {}-{}", topic.name.0, answer.partition_index);
                WireError::check(answer.error_code, place).map_err(retriable)?;
                let offset = (answer.committed_offset >= 0).then_some(answer.committed_offset);
                let metadata = answer.metadata.as_ref().map_or("", |m| m.as_str()).to_owned();
                found.insert((topic.name.as_str(), answer.partition_index), (offset, metadata));
            }
        }
        partitions
            .iter()
            .map(|partition| {
                let key = (&*partition.topic, partition.partition);
                let (offset, metadata) = found.get(&key).cloned().ok_or_else(|| {
                    OffsetsUnavailable::Retriable(format!("no answer about {partition}"))
                })?;
                let partition = partition.clone();
                Ok(CommittedOffset { partition, offset: offset.map(Offset), metadata })
            })
            .collect()
    }

    /// Commits offsets beside any transaction (at-least-once).
    pub(in crate::kafka) fn commit_offsets(
        &mut self,
        group: &str,
        instance: &str,
        member: &GroupMetadata,
        offsets: &[OffsetCommit],
    ) -> Result<(), WireError> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for commit in offsets {
            topics.entry(&commit.partition.topic).or_default().push(
                OffsetCommitRequestPartition::default()
                    .with_partition_index(commit.partition.partition)
                    .with_committed_offset(commit.offset.0)
                    .with_committed_leader_epoch(-1)
                    .with_committed_metadata(Some(text(&commit.metadata))),
            );
        }
        let topics = topics
            .into_iter()
            .map(|(topic, partitions)| {
                OffsetCommitRequestTopic::default()
                    .with_name(topic_name(topic))
                    .with_partitions(partitions)
            })
            .collect();
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id_or_member_epoch(member.generation())
            .with_member_id(text(member.member_id()))
            .with_group_instance_id(Some(text(instance)))
            .with_topics(topics);
        let response =
            self.call_coordinator(CoordinatorKind::Group, group, &request, OFFSET_COMMIT)?;
        for topic in &response.topics {
            for answer in &topic.partitions {
                self.check_coordinator(group, answer.error_code)?;
            }
        }
        Ok(())
    }

    /// First offset, last stable offset and high watermark of each partition.
    pub(in crate::kafka) fn bounds(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, PartitionBounds)>, WireError> {
        let leaders = self.leaders(partitions)?;
        let starts = self.list_offsets(&leaders, Isolation::ReadUncommitted, EARLIEST)?;
        let stable = self.list_offsets(&leaders, Isolation::ReadCommitted, LATEST)?;
        let ends = self.list_offsets(&leaders, Isolation::ReadUncommitted, LATEST)?;
        partitions
            .iter()
            .map(|partition| {
                let find = |offsets: &BTreeMap<TopicPartition, i64>| {
                    offsets.get(partition).copied().map(Offset).ok_or_else(|| WireError::Codec {
                        address: partition.to_string(),
                        reason: "no answer about the partition".to_owned(),
                    })
                };
                let bounds = PartitionBounds {
                    start: find(&starts)?,
                    last_stable: find(&stable)?,
                    end: find(&ends)?,
                };
                Ok((partition.clone(), bounds))
            })
            .collect()
    }

    /// Deletes the records below an offset.
    pub(in crate::kafka) fn delete_records(
        &mut self,
        partition: &TopicPartition,
        before: Offset,
    ) -> Result<(), WireError> {
        let leader = self.leader(partition)?;
        let deleted = DeleteRecordsPartition::default()
            .with_partition_index(partition.partition)
            .with_offset(before.0);
        let topic = DeleteRecordsTopic::default()
            .with_name(topic_name(&partition.topic))
            .with_partitions(vec![deleted]);
        let request =
            DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(5_000);
        let response = self.call_broker(leader, &request, DELETE_RECORDS)?;
        for answer in response.topics.iter().flat_map(|topic| &topic.partitions) {
            WireError::check(answer.error_code, || format!("deletion in {partition}"))?;
        }
        Ok(())
    }

    /// The leader of one partition, by fresh metadata.
    pub(super) fn leader(&mut self, partition: &TopicPartition) -> Result<i32, WireError> {
        let leaders = self.leaders(std::slice::from_ref(partition))?;
        leaders.keys().next().copied().ok_or_else(|| WireError::Codec {
            address: partition.to_string(),
            reason: "no leader in the metadata".to_owned(),
        })
    }

    /// Partitions by their leaders, by fresh metadata.
    fn leaders(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<i32, Vec<TopicPartition>>, WireError> {
        let names: Vec<&str> = by_topic(partitions).into_keys().collect();
        let metadata = self.metadata(&names)?;
        let mut leaders: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        for partition in partitions {
            let what = || format!("leader of {partition}");
            let topic = metadata
                .topics
                .iter()
                .find(|t| t.name.as_ref().is_some_and(|n| n.as_str() == &*partition.topic));
            WireError::check(topic.map_or(3, |t| t.error_code), what)?;
            let found = topic.and_then(|t| {
                t.partitions.iter().find(|p| p.partition_index == partition.partition)
            });
            // 9 is REPLICA_NOT_AVAILABLE, which does not concern the leader.
            let code = found.map_or(3, |p| if p.error_code == 9 { 0 } else { p.error_code });
            WireError::check(code, what)?;
            let leader = found.map_or(-1, |p| p.leader_id.0);
            WireError::check(if leader < 0 { 5 } else { 0 }, what)?;
            leaders.entry(leader).or_default().push(partition.clone());
        }
        Ok(leaders)
    }

    fn list_offsets(
        &mut self,
        leaders: &BTreeMap<i32, Vec<TopicPartition>>,
        isolation: Isolation,
        timestamp: i64,
    ) -> Result<BTreeMap<TopicPartition, i64>, WireError> {
        let mut offsets = BTreeMap::new();
        for (leader, partitions) in leaders {
            let topics = by_topic(partitions)
                .into_iter()
                .map(|(topic, numbers)| {
                    let partitions = numbers
                        .into_iter()
                        .map(|number| {
                            ListOffsetsPartition::default()
                                .with_partition_index(number)
                                .with_current_leader_epoch(-1)
                                .with_timestamp(timestamp)
                        })
                        .collect();
                    ListOffsetsTopic::default()
                        .with_name(topic_name(topic))
                        .with_partitions(partitions)
                })
                .collect();
            let request = ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_isolation_level(i8::from(isolation == Isolation::ReadCommitted))
                .with_topics(topics);
            let response = self.call_broker(*leader, &request, LIST_OFFSETS)?;
            for topic in &response.topics {
                for answer in &topic.partitions {
                    let partition =
                        TopicPartition::new(topic.name.as_str(), answer.partition_index);
                    WireError::check(answer.error_code, || format!("offsets of {partition}"))?;
                    offsets.insert(partition, answer.offset);
                }
            }
        }
        Ok(offsets)
    }

    fn check_coordinator(&mut self, group: &str, code: i16) -> Result<(), WireError> {
        if is_coordinator_gone(code) {
            self.forget_coordinator(CoordinatorKind::Group, group);
        }
        WireError::check(code, || format!("group {group}"))
    }
}

fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<&str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    topics
}
