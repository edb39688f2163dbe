//! What clients read: fetched input for stream threads, changelogs for restores.
//!
//! Records are taken from the log when they are delivered, so nothing stale can be under way.

use std::{collections::VecDeque, time::Duration};

use crate::{
    record::{Offset, TopicPartition},
    runtime::{Event, Isolation, ReadFailure, RestoreEvent},
    testing::{
        batch::SimBatch,
        client::{ClientId, ReadState, RestoreRead},
        cluster::{Cluster, Wakeup},
        partition::ReadRecord,
    },
};

/// Records of one partition, in order.
type Fetched = (TopicPartition, VecDeque<ReadRecord>);

impl Cluster {
    /// `Request::Read`.
    pub(super) fn read(&mut self, id: ClientId, partition: TopicPartition, offset: Offset) {
        let topic_id = self.topic_id(&partition);
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Some(read) = client.reads.get_mut(&partition) {
            *read = ReadState { position: Some(offset), topic_id };
        } else {
            let instance = client.settings.instance.clone();
            self.violation(format!("{instance}: reads {partition} without having it"));
        }
    }

    /// `Request::Pause`.
    pub(super) fn pause(&mut self, id: ClientId, partition: &TopicPartition) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Some(read) = client.reads.get_mut(partition) {
            read.position = None;
        }
    }

    fn topic_id(&self, partition: &TopicPartition) -> String {
        self.topics.get(&partition.topic).map(|t| t.info().id.clone()).unwrap_or_default()
    }

    /// Whether a partition can be read from there; `Ok(true)` where there is something new.
    fn readable(
        &self,
        partition: &TopicPartition,
        topic_id: &str,
        position: Offset,
        isolation: Isolation,
    ) -> Result<bool, ReadFailure> {
        let gone = ReadFailure::UnknownPartition;
        if self.topics.get(&partition.topic).is_none_or(|topic| topic.info().id != topic_id) {
            return Err(gone);
        }
        let log = self.topics.partition(partition).ok_or(gone)?;
        let bounds = log.bounds();
        if position < bounds.start || position > bounds.end {
            return Err(ReadFailure::OutOfRange);
        }
        Ok(position < log.readable_end(isolation))
    }

    fn fetch_limit(&mut self) -> usize {
        let max = self.settings.fetch_records_max.max(1);
        if self.settings.shuffle { self.rng.usize(1..=max) } else { max }
    }

    /// The next records for a stream thread, or why a partition cannot be read.
    pub(super) fn fetch(&mut self, id: ClientId) -> Option<Event<SimBatch>> {
        let now = self.now();
        let client = self.clients.get(&id)?;
        if client.next_fetch > now {
            return None;
        }
        let isolation = client.settings.isolation;
        let mut ready = Vec::new();
        for (partition, read) in &client.reads {
            let Some(position) = read.position else { continue };
            match self.readable(partition, &read.topic_id, position, isolation) {
                Ok(true) => ready.push((partition.clone(), position)),
                Ok(false) => {}
                Err(cause) => {
                    let partition = partition.clone();
                    self.pause(id, &partition);
                    return Some(Event::ReadFailed { partition, cause });
                }
            }
        }
        let (batch, positions) = self.take(ready, isolation);
        let client = self.clients.get_mut(&id)?;
        for (partition, position) in positions {
            if let Some(read) = client.reads.get_mut(&partition) {
                read.position = Some(position);
            }
        }
        let batch = batch?;
        let pause = self.fetch_pause();
        if let Some(client) = self.clients.get_mut(&id) {
            client.next_fetch = now + pause;
        }
        Some(Event::Records(batch))
    }

    /// The time until the next delivery; the clock will stop there.
    fn fetch_pause(&mut self) -> Duration {
        let pause = self.settings.fetch_interval.sample(&mut self.rng);
        if !pause.is_zero() {
            self.schedule(pause, Wakeup::Look);
        }
        pause
    }

    /// Takes records from those partitions, in an order drawn by seed, interleaved.
    fn take(
        &mut self,
        mut ready: Vec<(TopicPartition, Offset)>,
        isolation: Isolation,
    ) -> (Option<SimBatch>, Vec<(TopicPartition, Offset)>) {
        if ready.is_empty() {
            return (None, Vec::new());
        }
        if self.settings.shuffle {
            self.rng.shuffle(&mut ready);
        }
        let mut budget = self.fetch_limit();
        let mut fetched: Vec<Fetched> = Vec::new();
        let mut positions = Vec::new();
        for (partition, position) in ready {
            if budget == 0 {
                break;
            }
            let max = if self.settings.shuffle { self.rng.usize(1..=budget) } else { budget };
            let Some(log) = self.topics.partition(&partition) else { continue };
            let (records, next) = log.read(position, isolation, max);
            budget -= records.len().min(budget);
            positions.push((partition.clone(), next));
            if !records.is_empty() {
                fetched.push((partition, records.into()));
            }
        }
        let batch = self.interleave(fetched);
        (batch, positions)
    }

    fn interleave(&mut self, mut fetched: Vec<Fetched>) -> Option<SimBatch> {
        if fetched.is_empty() {
            return None;
        }
        let mut batch = SimBatch::default();
        while !fetched.is_empty() {
            let index = if self.settings.shuffle { self.rng.usize(0..fetched.len()) } else { 0 };
            let Some((partition, records)) = fetched.get_mut(index) else { break };
            if let Some(record) = records.pop_front() {
                batch.push(&partition.topic, partition.partition, record);
            }
            if records.is_empty() {
                fetched.remove(index);
            }
        }
        Some(batch)
    }

    // === Restores ===

    /// `RestoreRequest::Read`.
    pub(super) fn restore_read(&mut self, id: ClientId, partition: TopicPartition, at: Offset) {
        let topic_id = self.topic_id(&partition);
        let Some(restore) = self.restores.get_mut(&id) else { return };
        let read = RestoreRead { position: at, caught_up: None, topic_id };
        restore.reads.insert(partition, read);
    }

    /// `RestoreRequest::Stop`.
    pub(super) fn restore_stop(&mut self, id: ClientId, partition: &TopicPartition) {
        if let Some(restore) = self.restores.get_mut(&id) {
            restore.reads.remove(partition);
        }
    }

    /// The next records for a restore, or a partition that is caught up or cannot be read.
    pub(super) fn restore_fetch(&mut self, id: ClientId) -> Option<RestoreEvent<SimBatch>> {
        let now = self.now();
        let restore = self.restores.get(&id)?;
        let isolation = restore.isolation();
        let mut ready = Vec::new();
        let mut event = None;
        for (partition, read) in &restore.reads {
            match self.readable(partition, &read.topic_id, read.position, isolation) {
                Ok(true) => ready.push((partition.clone(), read.position)),
                Ok(false) if read.caught_up != Some(read.position) => {
                    event = Some((partition.clone(), Ok(read.position)));
                }
                Ok(false) => {}
                Err(cause) => event = Some((partition.clone(), Err(cause))),
            }
        }
        if let Some((partition, outcome)) = event {
            return Some(self.restore_notice(id, partition, outcome));
        }
        if restore.next_fetch > now {
            return None;
        }
        let (batch, positions) = self.take(ready, isolation);
        let restore = self.restores.get_mut(&id)?;
        for (partition, position) in positions {
            if let Some(read) = restore.reads.get_mut(&partition) {
                read.position = position;
            }
        }
        let Some(batch) = batch else {
            // Only control records and aborted ones were there: some partition may be caught up.
            return self.caught_up(id);
        };
        let pause = self.fetch_pause();
        if let Some(restore) = self.restores.get_mut(&id) {
            restore.next_fetch = now + pause;
        }
        Some(RestoreEvent::Records(batch))
    }

    fn caught_up(&mut self, id: ClientId) -> Option<RestoreEvent<SimBatch>> {
        let restore = self.restores.get(&id)?;
        let (partition, position) = restore.reads.iter().find_map(|(partition, read)| {
            let end = self.topics.partition(partition)?.readable_end(restore.isolation());
            let news = read.position >= end && read.caught_up != Some(read.position);
            news.then(|| (partition.clone(), read.position))
        })?;
        Some(self.restore_notice(id, partition, Ok(position)))
    }

    fn restore_notice(
        &mut self,
        id: ClientId,
        partition: TopicPartition,
        outcome: Result<Offset, ReadFailure>,
    ) -> RestoreEvent<SimBatch> {
        let restore = self.restores.get_mut(&id);
        match outcome {
            Ok(position) => {
                if let Some(read) = restore.and_then(|r| r.reads.get_mut(&partition)) {
                    read.caught_up = Some(position);
                }
                RestoreEvent::CaughtUp { partition, position }
            }
            Err(cause) => {
                if let Some(restore) = restore {
                    restore.reads.remove(&partition);
                }
                RestoreEvent::Failed { partition, cause }
            }
        }
    }
}
