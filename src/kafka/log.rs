//! One stream thread's connection: the real `Log`.
//!
//! Everything is submitted from and served on the stream thread, inside `poll`; transaction
//! threads and question threads answer through channels, and one descriptor wakes the waiter.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use super::{
    clients::{self, ClusterClients},
    lane::LaneProducer,
    membership::Membership,
    native::{Batch, Wake},
    offset_commits::OffsetCommits,
    process_mark::ProcessMark,
    questions::Questions,
    settings::{ConnectError, ConnectionSettings},
    transaction_thread::{Answer, take_answers},
};
use crate::{
    record::{OutputRecord, RecordBatch, RecordRef},
    runtime::{
        Event, GroupMetadata, Lane, Log, Request, log::QueueFull, memory::QueuedRecords,
        supervisor::SystemClock,
    },
};

/// Fetched records, where librdkafka received them.
pub struct KafkaBatch(pub(super) Batch);

impl std::fmt::Debug for KafkaBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KafkaBatch({} records)", self.0.len())
    }
}

impl RecordBatch for KafkaBatch {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn record(&self, index: usize) -> RecordRef<'_> {
        self.0.record(index)
    }
}

/// A stream thread's connection to Kafka.
pub struct KafkaLog {
    connection: ConnectionSettings,
    mark: ProcessMark,
    membership: Membership,
    lanes: [LaneProducer; 2],
    answers: Receiver<Answer>,
    questions: Questions,
    offset_commits: OffsetCommits,
    events: VecDeque<Event<KafkaBatch>>,
    wake: Arc<Wake>,
    clock: SystemClock,
}

/// The longest wait without a look: should a notification be lost, this is what it costs.
const WAIT_MAX: Duration = Duration::from_millis(100);

impl KafkaLog {
    /// Makes the clients; connects to nothing yet. `clock` is the driver's: deadlines of `poll`
    /// are told by it.
    pub fn new(connection: &ConnectionSettings, clock: SystemClock) -> Result<Self, ConnectError> {
        Self::sharing(connection, clock, &ClusterClients::new(connection)?)
    }

    /// As `new`, where the threads of a process ask their questions through the same clients.
    pub fn sharing(
        connection: &ConnectionSettings,
        clock: SystemClock,
        clients: &ClusterClients,
    ) -> Result<Self, ConnectError> {
        connection.settings.check()?;
        let client = |error: &dyn std::fmt::Display| ConnectError::Client(error.to_string());
        let wake = Arc::new(Wake::new().map_err(|error| client(&error))?);
        let (sender, answers) = channel();
        let mark = ProcessMark::new(&clock);
        let membership =
            Membership::new(connection, mark, &wake).map_err(clients::configuration)?;
        let lane = |lane| LaneProducer::new(lane, connection.clone(), wake.clone(), sender.clone());
        Ok(Self {
            offset_commits: membership.offset_commits(),
            membership,
            lanes: Lane::ALL.map(lane),
            answers,
            questions: Questions::new(connection, mark, &wake, clients),
            connection: connection.clone(),
            mark,
            events: VecDeque::new(),
            wake,
            clock,
        })
    }

    fn lane(&mut self, lane: Lane) -> &mut LaneProducer {
        let [a, b] = &mut self.lanes;
        match lane {
            Lane::A => a,
            Lane::B => b,
        }
    }

    /// Serves everything once; returns records where they are wanted and nothing else happened.
    fn work(&mut self, want_records: bool) -> Option<KafkaBatch> {
        let now = self.clock.now().mono;
        for lane in &mut self.lanes {
            lane.work(now, &mut self.events);
        }
        for answer in take_answers(&self.answers) {
            let lane = answer.lane;
            let [a, b] = &mut self.lanes;
            let lane = if lane == Lane::A { a } else { b };
            lane.answered(answer, now, &mut self.events);
        }
        for lane in &mut self.lanes {
            lane.watch(now, &mut self.events);
        }
        self.questions.take_answers(&mut self.events);
        self.offset_commits.take_answers(&mut self.events);
        self.membership.work(want_records, now, &mut self.events).map(KafkaBatch)
    }

    fn wait(&self, deadline: Duration, now: Duration) {
        let mut until = deadline.min(now + WAIT_MAX);
        if let Some(patience) = self.membership.patience() {
            until = until.min(now + patience);
        }
        for at in self.lanes.iter().filter_map(LaneProducer::deadline) {
            until = until.min(at);
        }
        self.wake.wait(until.saturating_sub(now));
    }
}

impl Log for KafkaLog {
    type Batch = KafkaBatch;

    fn submit(&mut self, request: Request) {
        let now = self.clock.now().mono;
        match request {
            Request::Join { topics } => self.membership.join(&topics, &mut self.events),
            Request::Leave => self.membership.leave(now),
            Request::Renew => {
                self.membership.renew(&self.connection, self.mark, &mut self.events);
                self.offset_commits = self.membership.offset_commits();
            }
            Request::Accept { partitions } => self.membership.accept(partitions),
            Request::Release { partitions } => self.membership.release(partitions),
            Request::Read { partition, offset } => self.membership.read(&partition, offset),
            Request::Pause { partition } => self.membership.pause(&partition),
            Request::Open { lane } => self.lane(lane).open(),
            Request::Begin { lane } => self.lane(lane).begin(),
            Request::Flush { lane } => self.lane(lane).flush(),
            Request::SendOffsets { lane, offsets, group } => {
                self.lane(lane).send_offsets(offsets, group);
            }
            Request::Commit { lane } => self.lane(lane).commit(),
            Request::Abort { lane } => self.lane(lane).abort(),
            Request::CommitOffsets { id, offsets, group } => {
                let current = self.membership.group();
                let events = &mut self.events;
                self.offset_commits.commit(id, &offsets, &group, current.as_ref(), events);
            }
            question @ (Request::CommittedOffsets { .. }
            | Request::Bounds { .. }
            | Request::FindBlockers { .. }
            | Request::Describe { .. }
            | Request::Purge { .. }
            | Request::Fence { .. }
            | Request::DescribeGroup { .. }
            | Request::FindNamesake { .. }
            | Request::Rejoin) => self.questions.ask(question),
        }
        // What may start starts now: the thread may be away for a while after this.
        for lane in &mut self.lanes {
            lane.work(now, &mut self.events);
        }
    }

    fn produce(
        &mut self,
        lane: Lane,
        record: &OutputRecord<'_>,
        tag: u64,
    ) -> Result<(), QueueFull> {
        self.lane(lane).produce(record, tag)
    }

    fn poll(&mut self, deadline: Duration, want_records: bool) -> Option<Event<KafkaBatch>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if let Some(batch) = self.work(want_records) {
                return Some(Event::Records(batch));
            }
            if !self.events.is_empty() {
                continue;
            }
            let now = self.clock.now().mono;
            if now >= deadline {
                return None;
            }
            if !(want_records && self.membership.has_more()) {
                self.wait(deadline, now);
            }
        }
    }

    fn queued(&self) -> QueuedRecords {
        let [a, b] = &self.lanes;
        QueuedRecords { fetch: self.membership.queued(), produce: a.queued() + b.queued() }
    }

    fn group(&self) -> Option<GroupMetadata> {
        self.membership.group()
    }
}
