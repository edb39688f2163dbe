//! [`SimCluster`]: what a test holds of a simulated cluster. Clients come from it, time is moved
//! by it, faults are directed through it, and an oracle reads the outcome from it.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use crate::{
    record::{Offset, PartitionId, Timestamp, TopicPartition},
    runtime::{Isolation, Lane, Now, OffsetCommit, PartitionBounds, TopicSpec, TransactionState},
    testing::{
        batch::OwnedRecord,
        client::{Client, ClientId, RestoreClient},
        cluster::Cluster,
        faults::{Fate, FaultChances, FaultKind, LaneRequest},
        settings::{ClientSettings, SimSettings},
        sim_log::{SimLog, SimRestoreLog, SimTopicAdmin},
        transactions::State,
    },
};

/// An in-memory Kafka cluster with a virtual clock. Cheap to clone; single-threaded.
#[derive(Debug, Clone)]
pub struct SimCluster {
    pub(super) cluster: Rc<RefCell<Cluster>>,
}

/// A transaction that is not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTransaction {
    /// Whose it is.
    pub transactional_id: String,
    /// The producer's id.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// Where it stands.
    pub state: TransactionState,
}

impl SimCluster {
    /// A cluster without topics. The same seed, settings and calls give the same run.
    pub fn new(seed: u64, settings: SimSettings) -> Self {
        Self { cluster: Rc::new(RefCell::new(Cluster::new(seed, settings))) }
    }

    // === Time ===

    /// The present.
    pub fn now(&self) -> Now {
        self.cluster.borrow().clock.now()
    }

    /// Lets everything happen that is due until `time` (monotonic), then stands there.
    pub fn advance_to(&self, time: Duration) {
        self.cluster.borrow_mut().run_until(time);
    }

    /// Moves on by `span`.
    pub fn advance(&self, span: Duration) {
        let mut cluster = self.cluster.borrow_mut();
        let time = cluster.now() + span;
        cluster.run_until(time);
    }

    /// The next time at which anything can happen: something that the cluster has scheduled, or
    /// the deadline of some client's last `poll`.
    pub fn next_wakeup(&self) -> Option<Duration> {
        self.cluster.borrow().next_wakeup()
    }

    // === Clients ===

    /// A stream thread's connection.
    pub fn log(&self, settings: ClientSettings) -> SimLog {
        let mut cluster = self.cluster.borrow_mut();
        let id = cluster.new_client_id();
        cluster.clients.insert(id, Client::new(settings));
        SimLog { cluster: Rc::clone(&self.cluster), id }
    }

    /// A restore's reader, of that instance.
    pub fn restore_log(&self, instance: impl Into<String>) -> SimRestoreLog {
        let mut cluster = self.cluster.borrow_mut();
        let id = cluster.new_client_id();
        let restore = RestoreClient {
            instance: instance.into(),
            frozen: false,
            read_uncommitted: false,
            parked: Vec::new(),
            inbox: std::collections::VecDeque::new(),
            reads: BTreeMap::new(),
            next_fetch: Duration::ZERO,
            poll_deadline: Duration::ZERO,
        };
        cluster.restores.insert(id, restore);
        SimRestoreLog { cluster: Rc::clone(&self.cluster), id }
    }

    /// Creates and describes topics.
    pub fn admin(&self) -> SimTopicAdmin {
        SimTopicAdmin { cluster: Rc::clone(&self.cluster) }
    }

    // === Topics ===

    /// Creates a topic; `false` where one of that name exists.
    pub fn add_topic(&self, spec: &TopicSpec) -> bool {
        self.cluster.borrow_mut().create_topic(spec)
    }

    /// Deletes a topic with its records and committed offsets; `false` where there is none.
    pub fn delete_topic(&self, topic: &str) -> bool {
        let mut cluster = self.cluster.borrow_mut();
        let deleted = cluster.topics.delete(topic);
        for group in cluster.groups.values_mut() {
            group.offsets.forget_topic(topic);
        }
        cluster.topic_changed(topic);
        deleted
    }

    /// Grows a topic to that many partitions.
    pub fn grow_topic(&self, topic: &str, partitions: i32) {
        let mut cluster = self.cluster.borrow_mut();
        if let Some(found) = cluster.topics.get_mut(topic) {
            found.grow(partitions);
        }
        cluster.topic_changed(topic);
    }

    /// Writes a record outside any transaction; `None` where there is no such partition.
    pub fn produce(
        &self,
        topic: &str,
        partition: PartitionId,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: Timestamp,
    ) -> Option<Offset> {
        let at = TopicPartition::new(topic, partition);
        self.cluster.borrow_mut().append_plain(&at, key, value, timestamp)
    }

    /// Compacts a topic: keeps, below each last stable offset, the last record of each key.
    pub fn compact(&self, topic: &str) {
        let mut cluster = self.cluster.borrow_mut();
        if let Some(found) = cluster.topics.get_mut(topic) {
            found.partitions_mut().iter_mut().for_each(super::partition::Partition::compact);
        }
    }

    /// Deletes the records of a partition below `before`.
    pub fn delete_records(&self, partition: &TopicPartition, before: Offset) {
        let mut cluster = self.cluster.borrow_mut();
        if let Some(log) = cluster.topics.partition_mut(partition) {
            log.delete_before(before);
        }
    }

    // === Faults ===

    /// Kills an instance: its clients are gone, what they have under way may still arrive, its
    /// transactions and memberships stay with the broker. Tells whether it lived.
    pub fn crash(&self, instance: &str) -> bool {
        let mut cluster = self.cluster.borrow_mut();
        let ids = cluster.clients_of(instance);
        if ids.is_empty() {
            return false;
        }
        cluster.drop_some_arrivals(&ids);
        for id in &ids {
            cluster.clients.remove(id);
            cluster.restores.remove(id);
        }
        cluster.faults.count(FaultKind::Crash);
        true
    }

    /// Takes an instance's clients away without counting a fault: its process ended by itself.
    pub fn close(&self, instance: &str) {
        let mut cluster = self.cluster.borrow_mut();
        for id in cluster.clients_of(instance) {
            cluster.clients.remove(&id);
            cluster.restores.remove(&id);
        }
    }

    /// Stops an instance as SIGSTOP does: it sends nothing and hears nothing.
    pub fn freeze(&self, instance: &str) {
        let mut cluster = self.cluster.borrow_mut();
        if cluster.set_frozen(instance, true) {
            cluster.faults.count(FaultKind::Freeze);
        }
    }

    /// Lets a stopped instance go on, with what it believed and all that came in the meantime.
    pub fn thaw(&self, instance: &str) {
        self.cluster.borrow_mut().set_frozen(instance, false);
    }

    /// The answer to the next such request of that instance's lane is lost.
    pub fn lose_answer(&self, instance: &str, lane: Lane, request: LaneRequest, fate: Fate) {
        self.cluster.borrow_mut().faults.lose_answer(instance, lane, request, fate);
    }

    /// How many directed lost answers still wait for their request.
    pub fn pending_faults(&self) -> usize {
        self.cluster.borrow().faults.pending()
    }

    /// Takes a transactional id from its owner now; `false` where nobody has it or its markers
    /// are under way.
    pub fn fence(&self, transactional_id: &str) -> bool {
        self.cluster.borrow_mut().fence(&transactional_id.into())
    }

    /// Starts a rebalance of a group that is at rest.
    pub fn force_rebalance(&self, group: &str) {
        self.cluster.borrow_mut().force_rebalance(&group.into());
    }

    /// Removes an instance's members from the group, as if their sessions had expired. Tells
    /// whether there was one.
    pub fn expire_session(&self, group: &str, instance: &str) -> bool {
        let mut cluster = self.cluster.borrow_mut();
        let group: Rc<str> = group.into();
        let mut expired = false;
        for id in cluster.clients_of(instance) {
            let member = cluster.group_mut(&group).member_of(id);
            if let Some(member) = member
                && cluster.remove_member(&group, &member)
            {
                cluster.faults.count(FaultKind::SessionExpiry);
                expired = true;
            }
        }
        expired
    }

    /// Commits group offsets outside any transaction, as an operator's reset does.
    pub fn commit_group_offsets(&self, group: &str, offsets: Vec<OffsetCommit>) {
        let mut cluster = self.cluster.borrow_mut();
        cluster.group_mut(&group.into()).offsets.commit_plain(offsets);
    }

    /// Forgets a committed offset, as Kafka does after its retention; `false` where none is.
    pub fn expire_group_offset(&self, group: &str, partition: &TopicPartition) -> bool {
        self.cluster.borrow_mut().group_mut(&group.into()).offsets.expire(partition)
    }

    /// Changes the chances of faults from now on.
    pub fn set_chances(&self, chances: FaultChances) {
        *self.cluster.borrow_mut().faults.chances_mut() = chances;
    }

    /// The faults that took effect so far, by kind.
    pub fn fault_counts(&self) -> BTreeMap<FaultKind, u64> {
        self.cluster.borrow().faults.counts().clone()
    }

    // === Oracles ===

    /// What a read_committed reader finds in a topic now, per partition.
    pub fn committed_records(&self, topic: &str) -> Vec<Vec<OwnedRecord>> {
        self.records(topic, Isolation::ReadCommitted)
    }

    /// What a reader of that isolation finds in a topic now, per partition.
    pub fn records(&self, topic: &str, isolation: Isolation) -> Vec<Vec<OwnedRecord>> {
        let cluster = self.cluster.borrow();
        let Some(found) = cluster.topics.get(topic) else { return Vec::new() };
        let partitions = found.partitions().iter().map(|log| {
            let (records, _) = log.read(log.bounds().start, isolation, usize::MAX);
            records.iter().map(OwnedRecord::new).collect()
        });
        partitions.collect()
    }

    /// The bounds of a partition; `None` where there is no such partition.
    pub fn bounds(&self, partition: &TopicPartition) -> Option<PartitionBounds> {
        Some(self.cluster.borrow().topics.partition(partition)?.bounds())
    }

    /// The names of all topics.
    pub fn topics(&self) -> Vec<crate::record::TopicName> {
        self.cluster.borrow().topics.names()
    }

    /// A group's committed offsets, whatever is pending.
    pub fn group_offsets(&self, group: &str) -> Vec<OffsetCommit> {
        let cluster = self.cluster.borrow();
        cluster.groups.get(group).map(|group| group.offsets.all()).unwrap_or_default()
    }

    /// The offset that a new owner of a partition would be told; `None` while one is pending.
    pub fn stable_offset(
        &self,
        group: &str,
        partition: &TopicPartition,
    ) -> Option<crate::runtime::CommittedOffset> {
        let cluster = self.cluster.borrow();
        cluster.groups.get(group)?.offsets.stable(std::slice::from_ref(partition))?.pop()
    }

    /// Whether any transaction holds offsets of the group pending.
    pub fn has_pending_offsets(&self, group: &str) -> bool {
        self.cluster.borrow().groups.get(group).is_some_and(|group| group.offsets.has_pending())
    }

    /// The group's generation; 0 before its first rebalance.
    pub fn group_generation(&self, group: &str) -> i32 {
        self.cluster.borrow().groups.get(group).map_or(0, |group| group.generation)
    }

    /// How many rebalances the group has completed.
    pub fn rebalances(&self, group: &str) -> u64 {
        self.cluster.borrow().groups.get(group).map_or(0, |group| group.rebalances)
    }

    /// The transactions that are not complete.
    pub fn open_transactions(&self) -> Vec<OpenTransaction> {
        let cluster = self.cluster.borrow();
        let open = cluster.coordinator.transactions.iter().filter_map(|(id, transaction)| {
            let state = match transaction.state {
                State::Ongoing => TransactionState::Ongoing,
                State::PrepareCommit => TransactionState::PrepareCommit,
                State::PrepareAbort => TransactionState::PrepareAbort,
                State::Empty | State::CompleteCommit | State::CompleteAbort => return None,
            };
            Some(OpenTransaction {
                transactional_id: id.to_string(),
                producer_id: transaction.producer.id,
                producer_epoch: transaction.producer.epoch,
                state,
            })
        });
        open.collect()
    }

    /// Breaches of the seam's contract by its user (records outside a transaction, offsets
    /// forgotten, a step of a frozen instance, and the like). A sound run has none.
    pub fn violations(&self) -> Vec<String> {
        self.cluster.borrow().violations.clone()
    }

    /// A number that two runs share only if the same happened in both, at the same times.
    pub fn fingerprint(&self) -> u64 {
        self.cluster.borrow().fingerprint()
    }

    /// Everything that happened, line by line, where [`SimSettings::trace`] is set.
    pub fn trace(&self) -> String {
        self.cluster.borrow().trace()
    }

    /// Adds a line to the trace, where one is kept: what somebody outside the cluster did.
    pub fn note(&self, who: &str, text: &str) {
        self.cluster.borrow_mut().note(who, text);
    }

    /// A generator that follows from the run's own: for a test's own choices.
    pub fn fork_rng(&self) -> fastrand::Rng {
        self.cluster.borrow_mut().rng.fork()
    }
}

impl Cluster {
    fn clients_of(&self, instance: &str) -> Vec<ClientId> {
        let threads =
            self.clients.iter().filter(|(_, c)| c.settings.instance == instance).map(|(id, _)| *id);
        let restores =
            self.restores.iter().filter(|(_, c)| c.instance == instance).map(|(id, _)| *id);
        threads.chain(restores).collect()
    }

    /// Tells whether anything changed. What came for a thawed client comes now, in order.
    fn set_frozen(&mut self, instance: &str, frozen: bool) -> bool {
        let mut changed = false;
        for id in self.clients_of(instance) {
            let parked = if let Some(client) = self.clients.get_mut(&id) {
                changed |= client.frozen != frozen;
                client.frozen = frozen;
                std::mem::take(&mut client.parked)
            } else if let Some(restore) = self.restores.get_mut(&id) {
                changed |= restore.frozen != frozen;
                restore.frozen = frozen;
                std::mem::take(&mut restore.parked)
            } else {
                Vec::new()
            };
            for wakeup in parked {
                self.schedule(Duration::ZERO, wakeup);
            }
        }
        changed
    }
}
