//! A client's side of the group protocol: joining, heartbeats, revoking before rejoining, and
//! what it does when it finds itself outside.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    record::{TopicName, TopicPartition},
    runtime::{Event, FatalCause},
    testing::{
        assignor::Claim,
        client::{ClientId, MemberPhase, Membership, ReadState},
        cluster::{Cluster, Reply, Timer},
        codes::ErrorCode,
        faults::{CoordinatorRequest, FaultKind, MovedOn},
        links::Channel,
        requests::{Answer, BrokerRequest, JoinAnswer, JoinRequest, MemberProof},
    },
};

impl Cluster {
    /// `Request::Join`.
    pub(super) fn subscribe(&mut self, id: ClientId, topics: Vec<TopicName>) {
        let now = self.now();
        let Some(client) = self.clients.get_mut(&id) else { return };
        let max_poll = client.settings.max_poll_interval;
        let membership = &mut client.membership;
        membership.topics = topics.into_iter().collect();
        let joins = matches!(membership.phase, MemberPhase::Out | MemberPhase::Leaving);
        if membership.phase == MemberPhase::Fatal || !joins {
            return;
        }
        membership.last_poll = now;
        self.set_timer(id, max_poll, Timer::MaxPoll);
        self.send_join(id);
    }

    fn send_join(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let settings = &client.settings;
        let membership = &mut client.membership;
        membership.phase = MemberPhase::Joining;
        membership.token += 1;
        let token = membership.token;
        let request = JoinRequest {
            token,
            member_id: membership.member_id.clone(),
            instance_id: settings.group_instance_id(),
            claim: Claim {
                topics: membership.topics.clone(),
                owned: membership.owned.clone(),
                generation: membership.generation,
            },
            session_timeout: settings.session_timeout,
            rebalance_timeout: settings.max_poll_interval,
        };
        self.send_to_group(id, token, BrokerRequest::Join(request));
    }

    /// `Request::Rejoin`: a member at rest joins again, and so the group rebalances.
    pub(super) fn rejoin(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(&id) else { return };
        let membership = &client.membership;
        if membership.phase == MemberPhase::Member && membership.releasing.is_empty() {
            self.send_join(id);
        }
    }

    /// `Request::Renew`: a fresh consumer in the place of a fenced one.
    pub(super) fn renew(&mut self, id: ClientId) {
        let now = self.now();
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.membership.phase != MemberPhase::Fatal {
            return;
        }
        client.reads.clear();
        let old = std::mem::take(&mut client.membership);
        client.membership.topics = old.topics;
        client.membership.last_poll = now;
        // Answers to the old consumer's requests find nobody.
        client.membership.token = old.token + 1;
        self.send_join(id);
    }

    /// `Request::Leave`: what it owns is given up without another word.
    pub(super) fn leave(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let membership = &mut client.membership;
        client.reads.clear();
        let fatal = membership.phase == MemberPhase::Fatal;
        // A static member is known by its instance id, also before its first answer.
        let instance_id = client.settings.group_instance_id();
        let known = membership.phase != MemberPhase::Out
            && (instance_id.is_some() || !membership.member_id.is_empty());
        membership.token += 1;
        membership.owned.clear();
        membership.releasing.clear();
        membership.assigned_next.clear();
        let member_id = std::mem::take(&mut membership.member_id);
        membership.generation = -1;
        let token = membership.token;
        if known && !fatal {
            membership.phase = MemberPhase::Leaving;
            self.send_to_group(id, token, BrokerRequest::Leave { member_id, instance_id });
        } else {
            membership.phase = if fatal { MemberPhase::Fatal } else { MemberPhase::Out };
            self.deliver(id, Event::Left);
        }
    }

    /// `Request::Accept`: the partitions are paused until they are read.
    pub(super) fn accept(&mut self, id: ClientId, partitions: Vec<TopicPartition>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        for partition in partitions {
            client.reads.insert(partition, ReadState::default());
        }
    }

    /// `Request::Release`: when all is released that was asked back, the client joins again.
    pub(super) fn release(&mut self, id: ClientId, partitions: &[TopicPartition]) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let membership = &mut client.membership;
        let waited = !membership.releasing.is_empty();
        for partition in partitions {
            client.reads.remove(partition);
            membership.releasing.remove(partition);
            membership.owned.remove(partition);
        }
        if !waited || !membership.releasing.is_empty() {
            return;
        }
        let next = std::mem::take(&mut membership.assigned_next);
        let joins = matches!(membership.phase, MemberPhase::Member | MemberPhase::Lost);
        if membership.phase == MemberPhase::Member {
            self.assign(id, next);
        }
        if joins {
            self.send_join(id);
        }
    }

    fn assign(&mut self, id: ClientId, partitions: BTreeSet<TopicPartition>) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.membership.owned.extend(partitions.iter().cloned());
        }
        self.deliver(id, Event::Assigned { partitions: partitions.into_iter().collect() });
    }

    pub(super) fn handle_group_answer(&mut self, id: ClientId, token: u64, answer: Answer) {
        let Some(client) = self.clients.get(&id) else { return };
        if client.membership.token != token {
            return;
        }
        match answer {
            Answer::Joined(Ok(joined)) => self.joined(id, joined),
            Answer::Joined(Err(code)) | Answer::Heartbeat(Err(code)) => self.refused(id, code),
            Answer::Heartbeat(Ok(())) => self.next_heartbeat(id),
            Answer::Left => {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.membership.phase = MemberPhase::Out;
                }
                self.deliver(id, Event::Left);
            }
            _ => {}
        }
    }

    fn joined(&mut self, id: ClientId, answer: JoinAnswer) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let membership = &mut client.membership;
        membership.phase = MemberPhase::Member;
        membership.generation = answer.generation;
        membership.member_id = answer.member_id;
        let revoked: BTreeSet<_> = membership.owned.difference(&answer.assigned).cloned().collect();
        let added: BTreeSet<_> = answer.assigned.difference(&membership.owned).cloned().collect();
        if revoked.is_empty() {
            self.assign(id, added);
        } else {
            membership.releasing.clone_from(&revoked);
            membership.assigned_next = added;
            self.deliver(id, Event::Revoking { partitions: revoked.into_iter().collect() });
        }
        self.next_heartbeat(id);
    }

    fn next_heartbeat(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(&id) else { return };
        let (after, token) = (client.settings.heartbeat_interval, client.membership.token);
        self.set_timer(id, after, Timer::Heartbeat { token });
    }

    pub(super) fn send_heartbeat(&mut self, id: ClientId, token: u64) {
        let Some(client) = self.clients.get(&id) else { return };
        let membership = &client.membership;
        if membership.token != token || membership.phase != MemberPhase::Member {
            return;
        }
        let proof = MemberProof {
            generation: membership.generation,
            member_id: membership.member_id.clone(),
            instance_id: client.settings.group_instance_id(),
        };
        self.send_to_group(id, token, BrokerRequest::Heartbeat(proof));
    }

    /// Sends a request to the group's coordinator, unless a fault holds it back.
    fn send_to_group(&mut self, id: ClientId, token: u64, request: BrokerRequest) {
        let reply = Reply::Group { token };
        let Some(client) = self.clients.get(&id) else { return };
        let held = request
            .to_coordinator()
            .and_then(|kind| Some((kind, self.faults.take_hold(&client.instance, kind)?)));
        match held {
            None => self.send(id, reply, request),
            Some((kind, (awaits, _))) => {
                self.hold_back(id, &reply, request, awaits, MovedOn::GaveUp);
                let timer = Timer::GroupGiveUp { token, request: kind };
                self.set_timer(id, self.settings.request_timeout, timer);
            }
        }
    }

    /// The client's patience with its group's coordinator is over: it goes on over a new
    /// connection.
    pub(super) fn give_up_group(&mut self, id: ClientId, token: u64, request: CoordinatorRequest) {
        let Some(client) = self.clients.get(&id) else { return };
        if client.membership.token != token {
            return;
        }
        self.break_link(id, Channel::Group);
        match request {
            CoordinatorRequest::Join => self.send_join(id),
            CoordinatorRequest::Heartbeat => self.send_heartbeat(id, token),
            _ => self.handle_group_answer(id, token, Answer::Left),
        }
    }

    /// The coordinator refused a heartbeat or a join.
    fn refused(&mut self, id: ClientId, code: ErrorCode) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let membership = &mut client.membership;
        match code {
            ErrorCode::RebalanceInProgress if membership.releasing.is_empty() => {
                self.send_join(id);
            }
            // It joins again once what was asked back is released; until then it stays alive.
            ErrorCode::RebalanceInProgress => self.next_heartbeat(id),
            ErrorCode::FencedInstanceId => {
                membership.phase = MemberPhase::Fatal;
                membership.token += 1;
                let reason = format!(
                    "FENCED_INSTANCE_ID: another process joined as {}",
                    client.settings.group_instance_id().unwrap_or_default()
                );
                self.deliver(id, Event::Fatal(FatalCause::FencedInstanceId(reason)));
            }
            _ => self.lose_membership(id),
        }
    }

    /// The client knows that it is no member any more.
    fn lose_membership(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let membership = &mut client.membership;
        let lost = membership.lose();
        let joins = membership.releasing.is_empty();
        if !lost.is_empty() {
            self.deliver(id, Event::Lost { partitions: lost });
        }
        if joins {
            self.send_join(id);
        }
    }

    /// A member whose thread does not poll gives up its membership: a dynamic one leaves, a
    /// static one only falls silent (facts 2.4).
    pub(super) fn check_max_poll(&mut self, id: ClientId) {
        let now = self.now();
        let Some(client) = self.clients.get_mut(&id) else { return };
        let limit = client.settings.max_poll_interval;
        let is_static = client.settings.static_membership;
        let membership = &mut client.membership;
        if matches!(membership.phase, MemberPhase::Out | MemberPhase::Leaving | MemberPhase::Fatal)
        {
            return;
        }
        let due = membership.last_poll + limit;
        if due > now || membership.phase != MemberPhase::Member {
            let after = due.saturating_sub(now).max(Duration::from_millis(100));
            self.set_timer(id, after, Timer::MaxPoll);
            return;
        }
        let member_id = membership.member_id.clone();
        let lost = membership.lose();
        let joins = membership.releasing.is_empty();
        membership.token += 1;
        self.faults.count(FaultKind::MaxPoll);
        if !is_static {
            let request = BrokerRequest::Leave { member_id, instance_id: None };
            self.send(id, Reply::Nobody, request);
        }
        if !lost.is_empty() {
            self.deliver(id, Event::Lost { partitions: lost });
        }
        // With nothing to release it joins again as soon as its thread polls.
        if joins && let Some(client) = self.clients.get_mut(&id) {
            client.membership.phase = MemberPhase::Lost;
        }
        self.set_timer(id, limit, Timer::MaxPoll);
    }

    /// The thread polls: it is alive.
    pub(super) fn note_poll(&mut self, id: ClientId) {
        let now = self.now();
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.membership.last_poll = now;
        let membership = &client.membership;
        if membership.phase == MemberPhase::Lost && membership.releasing.is_empty() {
            self.send_join(id);
        }
    }
}

impl Membership {
    /// Forgets the membership; returns the partitions that nobody was told about yet.
    fn lose(&mut self) -> Vec<TopicPartition> {
        self.phase = MemberPhase::Lost;
        self.member_id.clear();
        self.generation = -1;
        self.token += 1;
        self.assigned_next.clear();
        let lost = self.owned.difference(&self.releasing).cloned().collect();
        self.releasing.clone_from(&self.owned);
        lost
    }
}
