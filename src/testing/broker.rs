//! The brokers: what a request does when it arrives, and what is answered.

use std::{rc::Rc, time::Duration};

use crate::{
    record::TopicPartition,
    runtime::OffsetCommit,
    testing::{
        cluster::{Arrival, Cluster, Reply, Wakeup},
        codes::ErrorCode,
        faults::{FaultKind, happens},
        group::{Group, Joined, Phase},
        partition::{RecordData, Stamp},
        requests::{Answer, BrokerRequest, JoinRequest, MemberProof, ProduceRefusal},
        transactions::{EndOutcome, InitOutcome, MarkerTarget, ProducerEpoch},
    },
};

impl Cluster {
    pub(super) fn handle_arrival(&mut self, arrival: Arrival) {
        let Arrival { client, group, reply, request, .. } = arrival;
        let answer = match request {
            BrokerRequest::Init { id, timeout } => self.init_producer(&id, timeout),
            BrokerRequest::Produce { id, producer, partition, records, registered } => {
                match self.admit(&id, producer, &partition, registered) {
                    Ok(()) => {
                        self.coordinator.note_client(&id, producer, client);
                        self.watch_produce(client, &id, &partition);
                        self.take_records(id, producer, &partition, &records)
                    }
                    Err(ErrorCode::ConcurrentTransactions) => {
                        Answer::Retry(BrokerRequest::Produce {
                            id,
                            producer,
                            partition,
                            records,
                            registered,
                        })
                    }
                    Err(code) => self.refuse_records(code),
                }
            }
            BrokerRequest::CommitOffsets { id, producer, proof, offsets } => {
                self.coordinator.note_client(&id, producer, client);
                self.take_offsets(&group, id, producer, proof, offsets)
            }
            BrokerRequest::End { id, producer, commit } => self.end(id, producer, commit),
            BrokerRequest::Join(join) => return self.join_group(&group, client, join),
            BrokerRequest::Heartbeat(proof) => self.take_heartbeat(&group, &proof),
            BrokerRequest::Leave { member_id, instance_id } => {
                let leaving = self.group_mut(&group).leaver(member_id, instance_id.as_deref());
                self.remove_member(&group, &leaving);
                Answer::Left
            }
            BrokerRequest::DeleteRecords { partition, before } => {
                if let Some(partition) = self.topics.partition_mut(&partition) {
                    partition.delete_before(before);
                }
                return;
            }
            BrokerRequest::Question(question) => self.answer_question(&group, question),
            BrokerRequest::RestoreBounds { partition } => self.restore_bounds(partition),
        };
        self.answer(client, reply, answer);
    }

    fn init_producer(&mut self, id: &Rc<str>, timeout: Duration) -> Answer {
        match self.coordinator.init(id, Some(timeout), None) {
            InitOutcome::Ready(producer) => Answer::Producer(Ok(producer)),
            InitOutcome::Fenced => Answer::Producer(Err(ErrorCode::ProducerFenced)),
            outcome @ (InitOutcome::Aborting | InitOutcome::Concurrent) => {
                if outcome == InitOutcome::Aborting {
                    self.schedule_markers(id);
                }
                Answer::Retry(BrokerRequest::Init { id: Rc::clone(id), timeout })
            }
        }
    }

    /// AddPartitionsToTxn or AddOffsetsToTxn.
    fn register(
        &mut self,
        id: &Rc<str>,
        producer: ProducerEpoch,
        target: MarkerTarget,
    ) -> Result<(), ErrorCode> {
        let opened = self.coordinator.add(id, producer, target)?;
        if opened && let Some(transaction) = self.coordinator.transactions.get(id) {
            let sequence = transaction.sequence;
            let after = transaction.timeout + self.settings.timeout_scan.sample(&mut self.rng);
            self.schedule(after, Wakeup::TransactionTimeout { id: Rc::clone(id), sequence });
        }
        Ok(())
    }

    /// AddPartitionsToTxn; where the client has that behind it, the check of KIP-890's part 1:
    /// no record enters a partition whose transaction is over.
    fn admit(
        &mut self,
        id: &Rc<str>,
        producer: ProducerEpoch,
        partition: &TopicPartition,
        registered: bool,
    ) -> Result<(), ErrorCode> {
        let log = self.topics.partition(partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        log.check_epoch(producer.id, producer.epoch)?;
        let target = MarkerTarget::Partition(partition.clone());
        if !registered {
            self.register(id, producer, target)
        } else if log.is_open(producer.id) {
            Ok(())
        } else {
            self.coordinator.verify(id, producer, &target)
        }
    }

    fn refuse_records(&mut self, code: ErrorCode) -> Answer {
        self.count_refusal(code);
        Answer::Produced(Err(ProduceRefusal { code, culprits: Vec::new() }))
    }

    /// Produce.
    fn take_records(
        &mut self,
        id: Rc<str>,
        producer: ProducerEpoch,
        partition: &TopicPartition,
        records: &[Rc<RecordData>],
    ) -> Answer {
        let wall = self.clock.wall();
        let Some(topic) = self.topics.get_mut(&partition.topic) else {
            return self.refuse_records(ErrorCode::UnknownTopicOrPartition);
        };
        let mut code = None;
        let mut culprits = Vec::new();
        for (index, record) in records.iter().enumerate() {
            if let Err(why) = topic.check(record, wall) {
                code = code.or(Some(why));
                culprits.push(index);
            }
        }
        if let Some(code) = code {
            return Answer::Produced(Err(ProduceRefusal { code, culprits }));
        }
        let stamp = Stamp { producer_id: producer.id, epoch: producer.epoch, transactional_id: id };
        let appended = match topic.partition_mut(partition.partition) {
            Some(log) => log.append(&stamp, records),
            None => Err(ErrorCode::UnknownTopicOrPartition),
        };
        match appended {
            Ok(last) => Answer::Produced(Ok(last)),
            Err(code) => self.refuse_records(code),
        }
    }

    /// AddOffsetsToTxn and TxnOffsetCommit.
    fn take_offsets(
        &mut self,
        group: &Rc<str>,
        id: Rc<str>,
        producer: ProducerEpoch,
        proof: MemberProof,
        offsets: Vec<OffsetCommit>,
    ) -> Answer {
        let target = MarkerTarget::GroupOffsets(Rc::clone(group));
        match self.register(&id, producer, target) {
            Ok(()) => {}
            Err(ErrorCode::ConcurrentTransactions) => {
                let request = BrokerRequest::CommitOffsets { id, producer, proof, offsets };
                return Answer::Retry(request);
            }
            Err(code) => {
                self.count_refusal(code);
                return Answer::OffsetsAdded(Err(code));
            }
        }
        self.watch_offsets(&id);
        let state = self.group_mut(group);
        if let Err(code) = state.check_commit(&proof) {
            self.count_refusal(code);
            return Answer::OffsetsAdded(Err(code));
        }
        state.offsets.commit_pending(producer.id, offsets);
        Answer::OffsetsAdded(Ok(()))
    }

    fn end(&mut self, id: Rc<str>, producer: ProducerEpoch, commit: bool) -> Answer {
        if commit && happens(self.faults.chances().fence, &mut self.rng) {
            self.fence(&id);
        }
        let holds = self.coordinator.transactions.get(&id).is_some_and(|t| t.producer == producer);
        if holds && commit {
            self.watch_commit(&id);
        }
        match self.coordinator.end(&id, producer, commit) {
            Ok(EndOutcome::Decided) => {
                self.schedule_markers(&id);
                Answer::Ended(Ok(()))
            }
            Ok(EndOutcome::Repeated) => Answer::Ended(Ok(())),
            Err(ErrorCode::ConcurrentTransactions) => {
                Answer::Retry(BrokerRequest::End { id, producer, commit })
            }
            Err(code) => {
                self.count_refusal(code);
                Answer::Ended(Err(code))
            }
        }
    }

    fn count_refusal(&mut self, code: ErrorCode) {
        if code.is_fencing() {
            self.faults.count(FaultKind::ProducerRefused);
        } else if code.is_membership() {
            self.faults.count(FaultKind::OffsetsRefused);
        }
    }

    /// Takes a transactional id away from its owner, as a new producer would. Tells whether it
    /// exists.
    pub(super) fn fence(&mut self, id: &Rc<str>) -> bool {
        if !self.coordinator.transactions.contains_key(id) {
            return false;
        }
        match self.coordinator.init(id, None, None) {
            InitOutcome::Aborting => self.schedule_markers(id),
            InitOutcome::Ready(_) => {}
            InitOutcome::Concurrent | InitOutcome::Fenced => return false,
        }
        self.faults.count(FaultKind::Fence);
        true
    }

    /// Sends the markers of a decided transaction on their way, each with its own delay.
    pub(super) fn schedule_markers(&mut self, id: &Rc<str>) {
        let Some((stamp, commit, targets)) = self.coordinator.markers(id) else { return };
        if !commit {
            self.watch_abort(id);
        }
        for target in targets {
            if self.faults.take_lost_marker(&target) {
                self.lose_marker(stamp.clone(), commit, target);
                continue;
            }
            let slow = happens(self.faults.chances().slow_marker, &mut self.rng);
            let delay = if slow {
                self.faults.count(FaultKind::SlowMarker);
                self.settings.slow_marker_delay
            } else {
                self.settings.marker_delay
            };
            let after = delay.sample(&mut self.rng);
            self.schedule(after, Wakeup::Marker { stamp: stamp.clone(), commit, target });
        }
    }

    /// The coordinator believes that it has written the marker, and calls the transaction complete.
    fn lose_marker(&mut self, stamp: Stamp, commit: bool, target: MarkerTarget) {
        self.faults.count(FaultKind::LostMarker);
        self.note(
            "broker",
            &format!("marker of {} never written: {target:?}", stamp.transactional_id),
        );
        self.coordinator.marker_written(&Rc::clone(&stamp.transactional_id));
        if let MarkerTarget::Partition(partition) = &target
            && let Some(log) = self.topics.partition_mut(partition)
        {
            log.marker_is_missing(stamp.producer_id);
        }
        self.lost_markers.push((stamp, commit, target));
    }

    /// An operator writes the markers that never came (`kafka-transactions.sh`).
    pub(super) fn write_lost_markers(&mut self) {
        for (stamp, commit, target) in std::mem::take(&mut self.lost_markers) {
            match target {
                MarkerTarget::Partition(partition) => {
                    if let Some(log) = self.topics.partition_mut(&partition) {
                        log.end_transaction(stamp, commit);
                    }
                }
                MarkerTarget::GroupOffsets(group) => {
                    let offsets = &mut self.group_mut(&group).offsets;
                    offsets.end_transaction(stamp.producer_id, commit);
                }
            }
        }
    }

    pub(super) fn write_marker(&mut self, stamp: Stamp, commit: bool, target: &MarkerTarget) {
        let id = Rc::clone(&stamp.transactional_id);
        match target {
            MarkerTarget::Partition(partition) => {
                if let Some(partition) = self.topics.partition_mut(partition) {
                    partition.end_transaction(stamp, commit);
                }
            }
            MarkerTarget::GroupOffsets(group) => {
                let offsets = &mut self.group_mut(group).offsets;
                offsets.end_transaction(stamp.producer_id, commit);
            }
        }
        self.coordinator.marker_written(&id);
    }

    // === Groups ===

    pub(super) fn group_mut(&mut self, name: &Rc<str>) -> &mut Group {
        self.groups.entry(Rc::clone(name)).or_insert_with(Group::new)
    }

    fn join_group(&mut self, group: &Rc<str>, client: u64, join: JoinRequest) {
        let now = self.now();
        let delay = self.settings.rebalance_delay.sample(&mut self.rng);
        let answers = self.group_mut(group).join(client, join, now, delay);
        self.answer_joins(answers);
        self.check_group(group);
    }

    fn take_heartbeat(&mut self, group: &Rc<str>, proof: &MemberProof) -> Answer {
        let chances = self.faults.chances();
        if happens(chances.session_expiry, &mut self.rng)
            && self.remove_member(group, &proof.member_id)
        {
            self.faults.count(FaultKind::SessionExpiry);
        } else if happens(chances.rebalance, &mut self.rng) {
            self.force_rebalance(group);
        }
        let now = self.now();
        Answer::Heartbeat(self.group_mut(group).heartbeat(proof, now))
    }

    pub(super) fn force_rebalance(&mut self, group: &Rc<str>) {
        let now = self.now();
        let state = self.group_mut(group);
        if state.phase == Phase::Stable {
            state.prepare_rebalance(now, Duration::ZERO);
            self.faults.count(FaultKind::Rebalance);
            self.check_group(group);
        }
    }

    /// Tells whether the member was there.
    pub(super) fn remove_member(&mut self, group: &Rc<str>, member_id: &str) -> bool {
        let now = self.now();
        let (removed, answers) = self.group_mut(group).remove(member_id, now);
        self.answer_joins(answers);
        self.check_group(group);
        removed
    }

    fn answer_joins(&mut self, answers: Vec<Joined>) {
        for (client, token, result) in answers {
            self.answer(client, Reply::Group { token }, Answer::Joined(result));
        }
    }

    /// Lets the coordinator do what is due, and look again when something will be.
    pub(super) fn check_group(&mut self, group: &Rc<str>) {
        let now = self.now();
        let counts = self.topics.counts();
        let state = self.group_mut(group);
        let expired = state.expire_sessions(now).len();
        let answers = state.complete_if_due(now, &counts);
        let next = state.next_check(now).filter(|at| state.wants_check(*at, now));
        for _ in 0..expired {
            self.faults.count(FaultKind::SessionExpiry);
        }
        self.answer_joins(answers);
        if let Some(at) = next {
            self.schedule(at.saturating_sub(now), Wakeup::GroupCheck { group: Rc::clone(group) });
        }
    }
}
