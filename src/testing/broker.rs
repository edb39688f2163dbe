//! The brokers: what a request does when it arrives, and what is answered.

use std::{rc::Rc, time::Duration};

use crate::{
    record::{Offset, TopicName, TopicPartition},
    runtime::{
        Blocker, BlockerReport, Event, OffsetCommit, OffsetsUnavailable, PartitionBounds,
        RequestId, RestoreEvent,
    },
    testing::{
        batch::SimBatch,
        cluster::{Arrival, Cluster, Reply, Wakeup},
        codes::ErrorCode,
        faults::{FaultKind, happens},
        group::{Group, JoinAnswer, JoinRequest, Joined, MemberProof, Phase},
        partition::{Partition, RecordData, Stamp},
        transactions::{EndOutcome, InitOutcome, MarkerTarget, ProducerEpoch},
    },
};

/// Stands for the partition of it that holds the group's offsets.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The offsets topic's model keeps no epochs: the coordinator's is taken.
const UNKNOWN_EPOCH: i16 = -1;

/// What is answered by one event, however it ends.
#[derive(Debug, Clone)]
pub(super) enum Question {
    CommittedOffsets {
        id: RequestId,
        partitions: Vec<TopicPartition>,
    },
    CommitOffsets {
        id: RequestId,
        proof: MemberProof,
        offsets: Vec<OffsetCommit>,
    },
    Bounds {
        id: RequestId,
        partitions: Vec<TopicPartition>,
    },
    FindBlockers {
        id: RequestId,
        partition: TopicPartition,
    },
    Describe {
        id: RequestId,
        topics: Vec<TopicName>,
    },
    Fence {
        id: RequestId,
        transactional_id: Rc<str>,
        expected: ProducerEpoch,
        aborting: bool,
    },
    /// DescribeGroups.
    DescribeGroup {
        id: RequestId,
    },
}

/// A request as the broker gets it.
#[derive(Debug, Clone)]
pub(super) enum BrokerRequest {
    Init {
        id: Rc<str>,
        timeout: Duration,
    },
    Produce {
        id: Rc<str>,
        producer: ProducerEpoch,
        partition: TopicPartition,
        records: Vec<Rc<RecordData>>,
        /// Whether the client has the partition's AddPartitionsToTxn behind it.
        registered: bool,
    },
    CommitOffsets {
        id: Rc<str>,
        producer: ProducerEpoch,
        proof: MemberProof,
        offsets: Vec<OffsetCommit>,
    },
    End {
        id: Rc<str>,
        producer: ProducerEpoch,
        commit: bool,
    },
    Join(JoinRequest),
    Heartbeat(MemberProof),
    Leave {
        member_id: String,
    },
    DeleteRecords {
        partition: TopicPartition,
        before: Offset,
    },
    Question(Question),
    RestoreBounds {
        partition: TopicPartition,
    },
}

/// Why a batch of records was not taken.
#[derive(Debug, Clone)]
pub(super) struct ProduceRefusal {
    pub(super) code: ErrorCode,
    /// The records in the batch that are the cause; empty where none is.
    pub(super) culprits: Vec<usize>,
}

/// What the broker answers.
#[derive(Debug)]
pub(super) enum Answer {
    /// `CONCURRENT_TRANSACTIONS`: send this again.
    Retry(BrokerRequest),
    Producer(Result<ProducerEpoch, ErrorCode>),
    Produced(Result<Offset, ProduceRefusal>),
    OffsetsAdded(Result<(), ErrorCode>),
    Ended(Result<(), ErrorCode>),
    Joined(Result<JoinAnswer, ErrorCode>),
    Heartbeat(Result<(), ErrorCode>),
    Left,
    Event(Event<SimBatch>),
    Restore(RestoreEvent<SimBatch>),
}

impl Cluster {
    pub(super) fn handle_arrival(&mut self, arrival: Arrival) {
        let Arrival { client, group, reply, request } = arrival;
        let answer = match request {
            BrokerRequest::Init { id, timeout } => self.init_producer(&id, timeout),
            BrokerRequest::Produce { id, producer, partition, records, registered } => {
                match self.admit(&id, producer, &partition, registered) {
                    Ok(()) => self.take_records(id, producer, &partition, &records),
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
                self.take_offsets(&group, id, producer, proof, offsets)
            }
            BrokerRequest::End { id, producer, commit } => self.end(id, producer, commit),
            BrokerRequest::Join(join) => return self.join_group(&group, client, join),
            BrokerRequest::Heartbeat(proof) => self.take_heartbeat(&group, &proof),
            BrokerRequest::Leave { member_id } => {
                self.remove_member(&group, &member_id);
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
        for target in targets {
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
        if self.rebalance(group) {
            self.faults.count(FaultKind::Rebalance);
        }
    }

    /// Makes a stable group rebalance; tells whether it was.
    pub(super) fn rebalance(&mut self, group: &Rc<str>) -> bool {
        let now = self.now();
        let state = self.group_mut(group);
        if state.phase != Phase::Stable {
            return false;
        }
        state.prepare_rebalance(now, Duration::ZERO);
        self.check_group(group);
        true
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
        for (client, result) in answers {
            let token = self.clients.get(&client).map(|c| c.membership.token);
            if let Some(token) = token {
                self.answer(client, Reply::Group { token }, Answer::Joined(result));
            }
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

    // === Questions ===

    fn answer_question(&mut self, group: &Rc<str>, question: Question) -> Answer {
        if happens(self.faults.chances().failed_question, &mut self.rng) {
            self.faults.count(FaultKind::FailedQuestion);
            return Answer::Event(failed(&question));
        }
        Answer::Event(match question {
            Question::CommittedOffsets { id, partitions } => {
                let result = self
                    .group_mut(group)
                    .offsets
                    .stable(&partitions)
                    .ok_or(OffsetsUnavailable::Unstable);
                Event::CommittedOffsets { id, result }
            }
            Question::CommitOffsets { id, proof, offsets } => {
                let state = self.group_mut(group);
                let checked = state.check_commit(&proof);
                if checked.is_ok() {
                    state.offsets.commit_plain(offsets);
                }
                let result = checked.map_err(|code| code.name().to_owned());
                Event::OffsetsCommitted { id, result }
            }
            Question::Bounds { id, partitions } => {
                let bounds = partitions.into_iter().map(|partition| {
                    let bounds = self.bounds(&partition).map_err(OffsetsUnavailable::Retriable)?;
                    Ok((partition, bounds))
                });
                Event::Bounds { id, result: bounds.collect() }
            }
            Question::FindBlockers { id, partition } => {
                Event::Blockers { id, result: Ok(self.find_blockers(group, partition)) }
            }
            Question::Describe { id, topics } => {
                let infos = topics.iter().map(|name| Some(self.topics.get(name)?.info().clone()));
                Event::Described { id, result: Ok(infos.collect()) }
            }
            Question::Fence { id, transactional_id, expected, aborting } => {
                return self.fence_expected(id, transactional_id, expected, aborting);
            }
            Question::DescribeGroup { id } => {
                Event::GroupDescribed { id, result: Ok(self.group_mut(group).describe()) }
            }
        })
    }

    fn bounds(&self, partition: &TopicPartition) -> Result<PartitionBounds, String> {
        self.topics
            .partition(partition)
            .map(Partition::bounds)
            .ok_or_else(|| ErrorCode::UnknownTopicOrPartition.name().to_owned())
    }

    fn restore_bounds(&mut self, partition: TopicPartition) -> Answer {
        if happens(self.faults.chances().failed_question, &mut self.rng) {
            self.faults.count(FaultKind::FailedQuestion);
            let result = Err("_TIMED_OUT".to_owned());
            return Answer::Restore(RestoreEvent::Bounds { partition, result });
        }
        let result = self.bounds(&partition);
        Answer::Restore(RestoreEvent::Bounds { partition, result })
    }

    /// Open transactions on the partition's log; for the offsets topic, those that hold offsets
    /// of the group pending.
    fn find_blockers(&mut self, group: &Rc<str>, partition: TopicPartition) -> BlockerReport {
        let producers: Vec<(i64, i16)> = if &*partition.topic == OFFSETS_TOPIC {
            let pending = self.group_mut(group).offsets.pending_producers();
            pending.into_iter().map(|id| (id, UNKNOWN_EPOCH)).collect()
        } else {
            self.topics.partition(&partition).map(Partition::open_producers).unwrap_or_default()
        };
        let blockers = producers.into_iter().map(|(producer_id, epoch)| {
            let (transactional_id, state) = self.coordinator.describe(producer_id);
            let current = transactional_id
                .as_deref()
                .and_then(|id| self.coordinator.transactions.get(id))
                .map(|transaction| transaction.producer.epoch);
            Blocker {
                producer_id,
                producer_epoch: if epoch == UNKNOWN_EPOCH {
                    current.unwrap_or(epoch)
                } else {
                    epoch
                },
                transactional_id,
                state,
            }
        });
        let blockers = blockers.collect();
        BlockerReport { partition, blockers, members: self.group_mut(group).describe() }
    }

    fn fence_expected(
        &mut self,
        id: RequestId,
        transactional_id: Rc<str>,
        expected: ProducerEpoch,
        aborting: bool,
    ) -> Answer {
        let outcome = self.coordinator.init(&transactional_id, None, Some(expected));
        if outcome == InitOutcome::Aborting {
            self.faults.count(FaultKind::Fence);
            self.schedule_markers(&transactional_id);
        }
        let result = match outcome {
            InitOutcome::Aborting | InitOutcome::Concurrent => {
                let aborting = aborting || outcome == InitOutcome::Aborting;
                let again = Question::Fence { id, transactional_id, expected, aborting };
                return Answer::Retry(BrokerRequest::Question(again));
            }
            InitOutcome::Ready(_) => Ok(()),
            // After our own abort the epoch has moved on: the producer is fenced as it should be.
            InitOutcome::Fenced if aborting => Ok(()),
            InitOutcome::Fenced => Err(ErrorCode::ProducerFenced.name().to_owned()),
        };
        Answer::Event(Event::Fenced { id, result })
    }
}

/// The answer of a broker that cannot be reached.
fn failed(question: &Question) -> Event<SimBatch> {
    let reason = || "_TIMED_OUT".to_owned();
    match question {
        Question::CommittedOffsets { id, .. } => Event::CommittedOffsets {
            id: *id,
            result: Err(OffsetsUnavailable::Retriable(reason())),
        },
        Question::CommitOffsets { id, .. } => {
            Event::OffsetsCommitted { id: *id, result: Err(reason()) }
        }
        Question::Bounds { id, .. } => {
            Event::Bounds { id: *id, result: Err(OffsetsUnavailable::Retriable(reason())) }
        }
        Question::FindBlockers { id, .. } => Event::Blockers { id: *id, result: Err(reason()) },
        Question::Describe { id, .. } => Event::Described { id: *id, result: Err(reason()) },
        Question::Fence { id, .. } => Event::Fenced { id: *id, result: Err(reason()) },
        Question::DescribeGroup { id } => Event::GroupDescribed { id: *id, result: Err(reason()) },
    }
}
