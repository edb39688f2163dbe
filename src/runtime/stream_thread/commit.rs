//! FLUSH, COMMIT, APPLY, ABORT, RESOLVE: the epoch machine's actions on log and tasks.

use std::time::Duration;

use crate::{
    record::{Offset, TopicPartition},
    runtime::{
        CommittedOffset, Delivery, EpochSample, GroupMetadata, Guarantee, Lane, Log, Now,
        OffsetCommit, OffsetsUnavailable, Request, TransactionFailure,
        epoch::{EpochAction, resolution},
        hooks::Point,
        mutants::Mutant,
        offset_metadata::OffsetMetadata,
        plan::TaskId,
        restore::RestoreService,
        stream_thread::{
            processing::RECOMMIT_INTERVAL,
            slot::{Question, Slot},
            thread::{Failure, StreamThread},
        },
    },
    state::EpochId,
};

/// How long to wait before stable offsets are asked for again.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(50);

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    /// Hands queued records to their producers, in epoch order, and reports sealed epochs as sent.
    pub(super) fn send(&mut self, now: Now) {
        self.queue_is_full = false;
        for index in 0..self.epochs.len() {
            let epoch = &mut self.epochs[index];
            let number = epoch.number;
            let Some(lane) = self.machine.may_send(number) else { return };
            let all = epoch.buffer.send(&mut self.log, lane, &self.plan.topics);
            if !all || !epoch.sealed {
                self.queue_is_full = !all;
                return;
            }
            if let Some(EpochAction::Flush { lane, .. }) =
                self.machine.handle_sent(number, now.mono)
            {
                self.clock(lane, now, |sample, seconds| sample.seal = seconds);
                tracing::trace!(%lane, epoch = number, "flush");
                self.reach(Point::BeforeFlush);
                self.log.submit(Request::Flush { lane });
            }
        }
    }

    pub(super) fn carry_out(&mut self, action: EpochAction, now: Now) {
        match action {
            EpochAction::Open(lane) => self.log.submit(Request::Open { lane }),
            EpochAction::Begin { lane, epoch } => {
                tracing::trace!(%lane, epoch, "begin");
                self.log.submit(Request::Begin { lane });
            }
            EpochAction::Flush { lane, .. } => self.log.submit(Request::Flush { lane }),
            EpochAction::SendOffsets { lane, epoch } => self.send_offsets(lane, epoch, now),
            EpochAction::Commit { lane, epoch } => {
                tracing::trace!(%lane, epoch, "commit");
                self.reach(Point::BeforeCommit);
                self.log.submit(Request::Commit { lane });
                self.reach(Point::AfterCommitSent);
            }
            EpochAction::Apply { epoch } => self.apply(epoch, now),
            EpochAction::Abort { lane, epoch } => {
                tracing::debug!(%lane, epoch, "abort");
                self.log.submit(Request::Abort { lane });
            }
            EpochAction::Resolve { epoch } => {
                self.counters.epochs_resolved += 1;
                tracing::warn!(epoch, "commit outcome unknown: asking the committed offsets");
                self.resolve(epoch);
            }
            EpochAction::Discard { from } => self.discard(from),
            EpochAction::GiveUp { reason } => self.fail(Failure::Kafka(reason)),
        }
    }

    pub(super) fn flushed(
        &mut self,
        lane: Lane,
        result: Result<Delivery, TransactionFailure>,
        now: Now,
    ) {
        self.clock(lane, now, |sample, seconds| sample.flush = seconds);
        let result = result.and_then(|delivery| {
            let number = self.machine.epoch_at(lane);
            let Some(epoch) = self.epochs.iter_mut().find(|e| Some(e.number) == number) else {
                return Ok(());
            };
            epoch.delivered = delivery.last_offsets;
            let Some(refused) = delivery.refused.first() else { return Ok(()) };
            let reason = format!("{} refused a record: {}", refused.partition, refused.reason);
            // A record that caused it keeps its verdict: the replay meets it at emit (ERR-1).
            for refused in delivery.refused.iter().filter(|r| r.caused_by_record) {
                if let Some(origin) = epoch.buffer.origin(refused.tag) {
                    let verdict = (refused.partition.topic.clone(), refused.reason.clone());
                    self.verdicts.insert(origin, verdict);
                }
            }
            Err(TransactionFailure::RecordRefused(reason))
        });
        self.machine.handle_flushed(lane, result, now.mono);
    }

    /// Puts the offsets of every task that took part into the transaction (EOS-1, EOS-3).
    fn send_offsets(&mut self, lane: Lane, epoch: u64, now: Now) {
        let offsets = self.offsets_of(epoch);
        // Taken before the point where tests stop the process: a zombie that wakes up there must
        // be refused by the broker, not by what this client believes.
        let group = self.membership();
        self.reach(Point::BeforeSendOffsets);
        if self.settings.guarantee == Guarantee::AtLeastOnce {
            // Offsets follow the commit: a crash in between repeats outputs.
            return self.machine.handle_offsets_sent(lane, Ok(()), now.mono);
        }
        if self.settings.mutant.is(Mutant::TimerEpochWithoutOffsets)
            && self.epochs.iter().any(|e| e.number == epoch && e.records == 0)
        {
            return self.machine.handle_offsets_sent(lane, Ok(()), now.mono);
        }
        let result = match group {
            None => Err("no membership that may commit"),
            Some(_) if offsets.is_empty() => Err("an epoch without offsets (EOS-3)"),
            Some(group) if self.settings.mutant.offsets_outside_transaction() => {
                self.log.submit(Request::CommitOffsets { id: 0, offsets, group });
                self.machine.handle_offsets_sent(lane, Ok(()), now.mono);
                Ok(())
            }
            Some(group) => {
                tracing::trace!(%lane, epoch, offsets = offsets.len(), "send offsets");
                self.log.submit(Request::SendOffsets { lane, offsets, group });
                Ok(())
            }
        };
        if let Err(reason) = result {
            tracing::warn!(epoch, reason, "offsets not sent");
            let failure = TransactionFailure::Membership(reason.to_owned());
            self.machine.handle_offsets_sent(lane, Err(failure), now.mono);
        }
    }

    /// The membership of now, which fences this thread if it is a zombie (EOS-3).
    fn membership(&mut self) -> Option<GroupMetadata> {
        let group = self.log.group();
        #[cfg(feature = "mutants")]
        {
            if self.settings.mutant.sends_no_membership() {
                return Some(GroupMetadata::missing());
            }
            if self.settings.mutant.is(Mutant::StaleGroupMetadata) {
                self.first_membership = self.first_membership.take().or(group);
                return self.first_membership.clone();
            }
        }
        group
    }

    /// The offsets of an epoch: those of its tasks' oldest sealed positions.
    fn offsets_of(&self, epoch: u64) -> Vec<OffsetCommit> {
        let owner = self.plan.owner(self.settings.thread);
        let off = i64::from(self.settings.mutant.is(Mutant::OffsetOffByOne));
        let mut offsets = vec![];
        for task in self.open_tasks() {
            let Some(marker) = task.sealed_at(epoch) else { continue };
            for (input, position) in task.inputs.iter().zip(&marker.sources) {
                let metadata =
                    OffsetMetadata::new(marker.id, &owner, position.partitions, marker.watermark);
                offsets.push(OffsetCommit {
                    partition: input.partition.clone(),
                    offset: Offset(position.next.0 + off),
                    metadata: metadata.encode(),
                });
            }
        }
        offsets
    }

    /// APPLY: the epoch's overlays become the committed layer; starting tasks may run.
    fn apply(&mut self, number: u64, now: Now) {
        self.reach(Point::BeforeApply);
        let Some(index) = self.epochs.iter().position(|e| e.number == number) else { return };
        if self.settings.guarantee == Guarantee::AtLeastOnce
            && let Some(group) = self.log.group()
        {
            let offsets = self.offsets_of(number);
            let id = self.ask(Question::Commit(offsets.clone()));
            self.log.submit(Request::CommitOffsets { id, offsets, group });
        }
        let Some(epoch) = self.epochs.remove(index) else { return };
        tracing::trace!(epoch = number, tasks = epoch.tasks.len(), "apply");
        for id in &epoch.tasks {
            let changelog = self.plan.subtopologies[id.subtopology].changelog.as_ref();
            let next = changelog.and_then(|changelog| {
                let at = |(p, _): &&(TopicPartition, Offset)| {
                    p.topic == changelog.topic && p.partition == id.partition
                };
                epoch.delivered.iter().find(at).map(|(_, offset)| offset.next())
            });
            self.apply_task(*id, next, now);
        }
        self.counters.epochs_committed += 1;
        let mut sample = epoch.sample;
        sample.apply = 0.0;
        self.samples.push(sample);
        self.verdicts.clear();
        self.reach(Point::AfterApply);
    }

    fn apply_task(&mut self, id: TaskId, changelog_next: Option<Offset>, now: Now) {
        let Some(Slot::Open { task, starting, recommit_at, .. }) =
            self.slots.get_mut(&id).map(|s| &mut s.slot)
        else {
            return;
        };
        task.apply(changelog_next.unwrap_or(Offset(0)));
        *recommit_at = now.mono + RECOMMIT_INTERVAL;
        if std::mem::take(starting) {
            for input in &task.inputs {
                let (partition, offset) = (input.partition.clone(), input.next);
                self.log.submit(Request::Read { partition, offset });
            }
        }
    }

    /// ABORT: drops the epochs from `from` on and rewinds every input to the last commit.
    fn discard(&mut self, from: u64) {
        let dropped = self.epochs.iter().filter(|e| e.number >= from).count();
        tracing::warn!(from, dropped, "epochs dropped, inputs rewound");
        self.counters.epochs_aborted += dropped as u64;
        self.epochs.retain(|e| e.number < from);
        self.pending.clear();
        let (mut failed, mut to_check) = (None, vec![]);
        for (id, state) in &mut self.slots {
            let Slot::Open { task, starting, .. } = &mut state.slot else { continue };
            if let Err(error) = task.abort(self.settings.mutant) {
                failed = Some((*id, error));
            }
            let leaving = self.releasing.contains(&lead_of(&self.plan, *id));
            if !*starting && !leaving {
                to_check.push(*id);
            }
        }
        for id in to_check {
            self.check_marker_written(id);
        }
        if let Some((id, error)) = failed {
            let task = self.plan.subtopologies[id.subtopology].task_name(id.partition);
            self.fail(Failure::State(format!("task {task}: abort: {error}")));
        }
    }

    /// RESOLVE: asks the stable committed offsets of the epoch's partitions (EOS-4).
    pub(super) fn resolve(&mut self, epoch: u64) {
        let partitions: Vec<_> = self.offsets_of(epoch).into_iter().map(|o| o.partition).collect();
        let id = self.ask(Question::Resolve { epoch });
        self.log.submit(Request::CommittedOffsets { id, partitions });
    }

    pub(super) fn resolve_answered(
        &mut self,
        epoch: u64,
        result: Result<Vec<CommittedOffset>, OffsetsUnavailable>,
        now: Now,
    ) {
        match result {
            Ok(offsets) => {
                let expected = EpochId { epoch, incarnation: self.settings.incarnation };
                let owner = self.plan.owner(self.settings.thread);
                let resolution = resolution(&offsets, expected, &owner, self.settings.mutant);
                tracing::warn!(epoch, ?resolution, "commit resolved");
                self.machine.handle_resolved(epoch, resolution);
            }
            Err(reason) => {
                tracing::debug!(epoch, ?reason, "resolve has no answer yet");
                self.resolve_again = Some((epoch, now.mono + ASK_AGAIN));
            }
        }
    }

    /// Notes how long the epoch on `lane` spent in the phase that ends now.
    pub(super) fn clock(&mut self, lane: Lane, now: Now, set: impl FnOnce(&mut EpochSample, f64)) {
        let number = self.machine.epoch_at(lane);
        if let Some(epoch) = self.epochs.iter_mut().find(|e| Some(e.number) == number) {
            set(&mut epoch.sample, now.mono.saturating_sub(epoch.since).as_secs_f64());
            epoch.since = now.mono;
        }
    }
}

/// The lead partition of a task.
pub(super) fn lead_of(plan: &crate::runtime::plan::InstancePlan, id: TaskId) -> TopicPartition {
    let lead = plan.subtopologies[id.subtopology].lead_source();
    TopicPartition { topic: lead.topic.clone(), partition: id.partition }
}
