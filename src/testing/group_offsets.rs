//! A group's committed offsets: the log of commits, and what transactions still hold pending.
//!
//! Of several commits the one whose record comes last in the log wins, whenever its marker lands.

use std::collections::BTreeMap;

use crate::{
    record::{Offset, TopicPartition},
    runtime::{CommittedOffset, OffsetCommit},
};

#[derive(Debug, Clone, Hash)]
struct Commit {
    offset: Offset,
    metadata: String,
    /// Where its record stands in the offsets log.
    log_position: u64,
}

/// Committed and pending offsets of one group.
#[derive(Debug, Default, Hash)]
pub(super) struct GroupOffsets {
    log_end: u64,
    committed: BTreeMap<TopicPartition, Commit>,
    /// Per producer id.
    pending: BTreeMap<i64, BTreeMap<TopicPartition, Commit>>,
}

impl GroupOffsets {
    fn commit(&mut self, offset: OffsetCommit) -> (TopicPartition, Commit) {
        let log_position = self.log_end;
        self.log_end += 1;
        let OffsetCommit { partition, offset, metadata } = offset;
        (partition, Commit { offset, metadata, log_position })
    }

    /// A commit outside any transaction.
    pub(super) fn commit_plain(&mut self, offsets: Vec<OffsetCommit>) {
        for offset in offsets {
            let (partition, commit) = self.commit(offset);
            self.committed.insert(partition, commit);
        }
    }

    /// TxnOffsetCommit.
    pub(super) fn commit_pending(&mut self, producer_id: i64, offsets: Vec<OffsetCommit>) {
        for offset in offsets {
            let (partition, commit) = self.commit(offset);
            self.pending.entry(producer_id).or_default().insert(partition, commit);
        }
    }

    /// The marker of a producer's transaction.
    pub(super) fn end_transaction(&mut self, producer_id: i64, commit: bool) {
        self.log_end += 1;
        let Some(pending) = self.pending.remove(&producer_id) else { return };
        if !commit {
            return;
        }
        for (partition, newer) in pending {
            let overtaken = self
                .committed
                .get(&partition)
                .is_some_and(|committed| committed.log_position > newer.log_position);
            if !overtaken {
                self.committed.insert(partition, newer);
            }
        }
    }

    /// Where their first one stands, and who: producers that hold pending offsets, oldest first.
    pub(super) fn pending_producers(&self) -> Vec<(i64, i64)> {
        let first = |offsets: &BTreeMap<TopicPartition, Commit>| {
            offsets.values().map(|commit| commit.log_position).min()
        };
        let mut producers: Vec<_> =
            self.pending.iter().map(|(id, offsets)| (first(offsets), *id)).collect();
        producers.sort_unstable();
        let at = |position: Option<u64>| position.and_then(|p| i64::try_from(p).ok());
        producers.into_iter().map(|(first, id)| (at(first).unwrap_or(0), id)).collect()
    }

    /// The stable offsets of those partitions; `None` where one is pending.
    pub(super) fn stable(&self, partitions: &[TopicPartition]) -> Option<Vec<CommittedOffset>> {
        let unstable = |partition| {
            self.pending.values().any(|offsets: &BTreeMap<_, _>| offsets.contains_key(partition))
        };
        if partitions.iter().any(unstable) {
            return None;
        }
        Some(self.committed(partitions))
    }

    /// The committed offsets of those partitions, whatever is pending.
    pub(super) fn committed(&self, partitions: &[TopicPartition]) -> Vec<CommittedOffset> {
        let offsets = partitions.iter().map(|partition| match self.committed.get(partition) {
            Some(commit) => CommittedOffset {
                partition: partition.clone(),
                offset: Some(commit.offset),
                metadata: commit.metadata.clone(),
            },
            None => CommittedOffset {
                partition: partition.clone(),
                offset: None,
                metadata: String::new(),
            },
        });
        offsets.collect()
    }

    /// Everything that is committed, pending or not.
    pub(super) fn all(&self) -> Vec<OffsetCommit> {
        let commits = self.committed.iter().map(|(partition, commit)| OffsetCommit {
            partition: partition.clone(),
            offset: commit.offset,
            metadata: commit.metadata.clone(),
        });
        commits.collect()
    }

    /// Whether any transaction holds offsets pending.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Forgets the committed offset of a partition, as Kafka does after `offsets.retention`.
    pub(super) fn expire(&mut self, partition: &TopicPartition) -> bool {
        self.committed.remove(partition).is_some()
    }

    /// Forgets the committed offsets of a deleted topic.
    pub(super) fn forget_topic(&mut self, topic: &str) {
        self.committed.retain(|partition, _| &*partition.topic != topic);
    }
}
