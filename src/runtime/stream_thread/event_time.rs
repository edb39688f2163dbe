//! Event time in a stream thread: timers that are due go on firing before the next record, and
//! watermarks are passed on in band over repartition topics (DESIGN sections 5 and 8).

use std::{collections::BTreeMap, time::Duration};

use crate::{
    operators::{Emitted, OperatorError},
    record::{Header, PartitionId, Timestamp},
    runtime::{
        Log, Now,
        epoch::EpochLimits,
        event_time::Room,
        output::Origin,
        plan::TaskId,
        restore::RestoreService,
        stream_thread::{
            slot::{EpochData, Slot},
            thread::StreamThread,
        },
        task::{Task, Work},
    },
    time::{CONTROL_HEADER, Control, Progress},
};

/// When a subtopology's tasks last passed their watermarks on, by its index.
pub(super) type PassedOn = BTreeMap<usize, Duration>;

/// What may fire now: the epoch's limits less the records and timers that it has taken and the
/// bytes of its records and of other tasks' changes; the step's budget; and at least one timer.
pub(super) fn room(limits: &EpochLimits, taken: u64, bytes: u64, budget: u64) -> Room {
    let timers = limits.max_records.saturating_sub(taken).min(budget).max(1);
    Room { timers, bytes: limits.max_bytes.saturating_sub(bytes) }
}

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    /// Goes on firing where the limits of a step or of an epoch had cut it; true when nothing is
    /// due any more, and records have their turn.
    pub(super) fn fire_pending(&mut self, budget: &mut u64, now: Now) -> bool {
        let firing: Vec<TaskId> = self
            .slots
            .iter()
            .filter_map(|(id, state)| match &state.slot {
                Slot::Open { task, starting: false, checking: None, .. } => {
                    task.is_firing().then_some(*id)
                }
                _ => None,
            })
            .collect();
        firing.into_iter().all(|id| self.fire_task(id, budget, now))
    }

    /// Fires the due timers of one task; true when none is left.
    pub(super) fn fire_task(&mut self, id: TaskId, budget: &mut u64, now: Now) -> bool {
        while self.task_mut(id).is_some_and(|task| task.is_firing()) {
            let full = |thread: &Self| thread.epoch_has_work() && thread.epoch_is_full(now);
            if *budget == 0 || self.failure.is_some() || !self.begin_epoch(now) || full(self) {
                return false;
            }
            if let Err(error) = self.fire_some(id, budget, now) {
                self.fail_processing(id, "at a timer in event time", &error);
                return false;
            }
        }
        true
    }

    fn fire_some(&mut self, id: TaskId, budget: &mut u64, now: Now) -> Result<(), OperatorError> {
        let Some(epoch) = self.epochs.back_mut() else { return Ok(()) };
        let Some(Slot::Open { task, .. }) = self.slots.get_mut(&id).map(|s| &mut s.slot) else {
            return Ok(());
        };
        // Of the other tasks, as in `process_run`.
        epoch.dirty = epoch.dirty.saturating_sub(task.dirty_bytes() as u64);
        self.resident_bytes = self.resident_bytes.saturating_sub(task.resident_bytes() as u64);
        let (taken, bytes) = (epoch.records + epoch.fired, epoch.dirty + epoch.input_bytes);
        let room = room(&self.settings.epoch, taken, bytes, *budget);
        let mut skipped = vec![];
        let mut work = Work {
            buffer: &mut epoch.buffer,
            skipped: &mut skipped,
            verdicts: &self.verdicts,
            now: now.wall,
        };
        let fired = task.fire(&mut work, room);
        epoch.dirty += task.dirty_bytes() as u64;
        epoch.tasks.insert(id);
        self.resident_bytes += task.resident_bytes() as u64;
        if let Ok(fired) = &fired {
            epoch.fired += fired;
            *budget = budget.saturating_sub(*fired);
            self.counters.timers_fired += fired;
        }
        self.note_skipped(skipped);
        fired.map(|_| ())
    }

    /// Whether tasks of this subtopology may pass their watermarks on now.
    pub(super) fn may_pass_on(&self, subtopology: usize, now: Now) -> bool {
        let plan = self.plan.subtopologies.get(subtopology).and_then(|s| s.event_time.as_ref());
        let interval = self.settings.time.watermark_interval;
        let last = self.passed_on.get(&subtopology);
        plan.is_some_and(|plan| !plan.repartitions.is_empty())
            && last.is_none_or(|last| now.mono >= *last + interval)
    }

    /// SEAL: one control record to every partition of each repartition topic, with what the tasks
    /// that take part in this epoch have not told yet. Only those: their positions are committed
    /// with it, so whoever lost a task cannot speak for it. It comes behind all that they emitted.
    /// Gives the number of records.
    pub(super) fn pass_watermarks_on(&mut self, epoch: &mut EpochData, now: Now) -> u64 {
        let mut news: BTreeMap<usize, BTreeMap<u32, Progress>> = BTreeMap::new();
        for id in &epoch.tasks {
            if !self.may_pass_on(id.subtopology, now) {
                continue;
            }
            let Some(task) = self.task_mut(*id) else { continue };
            let number = u32::try_from(id.partition);
            if let (Some(progress), Ok(number)) = (task.to_pass_on(), number) {
                task.passed_on(progress);
                news.entry(id.subtopology).or_default().insert(number, progress);
            }
        }
        let before = epoch.buffer.records();
        for (subtopology, progress) in news {
            self.passed_on.insert(subtopology, now.mono);
            self.write_control(subtopology, progress, epoch);
        }
        epoch.buffer.records() - before
    }

    fn write_control(
        &self,
        subtopology: usize,
        progress: BTreeMap<u32, Progress>,
        epoch: &mut EpochData,
    ) {
        let plan = &self.plan.subtopologies[subtopology];
        let Some(time) = &plan.event_time else { return };
        let first = progress.keys().next().copied().unwrap_or_default();
        let partition = PartitionId::try_from(first).unwrap_or_default();
        let origin = Origin { task: TaskId { subtopology, partition }, input: None };
        let control = Control { tasks: time.tasks, progress };
        let headers = [Header { name: CONTROL_HEADER.into(), value: Some(control.encode()) }];
        for sink in time.repartitions.iter().filter_map(|sink| plan.sinks.get(*sink)) {
            for partition in 0..sink.partitions {
                let record = Emitted {
                    key: None,
                    value: None,
                    timestamp: Timestamp(-1),
                    headers: &headers,
                    partition: Some(partition),
                };
                epoch.buffer.push(sink.slot, record, origin, false);
            }
        }
    }

    /// Open tasks' names and watermarks (simulation).
    pub fn watermarks(&self) -> Vec<(TaskId, Option<Timestamp>)> {
        self.open_tasks().map(|task: &Task| (task.id, task.watermark())).collect()
    }
}
