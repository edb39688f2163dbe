//! Offsets committed beside any transaction (at-least-once), by the member itself.

use std::{collections::VecDeque, sync::Arc};

use super::native::{Committer, Consumer, Error, PartitionList, Wake, code};
use crate::runtime::{Event, GroupMetadata, OffsetCommit, RequestId};

/// Commits of one log that wait for their answers.
pub(super) struct OffsetCommits {
    committer: Committer,
}

impl OffsetCommits {
    /// Commits through this consumer.
    pub(super) fn new(consumer: &Consumer, wake: &Arc<Wake>) -> Self {
        Self { committer: consumer.committer(wake) }
    }

    /// Commits offsets, provided that the membership is still the one that they were taken under:
    /// librdkafka sends the generation that it has.
    pub(super) fn commit<B>(
        &mut self,
        id: RequestId,
        offsets: &[OffsetCommit],
        taken_under: &GroupMetadata,
        current: Option<&GroupMetadata>,
        events: &mut VecDeque<Event<B>>,
    ) {
        let result = if current == Some(taken_under) {
            list(offsets).and_then(|list| self.committer.commit(&list, id))
        } else {
            let reason = "the offsets were taken under another generation";
            Err(Error::new(code::ILLEGAL_GENERATION, reason))
        };
        if let Err(error) = result {
            events.push_back(Event::OffsetsCommitted { id, result: Err(error.to_string()) });
        }
    }

    /// Appends the answers that have arrived.
    pub(super) fn take_answers<B>(&mut self, events: &mut VecDeque<Event<B>>) {
        for (id, result) in self.committer.answers() {
            let result = result.map_err(|error| error.to_string());
            events.push_back(Event::OffsetsCommitted { id, result });
        }
    }
}

fn list(offsets: &[OffsetCommit]) -> Result<PartitionList, Error> {
    let mut list = PartitionList::new(offsets.len());
    for commit in offsets {
        let (partition, metadata) = (&commit.partition, commit.metadata.as_str());
        list.add(&partition.topic, partition.partition, Some(commit.offset), Some(metadata))?;
    }
    Ok(list)
}
