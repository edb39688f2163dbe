//! The consumer side of a log: membership of the group, and what its rebalances give and take.
//!
//! An assignment is acknowledged at once, since that gives nothing away; a revocation when its
//! owner has released every partition of it. What is read of the partitions is the `reader`'s.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    failure,
    native::{
        Batch, Error, PartitionError, PartitionList, Rebalance, RebalanceKind, Wake, code_name,
    },
    offset_commits::OffsetCommits,
    positions::Fault,
    process_mark::ProcessMark,
    properties,
    reader::Reader,
    settings::ConnectionSettings,
};
use crate::{
    record::{Offset, TopicName, TopicPartition},
    runtime::{Event, FatalCause, GroupMetadata},
};

/// Messages taken at once,
const FETCH_MAX: usize = 2_048;
/// and while the thread wants none: then fetching only serves membership.
const SERVE_MAX: usize = 16;
/// Messages that are kept while the thread wants none; beyond that its partitions are paused.
const STASH_MAX: usize = 4_096;

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

/// A member of the group.
pub(super) struct Membership {
    reader: Reader,
    wake: Arc<Wake>,
    /// Lead partitions that were revoked or lost and are not released.
    revoked: Option<BTreeSet<TopicPartition>>,
    phase: Phase,
    fatal: bool,
    /// A close has had the one answer that it may need.
    answered: bool,
    topics: Vec<TopicName>,
}

impl Membership {
    /// A consumer that has not joined.
    pub(super) fn new(
        connection: &ConnectionSettings,
        mark: ProcessMark,
        wake: &Arc<Wake>,
    ) -> Result<Self, Error> {
        Ok(Self {
            reader: Reader::new(properties::consumer(connection, mark)?, wake)?,
            wake: wake.clone(),
            revoked: None,
            phase: Phase::Member,
            fatal: false,
            answered: false,
            topics: vec![],
        })
    }

    /// Puts a fresh consumer in the place of one that is fenced, and subscribes it to the same.
    /// The old one is closed on a thread of its own: it keeps its static place, and a destruction
    /// waits for its threads.
    pub(super) fn renew<B>(
        &mut self,
        connection: &ConnectionSettings,
        mark: ProcessMark,
        events: &mut VecDeque<Event<B>>,
    ) {
        let topics = std::mem::take(&mut self.topics);
        match Self::new(connection, mark, &self.wake) {
            Ok(fresh) => {
                close_elsewhere(std::mem::replace(self, fresh));
                self.join(&topics, events);
            }
            Err(error) => events.push_back(Event::Fatal(FatalCause::Other(error.to_string()))),
        }
    }

    /// Commits beside transactions, with this membership.
    pub(super) fn offset_commits(&self) -> OffsetCommits {
        OffsetCommits::new(self.reader.consumer(), &self.wake)
    }

    /// Records that were fetched and not taken.
    pub(super) fn queued(&self) -> u64 {
        self.reader.consumer().queued()
    }

    /// Subscribes.
    pub(super) fn join<B>(&mut self, topics: &[TopicName], events: &mut VecDeque<Event<B>>) {
        self.topics = topics.to_vec();
        if let Err(error) = self.reader.consumer().subscribe(topics) {
            events.push_back(Event::Fatal(FatalCause::Other(error.to_string())));
        }
    }

    /// Starts to leave for good.
    pub(super) fn leave(&mut self, now: Duration) {
        if self.phase == Phase::Member {
            self.phase = Phase::Leaving { since: now };
            if let Err(error) = self.reader.consumer().unsubscribe() {
                tracing::warn!(%error, "could not unsubscribe");
            }
        }
    }

    /// Takes partitions; nothing of them is delivered before they are read.
    pub(super) fn accept(&mut self, partitions: Vec<TopicPartition>) {
        for partition in partitions {
            self.reader.accept(partition);
        }
    }

    /// Gives partitions back.
    pub(super) fn release(&mut self, partitions: Vec<TopicPartition>) {
        for partition in partitions {
            self.reader.forget(&partition);
            if let Some(revoked) = &mut self.revoked {
                revoked.remove(&partition);
            }
        }
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
        if self.revoked.is_some() || self.reader.has_forgotten() {
            self.reader.give_back();
            self.revoked = None;
        }
    }

    /// Delivers from `offset` on, at the next `work`.
    pub(super) fn read(&mut self, partition: &TopicPartition, offset: Offset) {
        self.reader.read(partition, offset);
    }

    /// Stops delivering.
    pub(super) fn pause(&mut self, partition: &TopicPartition) {
        self.reader.pause(partition);
    }

    /// Generation and member id, where there is a membership that may commit (EOS-3).
    pub(super) fn group(&self) -> Option<GroupMetadata> {
        if self.fatal || matches!(self.phase, Phase::Closing { .. } | Phase::Closed) {
            return None;
        }
        let (generation, member_id) = self.reader.consumer().group_metadata()?;
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
        if !matches!(self.phase, Phase::Closing { .. }) {
            // An unassign would acknowledge a revocation that waits.
            self.reader.apply_reads(self.revoked.is_none());
        }
        if self.reader.is_throttled() && want_records && self.reader.stashed() == 0 {
            self.reader.throttle(false);
        }
        let max = if want_records { FETCH_MAX } else { SERVE_MAX };
        if !want_records && self.reader.stashed() >= STASH_MAX {
            // What librdkafka has queued is dropped and fetched again: rare, and bounded (MEM-1).
            self.reader.throttle(true);
        }
        if self.reader.stashed() < STASH_MAX + FETCH_MAX {
            self.fetch(max, events);
        }
        self.serve_group(events);
        self.progress_leave(now, events);
        let ready = want_records && events.is_empty() && self.reader.stashed() > 0;
        ready.then(|| self.reader.take())
    }

    /// Whether `work` has something to do before the next notification.
    pub(super) fn has_more(&self) -> bool {
        self.reader.has_more()
    }

    /// When `work` should be called although nothing notifies.
    pub(super) fn patience(&self) -> Option<Duration> {
        let leaving = !matches!(self.phase, Phase::Member | Phase::Closed);
        (self.reader.reads_wait() || leaving).then_some(Duration::from_millis(5))
    }

    fn fetch<B>(&mut self, max: usize, events: &mut VecDeque<Event<B>>) {
        for (error, fault) in self.reader.fetch(max) {
            match fault {
                Fault::Past | Fault::End(_) => {}
                Fault::Stranger => self.client_error(error.code, &error.reason, events),
                Fault::Unreadable => {
                    let PartitionError { topic, partition, code, reason, .. } = error;
                    let partition = TopicPartition::new(topic.as_str(), partition);
                    let cause = failure::of_read(code, &reason);
                    events.push_back(Event::ReadFailed { partition, cause });
                }
            }
        }
    }

    fn serve_group<B>(&mut self, events: &mut VecDeque<Event<B>>) {
        for rebalance in self.reader.consumer().rebalances() {
            if matches!(self.phase, Phase::Closing { .. }) {
                self.answer_closing();
            } else {
                self.rebalanced(rebalance, events);
            }
        }
        for (error, reason) in self.reader.consumer().errors() {
            self.client_error(error, &reason, events);
        }
    }

    /// Lets a close go on that waits for an answer. One answer gives everything back; a further
    /// one would wait for ever once the close has come to its end.
    fn answer_closing(&mut self) {
        if std::mem::replace(&mut self.answered, true) || self.reader.consumer().is_closed() {
            return;
        }
        if let Err(error) = self.reader.consumer().incremental_unassign(&PartitionList::new(0)) {
            tracing::debug!(%error, "could not unassign while closing");
        }
    }

    fn start_close(&mut self, since: Duration) {
        // What waits is answered before: a close hands it out no more.
        self.revoked = self.revoked.take().map(|_| BTreeSet::new());
        self.give_back();
        self.phase = Phase::Closing { since };
        if let Err(error) = self.reader.start_close(&self.wake) {
            tracing::debug!(%error, "consumer not closed");
        }
    }

    fn rebalanced<B>(&mut self, rebalance: Rebalance, events: &mut VecDeque<Event<B>>) {
        let Rebalance { kind, partitions } = rebalance;
        if kind == RebalanceKind::Assign {
            let result = self.reader.consumer().incremental_assign(&PartitionList::new(0));
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
        let fatal = self.reader.consumer().fatal_error();
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

    /// Unsubscribed → revocation released → the group has been left → closed. A static member
    /// leaves only before the close begins (facts 9.10).
    fn progress_leave<B>(&mut self, now: Duration, events: &mut VecDeque<Event<B>>) {
        match self.phase {
            Phase::Member | Phase::Closed => {}
            Phase::Leaving { since } => {
                let left = self.revoked.is_none()
                    && self
                        .reader
                        .consumer()
                        .group_metadata()
                        .is_none_or(|(_, member)| member.is_empty());
                if left || now >= since + LEAVE_PATIENCE && self.revoked.is_none() {
                    self.start_close(now);
                }
            }
            Phase::Closing { since } => {
                if self.reader.consumer().is_closed() || now >= since + LEAVE_PATIENCE {
                    self.phase = Phase::Closed;
                    events.push_back(Event::Left);
                }
            }
        }
    }
}

fn close_elsewhere(old: Membership) {
    let spawned = std::thread::Builder::new().name("dispose".to_owned()).spawn(move || drop(old));
    if let Err(error) = spawned {
        tracing::warn!(%error, "no thread to close a consumer");
    }
}

impl Drop for Membership {
    /// Ends without leaving: a static member keeps its place. A close answers a rebalance that
    /// waits, which a mere destruction of the client would hang on.
    fn drop(&mut self) {
        if matches!(self.phase, Phase::Member | Phase::Leaving { .. }) {
            self.start_close(Duration::ZERO);
        }
        self.reader.forget_all();
        let mut events: VecDeque<Event<std::convert::Infallible>> = VecDeque::new();
        for _ in 0..CLOSE_LOOKS {
            if self.fatal || self.phase == Phase::Closed || self.reader.consumer().is_closed() {
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
