//! The memory of one stream thread within its shares (MEM-1): what it holds, when it waits, and
//! what it gives back. The bounds are `runtime::memory`'s.
//!
//! A bound is kept by four means, in this order: cold entries are evicted; an epoch whose changes
//! weigh too much is sealed early; committed layers are written down, those of idle tasks too; and
//! while writes or commits are behind, no record is processed.

use crate::{
    record::RecordBatch,
    runtime::{
        Log, Now,
        memory::{MemoryUse, ThreadBudget, queued_bytes},
        output::EpochBuffer,
        plan::TaskId,
        restore::RestoreService,
        stream_thread::{
            slot::Slot,
            thread::{Failure, StreamThread},
        },
        task::Task,
    },
    state::{SharedMemory, StateError},
};

/// How large the records of the last epoch were, in bytes: what waits in the client is counted
/// there, not weighed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MeanBytes {
    input: u64,
    output: u64,
}

impl MeanBytes {
    fn take(&mut self, records: u64, input_bytes: u64, outputs: &EpochBuffer) {
        if let Some(mean) = input_bytes.checked_div(records) {
            self.input = mean;
        }
        if let Some(mean) = outputs.mean_bytes() {
            self.output = mean;
        }
    }
}

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    /// The bounds of this thread. The index of timers takes its place from the cache, which always
    /// keeps an eighth of its share: timers have no other bound.
    pub fn memory_budget(&self) -> ThreadBudget {
        let cache = self.settings.state.cache_bytes.as_u64();
        ThreadBudget {
            cache: cache.saturating_sub(self.timer_bytes).max(cache / 8),
            spill: self.settings.state.spill_bytes.as_u64(),
            epoch: self.settings.epoch.max_bytes,
        }
    }

    /// What this thread holds.
    pub fn memory(&self) -> MemoryUse {
        let mut used = MemoryUse::default();
        self.open_tasks().for_each(|task| task.add_memory(&mut used));
        used.outputs = self.epochs.iter().map(|epoch| epoch.buffer.held_bytes()).sum();
        let queued = self.log.queued();
        used.fetch_queue = queued_bytes(queued.fetch, self.mean.input);
        let taken: usize = self.pending.iter().map(|pending| pending.batch.len()).sum();
        used.fetched = queued_bytes(taken as u64, self.mean.input);
        used.produce_queue = queued_bytes(queued.produce, self.mean.output);
        let restores = self.restore.memory();
        used.restore = restores.changes;
        used.restore_queue = restores.queue;
        // All stores of a process share theirs; a task without state has none.
        let mut shared = self.open_tasks().map(Task::shared_memory);
        used.byte_store =
            shared.find(|found| *found != SharedMemory::default()).unwrap_or(restores.byte_store);
        used
    }

    /// Whether records have to wait: commits or spills are behind. Never true for long, since
    /// both go on by themselves.
    pub(super) fn memory_is_short(&self) -> bool {
        if self.settings.mutant.memory_unbounded() {
            return false;
        }
        if self.restore.memory().borrowed > 0 && self.open_tasks().next().is_some() {
            // Tasks run again: what was lent to restores comes back first.
            return true;
        }
        let behind =
            self.sum(|task| task.sealed_bytes() + task.committed_bytes() + task.spilling_bytes());
        behind > self.memory_budget().wait_above()
    }

    fn sum(&self, bytes: impl Fn(&Task) -> usize) -> u64 {
        self.open_tasks().map(|task| bytes(task) as u64).sum()
    }

    /// Begins a step: what the running epoch weighs, and what is resident.
    pub(super) fn weigh(&mut self) {
        let dirty = self.sum(Task::dirty_bytes);
        self.resident_bytes = self.sum(Task::resident_bytes);
        self.weigh_timers();
        if let Some(epoch) = self.epochs.back() {
            self.mean.take(epoch.records, epoch.input_bytes, &epoch.buffer);
        }
        if let Some(epoch) = self.epochs.back_mut().filter(|epoch| !epoch.sealed) {
            epoch.dirty = dirty;
        }
    }

    /// What the index of timers takes from the cache.
    fn weigh_timers(&mut self) {
        let share = self.settings.state.cache_bytes.as_u64();
        let (before, bytes) = (self.timer_bytes, self.sum(Task::timer_bytes));
        self.timer_bytes = bytes;
        if before <= share && bytes > share {
            tracing::warn!(
                bytes,
                share,
                "timers take more memory than the cache's share of the \
                limit, which does not bound them (MEM-1): raise memory.limit, or set fewer timers"
            );
        }
    }

    /// Lends restores what tasks would take, as long as there is none: the larger the pieces in
    /// which state is written, the less work it is.
    fn lend(&mut self) {
        let budget = self.memory_budget();
        let idle = self.open_tasks().next().is_none();
        self.restore.lend(if idle { budget.lendable() } else { 0 });
    }

    /// Evicts, ends and begins spills; purges now and then.
    pub(super) fn settle(&mut self, now: Now) {
        self.lend();
        let settled = self.evict().and_then(|()| self.spill(now));
        if let Err((id, error)) = settled {
            let task = self.plan.subtopologies[id.subtopology].task_name(id.partition);
            self.fail(Failure::State(format!("task {task}: {error}")));
        }
        self.purge(now);
    }

    /// Lets go of resident entries over all tasks, of each in proportion to what it holds: the
    /// idle ones give too. What the running epoch changed cannot go: then the epoch ends early.
    fn evict(&mut self) -> Result<(), (TaskId, StateError)> {
        self.weigh_timers();
        let budget = self.memory_budget();
        let held = self.sum(Task::resident_bytes);
        self.cache_is_full = false;
        if held <= budget.evict_above() || self.settings.mutant.memory_unbounded() {
            return Ok(());
        }
        let target = u128::from(budget.evict_to());
        for (id, slot) in &mut self.slots {
            let Slot::Open { task, .. } = &mut slot.slot else { continue };
            let share = task.resident_bytes() as u128 * target / u128::from(held);
            let share = usize::try_from(share).unwrap_or(usize::MAX);
            task.evict(share).map_err(|error| (*id, error))?;
        }
        self.cache_is_full = self.sum(Task::resident_bytes) > budget.evict_above();
        Ok(())
    }

    /// Ends spills that are written, and begins those that are due by time or by size.
    fn spill(&mut self, now: Now) -> Result<(), (TaskId, StateError)> {
        let interval = self.settings.state.spill_interval;
        for (id, slot) in &mut self.slots {
            let Slot::Open { task, spilled_at, .. } = &mut slot.slot else { continue };
            let free = task.poll_spill().map_err(|error| (*id, error))?;
            if now.mono < *spilled_at + interval || !free {
                continue;
            }
            *spilled_at = now.mono;
            if task.begin_spill(now.wall).map_err(|error| (*id, error))? {
                self.counters.spills += 1;
            }
        }
        let committed = self.sum(Task::committed_bytes);
        if committed <= self.memory_budget().spill || self.settings.mutant.memory_unbounded() {
            return Ok(());
        }
        self.spill_largest(committed, now)
    }

    /// The largest layers first, until half of what starts a spill is left.
    fn spill_largest(&mut self, mut committed: u64, now: Now) -> Result<(), (TaskId, StateError)> {
        let keep = self.memory_budget().spill / 2;
        let mut layers: Vec<(usize, TaskId)> = self
            .open_tasks()
            .filter(|task| task.spilling_bytes() == 0 && task.committed_bytes() > 0)
            .map(|task| (task.committed_bytes(), task.id))
            .collect();
        layers.sort_unstable_by(|a, b| b.cmp(a));
        for (bytes, id) in layers {
            if committed <= keep {
                break;
            }
            let Some(Slot::Open { task, spilled_at, .. }) =
                self.slots.get_mut(&id).map(|s| &mut s.slot)
            else {
                continue;
            };
            if task.begin_spill(now.wall).map_err(|error| (id, error))? {
                *spilled_at = now.mono;
                committed = committed.saturating_sub(bytes as u64);
                self.counters.spills += 1;
            }
        }
        Ok(())
    }
}
