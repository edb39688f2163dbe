//! Records on their way into a lane's producer.
//!
//! Records without timestamp and headers (changelogs, markers) are gathered per partition and
//! handed over many at a time, since that halves their cost; the others go one by one. The order
//! within a partition is kept across both ways.

use super::{
    deliveries::Deliveries,
    native::{Error, ProduceScratch, Producer, RecordBuffer, TopicHandle, code},
};
use crate::{
    record::{OutputRecord, TopicName, TopicPartition},
    runtime::log::QueueFull,
};

/// A partition's records are handed over when this many are gathered,
const GATHERED_RECORDS: usize = 512;
/// or this many bytes.
const GATHERED_BYTES: usize = 64 * 1024;

struct Topic {
    name: TopicName,
    handle: TopicHandle,
    partitions: Vec<RecordBuffer>,
}

/// The topics that a producer instance has written to.
#[derive(Default)]
pub(super) struct Writer {
    topics: Vec<Topic>,
    /// The topic of the last record: the next one is mostly the same.
    last: usize,
    /// Partitions with gathered records.
    gathered: Vec<(usize, i32)>,
    scratch: ProduceScratch,
}

impl Writer {
    /// Forgets everything: the producer instance is replaced.
    pub(super) fn reset(&mut self) {
        self.topics.clear();
        self.gathered.clear();
        self.last = 0;
    }

    /// Drops gathered records: their transaction is aborted.
    pub(super) fn discard(&mut self) {
        for (topic, partition) in self.gathered.drain(..) {
            if let Some(buffer) = buffer(&mut self.topics, topic, partition) {
                buffer.clear();
            }
        }
    }

    /// Queues a record. One that can never be sent is noted as refused.
    pub(super) fn produce(
        &mut self,
        producer: &Producer,
        record: &OutputRecord<'_>,
        tag: u64,
        deliveries: &mut Deliveries,
    ) -> Result<(), QueueFull> {
        let place = || TopicPartition { topic: record.topic.clone(), partition: record.partition };
        let index = match self.topic(producer, record.topic) {
            Ok(index) => index,
            Err(error) => {
                deliveries.refuse(tag, place(), error.code);
                return Ok(());
            }
        };
        let Ok(number) = usize::try_from(record.partition) else {
            deliveries.refuse(tag, place(), code::UNKNOWN_PARTITION);
            return Ok(());
        };
        let topic = &mut self.topics[index];
        if topic.partitions.len() <= number {
            topic.partitions.resize_with(number + 1, RecordBuffer::default);
        }
        let buffer = &topic.partitions[number];
        let single = record.timestamp.is_some() || !record.headers.is_empty();
        let full = buffer.len() >= GATHERED_RECORDS || buffer.bytes() >= GATHERED_BYTES;
        if (full || single && buffer.len() > 0)
            && !self.hand_over(index, record.partition, deliveries)
        {
            return Err(QueueFull);
        }
        let topic = &mut self.topics[index];
        if single {
            return match topic.handle.produce(record, tag) {
                Ok(()) => Ok(()),
                Err(error) if error.code == code::QUEUE_FULL => Err(QueueFull),
                Err(error) => {
                    deliveries.refuse(tag, place(), error.code);
                    Ok(())
                }
            };
        }
        let buffer = &mut topic.partitions[number];
        if buffer.len() == 0 {
            self.gathered.push((index, record.partition));
        }
        buffer.push(record.key, record.value, tag);
        Ok(())
    }

    /// Hands over whatever is gathered; false where the client's queue is full.
    pub(super) fn hand_over_all(&mut self, deliveries: &mut Deliveries) -> bool {
        while let Some(&(topic, partition)) = self.gathered.last() {
            if !self.hand_over(topic, partition, deliveries) {
                return false;
            }
            self.gathered.pop();
        }
        true
    }

    /// The name of a topic by its handle's identity.
    pub(super) fn topic_name(&self, identity: usize) -> Option<TopicName> {
        self.topics.iter().find(|t| t.handle.identity() == identity).map(|t| t.name.clone())
    }

    fn topic(&mut self, producer: &Producer, name: &TopicName) -> Result<usize, Error> {
        if let Some(topic) = self.topics.get(self.last)
            && (TopicName::ptr_eq(&topic.name, name) || topic.name == *name)
        {
            return Ok(self.last);
        }
        let known = self.topics.iter().position(|topic| topic.name == *name);
        self.last = match known {
            Some(index) => index,
            None => {
                let handle = producer.topic(name)?;
                self.topics.push(Topic { name: name.clone(), handle, partitions: vec![] });
                self.topics.len() - 1
            }
        };
        Ok(self.last)
    }

    /// False where the client's queue is full. Leaves the entry in `gathered`: an empty buffer
    /// there does no harm.
    fn hand_over(&mut self, index: usize, partition: i32, deliveries: &mut Deliveries) -> bool {
        let Some(topic) = self.topics.get_mut(index) else { return true };
        let Some(buffer) =
            usize::try_from(partition).ok().and_then(|p| topic.partitions.get_mut(p))
        else {
            return true;
        };
        let name = &topic.name;
        buffer.hand_over(&topic.handle, partition, &mut self.scratch, |tag, error| {
            let place = TopicPartition { topic: name.clone(), partition };
            deliveries.refuse(tag, place, error);
        })
    }
}

fn buffer(topics: &mut [Topic], topic: usize, partition: i32) -> Option<&mut RecordBuffer> {
    topics.get_mut(topic)?.partitions.get_mut(usize::try_from(partition).ok()?)
}
