//! What a client knows and has under way: its lanes, its membership, its read positions, and the
//! events that wait for `poll`.
//!
//! Data with small methods on itself; what clients *do* is in `lanes`, `membership`, `reads`.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
    time::Duration,
};

use crate::{
    record::{Offset, TopicName, TopicPartition},
    runtime::{
        Delivery, Event, GroupMetadata, Lane, OffsetCommit, RefusedRecord, RestoreEvent,
        TransactionFailure,
    },
    testing::{
        batch::SimBatch,
        cluster::Wakeup,
        faults::{Fate, LaneRequest},
        partition::RecordData,
        settings::ClientSettings,
        transactions::ProducerEpoch,
    },
};

/// Names a client for good; never used again.
pub(super) type ClientId = u64;

/// At most so many refused records are reported per transaction.
const REFUSED_MAX: usize = 8;

/// One stream thread's connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) settings: ClientSettings,
    pub(super) frozen: bool,
    /// What came for it while it was frozen.
    pub(super) parked: Vec<Wakeup>,
    pub(super) inbox: VecDeque<Event<SimBatch>>,
    pub(super) membership: Membership,
    pub(super) reads: BTreeMap<TopicPartition, ReadState>,
    /// No records before this time.
    pub(super) next_fetch: Duration,
    /// Until when its last `poll` would have waited.
    pub(super) poll_deadline: Duration,
    lane_a: ClientLane,
    lane_b: ClientLane,
    next_op: u64,
}

impl Client {
    pub(super) fn new(settings: ClientSettings) -> Self {
        let lane_a = ClientLane::new(settings.transactional_id(Lane::A).into());
        let lane_b = ClientLane::new(settings.transactional_id(Lane::B).into());
        Self {
            settings,
            frozen: false,
            parked: Vec::new(),
            inbox: VecDeque::new(),
            membership: Membership::default(),
            reads: BTreeMap::new(),
            next_fetch: Duration::ZERO,
            poll_deadline: Duration::ZERO,
            lane_a,
            lane_b,
            next_op: 0,
        }
    }

    pub(super) fn lane(&self, lane: Lane) -> &ClientLane {
        match lane {
            Lane::A => &self.lane_a,
            Lane::B => &self.lane_b,
        }
    }

    pub(super) fn lane_mut(&mut self, lane: Lane) -> &mut ClientLane {
        match lane {
            Lane::A => &mut self.lane_a,
            Lane::B => &mut self.lane_b,
        }
    }

    pub(super) fn new_op(&mut self) -> u64 {
        self.next_op += 1;
        self.next_op
    }
}

/// A partition that is accepted.
#[derive(Debug, Clone, Default)]
pub(super) struct ReadState {
    /// Where to read; `None` while paused.
    pub(super) position: Option<Offset>,
    /// The topic's id when reading began.
    pub(super) topic_id: String,
}

/// Where a client stands with its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum MemberPhase {
    /// Not subscribed, or it left.
    #[default]
    Out,
    /// JoinGroup is under way.
    Joining,
    /// A member as far as it knows.
    Member,
    /// No member any more; joins again once the lost partitions are released.
    Lost,
    /// LeaveGroup is under way.
    Leaving,
    /// Fenced for good.
    Fatal,
}

/// A client's side of the group protocol.
#[derive(Debug, Default)]
pub(super) struct Membership {
    pub(super) phase: MemberPhase,
    pub(super) topics: BTreeSet<TopicName>,
    pub(super) member_id: String,
    pub(super) generation: i32,
    /// Lead partitions that are its own.
    pub(super) owned: BTreeSet<TopicPartition>,
    /// Partitions of a Revoking or Lost event that are not released yet.
    pub(super) releasing: BTreeSet<TopicPartition>,
    /// New partitions that are told once the revoked ones are released.
    pub(super) assigned_next: BTreeSet<TopicPartition>,
    /// Changes with every join, so that answers and timers of before are told apart.
    pub(super) token: u64,
    pub(super) last_poll: Duration,
}

impl Membership {
    /// What `Log::group` says.
    pub(super) fn metadata(&self) -> Option<GroupMetadata> {
        match self.phase {
            MemberPhase::Joining | MemberPhase::Member => {
                GroupMetadata::new(self.generation, self.member_id.clone())
            }
            MemberPhase::Out | MemberPhase::Lost | MemberPhase::Leaving | MemberPhase::Fatal => {
                None
            }
        }
    }
}

/// A request of a lane, waiting or under way.
#[derive(Debug, Clone)]
pub(super) enum LaneOp {
    Open,
    Begin,
    Flush,
    SendOffsets { offsets: Vec<OffsetCommit>, group: GroupMetadata },
    Commit,
    Abort,
}

impl LaneOp {
    /// Its name among faults; `None` for what is local.
    pub(super) fn request(&self) -> Option<LaneRequest> {
        match self {
            Self::Open => Some(LaneRequest::Open),
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
            Self::Begin => None,
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
    pub(super) waiting: VecDeque<LaneOp>,
    pub(super) running: Option<RunningOp>,
    pub(super) queue: BTreeMap<TopicPartition, VecDeque<Queued>>,
    pub(super) in_flight: BTreeMap<TopicPartition, Vec<Queued>>,
    pub(super) queued_bytes: usize,
    pub(super) linger_set: bool,
    last_offsets: BTreeMap<TopicPartition, Offset>,
    refused: Vec<RefusedRecord>,
}

impl ClientLane {
    fn new(transactional_id: Rc<str>) -> Self {
        Self {
            transactional_id,
            incarnation: 0,
            producer: None,
            in_transaction: false,
            registered: false,
            partitions: BTreeSet::new(),
            failure: None,
            waiting: VecDeque::new(),
            running: None,
            queue: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            queued_bytes: 0,
            linger_set: false,
            last_offsets: BTreeMap::new(),
            refused: Vec::new(),
        }
    }

    /// A new producer instance takes the place of the old one, whose requests are forgotten (those
    /// that are on the way still arrive).
    pub(super) fn replace_instance(&mut self) {
        let fresh = Self::new(Rc::clone(&self.transactional_id));
        *self = Self { incarnation: self.incarnation + 1, ..fresh };
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
}

/// A restore's reader.
#[derive(Debug)]
pub(super) struct RestoreClient {
    pub(super) instance: String,
    pub(super) frozen: bool,
    pub(super) parked: Vec<Wakeup>,
    pub(super) inbox: VecDeque<RestoreEvent<SimBatch>>,
    pub(super) reads: BTreeMap<TopicPartition, RestoreRead>,
    pub(super) next_fetch: Duration,
    pub(super) poll_deadline: Duration,
}

/// A changelog partition that is being read.
#[derive(Debug)]
pub(super) struct RestoreRead {
    pub(super) position: Offset,
    /// The position of the last `CaughtUp`.
    pub(super) caught_up: Option<Offset>,
    pub(super) topic_id: String,
}
