//! Topics: partitions with a name, an id and a configuration.

use std::collections::BTreeMap;

use crate::{
    record::{PartitionId, Timestamp, TopicName, TopicPartition},
    runtime::{TopicInfo, TopicSpec},
    testing::{
        codes::ErrorCode,
        partition::{Partition, RecordData},
    },
};

/// The broker's defaults that the engine looks at.
const DEFAULTS: [(&str, &str); 10] = [
    ("cleanup.policy", "delete"),
    ("delete.retention.ms", "86400000"),
    ("max.message.bytes", "1048588"),
    ("message.timestamp.after.max.ms", "3600000"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("message.timestamp.type", "CreateTime"),
    ("min.insync.replicas", "1"),
    ("retention.bytes", "-1"),
    ("retention.ms", "604800000"),
    ("segment.ms", "604800000"),
];

/// Bytes that Kafka adds to a record, about.
const RECORD_OVERHEAD: usize = 70;

/// One topic.
#[derive(Debug)]
pub(super) struct Topic {
    info: TopicInfo,
    partitions: Vec<Partition>,
    message_bytes_max: Option<i64>,
    timestamp_after_max_ms: Option<i64>,
    timestamp_before_max_ms: Option<i64>,
}

impl Topic {
    pub(super) fn new(spec: &TopicSpec, id: String, brokers: usize) -> Self {
        let mut config: BTreeMap<String, String> =
            DEFAULTS.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        config.extend(spec.config.clone());
        let replication = if spec.replication < 0 {
            i32::try_from(brokers.min(3)).unwrap_or(1)
        } else {
            spec.replication
        };
        let info = TopicInfo {
            name: TopicName::clone(&spec.name),
            id,
            partitions: 0,
            replication,
            config,
        };
        let mut topic = Self {
            message_bytes_max: info.config_number("max.message.bytes"),
            timestamp_after_max_ms: info.config_number("message.timestamp.after.max.ms"),
            timestamp_before_max_ms: info.config_number("message.timestamp.before.max.ms"),
            info,
            partitions: Vec::new(),
        };
        topic.grow(spec.partitions);
        topic
    }

    /// Adds partitions until there are `count`.
    pub(super) fn grow(&mut self, count: i32) {
        while self.info.partitions < count {
            self.partitions.push(Partition::default());
            self.info.partitions += 1;
        }
    }

    pub(super) fn info(&self) -> &TopicInfo {
        &self.info
    }

    pub(super) fn partition(&self, number: PartitionId) -> Option<&Partition> {
        self.partitions.get(usize::try_from(number).ok()?)
    }

    pub(super) fn partition_mut(&mut self, number: PartitionId) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(number).ok()?)
    }

    pub(super) fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    pub(super) fn partitions_mut(&mut self) -> &mut [Partition] {
        &mut self.partitions
    }

    /// Whether the topic's limits admit a record.
    pub(super) fn check(&self, record: &RecordData, wall: Timestamp) -> Result<(), ErrorCode> {
        let size = i64::try_from(record.size() + RECORD_OVERHEAD).unwrap_or(i64::MAX);
        if self.message_bytes_max.is_some_and(|max| size > max) {
            return Err(ErrorCode::MessageTooLarge);
        }
        let ahead = record.timestamp.0.saturating_sub(wall.0);
        let too_new = self.timestamp_after_max_ms.is_some_and(|max| ahead > max);
        let too_old = self.timestamp_before_max_ms.is_some_and(|max| ahead.saturating_neg() > max);
        if record.timestamp.0 >= 0 && (too_new || too_old) {
            return Err(ErrorCode::InvalidTimestamp);
        }
        Ok(())
    }
}

/// The topics of a cluster.
#[derive(Debug, Default)]
pub(super) struct Topics {
    topics: BTreeMap<TopicName, Topic>,
    created: u64,
}

impl Topics {
    /// Creates a topic; `false` where one of that name exists. Ids are never used again.
    pub(super) fn create(&mut self, spec: &TopicSpec, brokers: usize) -> bool {
        if self.topics.contains_key(&spec.name) {
            return false;
        }
        self.created += 1;
        let id = format!("{:032x}", self.created);
        self.topics.insert(TopicName::clone(&spec.name), Topic::new(spec, id, brokers));
        true
    }

    pub(super) fn delete(&mut self, name: &str) -> bool {
        self.topics.remove(name).is_some()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.topics.get_mut(name)
    }

    pub(super) fn partition(&self, at: &TopicPartition) -> Option<&Partition> {
        self.get(&at.topic)?.partition(at.partition)
    }

    pub(super) fn partition_mut(&mut self, at: &TopicPartition) -> Option<&mut Partition> {
        self.get_mut(&at.topic)?.partition_mut(at.partition)
    }

    /// Names with partition counts.
    pub(super) fn counts(&self) -> BTreeMap<TopicName, i32> {
        self.topics.iter().map(|(n, t)| (TopicName::clone(n), t.info.partitions)).collect()
    }

    /// Names, in order.
    pub(super) fn names(&self) -> Vec<TopicName> {
        self.topics.keys().cloned().collect()
    }
}
