//! A commit whose marker never comes (facts 9.6): after a failure no task writes again before its
//! last commit is seen in its changelog; where the marker is missing for good, the task stops.
//!
//! The next transaction of that id in that partition would decide the committed epoch a second
//! time: reveal it if it commits, destroy it if it aborts. So nothing of ours writes there.

use std::time::Duration;

use crate::{
    record::TopicPartition,
    runtime::{
        Log, Now, OffsetsUnavailable, PartitionBounds, Request, RequestId,
        epoch::recovery::{Failed, Recovery, recover},
        mutants::Mutant,
        plan::TaskId,
        restore::RestoreService,
        stream_thread::{
            commit::ASK_AGAIN,
            slot::{Check, Question, Slot},
            thread::StreamThread,
        },
    },
};

/// How long a stopped task rests before it is looked at again: an operator may have helped.
const STOPPED_PAUSE: Duration = Duration::from_secs(30);

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    /// Something failed: the task reads on once its changelog shows its last commit.
    pub(super) fn check_marker_written(&mut self, id: TaskId) {
        let changelog = self.changelog_of(id);
        let ignored = self.settings.mutant.is(Mutant::MissingMarkerIgnored);
        let Some(Slot::Open { task, checking, .. }) = self.slots.get_mut(&id).map(|s| &mut s.slot)
        else {
            return;
        };
        if changelog.is_none() || task.changelog_next().is_none() || ignored {
            *checking = None;
            return self.read_inputs(id);
        }
        *checking = Some(Check { question: None, retry_at: self.now_mono });
        // What is fetched from the position before the failure must not wait for the task.
        self.pause_inputs(id);
        self.ask_check(id);
    }

    pub(super) fn retry_checks(&mut self, now: Now) {
        let due = |(id, state): (&TaskId, &super::slot::SlotState)| match &state.slot {
            Slot::Open { checking: Some(check), .. }
                if check.question.is_none() && now.mono >= check.retry_at =>
            {
                Some(*id)
            }
            _ => None,
        };
        for id in self.slots.iter().filter_map(due).collect::<Vec<_>>() {
            self.ask_check(id);
        }
    }

    fn ask_check(&mut self, id: TaskId) {
        let Some(partition) = self.changelog_of(id) else { return };
        let question = self.ask(Question::Marker(id));
        if let Some(Slot::Open { checking: Some(check), .. }) =
            self.slots.get_mut(&id).map(|s| &mut s.slot)
        {
            check.question = Some(question);
            self.log.submit(Request::Bounds { id: question, partitions: vec![partition] });
        }
    }

    pub(super) fn marker_answered(
        &mut self,
        id: TaskId,
        question: RequestId,
        result: Result<Vec<(TopicPartition, PartitionBounds)>, OffsetsUnavailable>,
        now: Now,
    ) {
        let Some(Slot::Open { task, checking, .. }) = self.slots.get_mut(&id).map(|s| &mut s.slot)
        else {
            return;
        };
        let Some(check) = checking.as_mut().filter(|c| c.question == Some(question)) else {
            return;
        };
        check.question = None;
        check.retry_at = now.mono + ASK_AGAIN;
        let Ok(bounds) = result else { return };
        let committed = task.changelog_next();
        let seen = bounds.first().is_some_and(|(_, b)| Some(b.last_stable) >= committed);
        if seen {
            *checking = None;
            self.unblock(id);
            self.read_inputs(id);
        } else {
            self.note_blocked(id, true, now);
        }
    }

    pub(super) fn read_inputs(&mut self, id: TaskId) {
        let Some(Slot::Open { task, .. }) = self.slots.get(&id).map(|s| &s.slot) else { return };
        for input in &task.inputs {
            let (partition, offset) = (input.partition.clone(), input.next);
            self.log.submit(Request::Read { partition, offset });
        }
    }

    fn pause_inputs(&mut self, id: TaskId) {
        for partition in self.inputs_of(id) {
            self.log.submit(Request::Pause { partition });
        }
    }

    /// The marker is missing for good: the task stops, the others go on.
    pub(super) fn marker_missing(&mut self, id: TaskId, reason: &str, now: Now) {
        debug_assert_eq!(recover(&Failed::MarkerMissing), Recovery::StopTask);
        if self.settings.mutant.is(Mutant::MissingMarkerIgnored) {
            return;
        }
        let name = self.plan.subtopologies[id.subtopology].task_name(id.partition);
        tracing::error!(task = %name, reason, "task stopped");
        self.restore.cancel(id);
        self.pause_inputs(id);
        // Its state is left as it was written last: what it holds in memory is not written down.
        let retry_at = now.mono + STOPPED_PAUSE;
        self.set_slot(id, Slot::Stopped { reason: reason.to_owned(), retry_at });
        self.unblock(id);
    }

    fn changelog_of(&self, id: TaskId) -> Option<TopicPartition> {
        let changelog = self.plan.subtopologies[id.subtopology].changelog.as_ref()?;
        Some(TopicPartition { topic: changelog.topic.clone(), partition: id.partition })
    }
}
