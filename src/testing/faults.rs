//! Which faults happen: by chance, or because a test directed them; and which took effect.
//!
//! A fault counts when its effect shows, not when it is planned.

use std::collections::BTreeMap;

use crate::{record::TopicPartition, runtime::Lane, testing::transactions::MarkerTarget};

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

/// The faults of a run.
#[derive(Debug)]
pub(super) struct FaultPlan {
    chances: FaultChances,
    directed: Vec<Directed>,
    lost_markers: Vec<TopicPartition>,
    duplicates: Vec<(String, Lane)>,
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
