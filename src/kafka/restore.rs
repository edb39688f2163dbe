//! A reader of changelogs: the real `RestoreLog`.
//!
//! Assigned partitions only, in no group. The consumer's end-of-partition events, which come at
//! the last stable offset, say where a reader stands; positions are taken from them and from
//! records, never asked of librdkafka (facts 2.1).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    clients::{self, ClusterClients},
    failure,
    log::KafkaBatch,
    native::Wake,
    positions::Fault,
    process_mark::ProcessMark,
    properties,
    questions::Questions,
    reader::Reader,
    settings::{ConnectError, ConnectionSettings},
};
use crate::{
    record::TopicPartition,
    runtime::{
        Event, OffsetsUnavailable, Request, RequestId, RestoreEvent, RestoreLog, RestoreRequest,
        supervisor::SystemClock,
    },
};

/// Messages taken at once.
const FETCH_MAX: usize = 4_096;
/// The longest wait without a look.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// The longest wait while librdkafka has put off a read.
const RETRY: Duration = Duration::from_millis(5);

/// A reader of changelogs.
pub struct KafkaRestoreLog {
    reader: Reader,
    questions: Questions,
    asked: BTreeMap<RequestId, TopicPartition>,
    next_question: RequestId,
    events: VecDeque<RestoreEvent<KafkaBatch>>,
    wake: Arc<Wake>,
    clock: SystemClock,
}

impl KafkaRestoreLog {
    /// Makes the client; connects to nothing yet.
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
        let config = properties::restore(connection).map_err(clients::configuration)?;
        Ok(Self {
            reader: Reader::new(config, &wake).map_err(clients::configuration)?,
            questions: Questions::new(connection, ProcessMark::new(&clock), &wake, clients),
            asked: BTreeMap::new(),
            next_question: 1,
            events: VecDeque::new(),
            wake,
            clock,
        })
    }

    fn work(&mut self) {
        self.take_answers();
        if self.reader.has_forgotten() {
            self.reader.give_back();
        }
        self.reader.apply_reads(true);
        self.fetch();
        for (error, reason) in self.reader.consumer().errors() {
            tracing::info!(error = %super::native::code_name(error), %reason, "restore consumer");
        }
    }

    fn take_answers(&mut self) {
        let mut answers: VecDeque<Event<KafkaBatch>> = VecDeque::new();
        self.questions.take_answers(&mut answers);
        for answer in answers {
            let Event::Bounds { id, result } = answer else { continue };
            let Some(partition) = self.asked.remove(&id) else { continue };
            let result = match result {
                Ok(bounds) => bounds
                    .into_iter()
                    .find_map(|(found, bounds)| (found == partition).then_some(bounds))
                    .ok_or_else(|| "no answer about the partition".to_owned()),
                Err(OffsetsUnavailable::Unstable) => Err("unstable".to_owned()),
                Err(OffsetsUnavailable::Retriable(reason)) => Err(reason),
            };
            self.events.push_back(RestoreEvent::Bounds { partition, result });
        }
    }

    fn fetch(&mut self) {
        let errors = self.reader.fetch(FETCH_MAX);
        if self.reader.stashed() > 0 {
            // Before the ends that it reaches.
            let batch = KafkaBatch(self.reader.take());
            self.events.push_back(RestoreEvent::Records(batch));
        }
        for (error, fault) in errors {
            let partition = TopicPartition::new(error.topic.as_str(), error.partition);
            match fault {
                Fault::Past | Fault::Stranger => {}
                Fault::End(position) => {
                    self.events.push_back(RestoreEvent::CaughtUp { partition, position });
                }
                Fault::Unreadable => {
                    let cause = failure::of_read(error.code, &error.reason);
                    self.events.push_back(RestoreEvent::Failed { partition, cause });
                }
            }
        }
    }

    /// Takes back what was not handed out of a partition.
    fn drop_events_of(&mut self, partition: &TopicPartition) {
        for event in &mut self.events {
            if let RestoreEvent::Records(batch) = event {
                batch.0.remove(&partition.topic, partition.partition);
            }
        }
        self.events.retain(|event| match event {
            RestoreEvent::Records(batch) => batch.0.len() > 0,
            RestoreEvent::CaughtUp { partition: of, .. }
            | RestoreEvent::Failed { partition: of, .. } => of != partition,
            RestoreEvent::Bounds { .. } => true,
        });
    }
}

impl RestoreLog for KafkaRestoreLog {
    type Batch = KafkaBatch;

    fn submit(&mut self, request: RestoreRequest) {
        match request {
            RestoreRequest::Bounds { partition } => {
                let id = self.next_question;
                self.next_question += 1;
                self.questions.ask(Request::Bounds { id, partitions: vec![partition.clone()] });
                self.asked.insert(id, partition);
            }
            RestoreRequest::Read { partition, offset } => {
                self.drop_events_of(&partition);
                self.reader.accept(partition.clone());
                self.reader.read(&partition, offset);
            }
            RestoreRequest::Stop { partition } => {
                self.drop_events_of(&partition);
                self.reader.forget(&partition);
            }
        }
    }

    fn queued(&self) -> u64 {
        self.reader.consumer().queued()
    }

    fn poll(&mut self, deadline: Duration) -> Option<RestoreEvent<KafkaBatch>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            self.work();
            if !self.events.is_empty() {
                continue;
            }
            let now = self.clock.now().mono;
            if now >= deadline {
                return None;
            }
            if !self.reader.has_more() {
                let longest = if self.reader.reads_wait() { RETRY } else { WAIT_MAX };
                self.wake.wait(deadline.saturating_sub(now).min(longest));
            }
        }
    }
}
