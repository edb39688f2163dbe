//! The transaction coordinator: who holds a transactional id, and what its transaction does.
//!
//! Transactions V1: requests are checked by producer id and epoch alone. Decides; the cluster
//! writes the markers.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use crate::{
    record::TopicPartition, runtime::TransactionState, testing::codes::ErrorCode,
    testing::partition::Stamp,
};

/// The broker's default of `transaction.timeout.ms`.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);

/// A coordinator's states of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum State {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
}

/// Where a marker is to be written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum MarkerTarget {
    Partition(TopicPartition),
    GroupOffsets(Rc<str>),
}

/// A producer id with its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ProducerEpoch {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

/// What a transactional id stands at.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) producer: ProducerEpoch,
    pub(super) state: State,
    pub(super) timeout: Duration,
    /// Counts transactions, so that a time-out meant for an old one is told apart.
    pub(super) sequence: u64,
    pub(super) targets: BTreeSet<MarkerTarget>,
    /// The client that writes it.
    pub(super) client: u64,
    /// Which of all transactions it was to be opened.
    pub(super) opened: u64,
    /// The older epoch of the same owner was aborted: this one must not commit.
    pub(super) falls: bool,
    markers_left: usize,
}

/// The answer to InitProducerId.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InitOutcome {
    /// The id is taken.
    Ready(ProducerEpoch),
    /// An open transaction is being aborted: write its markers, let the client try again.
    Aborting,
    /// Markers are under way: let the client try again.
    Concurrent,
    /// Another producer holds the id than was expected.
    Fenced,
}

/// The answer to EndTxn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndOutcome {
    /// Decided now: write the markers.
    Decided,
    /// It was decided that way before.
    Repeated,
}

/// All transactional ids.
#[derive(Debug, Default)]
pub(super) struct Coordinator {
    pub(super) transactions: BTreeMap<Rc<str>, Transaction>,
    next_producer_id: i64,
    next_opened: u64,
}

impl Coordinator {
    /// InitProducerId. `expected` is Fence's expectation; it is ignored on an open transaction
    /// (facts 9.10).
    pub(super) fn init(
        &mut self,
        id: &Rc<str>,
        timeout: Option<Duration>,
        expected: Option<ProducerEpoch>,
    ) -> InitOutcome {
        let Some(transaction) = self.transactions.get_mut(id) else {
            if expected.is_some() {
                return InitOutcome::Fenced;
            }
            let producer = ProducerEpoch { id: self.next_producer_id, epoch: 0 };
            self.next_producer_id += 1;
            self.transactions.insert(
                Rc::clone(id),
                Transaction {
                    producer,
                    state: State::Empty,
                    timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
                    sequence: 0,
                    targets: BTreeSet::new(),
                    client: 0,
                    opened: 0,
                    falls: false,
                    markers_left: 0,
                },
            );
            return InitOutcome::Ready(producer);
        };
        match transaction.state {
            State::Ongoing => {
                transaction.fence();
                InitOutcome::Aborting
            }
            State::PrepareCommit | State::PrepareAbort => InitOutcome::Concurrent,
            State::Empty | State::CompleteCommit | State::CompleteAbort => {
                if expected.is_some_and(|expected| expected != transaction.producer) {
                    return InitOutcome::Fenced;
                }
                if transaction.producer.epoch >= i16::MAX - 1 {
                    transaction.producer = ProducerEpoch { id: self.next_producer_id, epoch: 0 };
                    self.next_producer_id += 1;
                } else {
                    transaction.producer.epoch += 1;
                }
                transaction.state = State::Empty;
                transaction.timeout = timeout.unwrap_or(transaction.timeout);
                transaction.targets.clear();
                InitOutcome::Ready(transaction.producer)
            }
        }
    }

    /// AddPartitionsToTxn or AddOffsetsToTxn: `true` where this opened the transaction.
    pub(super) fn add(
        &mut self,
        id: &Rc<str>,
        producer: ProducerEpoch,
        target: MarkerTarget,
    ) -> Result<bool, ErrorCode> {
        let opened = self.next_opened;
        let transaction = self.checked(id, producer)?;
        match transaction.state {
            State::PrepareCommit | State::PrepareAbort => Err(ErrorCode::ConcurrentTransactions),
            State::Ongoing => {
                transaction.targets.insert(target);
                Ok(false)
            }
            State::Empty | State::CompleteCommit | State::CompleteAbort => {
                transaction.state = State::Ongoing;
                transaction.sequence += 1;
                transaction.targets = BTreeSet::from([target]);
                (transaction.opened, transaction.falls) = (opened, false);
                self.next_opened += 1;
                Ok(true)
            }
        }
    }

    /// Whether that target is part of the producer's open transaction.
    pub(super) fn verify(
        &mut self,
        id: &Rc<str>,
        producer: ProducerEpoch,
        target: &MarkerTarget,
    ) -> Result<(), ErrorCode> {
        let transaction = self.checked(id, producer)?;
        if transaction.state == State::Ongoing && transaction.targets.contains(target) {
            Ok(())
        } else {
            Err(ErrorCode::InvalidTxnState)
        }
    }

    /// EndTxn.
    pub(super) fn end(
        &mut self,
        id: &Rc<str>,
        producer: ProducerEpoch,
        commit: bool,
    ) -> Result<EndOutcome, ErrorCode> {
        let transaction = self.checked(id, producer)?;
        match (transaction.state, commit) {
            (State::Ongoing, _) => {
                transaction.decide(commit);
                Ok(EndOutcome::Decided)
            }
            (State::PrepareCommit, true) | (State::PrepareAbort, false) => {
                Err(ErrorCode::ConcurrentTransactions)
            }
            (State::CompleteCommit, true) | (State::CompleteAbort, false) => {
                Ok(EndOutcome::Repeated)
            }
            _ => Err(ErrorCode::InvalidTxnState),
        }
    }

    /// Notes whose the open transaction is.
    pub(super) fn note_client(&mut self, id: &Rc<str>, producer: ProducerEpoch, client: u64) {
        if let Ok(transaction) = self.checked(id, producer) {
            transaction.client = client;
        }
    }

    fn checked(
        &mut self,
        id: &Rc<str>,
        producer: ProducerEpoch,
    ) -> Result<&mut Transaction, ErrorCode> {
        let transaction =
            self.transactions.get_mut(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        if transaction.producer.id != producer.id {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        if transaction.producer.epoch != producer.epoch {
            return Err(ErrorCode::ProducerFenced);
        }
        Ok(transaction)
    }

    /// Aborts the transaction of that sequence number if it is still open.
    pub(super) fn time_out(&mut self, id: &Rc<str>, sequence: u64) -> bool {
        match self.transactions.get_mut(id) {
            Some(transaction)
                if transaction.state == State::Ongoing && transaction.sequence == sequence =>
            {
                transaction.fence();
                true
            }
            _ => false,
        }
    }

    /// The markers to write for a transaction that was just decided, and whether they commit.
    pub(super) fn markers(&self, id: &Rc<str>) -> Option<(Stamp, bool, Vec<MarkerTarget>)> {
        let transaction = self.transactions.get(id)?;
        let commit = match transaction.state {
            State::PrepareCommit => true,
            State::PrepareAbort => false,
            _ => return None,
        };
        let stamp = Stamp {
            producer_id: transaction.producer.id,
            epoch: transaction.producer.epoch,
            transactional_id: Rc::clone(id),
        };
        Some((stamp, commit, transaction.targets.iter().cloned().collect()))
    }

    /// One marker is written: the last one completes the transaction.
    pub(super) fn marker_written(&mut self, id: &Rc<str>) {
        let Some(transaction) = self.transactions.get_mut(id) else { return };
        transaction.markers_left = transaction.markers_left.saturating_sub(1);
        if transaction.markers_left == 0 {
            transaction.state = match transaction.state {
                State::PrepareCommit => State::CompleteCommit,
                State::PrepareAbort => State::CompleteAbort,
                other => other,
            };
        }
    }

    /// Who holds that producer id, and how its transaction is described.
    pub(super) fn describe(&self, producer_id: i64) -> (Option<String>, TransactionState) {
        let found = self.transactions.iter().find(|(_, t)| t.producer.id == producer_id);
        let Some((id, transaction)) = found else { return (None, TransactionState::Unknown) };
        let state = match transaction.state {
            State::Ongoing => TransactionState::Ongoing,
            State::PrepareCommit => TransactionState::PrepareCommit,
            State::PrepareAbort => TransactionState::PrepareAbort,
            State::Empty | State::CompleteCommit | State::CompleteAbort => {
                TransactionState::Complete
            }
        };
        (Some(id.to_string()), state)
    }
}

impl Transaction {
    /// Aborts in the owner's place: the epoch is bumped, so that the owner finds itself fenced.
    fn fence(&mut self) {
        self.producer.epoch = self.producer.epoch.saturating_add(1);
        self.decide(false);
    }

    fn decide(&mut self, commit: bool) {
        self.state = if commit { State::PrepareCommit } else { State::PrepareAbort };
        self.markers_left = self.targets.len();
    }
}
