//! The simulated cluster's heart: what it is made of, and the queue of what will happen when.
//!
//! Single-threaded; nothing happens but through `run_until`, in order of time and then of
//! scheduling. All randomness comes from the one generator here, so a seed is a run.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    rc::Rc,
    time::Duration,
};

use crate::{
    record::TopicPartition,
    runtime::{Event, Lane, RestoreEvent},
    testing::{
        batch::SimBatch,
        client::{Client, ClientId, RestoreClient},
        clock::VirtualClock,
        digest::Digest,
        faults::{CoordinatorRequest, FaultKind, FaultPlan},
        group::Group,
        links::{Links, Sender},
        partition::Stamp,
        requests::{Answer, BrokerRequest},
        settings::SimSettings,
        topic::Topics,
        trace,
        transactions::{Coordinator, MarkerTarget},
    },
};

/// Whom the broker answers.
#[derive(Debug, Clone, Hash)]
pub(super) enum Reply {
    Lane { lane: Lane, op: u64 },
    Produce { lane: Lane, incarnation: u64, partition: TopicPartition },
    Group { token: u64 },
    Inbox,
    Restore,
    Nobody,
}

/// A request on its way to the broker.
#[derive(Debug, Hash)]
pub(super) struct Arrival {
    pub(super) client: ClientId,
    pub(super) group: Rc<str>,
    pub(super) sender: Sender,
    pub(super) reply: Reply,
    pub(super) request: BrokerRequest,
}

/// A client's own timer.
#[derive(Debug, Hash)]
pub(super) enum Timer {
    /// Queued records have waited long enough.
    Linger { lane: Lane, incarnation: u64 },
    /// The client gives up on a request.
    GiveUp { lane: Lane, op: u64 },
    /// A request that met `CONCURRENT_TRANSACTIONS` goes out again.
    Resend { reply: Reply, request: BrokerRequest },
    /// Time for a heartbeat.
    Heartbeat { token: u64 },
    /// The client gives up on an answer of its group.
    GroupGiveUp { token: u64, request: CoordinatorRequest },
    /// Time to check that the thread still polls.
    MaxPoll,
}

/// Something that happens at a time.
#[derive(Debug, Hash)]
pub(super) enum Wakeup {
    /// A request reaches the broker.
    Arrive(Box<Arrival>),
    /// An answer reaches a client.
    Answer { client: ClientId, reply: Reply, answer: Box<Answer> },
    /// A client's timer rings.
    Timer { client: ClientId, timer: Box<Timer> },
    /// A request that was held back reaches the broker now, whatever it waited for.
    Release { held: u64 },
    /// A marker is written.
    Marker { stamp: Stamp, commit: bool, target: MarkerTarget },
    /// The coordinator looks whether a transaction is open too long.
    TransactionTimeout { id: Rc<str>, sequence: u64 },
    /// The group coordinator looks at sessions and rebalances.
    GroupCheck { group: Rc<str> },
    /// Nothing, but a client may find something now.
    Look,
}

/// The whole model.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) settings: SimSettings,
    pub(super) rng: fastrand::Rng,
    pub(super) clock: VirtualClock,
    pub(super) topics: Topics,
    pub(super) coordinator: Coordinator,
    pub(super) groups: BTreeMap<Rc<str>, Group>,
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) restores: BTreeMap<ClientId, RestoreClient>,
    pub(super) faults: FaultPlan,
    pub(super) violations: Vec<String>,
    pub(super) lost_markers: Vec<(Stamp, bool, MarkerTarget)>,
    pub(super) links: Links,
    queue: BTreeMap<(Duration, u64), Wakeup>,
    next_sequence: u64,
    next_client: ClientId,
    trace: Vec<String>,
    digest: Digest,
}

impl Cluster {
    pub(super) fn new(seed: u64, settings: SimSettings) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            clock: VirtualClock::new(settings.start_wall),
            topics: Topics::default(),
            coordinator: Coordinator::default(),
            groups: BTreeMap::new(),
            clients: BTreeMap::new(),
            restores: BTreeMap::new(),
            faults: FaultPlan::new(settings.chances),
            violations: Vec::new(),
            lost_markers: Vec::new(),
            links: Links::default(),
            queue: BTreeMap::new(),
            next_sequence: 0,
            next_client: 0,
            trace: Vec::new(),
            digest: Digest::default(),
            settings,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.mono()
    }

    pub(super) fn new_client_id(&mut self) -> ClientId {
        self.next_client += 1;
        self.next_client
    }

    /// Lets something happen `after` from now on.
    pub(super) fn schedule(&mut self, after: Duration, wakeup: Wakeup) {
        let at = (self.now() + after, self.next_sequence);
        self.next_sequence += 1;
        self.queue.insert(at, wakeup);
    }

    pub(super) fn set_timer(&mut self, client: ClientId, after: Duration, timer: Timer) {
        self.schedule(after, Wakeup::Timer { client, timer: Box::new(timer) });
    }

    /// Puts an event before a client's `poll`.
    pub(super) fn deliver(&mut self, client: ClientId, event: Event<SimBatch>) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.inbox.push_back(event);
        }
    }

    /// Puts an event before a restore's `poll`.
    pub(super) fn deliver_restore(&mut self, client: ClientId, event: RestoreEvent<SimBatch>) {
        if let Some(restore) = self.restores.get_mut(&client) {
            restore.inbox.push_back(event);
        }
    }

    /// Lets everything happen that is due until `time`, then stands there.
    pub(super) fn run_until(&mut self, time: Duration) {
        while let Some(entry) = self.queue.first_entry() {
            let (at, sequence) = *entry.key();
            if at > time {
                break;
            }
            let wakeup = entry.remove();
            self.clock.advance_to(at);
            self.digest.add(&(at, sequence, &wakeup));
            if self.settings.trace
                && let Some(text) = trace::wakeup(&wakeup, at)
            {
                self.note("broker", &text);
            }
            self.happen(wakeup);
        }
        self.clock.advance_to(time);
    }

    /// Lets everything happen that is due by now.
    pub(super) fn run_due(&mut self) {
        self.run_until(self.now());
    }

    fn happen(&mut self, wakeup: Wakeup) {
        let Some(wakeup) = self.park_if_frozen(wakeup) else { return };
        match wakeup {
            Wakeup::Arrive(arrival) => self.arrive(*arrival),
            Wakeup::Release { held } => self.release_held(held),
            Wakeup::Answer { client, reply, answer } => self.handle_answer(client, reply, *answer),
            Wakeup::Timer { client, timer } => self.handle_timer(client, *timer),
            Wakeup::Marker { stamp, commit, target } => self.write_marker(stamp, commit, &target),
            Wakeup::TransactionTimeout { id, sequence } => {
                if self.coordinator.time_out(&id, sequence) {
                    self.faults.count(FaultKind::TransactionTimeout);
                    self.note("broker", &format!("transaction of {id} timed out: aborting it"));
                    self.schedule_markers(&id);
                }
            }
            Wakeup::GroupCheck { group } => self.check_group(&group),
            Wakeup::Look => {}
        }
    }

    /// Keeps what comes for a frozen client until it thaws.
    fn park_if_frozen(&mut self, wakeup: Wakeup) -> Option<Wakeup> {
        let client = match &wakeup {
            Wakeup::Answer { client, .. } | Wakeup::Timer { client, .. } => *client,
            _ => return Some(wakeup),
        };
        let parked = match (self.clients.get_mut(&client), self.restores.get_mut(&client)) {
            (Some(client), _) if client.frozen => &mut client.parked,
            (_, Some(restore)) if restore.frozen => &mut restore.parked,
            _ => return Some(wakeup),
        };
        parked.push(wakeup);
        None
    }

    fn handle_answer(&mut self, client: ClientId, reply: Reply, answer: Answer) {
        match (reply, answer) {
            (reply, Answer::Retry(request)) => {
                let after = self.settings.retry_backoff.sample(&mut self.rng);
                self.set_timer(client, after, Timer::Resend { reply, request });
            }
            (Reply::Inbox, Answer::Event(event)) => self.deliver(client, event),
            (Reply::Restore, Answer::Restore(event)) => self.deliver_restore(client, event),
            (Reply::Lane { lane, op }, answer) => self.handle_lane_answer(client, lane, op, answer),
            (Reply::Produce { lane, incarnation, partition }, Answer::Produced(result)) => {
                self.handle_produced(client, lane, incarnation, partition, result);
            }
            (Reply::Group { token }, answer) => self.handle_group_answer(client, token, answer),
            _ => {}
        }
    }

    fn handle_timer(&mut self, client: ClientId, timer: Timer) {
        match timer {
            Timer::Linger { lane, incarnation } => self.handle_linger(client, lane, incarnation),
            Timer::GiveUp { lane, op } => self.give_up(client, lane, op),
            Timer::Resend { reply, request } => self.resend(client, reply, request),
            Timer::Heartbeat { token } => self.send_heartbeat(client, token),
            Timer::GroupGiveUp { token, request } => self.give_up_group(client, token, request),
            Timer::MaxPoll => self.check_max_poll(client),
        }
    }

    /// The next time at which anything can happen: something scheduled, or the end of a wait.
    pub(super) fn next_wakeup(&self) -> Option<Duration> {
        let now = self.now();
        let waits = self.clients.values().filter(|c| !c.frozen).map(|c| c.poll_deadline);
        let restores = self.restores.values().filter(|c| !c.frozen).map(|c| c.poll_deadline);
        let deadlines = waits.chain(restores).filter(|deadline| *deadline > now);
        deadlines.chain(self.queue.first_key_value().map(|((at, _), _)| *at)).min()
    }

    /// Forgets about half of the requests that those clients have under way: they died.
    pub(super) fn drop_some_arrivals(&mut self, clients: &[ClientId]) {
        let rng = &mut self.rng;
        self.queue.retain(|_, wakeup| match wakeup {
            Wakeup::Arrive(arrival) if clients.contains(&arrival.client) => rng.bool(),
            _ => true,
        });
    }

    /// A contract of the seam was broken by who uses it.
    pub(super) fn violation(&mut self, text: String) {
        self.note("broker", &format!("VIOLATION {text}"));
        self.violations.push(text);
    }

    /// Adds a line to the trace, where one is kept.
    pub(super) fn note(&mut self, who: &str, text: &str) {
        if self.settings.trace {
            let at = self.clock.mono().as_secs_f64();
            self.trace.push(format!("{at:>11.6} {who:<8} {text}"));
        }
    }

    /// Takes what happened into the run's fingerprint.
    pub(super) fn digest(&mut self, what: &impl Hash) {
        self.digest.add(what);
    }

    pub(super) fn fingerprint(&self) -> u64 {
        let mut digest = self.digest;
        digest.add(&self.rng.get_seed());
        digest.finish()
    }

    pub(super) fn trace(&self) -> String {
        self.trace.join("\n")
    }
}
