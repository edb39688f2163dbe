//! Restores any number of tasks at once over one reader: a `step(now)` machine.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    record::{Offset, RecordBatch, TopicPartition},
    runtime::{
        Now, PartitionBounds, ReadFailure, RestoreEvent, RestoreLog, RestoreRequest,
        memory::queued_bytes,
        mutants::Mutant,
        plan::TaskId,
        restore::{
            RestoreError, RestoreJob, RestoreMemory, RestoreOutcome,
            active::{Active, is_valid, run_end},
            pace::{Pace, Progress},
        },
    },
    state::{ByteStores, EpochId, StateError},
};

/// What the restores of a thread may hold where nobody says (see [`Restorer::holding`]).
const HELD_BYTES: usize = 64 << 20;

/// Read in one step, so that jobs and cancellations are seen in between.
const STEP_BYTES: usize = 8 << 20;

/// Restores any number of tasks at once over one reader.
pub struct Restorer<R> {
    log: R,
    stores: Box<dyn ByteStores>,
    pub(super) active: BTreeMap<TopicPartition, Active>,
    /// Jobs whose store could not be opened yet: its last owner is about to close it.
    waiting: Vec<(RestoreJob, Duration, u32)>,
    outcomes: VecDeque<RestoreOutcome>,
    /// Read and not written, of all restores together (MEM-1).
    held_max: usize,
    /// As much again for now.
    lent: usize,
    /// Bytes read by all restores so far.
    read_bytes: u64,
    pace: Pace,
    mutant: Mutant,
}

/// How often an open is tried again while the last owner of a store closes it.
const OPEN_ATTEMPTS: u32 = 50;
const OPEN_PAUSE: Duration = Duration::from_millis(100);

impl<R: RestoreLog> Restorer<R> {
    /// A restorer without jobs.
    pub fn new(log: R, stores: Box<dyn ByteStores>) -> Self {
        Self {
            log,
            stores,
            active: BTreeMap::new(),
            waiting: vec![],
            outcomes: VecDeque::new(),
            held_max: HELD_BYTES,
            lent: 0,
            read_bytes: 0,
            pace: Pace::default(),
            mutant: Mutant::None,
        }
    }

    /// Holds at most `bytes` that are read and not written, and what one step reads.
    #[must_use]
    pub fn holding(mut self, bytes: u64) -> Self {
        self.held_max = usize::try_from(bytes).unwrap_or(usize::MAX).max(1);
        self
    }

    /// Holds at most so many bytes more, until this is called again; see [`RestoreService::lend`].
    ///
    /// [`RestoreService::lend`]: crate::runtime::restore::RestoreService::lend
    pub fn lend(&mut self, bytes: u64) {
        self.lent = usize::try_from(bytes).unwrap_or(usize::MAX);
    }

    /// What may be held now.
    pub(super) fn held_max(&self) -> usize {
        self.held_max.saturating_add(self.lent)
    }

    /// Bytes that are read and not written.
    pub fn held_bytes(&self) -> usize {
        self.active.values().map(Active::held_bytes).sum()
    }

    /// What is held, here and in the client.
    pub fn memory(&self) -> RestoreMemory {
        let sum = |of: fn(&Active) -> u64| self.active.values().map(of).sum::<u64>();
        let mean = sum(|active| active.bytes).checked_div(sum(|active| active.records));
        let shared = self.active.values().next().map(|active| active.store.shared_memory());
        RestoreMemory {
            changes: self.held_bytes() as u64,
            borrowed: self.held_bytes().saturating_sub(self.held_max) as u64,
            queue: queued_bytes(self.log.queued(), mean.unwrap_or(0)),
            byte_store: shared.unwrap_or_default(),
        }
    }

    /// Breaks a rule on purpose.
    #[must_use]
    pub fn with_mutant(self, mutant: Mutant) -> Self {
        Self { mutant, ..self }
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.active.is_empty() && self.waiting.is_empty()
    }

    /// Starts a restore.
    pub fn submit(&mut self, job: RestoreJob) {
        self.open(job, Duration::ZERO, 0);
    }

    /// Gives a restore up and closes its store.
    pub fn cancel(&mut self, task: TaskId) {
        self.waiting.retain(|(job, ..)| job.task != task);
        let partitions = self.active.iter().filter(|(_, a)| a.job.task == task);
        for partition in partitions.map(|(p, _)| p.clone()).collect::<Vec<_>>() {
            self.active.remove(&partition);
            self.log.submit(RestoreRequest::Stop { partition });
        }
        self.outcomes.retain(|outcome| outcome.task() != task);
    }

    /// The next outcome.
    pub fn poll(&mut self) -> Option<RestoreOutcome> {
        self.outcomes.pop_front()
    }

    /// Works until nothing more is to be had before `deadline` or a few megabytes were read.
    pub fn step(&mut self, now: Now, deadline: Duration) {
        for (job, at, attempts) in std::mem::take(&mut self.waiting) {
            if now.mono >= at {
                self.open(job, now.mono, attempts);
            } else {
                self.waiting.push((job, at, attempts));
            }
        }
        self.end_writes();
        // What was lent may have been taken back.
        self.write_down(now);
        for (partition, active) in &mut self.active {
            if active.asks_again(now) {
                self.log.submit(RestoreRequest::Bounds { partition: partition.clone() });
            }
        }
        let step_max = STEP_BYTES.min(self.held_max() / 4).max(1);
        let mut read = 0;
        let mut wait = deadline;
        while read < step_max
            && let Some(event) = self.log.poll(wait)
        {
            wait = now.mono;
            read += self.handle(event, now);
            self.write_down(now);
        }
        self.read_bytes += read as u64;
        if let Some(progress) = self.pace.look(self.active.values(), self.read_bytes, now.mono) {
            let Progress { tasks, remaining, mb_per_second, eta } = progress;
            tracing::info!(tasks, remaining_records = remaining, eta = ?eta,
                "restoring at {mb_per_second:.1} MB/s");
        }
    }

    fn open(&mut self, job: RestoreJob, now: Duration, attempts: u32) {
        match self.stores.open(&job.name) {
            Ok(store) => {
                self.log.submit(RestoreRequest::Bounds { partition: job.changelog.clone() });
                let active = Active::new(job, store);
                self.active.insert(active.job.changelog.clone(), active);
            }
            Err(StateError::Damaged { store, reason }) => {
                tracing::warn!(%store, %reason, "local state is damaged: restoring from Kafka");
                match self.stores.wipe(&job.name) {
                    Ok(()) if attempts < OPEN_ATTEMPTS => self.open(job, now, attempts + 1),
                    Ok(()) => self.fail(&job, StateError::Damaged { store, reason }.into()),
                    Err(error) => self.fail(&job, error.into()),
                }
            }
            Err(StateError::Store { .. }) if attempts < OPEN_ATTEMPTS => {
                self.waiting.push((job, now + OPEN_PAUSE, attempts + 1));
            }
            Err(error) => self.fail(&job, error.into()),
        }
    }

    fn fail(&mut self, job: &RestoreJob, error: RestoreError) {
        self.outcomes.push_back(RestoreOutcome::Failed { task: job.task, error });
    }

    /// Handles one event; gives the bytes that it carried.
    fn handle(&mut self, event: RestoreEvent<R::Batch>, now: Now) -> usize {
        match event {
            RestoreEvent::Bounds { partition, result } => self.start(&partition, result, now),
            RestoreEvent::Records(batch) => return self.apply(&batch),
            RestoreEvent::CaughtUp { partition, position } => {
                self.caught_up(&partition, position, now);
            }
            RestoreEvent::Failed { partition, cause } => self.read_failed(&partition, &cause),
        }
        0
    }

    /// Takes the local image if it is valid, else starts empty; then reads.
    fn start(
        &mut self,
        partition: &TopicPartition,
        result: Result<PartitionBounds, String>,
        now: Now,
    ) {
        let Some(active) = self.active.get_mut(partition) else { return };
        let bounds = match result {
            Ok(bounds) => bounds,
            Err(reason) => {
                tracing::debug!(%partition, %reason, "changelog bounds not available, asking again");
                active.ask_later(now);
                return;
            }
        };
        let image = match active.store.positions() {
            Ok(image) => image,
            Err(error) => return self.give_up(partition, error.into()),
        };
        match image.filter(|image| is_valid(image, &active.job, bounds, now)) {
            Some(image) => {
                active.next = image.changelog_next;
                active.marker = image.marker;
                active.whole = image.whole;
            }
            None => {
                // Whatever lies there is of no use: make sure that it is gone.
                let name = active.job.name.clone();
                if let Err(error) = self.reopen_empty(partition, &name) {
                    return self.give_up(partition, error.into());
                }
                let Some(active) = self.active.get_mut(partition) else { return };
                active.next = bounds.start;
            }
        }
        let Some(active) = self.active.get_mut(partition) else { return };
        let mut bounds = bounds;
        if self.mutant.is(Mutant::LastStableTarget) {
            bounds.end = bounds.last_stable;
            active.job.expected = None;
        }
        active.bounds = Some(bounds);
        let offset = active.next;
        self.log.submit(RestoreRequest::Read { partition: partition.clone(), offset });
        self.progress(partition, bounds);
    }

    fn reopen_empty(&mut self, partition: &TopicPartition, name: &str) -> Result<(), StateError> {
        let Some(mut active) = self.active.remove(partition) else { return Ok(()) };
        if active.store.positions()?.is_some() {
            // Closed before it is wiped: two handles on one directory exclude each other.
            drop(active.store);
            self.stores.wipe(name)?;
            active.store = self.stores.open(name)?;
        }
        self.active.insert(partition.clone(), active);
        Ok(())
    }

    fn apply(&mut self, batch: &R::Batch) -> usize {
        let mut bytes = 0;
        let mut failed: Vec<(TopicPartition, RestoreError)> = vec![];
        let mut index = 0;
        while index < batch.len() {
            let first = batch.record(index);
            let partition =
                TopicPartition { topic: first.topic.clone(), partition: first.partition };
            let end = run_end(batch, index);
            // Of one partition: looked up once.
            let from = std::mem::replace(&mut index, end);
            let Some(active) = self.active.get_mut(&partition).filter(|a| !a.finishing) else {
                continue;
            };
            match active.take_run(batch, from..end) {
                Ok(taken) => bytes += taken,
                Err((offset, error)) => {
                    let task = active.job.name.clone();
                    let changelog = format!("{partition}@{offset}");
                    let reason = error.to_string();
                    failed.push((partition, RestoreError::Unreadable { task, changelog, reason }));
                }
            }
        }
        for (partition, error) in failed {
            self.give_up(&partition, error);
        }
        bytes
    }

    /// The reader stands at the last stable offset.
    fn caught_up(&mut self, partition: &TopicPartition, position: Offset, now: Now) {
        let Some(active) = self.active.get_mut(partition).filter(|a| !a.finishing) else { return };
        let Some(bounds) = active.bounds else { return };
        if position < bounds.end {
            self.progress(partition, PartitionBounds { last_stable: position, ..bounds });
            return;
        }
        active.next = active.next.max(position);
        let found = active.marker.as_ref().map(|marker| marker.id);
        if active.job.expected.is_some() && found != active.job.expected {
            let show = |id: Option<EpochId>| {
                id.map_or("no epoch at all".to_owned(), |id| {
                    format!("{} of incarnation {:016x}", id.epoch, id.incarnation)
                })
            };
            let error = RestoreError::EpochMismatch {
                task: active.job.name.clone(),
                changelog: partition.to_string(),
                expected: show(active.job.expected),
                found: show(found),
            };
            return self.give_up(partition, error);
        }
        if let Err(error) = active.finish(now) {
            return self.give_up(partition, error.into());
        }
        self.log.submit(RestoreRequest::Stop { partition: partition.clone() });
        // A store that writes at once is done already.
        match active.poll_write() {
            Ok(true) => self.done(partition),
            Ok(false) => {}
            Err(error) => self.give_up(partition, error.into()),
        }
    }

    /// Hands a restored store over.
    pub(super) fn done(&mut self, partition: &TopicPartition) {
        if let Some(active) = self.active.remove(partition) {
            tracing::info!(task = %active.job.name, records = active.records, bytes = active.bytes,
                "restored");
            self.outcomes.push_back(RestoreOutcome::Done {
                task: active.job.task,
                store: active.store,
                marker: active.marker,
                changelog_next: active.next,
                records: active.records,
                bytes: active.bytes,
            });
        }
    }

    fn read_failed(&mut self, partition: &TopicPartition, cause: &ReadFailure) {
        let Some(active) = self.active.get(partition) else { return };
        match cause {
            // The log start moved past the image between the question and the read.
            ReadFailure::OutOfRange => {
                tracing::warn!(%partition, "changelog position is out of range: restoring anew");
                let job = active.job.clone();
                self.active.remove(partition);
                match self.stores.wipe(&job.name) {
                    Ok(()) => self.submit(job),
                    Err(error) => self.fail(&job, error.into()),
                }
            }
            ReadFailure::UnknownPartition => {
                let reason = "the topic or partition does not exist".to_owned();
                self.give_up_unreadable(partition, reason);
            }
            ReadFailure::Other(reason) => {
                tracing::debug!(%partition, %reason, "changelog read failed, the reader tries on");
            }
        }
    }

    fn give_up_unreadable(&mut self, partition: &TopicPartition, reason: String) {
        let task = self.active.get(partition).map(|a| a.job.name.clone()).unwrap_or_default();
        let changelog = partition.to_string();
        self.give_up(partition, RestoreError::Unreadable { task, changelog, reason });
    }

    pub(super) fn give_up(&mut self, partition: &TopicPartition, error: RestoreError) {
        if let Some(active) = self.active.remove(partition) {
            self.log.submit(RestoreRequest::Stop { partition: partition.clone() });
            self.fail(&active.job, error);
        }
    }

    fn progress(&mut self, partition: &TopicPartition, bounds: PartitionBounds) {
        let Some(active) = self.active.get(partition) else { return };
        self.outcomes.push_back(RestoreOutcome::Progress {
            task: active.job.task,
            remaining: (bounds.end.0 - active.next.0).max(0),
            blocked: bounds.last_stable < bounds.end,
        });
    }
}

#[cfg(test)]
#[cfg(feature = "testing")]
#[path = "restorer_tests.rs"]
mod tests;
