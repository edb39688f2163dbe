//! What a run leaves behind, for those who judge it: committed records without copies of them, and
//! a digest of all logs.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
};

use crate::{
    record::{Offset, TopicPartition},
    testing::{SimCluster, digest::Digest, group_offsets::GroupOffsets, transactions::Coordinator},
};

impl SimCluster {
    /// Shows the key and the value of each record that a read_committed reader finds in a
    /// partition from `from` on; gives the position behind them. Where there is no such partition
    /// nothing is shown.
    pub fn visit_committed(
        &self,
        partition: &TopicPartition,
        from: Offset,
        mut visit: impl FnMut(Option<&[u8]>, Option<&[u8]>),
    ) -> Offset {
        let cluster = self.cluster.borrow();
        let Some(log) = cluster.topics.partition(partition) else { return from };
        log.visit_committed(from, |_, data| visit(data.key.as_deref(), data.value.as_deref()))
    }

    /// How many partitions a topic has; 0 where there is no such topic.
    pub fn partitions(&self, topic: &str) -> i32 {
        self.cluster.borrow().topics.get(topic).map_or(0, |topic| topic.info().partitions)
    }

    /// A digest of every log as it is: records with all they hold, markers, what is open and what
    /// was aborted, groups' offsets, and where each transactional id stands.
    pub fn logs_digest(&self) -> u64 {
        let cluster = self.cluster.borrow();
        let mut digest = Digest::default();
        for topic in cluster.topics.names() {
            digest.add(&topic);
            if let Some(found) = cluster.topics.get(&topic) {
                digest.add(&found.partitions());
            }
        }
        let groups: BTreeMap<&str, &GroupOffsets> =
            cluster.groups.iter().map(|(name, group)| (&**name, &group.offsets)).collect();
        digest.add(&groups);
        let Coordinator { transactions, .. } = &cluster.coordinator;
        for (id, transaction) in transactions {
            (id, transaction.producer, transaction.state, transaction.sequence).hash(&mut digest);
        }
        digest.finish()
    }
}
