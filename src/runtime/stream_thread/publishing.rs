//! What the thread shows of itself: its status board.

use std::time::Duration;

use crate::runtime::{
    Log, Now, TaskPhase, TaskStatus,
    plan::TaskId,
    restore::RestoreService,
    stream_thread::{
        blocked::BlockedTask,
        slot::{Slot, SlotState},
        thread::StreamThread,
    },
};

const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);
const EPOCH_SAMPLES_MAX: usize = 4_096;

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    pub(super) fn show_end(&mut self, reason: &str) {
        let counters = self.counters.clone();
        self.status.update(self.settings.thread, |status| {
            status.ended = Some(reason.to_owned());
            status.counters = counters;
            status.tasks.clear();
            status.epoch_phase = "ended";
        });
    }

    pub(super) fn publish(&mut self, now: Now) {
        if self.published_at.is_some_and(|at| now.mono < at + PUBLISH_INTERVAL) {
            return;
        }
        self.published_at = Some(now.mono);
        let tasks = self.slots.iter().map(|(id, slot)| self.task_status(*id, slot)).collect();
        let positions = self
            .open_tasks()
            .flat_map(|task| &task.inputs)
            .map(|input| (input.partition.clone(), input.next.0))
            .collect();
        let memory = self.memory();
        let mut samples = std::mem::take(&mut self.samples);
        let counters = self.counters.clone();
        let (joined, phase) = (self.joined, self.machine.shown_phase());
        let epoch = self.machine.last_epoch();
        let rejoin_pause = self.rejoining.pause();
        self.status.update(self.settings.thread, |status| {
            status.joined = joined;
            status.epoch_phase = phase;
            status.epoch = epoch;
            status.rejoin_pause = rejoin_pause;
            status.tasks = tasks;
            status.counters = counters;
            status.memory = memory;
            status.positions = positions;
            status.epochs.append(&mut samples);
            let over = status.epochs.len().saturating_sub(EPOCH_SAMPLES_MAX);
            status.epochs.drain(..over);
        });
    }

    fn task_status(&self, id: TaskId, state: &SlotState) -> TaskStatus {
        let name = self.plan.subtopologies[id.subtopology].task_name(id.partition);
        let mut status = TaskStatus { name, ..TaskStatus::default() };
        status.blocked = state.blocked.as_ref().map(BlockedTask::describe);
        if let Some(reason) = self.stall_of(id) {
            status.blocked = Some(format!("no progress: {reason}"));
        }
        if let Slot::Stopped { reason, .. } = &state.slot {
            status.blocked = Some(format!("stopped: {reason}"));
        }
        status.phase = match &state.slot {
            Slot::Asking { .. } | Slot::Stopped { .. } => TaskPhase::Created,
            Slot::Restoring { remaining, .. } => {
                status.restore_remaining = *remaining;
                TaskPhase::Restoring
            }
            Slot::Bounds { .. } | Slot::Open { starting: true, .. } => TaskPhase::Starting,
            Slot::Open { .. } => TaskPhase::Running,
        };
        if let Slot::Open { task, .. } = &state.slot {
            status.state_bytes = task.state_bytes();
            status.resident_bytes = task.resident_bytes() as u64;
        }
        status
    }
}
