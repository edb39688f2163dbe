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
    native::{Batch, Consumer, Error, PartitionError, PartitionList, Wake, code},
    properties,
    questions::Questions,
    settings::{ConnectError, ConnectionSettings},
};
use crate::{
    record::{Offset, PartitionId, TopicName, TopicPartition},
    runtime::{
        Event, OffsetsUnavailable, Request, RequestId, RestoreEvent, RestoreLog, RestoreRequest,
        supervisor::SystemClock,
    },
};

/// Messages taken at once.
const FETCH_MAX: usize = 4_096;
/// The longest wait without a look.
const WAIT_MAX: Duration = Duration::from_millis(100);

type Table = BTreeMap<TopicName, BTreeMap<PartitionId, Reading>>;

#[derive(Debug)]
struct Reading {
    next: i64,
    /// librdkafka has it at `next`.
    assigned: bool,
}

/// A reader of changelogs.
pub struct KafkaRestoreLog {
    consumer: Consumer,
    questions: Questions,
    asked: BTreeMap<RequestId, TopicPartition>,
    next_question: RequestId,
    table: Table,
    /// `table` has changed since it was assigned.
    changed: bool,
    batch: Batch,
    more: bool,
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
        let consumer = Consumer::new(config, &wake).map_err(clients::configuration)?;
        Ok(Self {
            batch: consumer.batch(),
            consumer,
            questions: Questions::new(connection, &wake, clients),
            asked: BTreeMap::new(),
            next_question: 1,
            table: Table::new(),
            changed: false,
            more: true,
            events: VecDeque::new(),
            wake,
            clock,
        })
    }

    fn work(&mut self) {
        self.take_answers();
        if self.changed {
            self.assign();
        }
        self.fetch();
        for (error, reason) in self.consumer.errors() {
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

    /// Tells librdkafka what is read. Those that are read on keep their place: the whole list is
    /// assigned anew with the next offset of each.
    fn assign(&mut self) {
        let mut list = PartitionList::new(8);
        let mut result = Ok(());
        for (topic, numbers) in &self.table {
            for (partition, reading) in numbers {
                let added = list.add(topic, *partition, Some(Offset(reading.next)), None);
                result = result.and(added);
            }
        }
        let result: Result<(), Error> = result.and_then(|()| self.consumer.assign(&list));
        match result {
            Ok(()) => {
                self.changed = false;
                self.table.values_mut().flat_map(BTreeMap::values_mut).for_each(|reading| {
                    reading.assigned = true;
                });
            }
            Err(error) => tracing::warn!(%error, "could not assign changelog partitions"),
        }
    }

    fn fetch(&mut self) {
        let mut errors = vec![];
        let table = std::cell::RefCell::new(&mut self.table);
        let current = std::cell::Cell::new(None::<(TopicName, PartitionId)>);
        let last = std::cell::Cell::new(-1i64);
        let finish = |table: &mut Table| {
            if let Some((topic, partition)) = current.take()
                && last.get() >= 0
                && let Some(reading) = table.get_mut(&topic).and_then(|n| n.get_mut(&partition))
            {
                reading.next = last.get() + 1;
            }
            last.set(-1);
        };
        let taken = self.consumer.fetch(
            FETCH_MAX,
            &mut self.batch,
            &mut errors,
            |topic, partition| {
                let mut table = table.borrow_mut();
                finish(&mut table);
                let (name, numbers) = table.get_key_value(topic)?;
                let reading = numbers.get(&partition).filter(|r| r.assigned)?;
                current.set(Some((name.clone(), partition)));
                Some((name.clone(), reading.next))
            },
            |offset| last.set(offset),
        );
        finish(&mut table.borrow_mut());
        self.more = taken == FETCH_MAX;
        if self.batch.len() > 0 {
            // Before the ends that it reaches.
            let batch = KafkaBatch(self.batch.split_off());
            self.events.push_back(RestoreEvent::Records(batch));
        }
        for error in errors {
            self.partition_error(&error);
        }
    }

    fn partition_error(&mut self, error: &PartitionError) {
        let reading = self
            .table
            .get_mut(error.topic.as_str())
            .and_then(|numbers| numbers.get_mut(&error.partition))
            .filter(|reading| reading.assigned);
        let Some(reading) = reading else { return };
        let partition = TopicPartition::new(error.topic.as_str(), error.partition);
        if error.code == code::PARTITION_EOF {
            // An end that lies before what was asked for belongs to an earlier read.
            if error.offset >= reading.next {
                reading.next = error.offset;
                let position = Offset(error.offset);
                self.events.push_back(RestoreEvent::CaughtUp { partition, position });
            }
            return;
        }
        let cause = failure::of_read(error.code, &error.reason);
        self.events.push_back(RestoreEvent::Failed { partition, cause });
    }

    fn remove(&mut self, partition: &TopicPartition) {
        if let Some(numbers) = self.table.get_mut(&partition.topic) {
            numbers.remove(&partition.partition);
        }
        self.table.retain(|_, numbers| !numbers.is_empty());
        // Nothing of it is delivered afterwards.
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
                self.remove(&partition);
                let reading = Reading { next: offset.0, assigned: false };
                self.table.entry(partition.topic).or_default().insert(partition.partition, reading);
                self.changed = true;
            }
            RestoreRequest::Stop { partition } => {
                self.remove(&partition);
                self.changed = true;
            }
        }
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
            if !self.more {
                self.wake.wait(deadline.saturating_sub(now).min(WAIT_MAX));
            }
        }
    }
}
