//! RUN and SEAL: fetched records into the running epoch, and its end.

use std::time::Duration;

use crate::{
    operators::{OperatorError, Skipped},
    record::{RecordBatch, RecordRef},
    runtime::{
        Log, Now,
        hooks::Point,
        output::EpochBuffer,
        plan::TaskId,
        restore::RestoreService,
        stream_thread::{
            event_time::room,
            slot::{EpochData, Pending, Slot},
            thread::{Failure, StreamThread},
        },
        task::{Task, Work},
    },
    state::EpochId,
};

/// Records processed in one step, so that events are served in between.
const RECORDS_PER_STEP: u64 = 4_096;

/// Offsets of an idle task are committed again after this time: Kafka expires those of topics that
/// no member subscribes to (EOS-8).
pub(super) const RECOMMIT_INTERVAL: Duration = Duration::from_secs(3_600);

/// The same for a task that was just opened: when its offsets were last committed is not known, and
/// owners that follow each other more often than hourly must not let them expire.
pub(super) const RECOMMIT_SOON: Duration = Duration::from_secs(60);

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    /// Processes pending records within the epoch's limits; true when there is more to do now.
    pub(super) fn process(&mut self, now: Now) -> bool {
        if self.failure.is_some() || !self.machine.may_process() {
            return false;
        }
        self.memory_short = self.memory_is_short();
        self.touch_due_tasks(now);
        if self.memory_short {
            self.counters.memory_waits += 1;
            return false;
        }
        self.weigh();
        let mut budget = RECORDS_PER_STEP;
        let fired = self.fire_pending(&mut budget, now);
        while fired && let Some(mut pending) = self.pending.pop_front() {
            let done = self.process_batch(&mut pending, &mut budget, now);
            if !done {
                self.pending.push_front(pending);
                break;
            }
        }
        if budget < RECORDS_PER_STEP {
            self.reach(Point::Run);
        }
        let more = !fired || !self.pending.is_empty();
        more && self.failure.is_none() && self.machine.may_process()
    }

    /// Tasks that take part without a record: due timers, start positions, hourly repetition.
    fn touch_due_tasks(&mut self, now: Now) {
        let due: Vec<TaskId> = self
            .slots
            .iter()
            .filter_map(|(id, state)| match &state.slot {
                Slot::Open { task, starting, checking: None, recommit_at, .. } => (!task.touched
                    && ((task.timers_due(now.wall) && !self.memory_short)
                        || (task.to_pass_on().is_some() && self.may_pass_on(id.subtopology, now))
                        || (*starting && task.oldest_sealed().is_none())
                        || now.mono >= *recommit_at))
                    .then_some(*id),
                _ => None,
            })
            .collect();
        for id in due {
            if self.begin_epoch(now)
                && let Some(task) = self.task_mut(id)
            {
                task.touched = true;
            }
        }
    }

    /// Makes sure that an epoch runs; false when none may begin now.
    pub(super) fn begin_epoch(&mut self, now: Now) -> bool {
        let floor = self.open_tasks().map(Task::committed_epoch).max().unwrap_or_default();
        let Some(number) = self.machine.begin(now.mono, floor) else { return false };
        if self.epochs.back().is_none_or(|epoch| epoch.number != number) {
            self.epochs.push_back(EpochData::new(number, now.mono));
        }
        true
    }

    /// Processes records of one batch; true when none is left.
    fn process_batch(
        &mut self,
        pending: &mut Pending<L::Batch>,
        budget: &mut u64,
        now: Now,
    ) -> bool {
        while pending.next < pending.batch.len() {
            if *budget == 0 || self.failure.is_some() {
                return false;
            }
            let record = pending.batch.record(pending.next);
            let Some((id, input)) = self.route(&record) else {
                pending.next += 1;
                continue;
            };
            // An epoch that has just begun takes a record first, however long ago the last seal
            // was: one without any would have no offsets (EOS-3).
            if !self.begin_epoch(now) || (self.epoch_has_work() && self.epoch_is_full(now)) {
                return false;
            }
            let taken = self.fire_task(id, budget, now)
                && self.process_run(id, input, pending, budget, now);
            if !taken {
                return false;
            }
        }
        true
    }

    /// The task and input of a record; `None` for one that nobody waits for any more.
    pub(super) fn route(&self, record: &RecordRef<'_>) -> Option<(TaskId, usize)> {
        let subtopology = self
            .plan
            .subtopologies
            .iter()
            .position(|s| s.sources.iter().any(|source| source.topic == *record.topic))?;
        let id = TaskId { subtopology, partition: record.partition };
        match self.slots.get(&id).map(|s| &s.slot) {
            Some(Slot::Open { task, starting: false, checking: None, .. }) => {
                let input = task.inputs.iter().position(|i| i.partition.topic == *record.topic)?;
                (record.offset >= task.inputs[input].next).then_some((id, input))
            }
            _ => None,
        }
    }

    /// Processes the records of one partition that follow each other; false to stop the step.
    fn process_run(
        &mut self,
        id: TaskId,
        input: usize,
        pending: &mut Pending<L::Batch>,
        budget: &mut u64,
        now: Now,
    ) -> bool {
        let limits = self.settings.epoch;
        let cache_max = self.memory_budget().step_ends_above();
        let bounded = !self.settings.mutant.memory_unbounded();
        let Some(epoch) = self.epochs.back_mut() else { return false };
        let Some(Slot::Open { task, .. }) = self.slots.get_mut(&id).map(|s| &mut s.slot) else {
            return false;
        };
        // Of the other tasks; this one's is looked up after each record.
        epoch.dirty = epoch.dirty.saturating_sub(task.dirty_bytes() as u64);
        self.resident_bytes = self.resident_bytes.saturating_sub(task.resident_bytes() as u64);
        let mut skipped = vec![];
        let mut work = Work {
            buffer: &mut epoch.buffer,
            skipped: &mut skipped,
            verdicts: &self.verdicts,
            now: now.wall,
        };
        let (mut failed, timers_before) = (None, task.timers_fired);
        while pending.next < pending.batch.len() && *budget > 0 && !task.is_firing() {
            let record = pending.batch.record(pending.next);
            let expected = &task.inputs[input];
            if record.partition != expected.partition.partition
                || *record.topic != expected.partition.topic
            {
                break;
            }
            pending.next += 1;
            if record.offset < expected.next {
                continue;
            }
            let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
            let (taken, held) = (epoch.records + epoch.fired, epoch.dirty + epoch.input_bytes);
            let room = room(&limits, taken, held, *budget);
            match task.process(input, &record, &mut work, room) {
                Ok(fired) => epoch.fired += fired,
                Err(error) => {
                    let place = format!("{}-{}@{}", record.topic, record.partition, record.offset);
                    failed = Some((place, error));
                    break;
                }
            }
            epoch.records += 1;
            epoch.input_bytes += bytes as u64;
            *budget -= 1;
            let dirty = epoch.dirty + task.dirty_bytes() as u64;
            let weight = work.buffer.bytes() + epoch.input_bytes + dirty;
            if epoch.records + epoch.fired >= limits.max_records
                || (bounded && weight >= limits.max_bytes)
            {
                break;
            }
            if bounded && self.resident_bytes + task.resident_bytes() as u64 > cache_max {
                // The step's end evicts.
                *budget = 0;
            }
        }
        epoch.dirty += task.dirty_bytes() as u64;
        self.resident_bytes += task.resident_bytes() as u64;
        self.counters.timers_fired += task.timers_fired - timers_before;
        self.counters.records_in += epoch.records - epoch.counted;
        epoch.counted = epoch.records;
        epoch.tasks.insert(id);
        self.note_skipped(skipped);
        match failed {
            Some((place, error)) => {
                self.fail_processing(id, &place, &error);
                false
            }
            None => true,
        }
    }

    /// ERR-1: names topic, partition, offset, operator and reason.
    pub(super) fn fail_processing(&mut self, id: TaskId, place: &str, error: &OperatorError) {
        let task = self.plan.subtopologies[id.subtopology].task_name(id.partition);
        let failure = match error {
            OperatorError::Element { operator, reason } => Failure::Processing(format!(
                "task {task}: record {place}, operator {operator}: {reason} (policy fail: stopped \
                 at the record, its offset is not passed)"
            )),
            OperatorError::State(error) => {
                Failure::State(format!("task {task}: record {place}: {error}"))
            }
        };
        self.fail(failure);
    }

    pub(super) fn note_skipped(&mut self, skipped: Vec<Skipped>) {
        for element in skipped {
            let place = element
                .provenance
                .map_or_else(String::new, |p| format!("{}-{}@{}", p.topic, p.partition, p.offset));
            tracing::warn!(operator = %element.operator, record = %place, reason = %element.reason,
                "element skipped");
            *self.counters.skipped.entry(element.operator).or_default() += 1;
        }
    }

    /// Whether a task takes part in the running epoch.
    pub(super) fn epoch_has_work(&self) -> bool {
        self.open_tasks().any(|task| task.touched)
    }

    fn task_names(&self, tasks: &std::collections::BTreeSet<TaskId>) -> Vec<String> {
        let name = |id: &TaskId| self.plan.subtopologies[id.subtopology].task_name(id.partition);
        tasks.iter().map(name).collect()
    }

    pub(super) fn epoch_is_full(&self, now: Now) -> bool {
        self.epochs.back().is_some_and(|e| {
            let weight = e.buffer.bytes() + e.input_bytes + e.dirty;
            // What cannot be evicted before a seal brings the seal about.
            let bytes = if self.cache_is_full { u64::MAX } else { weight };
            self.machine.seal_due(now.mono, e.records + e.fired, bytes)
        })
    }

    /// SEAL, when the machine says that it is time.
    pub(super) fn seal_if_due(&mut self, now: Now) {
        let idle = !self.epoch_has_work() && !self.machine.is_draining();
        if idle || !self.epoch_is_full(now) {
            return;
        }
        self.reach(Point::BeforeSeal);
        let Some(mut epoch) = self.epochs.pop_back() else { return };
        let running = now.mono.saturating_sub(epoch.since).as_secs_f64();
        epoch.sample.run = running;
        let changelog_before = self.counters.changelog_records;
        let result = self.seal_tasks(&mut epoch, now);
        epoch.sealed = true;
        epoch.since = now.mono;
        let changelog = self.counters.changelog_records - changelog_before;
        let internal = changelog + epoch.control;
        self.counters.records_out += epoch.buffer.records().saturating_sub(internal);
        tracing::trace!(epoch = epoch.number, tasks = ?self.task_names(&epoch.tasks),
            records = epoch.records, changelog, "seal");
        self.epochs.push_back(epoch);
        match result {
            Ok(()) => {
                self.machine.seal(now.mono);
                self.reach(Point::AfterSeal);
            }
            Err((id, error)) => {
                self.machine.seal(now.mono);
                self.fail_processing(id, "at the end of the epoch", &error);
            }
        }
    }

    fn seal_tasks(
        &mut self,
        epoch: &mut EpochData,
        now: Now,
    ) -> Result<(), (TaskId, OperatorError)> {
        let id = EpochId { epoch: epoch.number, incarnation: self.settings.incarnation };
        let bytes_max = self.settings.epoch.max_bytes;
        let mut skipped = vec![];
        let mut result = Ok(());
        for (task_id, state) in &mut self.slots {
            let Slot::Open { task, .. } = &mut state.slot else { continue };
            if !task.touched {
                continue;
            }
            epoch.tasks.insert(*task_id);
            let fired = task.timers_fired;
            let mut work = Work {
                buffer: &mut epoch.buffer,
                skipped: &mut skipped,
                verdicts: &self.verdicts,
                now: now.wall,
            };
            match task.seal(id, &mut work, bytes_max) {
                Ok(written) => self.counters.changelog_records += written,
                Err(error) => {
                    result = Err((*task_id, error));
                    break;
                }
            }
            self.counters.timers_fired += task.timers_fired - fired;
        }
        self.note_skipped(skipped);
        if result.is_ok() {
            epoch.control = self.pass_watermarks_on(epoch, now);
        }
        #[cfg(feature = "mutants")]
        if self.settings.mutant.state_before_commit() {
            for id in epoch.tasks.clone() {
                if let Some(task) = self.task_mut(id) {
                    #[allow(clippy::let_underscore_must_use)] // broken on purpose
                    let _ = task.write_before_commit(now.wall);
                }
            }
        }
        result
    }
}

impl EpochData {
    fn new(number: u64, since: Duration) -> Self {
        Self {
            number,
            buffer: EpochBuffer::default(),
            tasks: std::collections::BTreeSet::new(),
            records: 0,
            input_bytes: 0,
            dirty: 0,
            counted: 0,
            fired: 0,
            control: 0,
            sealed: false,
            delivered: vec![],
            sample: crate::runtime::EpochSample::default(),
            since,
        }
    }
}
