//! Which faults happen: by chance, or because a test directed them; and which took effect.
//!
//! A fault counts when its effect shows, not when it is planned.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    record::TopicPartition,
    runtime::Lane,
    testing::{links::Awaits, transactions::MarkerTarget},
};

/// A request of a lane whose answer can be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LaneRequest {
    /// `Request::Open`.
    Open,
    /// `Request::Flush`.
    Flush,
    /// `Request::SendOffsets`.
    SendOffsets,
    /// `Request::Commit`.
    Commit,
    /// `Request::Abort`.
    Abort,
}

impl LaneRequest {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Open, Self::Flush, Self::SendOffsets, Self::Commit, Self::Abort];
}

/// What became of a request whose answer the client never saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// It never reached the broker.
    NotApplied,
    /// The broker carried it out.
    Applied,
    /// It reaches the broker after the client has given up on it.
    Late,
}

impl Fate {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::NotApplied, Self::Applied, Self::Late];
}

/// A request to a transaction coordinator or to a group's, which may be late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CoordinatorRequest {
    /// InitProducerId.
    InitProducer,
    /// AddOffsetsToTxn and TxnOffsetCommit.
    SendOffsets,
    /// EndTxn.
    EndTransaction,
    /// OffsetFetch.
    FetchOffsets,
    /// JoinGroup.
    Join,
    /// Heartbeat.
    Heartbeat,
    /// LeaveGroup.
    Leave,
}

impl CoordinatorRequest {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::InitProducer,
        Self::SendOffsets,
        Self::EndTransaction,
        Self::FetchOffsets,
        Self::Join,
        Self::Heartbeat,
        Self::Leave,
    ];

    /// Whether a producer sends it, which may send it again over a new connection.
    pub fn is_of_producer(self) -> bool {
        matches!(self, Self::InitProducer | Self::SendOffsets | Self::EndTransaction)
    }

    /// Whether the group's coordinator answers it.
    pub(super) fn is_of_group(self) -> bool {
        !matches!(self, Self::InitProducer | Self::EndTransaction)
    }
}

/// What the client did while its request was held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MovedOn {
    /// It sent the request again over a new connection, and went on.
    SentAgain,
    /// It waited in vain, and went on from there.
    GaveUp,
    /// It is no more.
    Gone,
}

impl MovedOn {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SentAgain, Self::GaveUp, Self::Gone];
}

/// A kind of fault, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// A client saw an unknown outcome.
    LostAnswer(LaneRequest, Fate),
    /// A transactional id was taken from its owner.
    Fence,
    /// The coordinator aborted a transaction that was open too long.
    TransactionTimeout,
    /// The group rebalanced for no reason.
    Rebalance,
    /// A member was removed from the group while it may live.
    SessionExpiry,
    /// A member gave up its membership since its thread did not poll.
    MaxPoll,
    /// An instance vanished.
    Crash,
    /// An instance was stopped.
    Freeze,
    /// A marker was never written, though its coordinator calls the transaction complete.
    LostMarker,
    /// An EndTxn reached the coordinator a second time, later.
    DuplicatedEnd,
    /// A marker came late.
    SlowMarker,
    /// A request to a coordinator came late; its client waited.
    Delayed(CoordinatorRequest),
    /// A late request found that one of another connection, sent later, had come before it.
    Overtaken(CoordinatorRequest),
    /// A coordinator's answer came late.
    DelayedAnswer,
    /// A request arrived after its client had moved on.
    HeldBack(CoordinatorRequest, MovedOn),
    /// A question about offsets, blockers or topics got no answer.
    FailedQuestion,
    /// A producer's queue was full.
    QueueFull,
    /// The broker refused offsets by their group metadata.
    OffsetsRefused,
    /// The broker refused a producer by its epoch.
    ProducerRefused,
}

/// Chances between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaultChances {
    /// Per lane request: its answer is lost (each fate equally likely).
    pub lost_answer: f64,
    /// Per commit: somebody takes the transactional id just before it arrives.
    pub fence: f64,
    /// Per heartbeat: the group rebalances.
    pub rebalance: f64,
    /// Per heartbeat: the member is removed.
    pub session_expiry: f64,
    /// Per EndTxn: it arrives a second time, later.
    pub duplicated_end: f64,
    /// Per marker: it comes late.
    pub slow_marker: f64,
    /// Per question: no answer this time.
    pub failed_question: f64,
    /// Per request to a coordinator and per answer: it comes late.
    pub delayed: f64,
    /// Per produced record: the queue claims to be full.
    pub queue_full: f64,
}

impl FaultChances {
    /// No faults.
    pub const NONE: Self = Self {
        lost_answer: 0.0,
        fence: 0.0,
        rebalance: 0.0,
        session_expiry: 0.0,
        duplicated_end: 0.0,
        slow_marker: 0.0,
        failed_question: 0.0,
        delayed: 0.0,
        queue_full: 0.0,
    };
}

/// A fault that a test directed at one request.
#[derive(Debug, Clone)]
struct Directed {
    instance: String,
    lane: Lane,
    request: LaneRequest,
    fate: Fate,
}

/// A request that a test wants held back.
#[derive(Debug, Clone)]
struct DirectedHold {
    instance: String,
    request: CoordinatorRequest,
    awaits: Awaits,
    moved_on: MovedOn,
}

/// The faults of a run.
#[derive(Debug)]
pub(super) struct FaultPlan {
    chances: FaultChances,
    directed: Vec<Directed>,
    lost_markers: Vec<TopicPartition>,
    duplicates: Vec<(String, Lane)>,
    /// Until when an instance's links are slow.
    slow: BTreeMap<String, Duration>,
    held: Vec<DirectedHold>,
    counts: BTreeMap<FaultKind, u64>,
}

impl FaultPlan {
    /// A plan with these chances and nothing directed.
    pub(super) fn new(chances: FaultChances) -> Self {
        Self {
            chances,
            directed: Vec::new(),
            lost_markers: Vec::new(),
            duplicates: Vec::new(),
            slow: BTreeMap::new(),
            held: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    /// The chances, to be changed as a run goes on.
    pub(super) fn chances_mut(&mut self) -> &mut FaultChances {
        &mut self.chances
    }

    /// The answer to the next such request of that instance's lane is lost.
    pub(super) fn lose_answer(
        &mut self,
        instance: &str,
        lane: Lane,
        request: LaneRequest,
        fate: Fate,
    ) {
        self.directed.push(Directed { instance: instance.to_owned(), lane, request, fate });
    }

    /// The next marker in that partition is never written.
    pub(super) fn lose_marker(&mut self, partition: TopicPartition) {
        self.lost_markers.push(partition);
    }

    pub(super) fn take_lost_marker(&mut self, target: &MarkerTarget) -> bool {
        let MarkerTarget::Partition(partition) = target else { return false };
        let found = self.lost_markers.iter().position(|p| p == partition);
        found.map(|index| self.lost_markers.remove(index)).is_some()
    }

    /// The next EndTxn of that instance's lane arrives a second time, later.
    pub(super) fn duplicate_end(&mut self, instance: &str, lane: Lane) {
        self.duplicates.push((instance.to_owned(), lane));
    }

    pub(super) fn take_duplicate(
        &mut self,
        instance: &str,
        lane: Lane,
        rng: &mut fastrand::Rng,
    ) -> bool {
        if happens(self.chances.duplicated_end, rng) {
            return true;
        }
        let found = self.duplicates.iter().position(|(i, l)| i == instance && *l == lane);
        found.map(|index| self.duplicates.remove(index)).is_some()
    }

    /// Requests of that instance to coordinators, and their answers, are slow until then.
    pub(super) fn slow_links(&mut self, instance: &str, until: Duration) {
        self.slow.insert(instance.to_owned(), until);
    }

    pub(super) fn is_slow(&self, instance: &str, now: Duration, rng: &mut fastrand::Rng) -> bool {
        self.slow.get(instance).is_some_and(|until| now < *until)
            || happens(self.chances.delayed, rng)
    }

    /// The next such request of that instance is held back.
    pub(super) fn hold(
        &mut self,
        instance: &str,
        request: CoordinatorRequest,
        awaits: Awaits,
        moved_on: MovedOn,
    ) {
        let instance = instance.to_owned();
        self.held.push(DirectedHold { instance, request, awaits, moved_on });
    }

    pub(super) fn take_hold(
        &mut self,
        instance: &str,
        request: CoordinatorRequest,
    ) -> Option<(Awaits, MovedOn)> {
        let wanted = |hold: &DirectedHold| hold.instance == instance && hold.request == request;
        let found = self.held.iter().position(wanted)?;
        let hold = self.held.remove(found);
        Some((hold.awaits, hold.moved_on))
    }

    /// The faults that took effect, by kind.
    pub(super) fn counts(&self) -> &BTreeMap<FaultKind, u64> {
        &self.counts
    }

    /// How many directed faults still wait for their request.
    pub(super) fn pending(&self) -> usize {
        self.directed.len()
    }

    pub(super) fn count(&mut self, kind: FaultKind) {
        *self.counts.entry(kind).or_default() += 1;
    }

    pub(super) fn chances(&self) -> FaultChances {
        self.chances
    }

    /// What is to become of this request; `None` for a request that goes well.
    pub(super) fn fate(
        &mut self,
        instance: &str,
        lane: Lane,
        request: LaneRequest,
        rng: &mut fastrand::Rng,
    ) -> Option<Fate> {
        let directed = self
            .directed
            .iter()
            .position(|d| d.instance == instance && d.lane == lane && d.request == request);
        if let Some(index) = directed {
            return Some(self.directed.remove(index).fate);
        }
        if !happens(self.chances.lost_answer, rng) {
            return None;
        }
        Fate::ALL.get(rng.usize(0..Fate::ALL.len())).copied()
    }
}

/// Draws nothing from `rng` where there is no chance.
pub(super) fn happens(chance: f64, rng: &mut fastrand::Rng) -> bool {
    chance > 0.0 && rng.f64() < chance
}
