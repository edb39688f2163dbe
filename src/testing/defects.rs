//! Defects of real brokers, directed: markers that are never written, ends that arrive twice.

use crate::{record::TopicPartition, runtime::Lane, testing::SimCluster};

impl SimCluster {
    /// The next marker in that partition is never written, though the coordinator calls its
    /// transaction complete (facts 9.6).
    pub fn lose_marker(&self, partition: &TopicPartition) {
        self.cluster.borrow_mut().faults.lose_marker(partition.clone());
    }

    /// Writes the markers that were never written, as an operator would.
    pub fn write_lost_markers(&self) {
        self.cluster.borrow_mut().write_lost_markers();
    }

    /// Records that producers wrote into a partition over their own missing marker.
    pub fn written_over_missing_marker(&self, partition: &TopicPartition) -> u64 {
        let cluster = self.cluster.borrow();
        cluster.topics.partition(partition).map_or(0, super::partition::Partition::written_over)
    }

    /// The group's coordinator moves, and loads the membership that a static member had before
    /// its newest join, of a process that is gone; `false` where nobody has that instance id or the
    /// group is not at rest.
    pub fn fall_back(&self, group: &str, instance_id: &str) -> bool {
        let mut cluster = self.cluster.borrow_mut();
        let now = cluster.now();
        cluster.group_mut(&group.into()).fall_back(instance_id, now)
    }

    /// The next EndTxn of that instance's lane reaches the coordinator a second time, up to half
    /// a second later: its connection was disturbed (facts 9.7).
    pub fn duplicate_end(&self, instance: &str, lane: Lane) {
        self.cluster.borrow_mut().faults.duplicate_end(instance, lane);
    }
}
