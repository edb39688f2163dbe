//! How far an application has come, by the offsets that it has committed: the same question for
//! every system, and a cheap one.

use std::time::Duration;

use anyhow::Result;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};

use crate::input::Input;

const ANSWER: Duration = Duration::from_secs(20);

/// Asks for one application.
pub(crate) struct Progress {
    consumer: BaseConsumer,
    partitions: TopicPartitionList,
}

impl Progress {
    /// Of `application` in `input`.
    pub(crate) fn of(bootstrap: &str, application: &str, input: Input) -> Result<Self> {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", application)
            // Asked so, an open transaction's offsets do not hold the answer back.
            .set("isolation.level", "read_uncommitted")
            .set("enable.auto.commit", "false")
            .create()?;
        let mut partitions = TopicPartitionList::new();
        let topic = input.topic();
        for partition in 0..input.partitions {
            partitions.add_partition(&topic, partition);
        }
        Ok(Self { consumer, partitions })
    }

    /// Records behind which it has committed; 0 before the first commit.
    pub(crate) fn records(&self) -> Result<u64> {
        let found = self.consumer.committed_offsets(self.partitions.clone(), ANSWER)?;
        let offset =
            |offset| if let Offset::Offset(next) = offset { next.max(0) as u64 } else { 0 };
        Ok(found.elements().iter().map(|element| offset(element.offset())).sum())
    }
}
