//! Records on their way out of the model: fetched batches, and owned records for oracles.

use std::{
    hash::{Hash, Hasher},
    rc::Rc,
};

use crate::{
    record::{Header, Offset, PartitionId, RecordBatch, RecordRef, Timestamp, TopicName},
    testing::partition::{ReadRecord, RecordData},
};

/// A fetched batch of the in-memory log.
#[derive(Debug, Default)]
pub struct SimBatch {
    records: Vec<SimRecord>,
}

#[derive(Debug)]
struct SimRecord {
    topic: TopicName,
    partition: PartitionId,
    offset: Offset,
    data: Rc<RecordData>,
}

impl SimBatch {
    pub(super) fn push(&mut self, topic: &TopicName, partition: PartitionId, record: ReadRecord) {
        self.records.push(SimRecord {
            topic: TopicName::clone(topic),
            partition,
            offset: record.offset,
            data: record.data,
        });
    }
}

/// By place alone: content was digested when it was written.
impl Hash for SimBatch {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.records.len());
        for record in &self.records {
            (&record.topic, record.partition, record.offset).hash(state);
        }
    }
}

impl RecordBatch for SimBatch {
    fn len(&self) -> usize {
        self.records.len()
    }

    #[allow(clippy::indexing_slicing, reason = "the trait demands an index below len")]
    fn record(&self, index: usize) -> RecordRef<'_> {
        let record = &self.records[index];
        RecordRef {
            topic: &record.topic,
            partition: record.partition,
            offset: record.offset,
            timestamp: record.data.timestamp,
            key: record.data.key.as_deref(),
            value: record.data.value.as_deref(),
            headers: &record.data.headers,
        }
    }
}

/// A record with all that an oracle may ask of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The headers, in order.
    pub headers: Vec<Header>,
    /// Who wrote it; `None` for records written outside a transaction.
    pub transactional_id: Option<String>,
}

impl OwnedRecord {
    pub(super) fn new(record: &ReadRecord) -> Self {
        Self {
            offset: record.offset,
            timestamp: record.data.timestamp,
            key: record.data.key.clone(),
            value: record.data.value.clone(),
            headers: record.data.headers.clone(),
            transactional_id: record.stamp.as_ref().map(|s| s.transactional_id.to_string()),
        }
    }
}
