//! Questions about offsets, bounds, blockers and topics; and Fence, which is answered like one.

use std::rc::Rc;

use crate::{
    record::{Offset, TopicPartition},
    runtime::{
        Blocker, BlockerReport, Event, OffsetsUnavailable, PartitionBounds, RequestId,
        RestoreEvent, TransactionState,
    },
    testing::{
        batch::SimBatch,
        cluster::Cluster,
        codes::ErrorCode,
        faults::{FaultKind, happens},
        partition::Partition,
        requests::{Answer, BrokerRequest, Question},
        transactions::{InitOutcome, ProducerEpoch},
    },
};

/// Stands for the partition of it that holds the group's offsets.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The offsets topic's model keeps no epochs: the coordinator's is taken.
const UNKNOWN_EPOCH: i16 = -1;

impl Cluster {
    pub(super) fn answer_question(&mut self, group: &Rc<str>, question: Question) -> Answer {
        if happens(self.faults.chances().failed_question, &mut self.rng) {
            self.faults.count(FaultKind::FailedQuestion);
            return Answer::Event(failed(&question));
        }
        Answer::Event(match question {
            Question::CommittedOffsets { id, partitions, stable } => {
                let offsets = &self.group_mut(group).offsets;
                let result = if stable { offsets.stable(&partitions) } else { None }
                    .or_else(|| (!stable).then(|| offsets.committed(&partitions)))
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
            Question::Namesake { id, asker, instance_id } => {
                let group = self.group_mut(group);
                Event::Namesake { id, result: Ok(group.namesake(asker, instance_id.as_deref())) }
            }
        })
    }

    fn bounds(&self, partition: &TopicPartition) -> Result<PartitionBounds, String> {
        self.topics
            .partition(partition)
            .map(Partition::bounds)
            .ok_or_else(|| ErrorCode::UnknownTopicOrPartition.name().to_owned())
    }

    pub(super) fn restore_bounds(&mut self, partition: TopicPartition) -> Answer {
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
        let producers: Vec<(i64, i16, Offset)> = if &*partition.topic == OFFSETS_TOPIC {
            let pending = self.group_mut(group).offsets.pending_producers();
            pending.into_iter().map(|(at, id)| (id, UNKNOWN_EPOCH, Offset(at))).collect()
        } else {
            self.topics.partition(&partition).map(Partition::open_producers).unwrap_or_default()
        };
        let blockers = producers.into_iter().map(|(producer_id, epoch, start)| {
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
                start,
                transactional_id,
                // A producer that went on to a later epoch has nothing under way for the older one.
                state: match state {
                    TransactionState::Ongoing if epoch >= 0 && current > Some(epoch) => {
                        TransactionState::Complete
                    }
                    state => state,
                },
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
pub(super) fn failed(question: &Question) -> Event<SimBatch> {
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
        Question::Namesake { id, .. } => Event::Namesake { id: *id, result: Err(reason()) },
    }
}
