//! The group coordinator: a classic group with generations, static members and cooperative
//! assignment.
//!
//! Decides from requests and the time it is given; knows clients by number only, to answer them.
//! JoinGroup and SyncGroup are one step here.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    record::{TopicName, TopicPartition},
    runtime::{Member, Namesake, Standing},
    testing::{
        assignor::{self, Claim},
        client::ClientId,
        codes::ErrorCode,
        group_offsets::GroupOffsets,
        requests::{JoinAnswer, JoinRequest, MemberProof},
    },
};

/// Whether the group is at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Empty,
    /// Waiting for members to join (again): until all have, but not before `not_before`, and not
    /// for those that have not by `deadline`.
    Preparing {
        not_before: Duration,
        deadline: Duration,
    },
    Stable,
}

/// A client from before the first one.
const NOBODY: ClientId = 0;

/// An answer that the coordinator gives now, perhaps to somebody who asked long ago.
pub(super) type Joined = (ClientId, u64, Result<JoinAnswer, ErrorCode>);

#[derive(Debug)]
struct GroupMember {
    client: ClientId,
    token: u64,
    instance_id: Option<String>,
    claim: Claim,
    assigned: BTreeSet<TopicPartition>,
    /// Waits for the answer to JoinGroup.
    joined: bool,
    last_seen: Duration,
    session_timeout: Duration,
    rebalance_timeout: Duration,
}

/// One consumer group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) generation: i32,
    pub(super) phase: Phase,
    pub(super) offsets: GroupOffsets,
    members: BTreeMap<String, GroupMember>,
    next_member: u64,
    /// How many rebalances were completed.
    pub(super) rebalances: u64,
    /// When the coordinator looks again.
    check_at: Duration,
}

impl Group {
    pub(super) fn new() -> Self {
        Self {
            generation: 0,
            phase: Phase::Empty,
            offsets: GroupOffsets::default(),
            members: BTreeMap::new(),
            next_member: 0,
            rebalances: 0,
            check_at: Duration::ZERO,
        }
    }

    /// A member joins, or joins again. `delay` is how long an empty group waits for more.
    pub(super) fn join(
        &mut self,
        client: ClientId,
        request: JoinRequest,
        now: Duration,
        delay: Duration,
    ) -> Vec<Joined> {
        let known = self.holder(request.instance_id.as_deref());
        let member_id = match known {
            Some(holder) if request.member_id.is_empty() => {
                let member_id = self.new_member_id(&request);
                return self.replace_static(client, &holder, member_id, request, now);
            }
            Some(holder) if holder != request.member_id => {
                return vec![(client, request.token, Err(ErrorCode::FencedInstanceId))];
            }
            _ if request.member_id.is_empty() => self.new_member_id(&request),
            _ if !self.members.contains_key(&request.member_id) => {
                return vec![(client, request.token, Err(ErrorCode::UnknownMemberId))];
            }
            _ => request.member_id.clone(),
        };
        let assigned = self.members.remove(&member_id).map(|member| member.assigned);
        self.members.insert(
            member_id,
            GroupMember::joining(client, request, assigned.unwrap_or_default(), now),
        );
        self.prepare_rebalance(now, delay);
        Vec::new()
    }

    /// A static member is back under a new member id: where the group is at rest it gets the old
    /// one's partitions without a rebalance; the old member id is fenced. As in Kafka, what the
    /// old one had to revoke and had not joined again for stays with nobody, until something else
    /// makes the group rebalance.
    fn replace_static(
        &mut self,
        client: ClientId,
        holder: &str,
        member_id: String,
        request: JoinRequest,
        now: Duration,
    ) -> Vec<Joined> {
        let mut answers = Vec::new();
        let Some(old) = self.members.remove(holder) else { return answers };
        if old.joined {
            answers.push((old.client, old.token, Err(ErrorCode::FencedInstanceId)));
        }
        let same_topics = old.claim.topics == request.claim.topics;
        let mut member = GroupMember::joining(client, request, old.assigned, now);
        if self.phase == Phase::Stable && same_topics {
            member.joined = false;
            let answer = JoinAnswer {
                generation: self.generation,
                member_id: member_id.clone(),
                assigned: member.assigned.clone(),
            };
            answers.push((client, member.token, Ok(answer)));
        }
        let must_rebalance = member.joined;
        self.members.insert(member_id, member);
        if must_rebalance {
            self.prepare_rebalance(now, Duration::ZERO);
        }
        answers
    }

    fn new_member_id(&mut self, request: &JoinRequest) -> String {
        self.next_member += 1;
        let stem = request.instance_id.as_deref().unwrap_or("member");
        format!("{stem}-{}", self.next_member)
    }

    fn holder(&self, instance_id: Option<&str>) -> Option<String> {
        let instance_id = instance_id?;
        self.members
            .iter()
            .find(|(_, member)| member.instance_id.as_deref() == Some(instance_id))
            .map(|(member_id, _)| member_id.clone())
    }

    /// Whom a LeaveGroup means: a static member may leave by its instance id alone.
    pub(super) fn leaver(&self, member_id: String, instance_id: Option<&str>) -> String {
        match self.holder(instance_id) {
            Some(holder) if member_id.is_empty() => holder,
            _ => member_id,
        }
    }

    /// Starts a rebalance, unless one is under way.
    pub(super) fn prepare_rebalance(&mut self, now: Duration, delay: Duration) {
        if matches!(self.phase, Phase::Preparing { .. }) {
            return;
        }
        let delay = if self.phase == Phase::Empty { delay } else { Duration::ZERO };
        let timeout =
            self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default();
        self.phase = Phase::Preparing { not_before: now + delay, deadline: now + delay + timeout };
    }

    /// Completes a rebalance that is due. `topics` gives partition counts.
    pub(super) fn complete_if_due(
        &mut self,
        now: Duration,
        topics: &BTreeMap<TopicName, i32>,
    ) -> Vec<Joined> {
        let Phase::Preparing { not_before, deadline } = self.phase else { return Vec::new() };
        let all = self.members.values().all(|member| member.joined);
        if now < not_before || !(all || now >= deadline) {
            return Vec::new();
        }
        self.members.retain(|_, member| member.joined);
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            self.generation += 1;
            return Vec::new();
        }
        self.generation += 1;
        self.rebalances += 1;
        self.phase = Phase::Stable;
        let claims = self.claims();
        let subscribed: BTreeMap<_, _> = topics
            .iter()
            .filter(|(topic, _)| claims.values().any(|claim| claim.topics.contains(*topic)))
            .map(|(topic, count)| (TopicName::clone(topic), *count))
            .collect();
        let mut target = assignor::assign(&claims, &subscribed);
        let mut answers = Vec::new();
        for (member_id, member) in &mut self.members {
            member.assigned = target.remove(member_id).unwrap_or_default();
            member.joined = false;
            member.last_seen = now;
            let answer = JoinAnswer {
                generation: self.generation,
                member_id: member_id.clone(),
                assigned: member.assigned.clone(),
            };
            answers.push((member.client, member.token, Ok(answer)));
        }
        answers
    }

    fn claims(&self) -> BTreeMap<String, Claim> {
        self.members.iter().map(|(id, member)| (id.clone(), member.claim.clone())).collect()
    }

    /// A heartbeat.
    pub(super) fn heartbeat(
        &mut self,
        proof: &MemberProof,
        now: Duration,
    ) -> Result<(), ErrorCode> {
        self.check_member(proof)?;
        if proof.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        if let Some(member) = self.members.get_mut(&proof.member_id) {
            member.last_seen = now;
        }
        match self.phase {
            Phase::Preparing { .. } => Err(ErrorCode::RebalanceInProgress),
            Phase::Stable | Phase::Empty => Ok(()),
        }
    }

    fn check_member(&self, proof: &MemberProof) -> Result<(), ErrorCode> {
        if let Some(holder) = self.holder(proof.instance_id.as_deref())
            && holder != proof.member_id
        {
            return Err(ErrorCode::FencedInstanceId);
        }
        if self.members.contains_key(&proof.member_id) {
            Ok(())
        } else {
            Err(ErrorCode::UnknownMemberId)
        }
    }

    /// The check of a transactional offset commit (facts 3.2): the partitions are not looked at.
    pub(super) fn check_commit(&self, proof: &MemberProof) -> Result<(), ErrorCode> {
        let unfenced =
            proof.generation < 0 && proof.member_id.is_empty() && proof.instance_id.is_none();
        if unfenced {
            return Ok(());
        }
        self.check_member(proof)?;
        if proof.generation == self.generation { Ok(()) } else { Err(ErrorCode::IllegalGeneration) }
    }

    /// Removes a member: it left, or was not heard of. Tells whether it was there. One that
    /// waits for a rebalance gets its answer here.
    pub(super) fn remove(&mut self, member_id: &str, now: Duration) -> (bool, Vec<Joined>) {
        let Some(member) = self.members.remove(member_id) else { return (false, Vec::new()) };
        self.prepare_rebalance(now, Duration::ZERO);
        let refusal = (member.client, member.token, Err(ErrorCode::UnknownMemberId));
        (true, member.joined.then_some(refusal).into_iter().collect())
    }

    /// Removes members that were not heard of for their session time-out.
    pub(super) fn expire_sessions(&mut self, now: Duration) -> Vec<String> {
        let expired: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| !member.joined && member.session_end() <= now)
            .map(|(member_id, _)| member_id.clone())
            .collect();
        for member_id in &expired {
            self.remove(member_id, now);
        }
        expired
    }

    /// When `complete_if_due` or `expire_sessions` may next have something to do.
    pub(super) fn next_check(&self, now: Duration) -> Option<Duration> {
        let sessions =
            self.members.values().filter(|member| !member.joined).map(GroupMember::session_end);
        let rebalance = match self.phase {
            Phase::Preparing { not_before, deadline } => [Some(not_before), Some(deadline)],
            Phase::Stable | Phase::Empty => [None, None],
        };
        sessions.chain(rebalance.into_iter().flatten()).filter(|time| *time > now).min()
    }

    /// Whether a check at `at` has to be scheduled; `false` where an earlier one is.
    pub(super) fn wants_check(&mut self, at: Duration, now: Duration) -> bool {
        let wanted = self.check_at <= now || at < self.check_at;
        if wanted {
            self.check_at = at;
        }
        wanted
    }

    /// The member id behind a client, if it is a member.
    pub(super) fn member_of(&self, client: ClientId) -> Option<String> {
        let found = self.members.iter().find(|(_, member)| member.client == client);
        found.map(|(member_id, _)| member_id.clone())
    }

    /// Whether a member subscribes to that topic.
    pub(super) fn subscribes(&self, topic: &str) -> bool {
        self.members.values().any(|member| member.claim.topics.iter().any(|t| &**t == topic))
    }

    /// The coordinator forgets the newest join of a static member, and comes back with the
    /// membership that it had before, of a process that is gone; `false` where nobody has the id
    /// or the group is not at rest.
    pub(super) fn fall_back(&mut self, instance_id: &str, now: Duration) -> bool {
        let Some(holder) = self.holder(Some(instance_id)) else { return false };
        if self.phase != Phase::Stable {
            return false;
        }
        let Some(mut member) = self.members.remove(&holder) else { return false };
        member.client = NOBODY;
        member.last_seen = now;
        self.next_member += 1;
        self.members.insert(format!("{instance_id}-{}", self.next_member), member);
        true
    }

    /// Who holds an instance id. Clients are numbered in the order of their start.
    pub(super) fn namesake(&self, asker: ClientId, instance_id: Option<&str>) -> Option<Namesake> {
        let holder = self.holder(instance_id)?;
        let member = self.members.get(&holder)?;
        let process = match member.client.cmp(&asker) {
            Ordering::Equal => Standing::Ours,
            Ordering::Less => Standing::Older,
            Ordering::Greater => Standing::Newer,
        };
        Some(Namesake { member_id: holder, process })
    }

    /// The members, or `None` while the group rebalances.
    pub(super) fn describe(&self) -> Option<Vec<Member>> {
        if matches!(self.phase, Phase::Preparing { .. }) {
            return None;
        }
        let members = self.members.values().map(|member| Member {
            instance_id: member.instance_id.clone(),
            partitions: member.assigned.iter().cloned().collect(),
        });
        Some(members.collect())
    }
}

impl GroupMember {
    fn joining(
        client: ClientId,
        request: JoinRequest,
        assigned: BTreeSet<TopicPartition>,
        now: Duration,
    ) -> Self {
        Self {
            client,
            token: request.token,
            instance_id: request.instance_id,
            claim: request.claim,
            assigned,
            joined: true,
            last_seen: now,
            session_timeout: request.session_timeout,
            rebalance_timeout: request.rebalance_timeout,
        }
    }

    fn session_end(&self) -> Duration {
        self.last_seen + self.session_timeout
    }
}
