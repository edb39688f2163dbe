//! Defects of real brokers and networks, directed: markers that are never written, ends that arrive
//! twice, requests that arrive late.

use std::time::Duration;

use crate::{
    record::TopicPartition,
    runtime::Lane,
    testing::{Awaits, CoordinatorRequest, MovedOn, SimCluster},
};

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

    /// For that long, each request of the instance to a coordinator takes up to 1.4 s more, and so
    /// does each answer: requests of others overtake them.
    pub fn slow_links(&self, instance: &str, span: Duration) {
        let mut cluster = self.cluster.borrow_mut();
        let until = cluster.now() + span;
        cluster.faults.slow_links(instance, until);
    }

    /// The next such request of the instance is held back until its client has moved on.
    /// `moved_on` says how: a producer can send it again over a new connection
    /// ([`MovedOn::SentAgain`]); all else waits in vain.
    pub fn hold(
        &self,
        instance: &str,
        request: CoordinatorRequest,
        awaits: Awaits,
        moved_on: MovedOn,
    ) {
        self.cluster.borrow_mut().faults.hold(instance, request, awaits, moved_on);
    }

    /// Whether a request of that instance is held back now.
    pub fn holds_back(&self, instance: &str) -> bool {
        self.cluster.borrow().holds_back(instance)
    }

    /// Lets all that is held back arrive now.
    pub fn release_held(&self) {
        self.cluster.borrow_mut().release_all();
    }
}
