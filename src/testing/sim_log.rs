//! The three faces of the simulated cluster that the runtime sees: [`SimLog`], [`SimRestoreLog`],
//! [`SimTopicAdmin`].
//!
//! They only hand requests over; whoever holds one after its instance crashed holds a dead thing:
//! it takes everything and never says a word.

use std::{cell::RefCell, rc::Rc, time::Duration};

use crate::{
    record::{OutputRecord, Timestamp, TopicName, TopicPartition},
    runtime::{
        Event, GroupMetadata, Lane, Log, Request, RestoreEvent, RestoreLog, RestoreRequest,
        TopicAdmin, TopicInfo, TopicSpec, TopicsError, log::QueueFull,
    },
    testing::{
        batch::SimBatch,
        client::ClientId,
        client_lane::{LaneOp, Queued},
        cluster::{Cluster, Reply, Wakeup},
        faults::MovedOn,
        links::Channel,
        partition::RecordData,
        questions,
        requests::{Answer, BrokerRequest, MemberProof, Question},
        trace,
        transactions::ProducerEpoch,
    },
};

/// A stream thread's connection to a simulated cluster.
#[derive(Debug)]
pub struct SimLog {
    pub(super) cluster: Rc<RefCell<Cluster>>,
    pub(super) id: ClientId,
}

impl Log for SimLog {
    type Batch = SimBatch;

    fn submit(&mut self, request: Request) {
        let mut cluster = self.cluster.borrow_mut();
        if cluster.usable(self.id) {
            cluster.submit(self.id, request);
        }
    }

    fn produce(
        &mut self,
        lane: Lane,
        record: &OutputRecord<'_>,
        tag: u64,
    ) -> Result<(), QueueFull> {
        let mut cluster = self.cluster.borrow_mut();
        if !cluster.usable(self.id) {
            return Ok(());
        }
        let data = RecordData {
            timestamp: record.timestamp.unwrap_or_else(|| cluster.clock.wall()),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.to_vec(),
        };
        let partition = TopicPartition::new(TopicName::clone(record.topic), record.partition);
        let queued = Queued { data: Rc::new(data), tag };
        if cluster.enqueue(self.id, lane, partition, queued) { Ok(()) } else { Err(QueueFull) }
    }

    /// Never waits: the next event that is ready at the clock's present. The deadline is
    /// remembered for [`SimCluster::next_wakeup`](crate::testing::SimCluster::next_wakeup).
    fn poll(&mut self, deadline: Duration, want_records: bool) -> Option<Event<SimBatch>> {
        let mut cluster = self.cluster.borrow_mut();
        if !cluster.usable(self.id) {
            return None;
        }
        cluster.run_due();
        cluster.note_poll(self.id);
        let client = cluster.clients.get_mut(&self.id)?;
        client.poll_deadline = deadline;
        let event = match client.inbox.pop_front() {
            Some(event) => Some(event),
            None if want_records => cluster.fetch(self.id),
            None => None,
        };
        if event.is_some() {
            let id = self.id;
            cluster.digest(&(id, &event));
            if cluster.settings.trace {
                let instance = cluster.clients.get(&id).map(|c| c.settings.instance.clone());
                let text = event.as_ref().map(trace::event);
                cluster.note(&instance.unwrap_or_default(), &text.unwrap_or_default());
            }
        }
        event
    }

    fn group(&self) -> Option<GroupMetadata> {
        self.cluster.borrow().clients.get(&self.id)?.membership.metadata()
    }
}

impl Cluster {
    /// Whether that client lives. A frozen one must not be stepped.
    fn usable(&mut self, id: ClientId) -> bool {
        let Some(client) = self.clients.get(&id) else { return false };
        if client.frozen {
            let instance = client.settings.instance.clone();
            self.violation(format!("{instance}: stepped while frozen"));
            return false;
        }
        true
    }

    fn submit(&mut self, id: ClientId, request: Request) {
        self.digest(&(id, &request));
        if self.settings.trace {
            let instance = self.clients.get(&id).map(|c| c.settings.instance.clone());
            self.note(&instance.unwrap_or_default(), &trace::request(&request));
        }
        match request {
            Request::Join { topics } => self.subscribe(id, topics),
            Request::Leave => self.leave(id),
            Request::Rejoin => self.rejoin(id),
            Request::DescribeGroup { id: question } => {
                self.ask(id, Question::DescribeGroup { id: question });
            }
            Request::Renew => self.renew(id),
            Request::FindNamesake { id: question } => {
                let Some(client) = self.clients.get(&id) else { return };
                let instance_id = client.settings.group_instance_id();
                self.ask(id, Question::Namesake { id: question, asker: id, instance_id });
            }
            Request::Accept { partitions } => self.accept(id, partitions),
            Request::Release { partitions } => self.release(id, &partitions),
            Request::Read { partition, offset } => self.read(id, partition, offset),
            Request::Pause { partition } => self.pause(id, &partition),
            Request::Open { lane } => self.submit_lane(id, lane, LaneOp::Open),
            Request::Begin { lane } => self.submit_lane(id, lane, LaneOp::Begin),
            Request::Flush { lane } => self.submit_lane(id, lane, LaneOp::Flush),
            Request::SendOffsets { lane, offsets, group } => {
                self.submit_lane(id, lane, LaneOp::SendOffsets { offsets, group });
            }
            Request::Commit { lane } => self.submit_lane(id, lane, LaneOp::Commit),
            Request::Abort { lane } => self.submit_lane(id, lane, LaneOp::Abort),
            Request::Purge { partition, before } => {
                self.send(id, Reply::Nobody, BrokerRequest::DeleteRecords { partition, before });
            }
            Request::CommittedOffsets { id: question, partitions } => {
                let Some(client) = self.clients.get(&id) else { return };
                let stable = client.settings.stable_offsets;
                self.ask(id, Question::CommittedOffsets { id: question, partitions, stable });
            }
            Request::CommitOffsets { id: question, offsets, group } => {
                let Some(client) = self.clients.get(&id) else { return };
                let proof = MemberProof::new(&group, &client.settings);
                self.ask(id, Question::CommitOffsets { id: question, proof, offsets });
            }
            Request::Bounds { id: question, partitions } => {
                self.ask(id, Question::Bounds { id: question, partitions });
            }
            Request::FindBlockers { id: question, partition } => {
                self.ask(id, Question::FindBlockers { id: question, partition });
            }
            Request::Describe { id: question, topics } => {
                self.ask(id, Question::Describe { id: question, topics });
            }
            Request::Fence { id: question, transactional_id, producer_id, producer_epoch } => {
                let question = Question::Fence {
                    id: question,
                    transactional_id: transactional_id.into(),
                    expected: ProducerEpoch { id: producer_id, epoch: producer_epoch },
                    aborting: false,
                };
                self.ask(id, question);
            }
        }
    }

    fn ask(&mut self, id: ClientId, question: Question) {
        let request = BrokerRequest::Question(question);
        let Some(client) = self.clients.get(&id) else { return };
        let held =
            request.to_coordinator().and_then(|kind| self.faults.take_hold(&client.instance, kind));
        let Some((awaits, _)) = held else { return self.send(id, Reply::Inbox, request) };
        // The client hears in time that there is no answer; the question still arrives.
        if let BrokerRequest::Question(question) = &request {
            let answer = Box::new(Answer::Event(questions::failed(question)));
            let wakeup = Wakeup::Answer { client: id, reply: Reply::Inbox, answer };
            self.schedule(self.settings.request_timeout, wakeup);
        }
        self.hold_back(id, &Reply::Inbox, request, awaits, MovedOn::GaveUp);
        self.break_link(id, Channel::Group);
    }
}

/// A restore's reader of a simulated cluster.
#[derive(Debug)]
pub struct SimRestoreLog {
    pub(super) cluster: Rc<RefCell<Cluster>>,
    pub(super) id: ClientId,
}

impl SimRestoreLog {
    /// Reads what is not committed too, as a mutant does.
    #[must_use]
    pub fn read_uncommitted(self, uncommitted: bool) -> Self {
        if let Some(restore) = self.cluster.borrow_mut().restores.get_mut(&self.id) {
            restore.read_uncommitted = uncommitted;
        }
        self
    }
}

impl RestoreLog for SimRestoreLog {
    type Batch = SimBatch;

    fn submit(&mut self, request: RestoreRequest) {
        let mut cluster = self.cluster.borrow_mut();
        match request {
            RestoreRequest::Bounds { partition } => {
                let request = BrokerRequest::RestoreBounds { partition };
                cluster.send(self.id, Reply::Restore, request);
            }
            RestoreRequest::Read { partition, offset } => {
                cluster.restore_read(self.id, partition, offset);
            }
            RestoreRequest::Stop { partition } => cluster.restore_stop(self.id, &partition),
        }
    }

    /// Never waits: the next event that is ready at the clock's present.
    fn poll(&mut self, deadline: Duration) -> Option<RestoreEvent<SimBatch>> {
        let mut cluster = self.cluster.borrow_mut();
        cluster.run_due();
        let restore = cluster.restores.get_mut(&self.id)?;
        if restore.frozen {
            let text = format!("{}: restore stepped while frozen", restore.instance);
            cluster.violation(text);
            return None;
        }
        restore.poll_deadline = deadline;
        let event = match restore.inbox.pop_front() {
            Some(event) => Some(event),
            None => cluster.restore_fetch(self.id),
        };
        if event.is_some() {
            let id = self.id;
            cluster.digest(&(id, &event));
            if cluster.settings.trace {
                let instance = cluster.restores.get(&id).map(|r| r.instance.clone());
                let text = event.as_ref().map(trace::restore_event);
                cluster.note(&instance.unwrap_or_default(), &text.unwrap_or_default());
            }
        }
        event
    }
}

/// Creates and describes topics of a simulated cluster, at once.
#[derive(Debug)]
pub struct SimTopicAdmin {
    pub(super) cluster: Rc<RefCell<Cluster>>,
}

impl TopicAdmin for SimTopicAdmin {
    fn describe(&mut self, topics: &[TopicName]) -> Result<Vec<Option<TopicInfo>>, TopicsError> {
        let cluster = self.cluster.borrow();
        Ok(topics.iter().map(|name| Some(cluster.topics.get(name)?.info().clone())).collect())
    }

    fn create(&mut self, topics: &[TopicSpec]) -> Result<(), TopicsError> {
        let mut cluster = self.cluster.borrow_mut();
        for topic in topics {
            if topic.partitions <= 0 {
                return Err(TopicsError::Refused {
                    topic: topic.name.to_string(),
                    reason: "INVALID_PARTITIONS".to_owned(),
                });
            }
            cluster.create_topic(topic);
        }
        Ok(())
    }

    fn brokers(&mut self) -> Result<usize, TopicsError> {
        Ok(self.cluster.borrow().settings.brokers)
    }
}

impl Cluster {
    /// Creates a topic and lets groups that wait for it know; `false` where it exists.
    pub(super) fn create_topic(&mut self, spec: &TopicSpec) -> bool {
        let brokers = self.settings.brokers;
        let created = self.topics.create(spec, brokers);
        if created {
            self.topic_changed(&spec.name);
        }
        created
    }

    /// Members see by their metadata that a topic of theirs changed, and join again.
    pub(super) fn topic_changed(&mut self, topic: &str) {
        let now = self.now();
        let groups: Vec<Rc<str>> = self
            .groups
            .iter()
            .filter(|(_, g)| g.subscribes(topic))
            .map(|(n, _)| n.clone())
            .collect();
        for group in groups {
            self.group_mut(&group).prepare_rebalance(now, Duration::ZERO);
            self.check_group(&group);
        }
    }

    /// Appends a record outside any transaction.
    pub(super) fn append_plain(
        &mut self,
        partition: &TopicPartition,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: Timestamp,
    ) -> Option<crate::record::Offset> {
        let log = self.topics.partition_mut(partition)?;
        let record = RecordData {
            timestamp,
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            headers: Vec::new(),
        };
        Some(log.append_plain([record]))
    }
}
