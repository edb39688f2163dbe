//! What the group gives and takes (EOS-7): revoked partitions are committed first, lost ones start
//! no commit. Nothing is released while an epoch is in flight.

use crate::{
    record::TopicPartition,
    runtime::{
        Log, Now, Request,
        plan::TaskId,
        restore::RestoreService,
        stream_thread::{
            commit::lead_of,
            slot::{Life, Slot, SlotState},
            thread::StreamThread,
        },
    },
};

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    pub(super) fn assigned(&mut self, partitions: Vec<TopicPartition>, now: Now) {
        self.joined = true;
        self.rejoining.joined(now.mono);
        self.counters.rebalances += 1;
        tracing::info!(thread = self.settings.thread, ?partitions, "assigned");
        let mut accepted = vec![];
        for lead in partitions {
            let Some(id) = self.task_of_lead(&lead) else { continue };
            accepted.extend(self.inputs_of(id));
            self.owned.insert(lead);
            let slot = Slot::Asking { retry_at: Some(now.mono), question: None };
            self.slots.insert(id, SlotState { slot, blocked: None, mismatches: 0 });
        }
        self.log.submit(Request::Accept { partitions: accepted });
    }

    pub(super) fn revoking(&mut self, partitions: Vec<TopicPartition>) {
        self.counters.rebalances += 1;
        tracing::info!(thread = self.settings.thread, ?partitions, "revoking");
        self.releasing_nothing |= partitions.is_empty();
        self.releasing.extend(partitions);
        self.machine.start_drain();
    }

    pub(super) fn lost(&mut self, partitions: Vec<TopicPartition>) {
        self.counters.rebalances += 1;
        self.rejoining.lost(self.now_mono);
        self.counters.memberships_lost = self.rejoining.total();
        self.counters.partitions_lost += partitions.len() as u64;
        tracing::warn!(thread = self.settings.thread, ?partitions,
            pause = ?self.rejoining.pause(), "lost");
        self.releasing_nothing |= partitions.is_empty();
        self.releasing.extend(partitions);
        self.machine.handle_lost();
        self.machine.start_drain();
    }

    /// Closes the tasks of what is to be released, once nothing is in flight, and gives it back:
    /// at once to a group that waits for it, after a pause that grows where the membership was
    /// lost again and again, since that is what the next join waits for.
    pub(super) fn release(&mut self, now: Now) {
        if !self.machine.is_draining() || !self.machine.is_idle() {
            return;
        }
        for lead in std::mem::take(&mut self.releasing) {
            self.owned.remove(&lead);
            match self.task_of_lead(&lead) {
                Some(id) => {
                    self.giving_back.extend(self.inputs_of(id));
                    self.close(id, now);
                }
                None => self.giving_back.push(lead),
            }
        }
        if self.is_giving_back() {
            let stopping = self.life != Life::Running || self.failure.is_some();
            if now.mono < self.rejoining.not_before() && !stopping {
                return;
            }
            let partitions = std::mem::take(&mut self.giving_back);
            tracing::info!(thread = self.settings.thread, ?partitions, "released");
            self.log.submit(Request::Release { partitions });
            self.releasing_nothing = false;
        }
        if self.life == Life::Running && self.failure.is_none() && self.fenced.is_none() {
            self.machine.end_drain();
        }
    }

    /// Whether the group or the client waits for an answer to a revocation or a loss.
    pub(super) fn is_giving_back(&self) -> bool {
        !self.releasing.is_empty() || !self.giving_back.is_empty() || self.releasing_nothing
    }

    /// Closes a task: what is committed goes down, so that a return replays little.
    pub(super) fn close(&mut self, id: TaskId, now: Now) {
        self.restore.cancel(id);
        let Some(state) = self.slots.remove(&id) else { return };
        for partition in self.inputs_of(id) {
            self.out_of_range.remove(&partition);
        }
        if let Slot::Open { mut task, .. } = state.slot
            && let Err(error) = task.spill(now.wall)
        {
            tracing::warn!(task = %task.name, %error, "state not spilled at close");
        }
    }

    pub(super) fn close_all(&mut self, now: Now) {
        for id in self.slots.keys().copied().collect::<Vec<_>>() {
            self.close(id, now);
        }
    }

    /// The partitions of all inputs that have the task's partition.
    pub(super) fn inputs_of(&self, id: TaskId) -> Vec<TopicPartition> {
        let sources = self.plan.subtopologies[id.subtopology].sources.iter();
        sources
            .filter(|source| {
                id.partition < source.partitions || source.topic == lead_of(&self.plan, id).topic
            })
            .map(|source| TopicPartition { topic: source.topic.clone(), partition: id.partition })
            .collect()
    }

    fn task_of_lead(&self, lead: &TopicPartition) -> Option<TaskId> {
        let subtopology =
            self.plan.subtopologies.iter().position(|s| s.lead_source().topic == lead.topic)?;
        Some(TaskId { subtopology, partition: lead.partition })
    }
}
