//! A task from assignment to running: stable offsets, restore, start position (EOS-5, EOS-8).

use std::time::Duration;

use crate::{
    record::{Offset, TopicPartition},
    runtime::{
        CommittedOffset, Guarantee, Log, Now, OffsetsUnavailable, PartitionBounds, Request,
        RequestId,
        epoch::recovery::{Failed, Recovery, recover},
        offset_metadata::OffsetMetadata,
        output::EpochBuffer,
        plan::TaskId,
        restore::{RestoreError, RestoreJob, RestoreOutcome, RestoreService},
        stream_thread::{
            commit::ASK_AGAIN,
            processing::RECOMMIT_SOON,
            slot::{Question, Slot},
            thread::{Failure, StreamThread},
            topics_watch::partitions_changed,
        },
        task::{Input, Task, Work},
    },
    state::{ByteStores, EpochId, EpochMarker, MemoryByteStores, TaskState},
    topology::StartFrom,
};

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    /// Asks for offsets where it is time to.
    pub(super) fn retry_slots(&mut self, now: Now) {
        let due: Vec<TaskId> = self
            .slots
            .iter()
            .filter(|(_, s)| {
                matches!(s.slot, Slot::Asking { retry_at: Some(at), .. }
                    | Slot::Stopped { retry_at: at, .. } if now.mono >= at)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let partitions = self.inputs_of(id);
            let question = self.ask(Question::Offsets(id));
            self.set_slot(id, Slot::Asking { retry_at: None, question: Some(question) });
            self.log.submit(Request::CommittedOffsets { id: question, partitions });
        }
        self.retry_checks(now);
        self.retry_blocked(now);
    }

    pub(super) fn set_slot(&mut self, id: TaskId, slot: Slot) {
        if let Some(state) = self.slots.get_mut(&id) {
            state.slot = slot;
        }
    }

    fn ask_again(&mut self, id: TaskId, at: Duration) {
        self.set_slot(id, Slot::Asking { retry_at: Some(at), question: None });
    }

    pub(super) fn offsets_answered(
        &mut self,
        id: RequestId,
        result: Result<Vec<CommittedOffset>, OffsetsUnavailable>,
        now: Now,
    ) {
        let task = match self.questions.remove(&id) {
            Some(Question::Offsets(task)) => task,
            Some(Question::Resolve { epoch }) => return self.resolve_answered(epoch, result, now),
            Some(Question::OutOfRange(at)) => return self.out_of_range_answered(&at, result),
            _ => return,
        };
        match self.slots.get(&task).map(|s| &s.slot) {
            Some(Slot::Asking { question: Some(asked), .. }) if *asked == id => {}
            _ => return,
        }
        match result {
            Ok(offsets) => {
                self.unblock(task);
                self.offsets_known(task, offsets);
            }
            Err(reason) => {
                if reason == OffsetsUnavailable::Unstable {
                    self.note_blocked(task, false, now);
                }
                self.ask_again(task, now.mono + ASK_AGAIN);
            }
        }
    }

    /// EOS-5: the offsets are stable; now the changelog.
    fn offsets_known(&mut self, id: TaskId, offsets: Vec<CommittedOffset>) {
        let expected = match self.expected_epoch(id, &offsets) {
            Ok(expected) => expected,
            Err(failure) => return self.fail(failure),
        };
        let plan = self.plan.clone();
        let subtopology = &plan.subtopologies[id.subtopology];
        match &subtopology.changelog {
            None => {
                self.set_slot(id, Slot::Restoring { offsets, remaining: 0 });
                let store = MemoryByteStores::default().open(&subtopology.name);
                match store.and_then(TaskState::open) {
                    Ok(state) => self.restored(id, state, None),
                    Err(error) => self.fail(Failure::State(error.to_string())),
                }
            }
            Some(changelog) => {
                let job = RestoreJob {
                    task: id,
                    name: subtopology.task_name(id.partition),
                    changelog: TopicPartition {
                        topic: changelog.topic.clone(),
                        partition: id.partition,
                    },
                    topic_id: changelog.topic_id.clone(),
                    delete_retention_ms: changelog.delete_retention_ms,
                    // At least once, offsets may stand behind the state: any marker will do.
                    expected: expected
                        .filter(|_| self.settings.guarantee == Guarantee::ExactlyOnce),
                };
                self.set_slot(id, Slot::Restoring { offsets, remaining: 0 });
                self.restore.submit(job);
            }
        }
    }

    /// The epoch that the offsets' metadata names, after checking what else it says.
    fn expected_epoch(
        &self,
        id: TaskId,
        offsets: &[CommittedOffset],
    ) -> Result<Option<EpochId>, Failure> {
        let subtopology = &self.plan.subtopologies[id.subtopology];
        let mut newest: Option<EpochId> = None;
        for offset in offsets.iter().filter(|o| o.offset.is_some()) {
            let parsed = OffsetMetadata::parse(&offset.metadata).map_err(|reason| {
                Failure::State(format!("committed offset of {}: {reason}", offset.partition))
            })?;
            let Some(metadata) = parsed else { continue };
            let source = subtopology.sources.iter().find(|s| s.topic == offset.partition.topic);
            if let Some(source) = source.filter(|s| s.keyed)
                && metadata.partitions != source.partitions
            {
                return Err(partitions_changed(
                    &source.topic,
                    metadata.partitions,
                    source.partitions,
                ));
            }
            if newest.is_none_or(|id| metadata.id.epoch > id.epoch) {
                newest = Some(metadata.id);
            }
        }
        Ok(newest)
    }

    pub(super) fn take_restores(&mut self, now: Now) {
        while let Some(outcome) = self.restore.poll() {
            let id = outcome.task();
            if !matches!(self.slots.get(&id).map(|s| &s.slot), Some(Slot::Restoring { .. })) {
                continue;
            }
            match outcome {
                RestoreOutcome::Done { store, marker, records, .. } => {
                    self.counters.restored_records += records;
                    self.unblock(id);
                    match TaskState::open(store) {
                        Ok(state) => self.restored(id, state, marker),
                        Err(error) => self.fail(Failure::State(error.to_string())),
                    }
                }
                RestoreOutcome::Progress { remaining: left, blocked, .. } => {
                    if let Some(state) = self.slots.get_mut(&id)
                        && let Slot::Restoring { remaining, .. } = &mut state.slot
                    {
                        *remaining = left;
                    }
                    if blocked {
                        self.note_blocked(id, true, now);
                    } else {
                        self.unblock(id);
                    }
                }
                RestoreOutcome::Failed { error, .. } => self.restore_failed(id, &error, now),
            }
        }
    }

    fn restore_failed(&mut self, id: TaskId, error: &RestoreError, now: Now) {
        let Some(state) = self.slots.get_mut(&id) else { return };
        if let RestoreError::EpochMismatch { expected, .. } = error {
            debug_assert_eq!(recover(&Failed::Restore(error)), Recovery::RetryCall);
            if state.mismatches.may_pass(expected) {
                return self.ask_again(id, now.mono + ASK_AGAIN);
            }
        }
        self.fail(Failure::State(error.to_string()));
    }

    /// The state is whole. Now where its inputs start.
    fn restored(&mut self, id: TaskId, state: TaskState, marker: Option<EpochMarker>) {
        let Some(Slot::Restoring { offsets, .. }) = self.slots.get_mut(&id).map(|s| &mut s.slot)
        else {
            return;
        };
        let offsets = std::mem::take(offsets);
        if let Some(marker) = &marker
            && let Err(failure) = self.check_marker(id, marker, &offsets)
        {
            return self.fail(failure);
        }
        let missing: Vec<TopicPartition> =
            offsets.iter().filter(|o| o.offset.is_none()).map(|o| o.partition.clone()).collect();
        if missing.is_empty() {
            return self.open_task(id, state, &offsets, false);
        }
        let question = self.ask(Question::Bounds(id));
        self.set_slot(id, Slot::Bounds { offsets, state: Some(Box::new(state)), question });
        self.log.submit(Request::Bounds { id: question, partitions: missing });
    }

    /// State and offsets belong to the same epoch, and to the same topics (EOS-5, EOS-8).
    fn check_marker(
        &self,
        id: TaskId,
        marker: &EpochMarker,
        offsets: &[CommittedOffset],
    ) -> Result<(), Failure> {
        let subtopology = &self.plan.subtopologies[id.subtopology];
        let task = subtopology.task_name(id.partition);
        for position in &marker.sources {
            let Some(source) = subtopology.sources.iter().find(|s| *s.topic == *position.topic)
            else {
                continue;
            };
            if source.topic_id != position.topic_id {
                return Err(Failure::Topics(format!(
                    "task {task}: topic {} was deleted and created again (id {} is now {}): its \
                     state belongs to the old one; `tidemill reset` starts over",
                    position.topic, position.topic_id, source.topic_id
                )));
            }
            if source.keyed && source.partitions != position.partitions {
                return Err(partitions_changed(
                    &source.topic,
                    position.partitions,
                    source.partitions,
                ));
            }
            let offset = offsets.iter().find(|o| o.partition.topic == source.topic);
            let Some(offset) = offset else { continue };
            if self.settings.guarantee == Guarantee::AtLeastOnce {
                continue;
            }
            match offset.offset {
                None => {
                    return Err(Failure::Topics(format!(
                        "task {task}: the group has no committed offset for {}, yet the changelog \
                         stands at offset {} (EOS-8): the offsets expired or were deleted; \
                         `tidemill reset` starts over",
                        offset.partition, position.next
                    )));
                }
                Some(committed) if committed != position.next => {
                    return Err(Failure::Topics(format!(
                        "task {task}: the committed offset of {} is {committed}, the state stands \
                         at {}: the offsets were changed by somebody else; `tidemill reset` \
                         starts over",
                        offset.partition, position.next
                    )));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    pub(super) fn bounds_answered(
        &mut self,
        id: RequestId,
        result: Result<Vec<(TopicPartition, PartitionBounds)>, OffsetsUnavailable>,
        now: Now,
    ) {
        let task = match self.questions.remove(&id) {
            Some(Question::Bounds(task)) => task,
            Some(Question::Ends(tasks)) => return self.ends_answered(tasks, result, now),
            Some(Question::Marker(task)) => return self.marker_answered(task, id, result, now),
            _ => return,
        };
        let Some(Slot::Bounds { offsets, state, question }) =
            self.slots.get_mut(&task).map(|s| &mut s.slot)
        else {
            return;
        };
        if *question != id {
            return;
        }
        let Ok(bounds) = result else {
            let missing = offsets.iter().filter(|o| o.offset.is_none());
            let partitions = missing.map(|o| o.partition.clone()).collect();
            let again = self.next_question;
            *question = again;
            let again = self.ask(Question::Bounds(task));
            self.log.submit(Request::Bounds { id: again, partitions });
            return;
        };
        let mut offsets = std::mem::take(offsets);
        let Some(state) = state.take() else { return };
        let sources = &self.plan.subtopologies[task.subtopology].sources;
        for offset in offsets.iter_mut().filter(|o| o.offset.is_none()) {
            let start = sources
                .iter()
                .find(|s| s.topic == offset.partition.topic)
                .map_or(StartFrom::Earliest, |s| s.start);
            let bound = bounds.iter().find(|(p, _)| *p == offset.partition).map(|(_, b)| b);
            offset.offset = bound.map(|b| match start {
                StartFrom::Earliest => b.start,
                StartFrom::Latest => b.end,
            });
        }
        self.open_task(task, *state, &offsets, true);
    }

    /// Opens the task. `starting`: its start position is committed before its first record.
    fn open_task(
        &mut self,
        id: TaskId,
        state: TaskState,
        offsets: &[CommittedOffset],
        starting: bool,
    ) {
        let sources = &self.plan.subtopologies[id.subtopology].sources;
        let inputs: Vec<Input> = offsets
            .iter()
            .filter_map(|offset| {
                let source = sources.iter().position(|s| s.topic == offset.partition.topic)?;
                let next = offset.offset.unwrap_or(Offset(0));
                Some(Input { source, partition: offset.partition.clone(), next, committed: next })
            })
            .collect();
        let (mut buffer, mut skipped) = (EpochBuffer::default(), vec![]);
        let mut work = Work {
            buffer: &mut buffer,
            skipped: &mut skipped,
            verdicts: &self.verdicts,
            now: crate::record::Timestamp(0),
        };
        let mutant = self.settings.mutant;
        let task = match Task::open(&self.plan, id, state, inputs, &mut work, mutant) {
            Ok(task) => task,
            Err(error) => return self.fail(Failure::State(error.to_string())),
        };
        tracing::info!(task = %task.name, epoch = task.committed_epoch(), starting,
            positions = ?task.inputs.iter().map(|i| (&i.partition, i.next)).collect::<Vec<_>>(),
            "task open");
        if !starting {
            for input in &task.inputs {
                let (partition, offset) = (input.partition.clone(), input.next);
                self.log.submit(Request::Read { partition, offset });
            }
        }
        self.set_slot(
            id,
            Slot::Open {
                task: Box::new(task),
                starting,
                checking: None,
                recommit_at: self.now_mono + RECOMMIT_SOON,
                spilled_at: self.now_mono,
            },
        );
    }
}
