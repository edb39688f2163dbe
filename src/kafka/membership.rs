//! The consumer side of a log: membership, positions, fetched records.
//!
//! librdkafka is told of a partition when it is first read, with its offset: an accepted partition
//! that is not read costs nothing and delivers nothing. An assignment is acknowledged at once,
//! since that gives nothing away; a revocation when its owner has released every partition of it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    failure,
    native::{
        Batch, Consumer, Error, PartitionError, PartitionList, Rebalance, RebalanceKind, Wake,
        code, code_name,
    },
    properties,
    settings::ConnectionSettings,
};
use crate::{
    record::{Offset, PartitionId, TopicName, TopicPartition},
    runtime::{Event, FatalCause, GroupMetadata},
};

/// Messages taken at once,
const FETCH_MAX: usize = 2_048;
/// and while the thread wants none: then fetching only serves membership.
const SERVE_MAX: usize = 16;
/// Messages that are kept while the thread wants none; beyond that its partitions are paused.
const STASH_MAX: usize = 4_096;

/// An accepted partition.
#[derive(Debug, Default)]
struct Partition {
    /// librdkafka has it.
    assigned: bool,
    /// Its fetcher has stopped after an error: it must be assigned anew.
    broken: bool,
    paused: bool,
    /// What is to be read from here on, not carried out yet.
    wanted: Option<i64>,
    /// The next offset to deliver; `None` while nothing of it may be delivered.
    next: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Member,
    /// Unsubscribed; waiting for the revocation and for the answer of the group.
    Leaving {
        since: Duration,
    },
    Closing {
        since: Duration,
    },
    Closed,
}

/// How long a leave may wait for each of its steps.
const LEAVE_PATIENCE: Duration = Duration::from_secs(10);

/// How often, and how long apart, a dropped member looks whether it is closed.
const CLOSE_LOOKS: u32 = 400;
const CLOSE_PAUSE: Duration = Duration::from_millis(5);

type Table = BTreeMap<TopicName, BTreeMap<PartitionId, Partition>>;

/// A member of the group.
pub(super) struct Membership {
    pub(super) consumer: Consumer,
    wake: Arc<Wake>,
    table: Table,
    /// Lead partitions that were revoked or lost and are not released.
    revoked: Option<BTreeSet<TopicPartition>>,
    /// Released partitions that librdkafka still has.
    released: Vec<TopicPartition>,
    stash: Batch,
    /// The last fetch filled its array: there is more without a notification.
    more: bool,
    phase: Phase,
    fatal: bool,
    /// Some partition has a read that is not carried out.
    reads_waiting: bool,
    /// Partitions are paused because the thread wants nothing.
    throttled: bool,
    /// A close has had the one answer that it may need.
    answered: bool,
}

impl Membership {
    /// A consumer that has not joined.
    pub(super) fn new(connection: &ConnectionSettings, wake: &Arc<Wake>) -> Result<Self, Error> {
        let consumer = Consumer::new(properties::consumer(connection)?, wake)?;
        let stash = consumer.batch();
        Ok(Self {
            consumer,
            wake: wake.clone(),
            table: Table::new(),
            revoked: None,
            released: vec![],
            stash,
            more: true,
            phase: Phase::Member,
            fatal: false,
            reads_waiting: false,
            throttled: false,
            answered: false,
        })
    }

    /// Subscribes.
    pub(super) fn join<B>(&mut self, topics: &[TopicName], events: &mut VecDeque<Event<B>>) {
        if let Err(error) = self.consumer.subscribe(topics) {
            events.push_back(Event::Fatal(FatalCause::Other(error.to_string())));
        }
    }

    /// Starts to leave for good.
    pub(super) fn leave(&mut self, now: Duration) {
        if self.phase == Phase::Member {
            self.phase = Phase::Leaving { since: now };
            if let Err(error) = self.consumer.unsubscribe() {
                tracing::warn!(%error, "could not unsubscribe");
            }
        }
    }

    /// Takes partitions; nothing of them is delivered before they are read.
    pub(super) fn accept(&mut self, partitions: Vec<TopicPartition>) {
        for TopicPartition { topic, partition } in partitions {
            self.table.entry(topic).or_default().entry(partition).or_default();
        }
    }

    /// Gives partitions back.
    pub(super) fn release(&mut self, partitions: Vec<TopicPartition>) {
        for partition in partitions {
            self.stash.remove(&partition.topic, partition.partition);
            let known = self
                .table
                .get_mut(&partition.topic)
                .and_then(|numbers| numbers.remove(&partition.partition));
            if let Some(revoked) = &mut self.revoked {
                revoked.remove(&partition);
            }
            if known.is_some_and(|known| known.assigned) {
                self.released.push(partition);
            }
        }
        self.table.retain(|_, numbers| !numbers.is_empty());
        self.give_back();
    }

    /// Unassigns what was released, which acknowledges a revocation: only when all of it is.
    fn give_back(&mut self) {
        if matches!(self.phase, Phase::Closing { .. } | Phase::Closed) {
            // A closing consumer gives everything back by itself, and then answers no more.
            return;
        }
        if self.revoked.as_ref().is_some_and(|revoked| !revoked.is_empty()) {
            return;
        }
        if self.revoked.is_none() && self.released.is_empty() {
            return;
        }
        let result = PartitionList::of(&self.released)
            .and_then(|list| self.consumer.incremental_unassign(&list));
        if let Err(error) = result {
            tracing::warn!(%error, partitions = ?self.released, "could not unassign");
        }
        self.revoked = None;
        self.released.clear();
    }

    /// Delivers from `offset` on, at the next `work`.
    pub(super) fn read(&mut self, partition: &TopicPartition, offset: Offset) {
        self.stash.remove(&partition.topic, partition.partition);
        match self.entry(partition) {
            Some(entry) => {
                entry.wanted = Some(offset.0);
                entry.next = None;
                self.reads_waiting = true;
            }
            None => tracing::warn!(%partition, "read of a partition that was not accepted"),
        }
    }

    /// Stops delivering.
    pub(super) fn pause(&mut self, partition: &TopicPartition) {
        self.stash.remove(&partition.topic, partition.partition);
        let Some(entry) = self.entry(partition) else { return };
        entry.wanted = None;
        entry.next = None;
        if entry.assigned && !entry.paused {
            entry.paused = true;
            let result = PartitionList::of([partition]).and_then(|l| self.consumer.pause(&l));
            if let Err(error) = result {
                tracing::warn!(%error, %partition, "could not pause");
            }
        }
    }

    /// Generation and member id, where there is a membership that may commit (EOS-3).
    pub(super) fn group(&self) -> Option<GroupMetadata> {
        if self.fatal || matches!(self.phase, Phase::Closing { .. } | Phase::Closed) {
            return None;
        }
        let (generation, member_id) = self.consumer.group_metadata()?;
        GroupMetadata::new(generation, member_id)
    }

    /// Carries out reads, fetches, and serves the group. Returns records when they are wanted and
    /// there are some; what else happened is appended to `events`, and comes first.
    pub(super) fn work<B>(
        &mut self,
        want_records: bool,
        now: Duration,
        events: &mut VecDeque<Event<B>>,
    ) -> Option<Batch> {
        if self.phase == Phase::Closed {
            return None;
        }
        let closing = matches!(self.phase, Phase::Closing { .. });
        if self.reads_waiting && !closing {
            self.apply_reads();
        }
        if self.throttled && want_records && self.stash.len() == 0 {
            self.set_paused(false);
        }
        let max = if want_records { FETCH_MAX } else { SERVE_MAX };
        if !want_records && self.stash.len() >= STASH_MAX {
            // What librdkafka has queued is dropped and fetched again: rare, and bounded (MEM-1).
            self.set_paused(true);
        }
        if self.stash.len() < STASH_MAX + FETCH_MAX {
            self.fetch(max, events);
        }
        self.serve_group(events);
        self.progress_leave(now, events);
        (want_records && events.is_empty() && self.stash.len() > 0).then(|| self.stash.split_off())
    }

    /// Whether `work` has something to do before the next notification.
    pub(super) fn has_more(&self) -> bool {
        self.more
    }

    /// When `work` should be called although nothing notifies.
    pub(super) fn patience(&self) -> Option<Duration> {
        let leaving = !matches!(self.phase, Phase::Member | Phase::Closed);
        (self.reads_waiting || leaving).then_some(Duration::from_millis(5))
    }

    fn fetch<B>(&mut self, max: usize, events: &mut VecDeque<Event<B>>) {
        let mut errors = vec![];
        let table = std::cell::RefCell::new(&mut self.table);
        let current = std::cell::Cell::new(None::<(TopicName, PartitionId)>);
        let last = std::cell::Cell::new(-1i64);
        let finish = |table: &mut Table| {
            if let Some((topic, partition)) = current.take()
                && last.get() >= 0
                && let Some(entry) = table.get_mut(&topic).and_then(|n| n.get_mut(&partition))
            {
                entry.next = Some(last.get() + 1);
            }
            last.set(-1);
        };
        let taken = self.consumer.fetch(
            max,
            &mut self.stash,
            &mut errors,
            |topic, partition| {
                let mut table = table.borrow_mut();
                finish(&mut table);
                let (name, numbers) = table.get_key_value(topic)?;
                let from = numbers.get(&partition).and_then(|p| p.next)?;
                current.set(Some((name.clone(), partition)));
                Some((name.clone(), from))
            },
            |offset| last.set(offset),
        );
        finish(&mut table.borrow_mut());
        self.more = taken == max;
        for error in errors {
            self.partition_error(&error, events);
        }
    }

    fn serve_group<B>(&mut self, events: &mut VecDeque<Event<B>>) {
        for rebalance in self.consumer.rebalances() {
            if matches!(self.phase, Phase::Closing { .. }) {
                self.answer_closing();
            } else {
                self.rebalanced(rebalance, events);
            }
        }
        for (error, reason) in self.consumer.errors() {
            self.client_error(error, &reason, events);
        }
    }

    /// Lets a close go on that waits for an answer. One answer gives everything back; a further
    /// one would wait for ever once the close has come to its end.
    fn answer_closing(&mut self) {
        if std::mem::replace(&mut self.answered, true) || self.consumer.is_closed() {
            return;
        }
        if let Err(error) = self.consumer.incremental_unassign(&PartitionList::new(0)) {
            tracing::debug!(%error, "could not unassign while closing");
        }
    }

    fn start_close(&mut self, since: Duration) {
        // What waits is answered before: a close hands it out no more.
        self.revoked = self.revoked.take().map(|_| BTreeSet::new());
        self.give_back();
        self.phase = Phase::Closing { since };
        if let Err(error) = self.consumer.start_close(&self.wake) {
            tracing::debug!(%error, "consumer not closed");
        }
    }

    fn rebalanced<B>(&mut self, rebalance: Rebalance, events: &mut VecDeque<Event<B>>) {
        let Rebalance { kind, partitions } = rebalance;
        if kind == RebalanceKind::Assign {
            let result = self.consumer.incremental_assign(&PartitionList::new(0));
            if let Err(error) = result {
                tracing::warn!(%error, "could not acknowledge an assignment");
            }
            return events.push_back(Event::Assigned { partitions });
        }
        self.revoked = Some(partitions.iter().cloned().collect());
        if partitions.is_empty() {
            // Nothing to wait for.
            return self.give_back();
        }
        events.push_back(match kind {
            RebalanceKind::Lost => Event::Lost { partitions },
            _ => Event::Revoking { partitions },
        });
    }

    fn client_error<B>(&mut self, error: i32, reason: &str, events: &mut VecDeque<Event<B>>) {
        let fatal = self.consumer.fatal_error();
        let cause = match &fatal {
            Some(fatal) => failure::of_consumer(fatal.code, &fatal.reason, true),
            None => failure::of_consumer(error, reason, false),
        };
        match cause {
            Some(cause) if !self.fatal => {
                self.fatal = true;
                events.push_back(Event::Fatal(cause));
            }
            Some(_) => {}
            None => tracing::info!(error = %code_name(error), %reason, "consumer error"),
        }
    }

    fn partition_error<B>(&mut self, error: &PartitionError, events: &mut VecDeque<Event<B>>) {
        let entry = self
            .table
            .get_mut(error.topic.as_str())
            .and_then(|numbers| numbers.get_mut(&error.partition));
        let Some(entry) = entry else {
            return self.client_error(error.code, &error.reason, events);
        };
        let Some(next) = entry.next else {
            // About a position that nobody wants any more; but the fetcher may have stopped.
            entry.broken |= stops_the_fetcher(error.code);
            return;
        };
        if stops_the_fetcher(error.code) {
            entry.broken = true;
            if error.offset >= 0 && error.offset < next {
                // About a position before a rewind or an earlier one: read on.
                entry.wanted = Some(next);
                entry.next = None;
                self.reads_waiting = true;
                return;
            }
            entry.next = None;
        }
        let partition = TopicPartition::new(error.topic.as_str(), error.partition);
        let cause = failure::of_read(error.code, &error.reason);
        events.push_back(Event::ReadFailed { partition, cause });
    }

    /// Carries out what was asked to be read, in one call per kind.
    fn apply_reads(&mut self) {
        let mut fresh: Vec<(TopicPartition, i64)> = vec![];
        let mut moved: Vec<(TopicPartition, i64)> = vec![];
        let mut broken: Vec<TopicPartition> = vec![];
        for (topic, numbers) in &self.table {
            for (number, entry) in numbers {
                let Some(offset) = entry.wanted else { continue };
                let partition = TopicPartition { topic: topic.clone(), partition: *number };
                match entry {
                    Partition { assigned: false, .. } => fresh.push((partition, offset)),
                    Partition { broken: true, .. } => broken.push(partition),
                    _ => moved.push((partition, offset)),
                }
            }
        }
        // An unassign would acknowledge a revocation that waits: then this waits too.
        if !broken.is_empty() && self.revoked.is_none() {
            self.unassign_broken(&broken);
        }
        if !fresh.is_empty() {
            self.assign(&fresh);
        }
        if !moved.is_empty() {
            self.seek(&moved);
        }
        let mut entries = self.table.values().flat_map(BTreeMap::values);
        self.reads_waiting = entries.any(|entry| entry.wanted.is_some());
    }

    fn unassign_broken(&mut self, broken: &[TopicPartition]) {
        let result = PartitionList::of(broken).and_then(|l| self.consumer.incremental_unassign(&l));
        if let Err(error) = result {
            return tracing::warn!(%error, "could not unassign a stopped partition");
        }
        for partition in broken {
            if let Some(entry) = self.entry(partition) {
                entry.assigned = false;
                entry.broken = false;
                entry.paused = false;
            }
        }
    }

    fn assign(&mut self, fresh: &[(TopicPartition, i64)]) {
        let result = offsets_of(fresh).and_then(|list| self.consumer.incremental_assign(&list));
        if let Err(error) = result {
            return tracing::warn!(%error, ?fresh, "could not assign");
        }
        for (partition, offset) in fresh {
            if let Some(entry) = self.entry(partition) {
                entry.assigned = true;
                entry.wanted = None;
                entry.next = Some(*offset);
            }
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
                continue;
            }
            let Some(entry) = self.entry(partition) else { continue };
            entry.wanted = None;
            entry.next = Some(*offset);
            if std::mem::take(&mut entry.paused) {
                resumed.push(partition.clone());
            }
        }
        self.resume(&resumed);
    }

    fn resume(&self, partitions: &[TopicPartition]) {
        if partitions.is_empty() {
            return;
        }
        let result = PartitionList::of(partitions).and_then(|list| self.consumer.resume(&list));
        if let Err(error) = result {
            tracing::warn!(%error, ?partitions, "could not resume");
        }
    }

    /// Pauses or resumes what is being delivered, for back-pressure.
    fn set_paused(&mut self, paused: bool) {
        self.throttled = paused;
        let mut changed = vec![];
        for (topic, numbers) in &mut self.table {
            for (number, entry) in numbers {
                if entry.next.is_some() && entry.paused != paused {
                    entry.paused = paused;
                    changed.push(TopicPartition { topic: topic.clone(), partition: *number });
                }
            }
        }
        if !paused {
            return self.resume(&changed);
        }
        if !changed.is_empty() {
            let result = PartitionList::of(&changed).and_then(|list| self.consumer.pause(&list));
            if let Err(error) = result {
                tracing::warn!(%error, "could not pause");
            }
        }
    }

    /// Unsubscribed → revocation released → the group has been left → closed. A static member
    /// leaves only before the close begins (facts 9.10).
    fn progress_leave<B>(&mut self, now: Duration, events: &mut VecDeque<Event<B>>) {
        match self.phase {
            Phase::Member | Phase::Closed => {}
            Phase::Leaving { since } => {
                let left = self.revoked.is_none()
                    && self.consumer.group_metadata().is_none_or(|(_, member)| member.is_empty());
                if left || now >= since + LEAVE_PATIENCE && self.revoked.is_none() {
                    self.start_close(now);
                }
            }
            Phase::Closing { since } => {
                if self.consumer.is_closed() || now >= since + LEAVE_PATIENCE {
                    self.phase = Phase::Closed;
                    events.push_back(Event::Left);
                }
            }
        }
    }

    fn entry(&mut self, partition: &TopicPartition) -> Option<&mut Partition> {
        self.table.get_mut(&partition.topic)?.get_mut(&partition.partition)
    }
}

impl Drop for Membership {
    /// Ends without leaving: a static member keeps its place. A close answers a rebalance that
    /// waits, which a mere destruction of the client would hang on.
    fn drop(&mut self) {
        if matches!(self.phase, Phase::Member | Phase::Leaving { .. }) {
            self.start_close(Duration::ZERO);
        }
        self.table.clear();
        let mut events: VecDeque<Event<std::convert::Infallible>> = VecDeque::new();
        for _ in 0..CLOSE_LOOKS {
            if self.fatal || self.phase == Phase::Closed || self.consumer.is_closed() {
                return;
            }
            self.fetch(SERVE_MAX, &mut events);
            self.serve_group(&mut events);
            events.clear();
            self.wake.wait(CLOSE_PAUSE);
        }
        tracing::warn!("consumer did not close in time");
    }
}

fn stops_the_fetcher(error: i32) -> bool {
    matches!(error, code::AUTO_OFFSET_RESET | code::OFFSET_OUT_OF_RANGE)
}

fn offsets_of(partitions: &[(TopicPartition, i64)]) -> Result<PartitionList, Error> {
    let mut list = PartitionList::new(partitions.len());
    for (TopicPartition { topic, partition }, offset) in partitions {
        list.add(topic, *partition, Some(Offset(*offset)), None)?;
    }
    Ok(list)
}
