//! The vocabulary that every part shares: offsets, timestamps, partitions, records.
//!
//! Owns no behaviour beyond conversions. Must never depend on another module of the crate.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// A topic's name; cheap to clone.
pub type TopicName = Arc<str>;

/// A position in a partition: the number of a record, or of the next one to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub i64);

impl Offset {
    /// The position right behind this record.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A wall-clock or event time in milliseconds since 1970-01-01 UTC.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A partition's number within its topic.
pub type PartitionId = i32;

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition's number.
    pub partition: PartitionId,
}

impl TopicPartition {
    /// A partition of a topic.
    pub fn new(topic: impl Into<TopicName>, partition: PartitionId) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A record header: a name and an optional value, as Kafka has them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Header {
    /// The header's name.
    pub name: Arc<str>,
    /// The header's value.
    pub value: Option<Vec<u8>>,
}

/// A fetched record, borrowed from the batch that carries it.
#[derive(Debug, Clone, Copy)]
pub struct RecordRef<'a> {
    /// The topic it was read from.
    pub topic: &'a TopicName,
    /// The partition it was read from.
    pub partition: PartitionId,
    /// Its offset there.
    pub offset: Offset,
    /// Its timestamp; -1 where the producer set none.
    pub timestamp: Timestamp,
    /// The key; `None` for Kafka's null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` for Kafka's null (a delete in a table or a changelog).
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: &'a [Header],
}

/// Fetched records in fetch order, possibly of several partitions; those of one partition are in
/// offset order.
pub trait RecordBatch {
    /// The number of records.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record at `index`, which must be below [`RecordBatch::len`].
    fn record(&self, index: usize) -> RecordRef<'_>;
}

/// A record to be written, borrowed from whoever emits it.
#[derive(Debug, Clone, Copy)]
pub struct OutputRecord<'a> {
    /// The topic to write to.
    pub topic: &'a TopicName,
    /// The partition to write to: always explicit, never left to the client's partitioner.
    pub partition: PartitionId,
    /// The record's timestamp; `None` lets the log stamp it (changelogs, markers).
    pub timestamp: Option<Timestamp>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: &'a [Header],
}
