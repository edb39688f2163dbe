//! One transactional producer as its client sees it: its requests, its queue, its failure.
//!
//! Rules on its own state only; what goes to the broker is in `lanes`.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
    time::Duration,
};

use crate::{
    record::{Offset, TopicPartition},
    runtime::{
        Delivery, Event, GroupMetadata, Lane, OffsetCommit, RefusedRecord, TransactionFailure,
    },
    testing::{
        batch::SimBatch,
        faults::{Fate, LaneRequest},
        links::Link,
        partition::RecordData,
        requests::ProduceRefusal,
        transactions::ProducerEpoch,
    },
};

/// At most so many refused records are reported per transaction.
const REFUSED_MAX: usize = 8;

/// A request of a lane, waiting or under way.
#[derive(Debug, Clone)]
pub(super) enum LaneOp {
    Open,
    /// The producer is replaced before it begins another transaction: nobody asked, nobody hears.
    Replace,
    Begin,
    Flush,
    SendOffsets {
        offsets: Vec<OffsetCommit>,
        group: GroupMetadata,
    },
    Commit,
    Abort,
}

impl LaneOp {
    /// Its name among faults; `None` for what is local.
    pub(super) fn request(&self) -> Option<LaneRequest> {
        match self {
            Self::Open | Self::Replace => Some(LaneRequest::Open),
            Self::Begin => None,
            Self::Flush => Some(LaneRequest::Flush),
            Self::SendOffsets { .. } => Some(LaneRequest::SendOffsets),
            Self::Commit => Some(LaneRequest::Commit),
            Self::Abort => Some(LaneRequest::Abort),
        }
    }

    /// The event that answers it.
    pub(super) fn outcome(
        &self,
        lane: Lane,
        result: Result<Delivery, TransactionFailure>,
    ) -> Option<Event<SimBatch>> {
        let done = result.as_ref().map(|_| ()).map_err(Clone::clone);
        match self {
            Self::Open => Some(Event::Opened { lane, result: done }),
            Self::Begin | Self::Replace => None,
            Self::Flush => Some(Event::Flushed { lane, result }),
            Self::SendOffsets { .. } => Some(Event::OffsetsSent { lane, result: done }),
            Self::Commit => Some(Event::Committed { lane, result: done }),
            Self::Abort => Some(Event::Aborted { lane, result: done }),
        }
    }
}

/// The request of a lane that is under way.
#[derive(Debug)]
pub(super) struct RunningOp {
    pub(super) id: u64,
    pub(super) op: LaneOp,
    pub(super) fate: Option<Fate>,
    pub(super) started: Duration,
    /// Its own request is on the way (after the produce requests that it waits for).
    pub(super) sent: bool,
    /// It went well, and nobody will hear of it.
    pub(super) withheld: bool,
}

/// A record in the client's queue.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    pub(super) data: Rc<RecordData>,
    pub(super) tag: u64,
}

/// One transactional producer.
#[derive(Debug)]
pub(super) struct ClientLane {
    pub(super) transactional_id: Rc<str>,
    /// Which producer instance this is: answers to an old one are dropped.
    pub(super) incarnation: u64,
    pub(super) producer: Option<ProducerEpoch>,
    pub(super) in_transaction: bool,
    /// Whether the coordinator knows of the transaction.
    pub(super) registered: bool,
    /// Partitions that the coordinator has added to the transaction.
    pub(super) partitions: BTreeSet<TopicPartition>,
    pub(super) failure: Option<TransactionFailure>,
    /// A request of it may still reach the broker: it must not begin another transaction.
    pub(super) disturbed: bool,
    pub(super) waiting: VecDeque<LaneOp>,
    pub(super) running: Option<RunningOp>,
    pub(super) queue: BTreeMap<TopicPartition, VecDeque<Queued>>,
    pub(super) in_flight: BTreeMap<TopicPartition, Vec<Queued>>,
    pub(super) queued_bytes: usize,
    pub(super) linger_set: bool,
    /// A mutant aborts with a producer that was given up, instead of replacing it.
    pub(super) taken_up_again: bool,
    /// Its connection to the coordinator.
    pub(super) link: Link,
    last_offsets: BTreeMap<TopicPartition, Offset>,
    refused: Vec<RefusedRecord>,
}

impl ClientLane {
    pub(super) fn new(transactional_id: Rc<str>) -> Self {
        Self {
            transactional_id,
            incarnation: 0,
            producer: None,
            in_transaction: false,
            registered: false,
            partitions: BTreeSet::new(),
            failure: None,
            disturbed: false,
            waiting: VecDeque::new(),
            running: None,
            queue: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            queued_bytes: 0,
            linger_set: false,
            taken_up_again: false,
            link: Link::default(),
            last_offsets: BTreeMap::new(),
            refused: Vec::new(),
        }
    }

    /// A new producer instance takes the place of the old one, whose requests are forgotten (those
    /// that are on the way still arrive).
    pub(super) fn replace_instance(&mut self) {
        let fresh = Self::new(Rc::clone(&self.transactional_id));
        *self = Self { incarnation: self.incarnation + 1, link: self.link.renewed(), ..fresh };
    }

    /// A mutant's: a producer of which a call was given up goes on under its old epoch, as if
    /// nothing of it were under way any more. Tells whether that is so.
    pub(super) fn take_up_again(&mut self) -> bool {
        let given_up = matches!(self.failure, Some(TransactionFailure::Unknown(_)));
        let Some(producer) = self.producer.filter(|_| given_up) else { return false };
        self.replace_instance();
        self.producer = Some(producer);
        self.taken_up_again = true;
        true
    }

    /// Whether nothing waits to be sent or acknowledged.
    pub(super) fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_empty()
    }

    /// Whether a `Begin` has been submitted for the records that come now.
    pub(super) fn takes_records(&self) -> bool {
        let ends = |op: &LaneOp| matches!(op, LaneOp::Commit | LaneOp::Abort);
        match self.waiting.iter().rev().find(|op| ends(op) || matches!(op, LaneOp::Begin)) {
            Some(op) => matches!(op, LaneOp::Begin),
            None => self.in_transaction && !self.running.as_ref().is_some_and(|r| ends(&r.op)),
        }
    }

    pub(super) fn enqueue(&mut self, partition: TopicPartition, record: Queued) {
        self.queued_bytes += record.data.size();
        self.queue.entry(partition).or_default().push_back(record);
    }

    /// Drops what is queued but not sent.
    pub(super) fn purge(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        let bytes: usize = queue.values().flatten().map(|record| record.data.size()).sum();
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
    }

    /// Takes up to `max` records of a partition out of the queue and counts them as on the way.
    pub(super) fn take_batch(&mut self, partition: &TopicPartition, max: usize) -> Vec<Queued> {
        let Some(queue) = self.queue.get_mut(partition) else { return Vec::new() };
        let batch: Vec<Queued> = queue.drain(..max.min(queue.len())).collect();
        if queue.is_empty() {
            self.queue.remove(partition);
        }
        self.in_flight.insert(partition.clone(), batch.clone());
        batch
    }

    /// A batch was answered: it is on the way no longer.
    pub(super) fn settle(&mut self, partition: &TopicPartition) -> Vec<Queued> {
        let batch = self.in_flight.remove(partition).unwrap_or_default();
        let bytes: usize = batch.iter().map(|record| record.data.size()).sum();
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
        batch
    }

    pub(super) fn acknowledge(&mut self, partition: TopicPartition, last: Offset) {
        self.last_offsets.insert(partition, last);
    }

    pub(super) fn refuse(&mut self, record: RefusedRecord) {
        if self.refused.len() < REFUSED_MAX {
            self.refused.push(record);
        }
    }

    /// What was acknowledged since the transaction began.
    pub(super) fn delivery(&self) -> Delivery {
        Delivery {
            last_offsets: self.last_offsets.iter().map(|(p, o)| (p.clone(), *o)).collect(),
            refused: self.refused.clone(),
        }
    }

    /// The transaction is over, or a new one begins.
    pub(super) fn reset_transaction(&mut self, in_transaction: bool) {
        self.in_transaction = in_transaction;
        self.registered = false;
        self.partitions.clear();
        self.last_offsets.clear();
        self.refused.clear();
    }

    /// Begins a transaction; a text where that is misuse.
    pub(super) fn begin(&mut self) -> Option<String> {
        if self.failure.is_some() {
            return None;
        }
        if self.in_transaction || self.producer.is_none() {
            self.failure = Some(TransactionFailure::Unknown("_STATE".to_owned()));
            return Some(format!("{}: begin in a wrong state", self.transactional_id));
        }
        self.reset_transaction(true);
        None
    }

    /// A text where the request is not allowed now.
    pub(super) fn misuse(&mut self, op: &LaneOp) -> Option<String> {
        if matches!(op, LaneOp::Open | LaneOp::Replace) || self.failure.is_some() {
            return None;
        }
        let text = if !self.in_transaction {
            format!("{}: {op:?} outside a transaction", self.transactional_id)
        } else if matches!(op, LaneOp::SendOffsets { offsets, .. } if offsets.is_empty()) {
            format!("{}: no offsets to send (EOS-3)", self.transactional_id)
        } else {
            return None;
        };
        self.failure = Some(TransactionFailure::Unknown("_STATE".to_owned()));
        Some(text)
    }

    /// The outcome of the running request that a failure has settled already.
    pub(super) fn early_result(&self) -> Option<Result<Delivery, TransactionFailure>> {
        let failure = self.failure.as_ref()?;
        let running = self.running.as_ref()?;
        if running.withheld {
            return None;
        }
        match (&running.op, failure) {
            (LaneOp::Open, _) => None,
            (LaneOp::Abort, failure) if failure.is_abortable() => None,
            (LaneOp::Flush, failure) if failure.is_abortable() && !self.in_flight.is_empty() => {
                None
            }
            (LaneOp::Flush, failure)
                if failure.is_abortable() && !self.delivery().refused.is_empty() =>
            {
                Some(Ok(self.delivery()))
            }
            _ => Some(Err(failure.clone())),
        }
    }

    /// Takes the outcome of a request into the lane's state.
    pub(super) fn conclude(&mut self, op: &LaneOp, result: &Result<Delivery, TransactionFailure>) {
        match result {
            Ok(_) if matches!(op, LaneOp::Replace) => self.disturbed = false,
            Ok(_) if matches!(op, LaneOp::Open) => self.taken_up_again = false,
            Ok(_) if matches!(op, LaneOp::Commit | LaneOp::Abort) => {
                self.failure = None;
                self.reset_transaction(false);
            }
            Ok(_) => {}
            Err(failure) => {
                self.failure = Some(failure.clone());
                self.purge();
            }
        }
    }

    /// The broker did not take a batch: the transaction can only be aborted, or worse.
    pub(super) fn records_refused(
        &mut self,
        partition: &TopicPartition,
        batch: &[Queued],
        refusal: &ProduceRefusal,
    ) {
        self.purge();
        let failure = refusal.code.transaction_failure();
        // The partition was added to the transaction before its records were looked at.
        self.registered |= !refusal.culprits.is_empty();
        if failure.is_abortable() {
            for (index, record) in batch.iter().enumerate() {
                let caused_by_record = refusal.culprits.contains(&index);
                let reason = if caused_by_record || refusal.culprits.is_empty() {
                    refusal.code.name()
                } else {
                    "_INVALID_DIFFERENT_RECORD"
                };
                self.refuse(RefusedRecord {
                    tag: record.tag,
                    partition: partition.clone(),
                    caused_by_record,
                    reason: reason.to_owned(),
                });
            }
        }
        self.failure.get_or_insert(failure);
    }
}
