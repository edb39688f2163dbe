//! What lies between clients and coordinators: connections that keep their order, and the faults
//! that make requests late on them.
//!
//! Requests of one connection arrive in the order in which they were sent, and so do its answers.
//! Requests of different connections overtake each other, and a producer that replaces another
//! one, or a client that gave up on an answer, has a new connection. Decides when a request
//! arrives, never what it does.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use crate::{
    runtime::{Event, Lane},
    testing::{
        client::ClientId,
        cluster::{Arrival, Cluster, Reply, Wakeup},
        faults::{CoordinatorRequest, FaultKind, MovedOn},
        requests::{Answer, BrokerRequest, Question},
        settings::Delay,
    },
};

/// What a slow link adds to a request, and again to its answer: less than makes a client give up.
const SLOWNESS: Delay = Delay::between(Duration::from_millis(20), Duration::from_millis(1_400));
/// How long a broken connection takes to be back.
const RECONNECT: Delay = Delay::between(Duration::from_millis(20), Duration::from_millis(500));
/// A request that is held back arrives after this time, whatever it waits for.
const HELD_MAX: Duration = Duration::from_secs(15);
/// What of a successor's requests may come before one that is held back.
const PASSED_MAX: u32 = 6;

/// One of a client's connections to a coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Channel {
    /// That of a transactional producer.
    Lane(Lane),
    /// The group member's.
    Group,
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Link {
    /// Counts the client's connections of that channel.
    number: u32,
    /// When its last request arrives.
    arrival: Duration,
    /// When its last answer arrives.
    answer: Duration,
}

impl Link {
    /// A new connection in its place, which owes nothing to the old one's order.
    pub(super) fn renewed(self) -> Self {
        Self { number: self.number + 1, ..Self::default() }
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Sender {
    pub(super) instance: Rc<str>,
    /// `None` for what goes to no coordinator.
    channel: Option<Channel>,
    link: u32,
    sent: Duration,
    /// A fault made it late.
    delayed: bool,
}

/// For what a request that is held back waits; it never waits longer than 15 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Awaits {
    /// A few requests of whoever comes after it on the same channel: the client itself on a new
    /// connection, its next producer, its restarted process.
    Successor,
    /// Questions of other instances about committed offsets: they take its partitions over.
    OtherOwners,
}

/// A request that is held back.
#[derive(Debug)]
struct Held {
    arrival: Arrival,
    request: CoordinatorRequest,
    awaits: Awaits,
    moved_on: MovedOn,
    left: u32,
}

/// What is on the way, as far as it is not simply scheduled.
#[derive(Debug, Default)]
pub(super) struct Links {
    held: BTreeMap<u64, Held>,
    next_held: u64,
    /// What arrives now was held back: its client is not to blame for when it comes.
    pub(super) releasing: bool,
    /// The newest arrival per coordinator and connection, by the time at which it was sent.
    newest: BTreeMap<(bool, ClientId, Option<Channel>, u32), Duration>,
}

impl Cluster {
    /// Sends a client's request to the broker.
    pub(super) fn send(&mut self, client: ClientId, reply: Reply, request: BrokerRequest) {
        self.send_after(client, Duration::ZERO, reply, request);
    }

    /// Sends a client's request to the broker, `extra` later than usual: outside of the order of
    /// its connection, since that is gone by then.
    pub(super) fn send_after(
        &mut self,
        client: ClientId,
        extra: Duration,
        reply: Reply,
        request: BrokerRequest,
    ) {
        let Some(mut arrival) = self.packed(client, reply, request) else { return };
        let now = self.now();
        let mut at = now + extra + self.settings.request_latency.sample(&mut self.rng);
        let asks_coordinator = arrival.request.to_coordinator().is_some();
        if asks_coordinator && self.faults.is_slow(&arrival.sender.instance, now, &mut self.rng) {
            arrival.sender.delayed = true;
            at += SLOWNESS.sample(&mut self.rng);
        }
        if extra.is_zero()
            && asks_coordinator
            && let (Some(channel), Some(from)) =
                (arrival.sender.channel, self.clients.get_mut(&client))
        {
            let link = from.link_mut(channel);
            link.arrival = link.arrival.max(at);
            at = link.arrival;
        }
        self.schedule(at - now, Wakeup::Arrive(Box::new(arrival)));
    }

    /// `None` where the client is gone.
    fn packed(
        &mut self,
        client: ClientId,
        reply: Reply,
        request: BrokerRequest,
    ) -> Option<Arrival> {
        let sent = self.now();
        let channel = channel_of(&reply, &request);
        let (instance, group, link) = match self.clients.get_mut(&client) {
            Some(from) => {
                let link = channel.map_or(0, |channel| from.link_mut(channel).number);
                (Rc::clone(&from.instance), Rc::clone(&from.group), link)
            }
            None => (self.restores.get(&client)?.instance.as_str().into(), "".into(), 0),
        };
        let sender = Sender { instance, channel, link, sent, delayed: false };
        Some(Arrival { client, group, sender, reply, request })
    }

    /// Sends an answer back to a client.
    pub(super) fn answer(&mut self, client: ClientId, reply: Reply, answer: Answer) {
        if matches!(reply, Reply::Nobody) {
            return;
        }
        let now = self.now();
        let mut at = now + self.settings.request_latency.sample(&mut self.rng);
        let mut slow = Duration::ZERO;
        if let (Some(channel), Some(to)) =
            (answer_channel(&reply, &answer), self.clients.get_mut(&client))
        {
            if self.faults.is_slow(&to.instance, now, &mut self.rng) {
                self.faults.count(FaultKind::DelayedAnswer);
                slow = SLOWNESS.sample(&mut self.rng);
            }
            let link = to.link_mut(channel);
            link.answer = link.answer.max(at + slow);
            at = link.answer;
            if self.settings.trace && !slow.is_zero() {
                let instance = Rc::clone(&to.instance);
                let text = format!("answer to {instance} on {channel:?} is {slow:.1?} late");
                self.note("broker", &text);
            }
        }
        self.schedule(at - now, Wakeup::Answer { client, reply, answer: Box::new(answer) });
    }

    /// The client's connection breaks; the next request goes over a new one.
    pub(super) fn break_link(&mut self, client: ClientId, channel: Channel) {
        if let Some(from) = self.clients.get_mut(&client) {
            let link = from.link_mut(channel);
            *link = link.renewed();
        }
    }

    /// How long the client takes to connect again.
    pub(super) fn reconnect_delay(&mut self) -> Duration {
        RECONNECT.sample(&mut self.rng)
    }

    /// Keeps a request from the broker until what it waits for has happened. Nobody will hear its
    /// answer: the client gives up on it (`GaveUp`), or sends it again (`SentAgain`).
    pub(super) fn hold_back(
        &mut self,
        client: ClientId,
        reply: &Reply,
        request: BrokerRequest,
        awaits: Awaits,
        moved_on: MovedOn,
    ) {
        let Some(kind) = request.to_coordinator() else { return };
        let Some(mut arrival) = self.packed(client, reply.clone(), request) else { return };
        arrival.reply = Reply::Nobody;
        arrival.sender.delayed = true;
        let left = match awaits {
            Awaits::Successor => self.rng.u32(1..=PASSED_MAX),
            Awaits::OtherOwners => self.rng.u32(1..=3),
        };
        let held = self.links.next_held;
        self.links.next_held += 1;
        let instance = Rc::clone(&arrival.sender.instance);
        self.note(&instance, &format!("-> {} HELD BACK", arrival.request.shown()));
        let kept = Held { arrival, request: kind, awaits, moved_on, left };
        self.links.held.insert(held, kept);
        self.schedule(HELD_MAX, Wakeup::Release { held });
    }

    /// A request reaches the broker: those that waited for it come next.
    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let (client, sender) = (arrival.client, arrival.sender.clone());
        let request = arrival.request.to_coordinator();
        if let Some(request) = request {
            self.watch_order(client, &sender, request);
        }
        self.handle_arrival(arrival);
        if self.links.held.is_empty() {
            return;
        }
        let mut due = Vec::new();
        for (number, held) in &mut self.links.held {
            if held.is_passed_by(client, &sender, request) {
                held.left = held.left.saturating_sub(1);
                if held.left == 0 {
                    due.push(*number);
                }
            }
        }
        for held in due {
            let after = self.settings.request_latency.sample(&mut self.rng);
            self.schedule(after, Wakeup::Release { held });
        }
    }

    /// Counts a late request by what came before it.
    fn watch_order(&mut self, client: ClientId, sender: &Sender, request: CoordinatorRequest) {
        let key = (request.is_of_group(), client, sender.channel, sender.link);
        if sender.delayed {
            self.faults.count(FaultKind::Delayed(request));
            let passed = self
                .links
                .newest
                .iter()
                .any(|(other, sent)| other.0 == key.0 && *other != key && *sent > sender.sent);
            if passed {
                self.faults.count(FaultKind::Overtaken(request));
            }
        } else {
            self.links.newest.insert(key, sender.sent);
        }
    }

    /// A request that was held back arrives, unless it has done so before.
    pub(super) fn release_held(&mut self, held: u64) {
        let Some(held) = self.links.held.remove(&held) else { return };
        let lives = self.clients.contains_key(&held.arrival.client);
        let moved_on = if lives { held.moved_on } else { MovedOn::Gone };
        self.faults.count(FaultKind::HeldBack(held.request, moved_on));
        if self.settings.trace {
            let Held { arrival, .. } = &held;
            let late = (self.now() - arrival.sender.sent).as_millis();
            let text = format!(
                "{} of {} arrives {late} ms late, its client has moved on ({moved_on:?})",
                arrival.request.shown(),
                arrival.sender.instance,
            );
            self.note("broker", &text);
        }
        if lives && held.request == CoordinatorRequest::Join && !self.settings.stale_joins {
            return self.note("broker", "but its connection is closed: nobody hears it");
        }
        self.watch_order(held.arrival.client, &held.arrival.sender, held.request);
        self.links.releasing = true;
        self.handle_arrival(held.arrival);
        self.links.releasing = false;
    }

    /// Lets all that is held back arrive now.
    pub(super) fn release_all(&mut self) {
        let all: Vec<u64> = self.links.held.keys().copied().collect();
        for held in all {
            self.release_held(held);
        }
    }

    /// Whether a request of that instance is held back.
    pub(super) fn holds_back(&self, instance: &str) -> bool {
        self.links.held.values().any(|held| &*held.arrival.sender.instance == instance)
    }
}

impl Held {
    /// Whether that request is one of those that this one waits for.
    fn is_passed_by(
        &self,
        client: ClientId,
        other: &Sender,
        request: Option<CoordinatorRequest>,
    ) -> bool {
        let own = &self.arrival.sender;
        let same = own.instance == other.instance;
        match self.awaits {
            Awaits::Successor => {
                let newer = (client, other.link) > (self.arrival.client, own.link);
                same && own.channel == other.channel && newer
            }
            Awaits::OtherOwners => !same && request == Some(CoordinatorRequest::FetchOffsets),
        }
    }
}

impl Sender {
    /// How long it took, and whether a fault is to blame, for the trace.
    pub(super) fn delay(&self, now: Duration) -> (Duration, bool) {
        (now.saturating_sub(self.sent), self.delayed)
    }
}

/// The connection that a request takes.
fn channel_of(reply: &Reply, request: &BrokerRequest) -> Option<Channel> {
    match (reply, request) {
        (Reply::Lane { lane, .. } | Reply::Produce { lane, .. }, _) => Some(Channel::Lane(*lane)),
        (Reply::Group { .. }, _)
        | (
            _,
            BrokerRequest::Question(
                Question::CommittedOffsets { .. }
                | Question::CommitOffsets { .. }
                | Question::DescribeGroup { .. },
            ),
        ) => Some(Channel::Group),
        _ => None,
    }
}

/// The connection to a coordinator that an answer takes.
fn answer_channel(reply: &Reply, answer: &Answer) -> Option<Channel> {
    match (reply, answer) {
        (Reply::Lane { lane, .. }, _) => Some(Channel::Lane(*lane)),
        (Reply::Group { .. }, _)
        | (
            Reply::Inbox,
            Answer::Event(
                Event::CommittedOffsets { .. }
                | Event::OffsetsCommitted { .. }
                | Event::GroupDescribed { .. },
            ),
        ) => Some(Channel::Group),
        _ => None,
    }
}
