//! Who blocks a partition, and a fence that hits exactly that producer (DESIGN section 7).

use std::time::Duration;

use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, InitProducerIdRequest,
    ListTransactionsRequest, ProducerId, TransactionalId, describe_producers_request::TopicRequest,
};

use super::{
    client::{CoordinatorKind, WireClient, is_coordinator_gone, text, topic_name},
    connection::WireError,
    groups::offsets_partition,
};
use crate::{
    record::{Offset, TopicPartition},
    runtime::{Blocker, TransactionState},
};

const DESCRIBE_PRODUCERS: i16 = 0;
const LIST_TRANSACTIONS: i16 = 0;
const DESCRIBE_TRANSACTIONS: i16 = 0;
const INIT_PRODUCER_ID: i16 = 4;

const CONCURRENT_TRANSACTIONS: i16 = 51;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const PRODUCER_FENCED: i16 = 90;

const FENCE_PAUSE: Duration = Duration::from_millis(5);
/// Attempts to fence: with the pause, about ten seconds.
const FENCE_ATTEMPTS: u32 = 2_000;

struct Described {
    state: TransactionState,
    producer_id: i64,
    producer_epoch: i16,
}

impl WireClient {
    /// The open transactions on a partition, oldest first. Partition -1 stands for the one of
    /// `__consumer_offsets` that holds the group.
    pub(in crate::kafka) fn find_blockers(
        &mut self,
        group: &str,
        partition: &TopicPartition,
    ) -> Result<Vec<Blocker>, WireError> {
        let asked = if partition.partition < 0 {
            self.offsets_partition_of(group, &partition.topic)?
        } else {
            partition.clone()
        };
        let mut blockers = vec![];
        for (start, producer_id, producer_epoch) in self.open_producers(&asked)? {
            blockers.push(self.blocker(start, producer_id, producer_epoch)?);
        }
        Ok(blockers)
    }

    /// Fences the holder of a transactional id, provided that it is this producer, and waits until
    /// its transaction is decided. Usually takes some 10 ms.
    pub(in crate::kafka) fn fence(
        &mut self,
        transactional_id: &str,
        producer_id: i64,
        producer_epoch: i16,
        transaction_timeout: Duration,
    ) -> Result<(), WireError> {
        let timeout = i32::try_from(transaction_timeout.as_millis()).unwrap_or(i32::MAX);
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(transactional_id))))
            .with_transaction_timeout_ms(timeout)
            .with_producer_id(ProducerId(producer_id))
            .with_producer_epoch(producer_epoch);
        let kind = CoordinatorKind::Transaction;
        let what = || format!("fence of {transactional_id}");
        let mut aborting = false;
        let mut last = CONCURRENT_TRANSACTIONS;
        for _ in 0..FENCE_ATTEMPTS {
            let response =
                self.call_coordinator(kind, transactional_id, &request, INIT_PRODUCER_ID)?;
            last = response.error_code;
            match response.error_code {
                CONCURRENT_TRANSACTIONS => aborting = true,
                code if is_coordinator_gone(code) => {
                    self.forget_coordinator(kind, transactional_id)
                }
                // The broker raises the epoch when it aborts for us; then our own expectation is
                // outdated. The transaction says whether it is decided.
                PRODUCER_FENCED | INVALID_PRODUCER_EPOCH if aborting => {
                    let now = self.describe_transaction(transactional_id)?;
                    let raised = now.producer_id != producer_id
                        || now.producer_epoch == producer_epoch.wrapping_add(1);
                    match now.state {
                        TransactionState::Complete if raised => return Ok(()),
                        TransactionState::PrepareAbort | TransactionState::PrepareCommit => {}
                        _ => return WireError::check(response.error_code, what),
                    }
                }
                code => return WireError::check(code, what),
            }
            pause();
        }
        WireError::check(last, what)
    }

    fn offsets_partition_of(
        &mut self,
        group: &str,
        topic: &str,
    ) -> Result<TopicPartition, WireError> {
        let metadata = self.metadata(&[topic])?;
        let described = metadata.topics.first();
        WireError::check(described.map_or(3, |t| t.error_code), || format!("topic {topic}"))?;
        let count = described.map_or(0, |t| t.partitions.len());
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        Ok(TopicPartition::new(topic, offsets_partition(group, count)))
    }

    /// Producers with an open transaction on the partition, oldest transaction first: where it
    /// begins, producer id, epoch.
    fn open_producers(
        &mut self,
        partition: &TopicPartition,
    ) -> Result<Vec<(i64, i64, i16)>, WireError> {
        let leader = self.leader(partition)?;
        let topic = TopicRequest::default()
            .with_name(topic_name(&partition.topic))
            .with_partition_indexes(vec![partition.partition]);
        let request = DescribeProducersRequest::default().with_topics(vec![topic]);
        let response = self.call_broker(leader, &request, DESCRIBE_PRODUCERS)?;
        let mut open = vec![];
        for answer in response.topics.iter().flat_map(|topic| &topic.partitions) {
            WireError::check(answer.error_code, || format!("producers of {partition}"))?;
            for producer in &answer.active_producers {
                if producer.current_txn_start_offset >= 0 {
                    let epoch = i16::try_from(producer.producer_epoch).unwrap_or(-1);
                    open.push((producer.current_txn_start_offset, producer.producer_id.0, epoch));
                }
            }
        }
        open.sort_unstable();
        Ok(open)
    }

    fn blocker(
        &mut self,
        start: i64,
        producer_id: i64,
        producer_epoch: i16,
    ) -> Result<Blocker, WireError> {
        let transactional_id = self.transactional_id_of(producer_id)?;
        let state = match &transactional_id {
            None => TransactionState::Unknown,
            Some(id) => {
                let described = self.describe_transaction(id)?;
                // The coordinator must mean the same producer: the id may have a new holder.
                state_of(&described, producer_id, producer_epoch)
            }
        };
        let start = Offset(start);
        Ok(Blocker { producer_id, producer_epoch, start, transactional_id, state })
    }

    fn transactional_id_of(&mut self, producer_id: i64) -> Result<Option<String>, WireError> {
        let request = ListTransactionsRequest::default()
            .with_producer_id_filters(vec![ProducerId(producer_id)]);
        self.metadata(&[])?;
        for broker in self.brokers() {
            let response = self.call_broker(broker, &request, LIST_TRANSACTIONS)?;
            WireError::check(response.error_code, || {
                format!("transactions of producer {producer_id}")
            })?;
            if let Some(found) = response.transaction_states.first() {
                return Ok(Some(found.transactional_id.as_str().to_owned()));
            }
        }
        Ok(None)
    }

    fn describe_transaction(&mut self, id: &str) -> Result<Described, WireError> {
        let request = DescribeTransactionsRequest::default()
            .with_transactional_ids(vec![TransactionalId(text(id))]);
        let kind = CoordinatorKind::Transaction;
        let response = self.call_coordinator(kind, id, &request, DESCRIBE_TRANSACTIONS)?;
        let described = response.transaction_states.first().ok_or_else(|| WireError::Codec {
            address: format!("transaction {id}"),
            reason: "no answer about it".to_owned(),
        })?;
        if is_coordinator_gone(described.error_code) {
            self.forget_coordinator(kind, id);
        }
        WireError::check(described.error_code, || format!("transaction {id}"))?;
        Ok(Described {
            state: transaction_state(described.transaction_state.as_str()),
            producer_id: described.producer_id.0,
            producer_epoch: described.producer_epoch,
        })
    }
}

/// What the coordinator's word means for a transaction that a partition still has open.
fn state_of(described: &Described, producer_id: i64, producer_epoch: i16) -> TransactionState {
    let holder = (described.producer_id, described.producer_epoch);
    match described.state {
        state if holder == (producer_id, producer_epoch) => state,
        // Its producer went on to a later epoch, which takes that every transaction before is
        // complete: what is still open here has no marker to come (facts 9.6).
        TransactionState::Complete | TransactionState::Ongoing
            if holder.0 == producer_id && holder.1 > producer_epoch =>
        {
            TransactionState::Complete
        }
        _ => TransactionState::Unknown,
    }
}

/// KIP-664's names.
fn transaction_state(name: &str) -> TransactionState {
    match name {
        "Ongoing" => TransactionState::Ongoing,
        "PrepareCommit" => TransactionState::PrepareCommit,
        "PrepareAbort" | "PrepareEpochFence" => TransactionState::PrepareAbort,
        "CompleteCommit" | "CompleteAbort" | "Empty" => TransactionState::Complete,
        _ => TransactionState::Unknown,
    }
}

#[allow(clippy::disallowed_methods)] // Nothing signals that the coordinator is done.
fn pause() {
    std::thread::sleep(FENCE_PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_its_coordinator_has_left_behind_is_complete() {
        use TransactionState as S;
        let described =
            |state, producer_id, producer_epoch| Described { state, producer_id, producer_epoch };
        let rows = [
            (described(S::Ongoing, 7, 3), S::Ongoing),
            (described(S::PrepareCommit, 7, 3), S::PrepareCommit),
            (described(S::Complete, 7, 3), S::Complete),
            // The same producer, a later epoch: nothing is under way for the older one.
            (described(S::Complete, 7, 4), S::Complete),
            (described(S::Ongoing, 7, 4), S::Complete),
            // A fence raises the epoch while it aborts.
            (described(S::PrepareAbort, 7, 4), S::Unknown),
            // Somebody else's.
            (described(S::Ongoing, 8, 3), S::Unknown),
            (described(S::Complete, 8, 0), S::Unknown),
        ];
        for (described, expected) in rows {
            assert_eq!(state_of(&described, 7, 3), expected, "{:?}", described.state);
        }
    }

    #[test]
    fn an_empty_transaction_is_a_complete_one() {
        for name in ["CompleteCommit", "CompleteAbort", "Empty"] {
            assert_eq!(transaction_state(name), TransactionState::Complete, "{name}");
        }
    }
}
