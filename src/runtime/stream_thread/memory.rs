//! The memory of one stream thread within its shares (MEM-1): what it holds, when it waits, and
//! what it gives back. The bounds are `runtime::memory`'s.
//!
//! A bound is kept by four means, in this order: cold entries are evicted; an epoch whose changes
//! weigh too much is sealed early; committed layers are written down, those of idle tasks too; and
//! while writes or commits are behind, no record is processed.

use crate::{
    runtime::{
        Log, Now,
        memory::{MemoryUse, ThreadBudget},
        plan::TaskId,
        restore::RestoreService,
        stream_thread::{
            slot::Slot,
            thread::{Failure, StreamThread},
        },
        task::Task,
    },
    state::StateError,
};

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    /// The bounds of this thread.
    pub fn memory_budget(&self) -> ThreadBudget {
        ThreadBudget {
            cache: self.settings.state.cache_bytes.as_u64(),
            spill: self.settings.state.spill_bytes.as_u64(),
            epoch: self.settings.epoch.max_bytes,
        }
    }

    /// What this thread holds.
    pub fn memory(&self) -> MemoryUse {
        let mut used = MemoryUse::default();
        self.open_tasks().for_each(|task| task.add_memory(&mut used));
        used.outputs = self.epochs.iter().map(|epoch| epoch.buffer.held_bytes()).sum();
        used.restore = self.restore.held_bytes();
        used
    }

    /// Whether records have to wait: commits or spills are behind. Never true for long, since
    /// both go on by themselves.
    pub(super) fn memory_is_short(&self) -> bool {
        if self.settings.mutant.memory_unbounded() {
            return false;
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
        if let Some(epoch) = self.epochs.back_mut().filter(|epoch| !epoch.sealed) {
            epoch.dirty = dirty;
        }
    }

    /// Evicts, ends and begins spills; purges now and then.
    pub(super) fn settle(&mut self, now: Now) {
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
