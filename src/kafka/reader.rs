//! A consumer together with where its partitions stand, for members of the group and for restores.
//!
//! librdkafka is told of a partition when it is first read, with its offset: an accepted partition
//! that is not read costs nothing and delivers nothing. What is read on is never touched when
//! others start or stop, so nothing that was fetched is fetched again.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    sync::Arc,
};

use super::{
    native::{Batch, Config, Consumer, Error, PartitionError, PartitionList, Wake, code_name},
    positions::{Fault, Positions},
};
use crate::record::{Offset, PartitionId, TopicName, TopicPartition};

/// A consumer that reads.
pub(super) struct Reader {
    consumer: Consumer,
    positions: Positions,
    /// Fetched, not taken yet.
    stash: Batch,
    /// The last fetch filled its array: there is more without a notification.
    more: bool,
    /// Partitions are paused because nobody wants records.
    throttled: bool,
}

impl Reader {
    /// A consumer without partitions; `wake` is notified when there is something to fetch.
    pub(super) fn new(config: Config, wake: &Arc<Wake>) -> Result<Self, Error> {
        let consumer = Consumer::new(config, wake)?;
        let (stash, positions) = (consumer.batch(), Positions::default());
        Ok(Self { consumer, positions, stash, more: true, throttled: false })
    }

    /// The consumer, for what is not about partitions.
    pub(super) fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// Starts to close the consumer.
    pub(super) fn start_close(&mut self, wake: &Arc<Wake>) -> Result<(), Error> {
        self.consumer.start_close(wake)
    }

    /// Takes a partition; nothing of it is delivered before it is read.
    pub(super) fn accept(&mut self, partition: TopicPartition) {
        self.positions.accept(partition);
    }

    /// Reads a partition no more: nothing of it is delivered from now on, and the next
    /// [`Reader::give_back`] tells librdkafka.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        self.stash.remove(&partition.topic, partition.partition);
        self.positions.forget(partition);
    }

    /// Delivers nothing any more, without a word to librdkafka.
    pub(super) fn forget_all(&mut self) {
        self.positions.clear();
    }

    /// Whether librdkafka still has forgotten partitions.
    pub(super) fn has_forgotten(&self) -> bool {
        !self.positions.leaving().is_empty()
    }

    /// Unassigns what was forgotten, which acknowledges a revocation that waits.
    pub(super) fn give_back(&mut self) {
        let leaving = self.positions.leaving();
        let result =
            PartitionList::of(leaving).and_then(|l| self.consumer.incremental_unassign(&l));
        if let Err(error) = result {
            tracing::warn!(%error, partitions = ?leaving, "could not unassign");
        }
        self.positions.left();
    }

    /// Delivers an accepted partition from `offset` on, after the next [`Reader::apply_reads`].
    pub(super) fn read(&mut self, partition: &TopicPartition, offset: Offset) {
        self.stash.remove(&partition.topic, partition.partition);
        if !self.positions.read(partition, offset) {
            tracing::warn!(%partition, "read of a partition that was not accepted");
        }
    }

    /// Stops delivering until the next read.
    pub(super) fn pause(&mut self, partition: &TopicPartition) {
        self.stash.remove(&partition.topic, partition.partition);
        if self.positions.hold(partition) {
            self.set_paused(std::slice::from_ref(partition), true);
        }
    }

    /// Whether some read is not carried out.
    pub(super) fn reads_wait(&self) -> bool {
        self.positions.reads_wait()
    }

    /// Carries out what was asked to be read, in one call per kind. `may_unassign`: no revocation
    /// waits that an unassign would acknowledge; otherwise what needs one goes on waiting.
    pub(super) fn apply_reads(&mut self, may_unassign: bool) {
        if !self.positions.reads_wait() {
            return;
        }
        let mut steps = self.positions.steps();
        if may_unassign && !steps.broken.is_empty() {
            self.unassign_broken(&steps.broken);
            steps = self.positions.steps();
        }
        if !steps.fresh.is_empty() {
            self.assign(&steps.fresh);
        }
        if !steps.moved.is_empty() {
            self.seek(&steps.moved);
        }
        self.positions.stepped();
    }

    /// Pauses or resumes what is being delivered, for back-pressure. What librdkafka has queued
    /// is dropped and fetched again.
    pub(super) fn throttle(&mut self, paused: bool) {
        self.throttled = paused;
        let changed = self.positions.throttle(paused);
        self.set_paused(&changed, paused);
    }

    /// Whether back-pressure is on.
    pub(super) fn is_throttled(&self) -> bool {
        self.throttled
    }

    /// Records that were fetched and not taken.
    pub(super) fn stashed(&self) -> usize {
        self.stash.len()
    }

    /// Takes what was fetched.
    pub(super) fn take(&mut self) -> Batch {
        self.stash.split_off()
    }

    /// Whether the last fetch left something behind, of which no notification comes.
    pub(super) fn has_more(&self) -> bool {
        self.more
    }

    /// Fetches at most `max` messages into the stash. Returns the errors among them; what is in
    /// the stash comes before them.
    pub(super) fn fetch(&mut self, max: usize) -> Vec<(PartitionError, Fault)> {
        let mut errors = vec![];
        let positions = RefCell::new(&mut self.positions);
        let current = Cell::new(None::<(TopicName, PartitionId)>);
        let last = Cell::new(-1i64);
        let finish = |positions: &mut Positions| {
            let last = last.replace(-1);
            if let Some((topic, partition)) = current.take()
                && last >= 0
            {
                positions.delivered(&topic, partition, last);
            }
        };
        let taken = self.consumer.fetch(
            max,
            &mut self.stash,
            &mut errors,
            |topic, partition| {
                let mut positions = positions.borrow_mut();
                finish(&mut positions);
                let (name, from) = positions.next_of(topic, partition)?;
                current.set(Some((name.clone(), partition)));
                Some((name, from))
            },
            |offset| last.set(offset),
        );
        finish(&mut positions.borrow_mut());
        self.more = taken == max;
        let with_fault = |error: PartitionError| {
            let fault = self.positions.fault(&error);
            (error, fault)
        };
        errors.into_iter().map(with_fault).collect()
    }

    fn unassign_broken(&mut self, broken: &[TopicPartition]) {
        let result = PartitionList::of(broken).and_then(|l| self.consumer.incremental_unassign(&l));
        match result {
            Ok(()) => self.positions.unassigned(broken),
            Err(error) => tracing::warn!(%error, "could not unassign a stopped partition"),
        }
    }

    fn assign(&mut self, fresh: &[(TopicPartition, i64)]) {
        let result = offsets_of(fresh).and_then(|list| self.consumer.incremental_assign(&list));
        match result {
            Ok(()) => self.positions.assigned(fresh),
            Err(error) => tracing::warn!(%error, ?fresh, "could not assign"),
        }
    }

    /// A rewind. Whatever was fetched before carries an older version in librdkafka, and is
    /// dropped there; what is in the stash was dropped when the read was asked for.
    fn seek(&mut self, moved: &[(TopicPartition, i64)]) {
        let list = match offsets_of(moved) {
            Ok(list) => list,
            Err(error) => return tracing::warn!(%error, "could not seek"),
        };
        if let Err(error) = self.consumer.seek(&list) {
            return tracing::warn!(%error, ?moved, "seek not answered, trying again");
        }
        let failed: BTreeMap<_, _> = list.errors().into_iter().collect();
        let mut resumed = vec![];
        for (partition, offset) in moved {
            if let Some(error) = failed.get(partition) {
                // Not started yet, or stopping: tried again at the next call.
                tracing::debug!(%partition, error = %code_name(*error), "seek put off");
            } else if self.positions.moved(partition, *offset) {
                resumed.push(partition.clone());
            }
        }
        self.set_paused(&resumed, false);
    }

    fn set_paused(&self, partitions: &[TopicPartition], paused: bool) {
        if partitions.is_empty() {
            return;
        }
        let result = PartitionList::of(partitions).and_then(|list| match paused {
            true => self.consumer.pause(&list),
            false => self.consumer.resume(&list),
        });
        if let Err(error) = result {
            tracing::warn!(%error, ?partitions, paused, "could not pause or resume");
        }
    }
}

fn offsets_of(partitions: &[(TopicPartition, i64)]) -> Result<PartitionList, Error> {
    let mut list = PartitionList::new(partitions.len());
    for (TopicPartition { topic, partition }, offset) in partitions {
        list.add(topic, *partition, Some(Offset(*offset)), None)?;
    }
    Ok(list)
}
