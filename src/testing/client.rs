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
    runtime::{Event, GroupMetadata, Isolation, Lane, RestoreEvent},
    testing::{
        batch::SimBatch,
        client_lane::ClientLane,
        cluster::Wakeup,
        links::{Channel, Link},
        settings::ClientSettings,
    },
};

/// Names a client for good; never used again.
pub(super) type ClientId = u64;

/// One stream thread's connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) settings: ClientSettings,
    /// [`ClientSettings::instance`] and [`ClientSettings::application`], for requests.
    pub(super) instance: Rc<str>,
    pub(super) group: Rc<str>,
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
    group_link: Link,
    lane_a: ClientLane,
    lane_b: ClientLane,
    next_op: u64,
}

impl Client {
    pub(super) fn new(settings: ClientSettings) -> Self {
        let lane_a = ClientLane::new(settings.transactional_id(Lane::A).into());
        let lane_b = ClientLane::new(settings.transactional_id(Lane::B).into());
        Self {
            instance: settings.instance.as_str().into(),
            group: settings.application.as_str().into(),
            settings,
            frozen: false,
            parked: Vec::new(),
            inbox: VecDeque::new(),
            membership: Membership::default(),
            reads: BTreeMap::new(),
            next_fetch: Duration::ZERO,
            poll_deadline: Duration::ZERO,
            group_link: Link::default(),
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

    pub(super) fn link_mut(&mut self, channel: Channel) -> &mut Link {
        match channel {
            Channel::Lane(lane) => &mut self.lane_mut(lane).link,
            Channel::Group => &mut self.group_link,
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

/// A restore's reader.
#[derive(Debug)]
pub(super) struct RestoreClient {
    pub(super) instance: String,
    /// A mutant reads what is not committed.
    pub(super) read_uncommitted: bool,
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

impl RestoreClient {
    /// How it reads.
    pub(super) fn isolation(&self) -> Isolation {
        if self.read_uncommitted { Isolation::ReadUncommitted } else { Isolation::ReadCommitted }
    }
}
