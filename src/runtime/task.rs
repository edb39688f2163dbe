//! A task: one partition of one subtopology, with its chain, its state and its input positions.
//!
//! Pure: bytes in, bytes out. It knows epochs by number only, and neither threads nor clocks nor
//! transactions. The stream thread drives it through RUN, SEAL, APPLY and ABORT.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    operators::{Emitted, OperatorChain, OperatorError, Provenance, Skipped, TaskContext},
    record::{Offset, Timestamp, TopicPartition},
    runtime::{
        event_time::{Room, TaskTime},
        memory::MemoryUse,
        mutants::Mutant,
        output::{EpochBuffer, Origin, TaskOutput, Verdicts},
        plan::{InstancePlan, SubtopologyPlan, TaskId},
    },
    state::{EpochId, EpochMarker, SharedMemory, SourcePosition, StateError, TaskState, changelog},
    time::TimerDomain,
};

/// Timers fired in one seal; what is due beyond waits for the next epoch.
const TIMERS_PER_SEAL: usize = 100_000;

/// One input partition of a task.
#[derive(Debug, Clone)]
pub struct Input {
    /// Index of the source.
    pub source: usize,
    /// The partition.
    pub partition: TopicPartition,
    /// The next record to process.
    pub next: Offset,
    /// The next record as the last committed epoch has it.
    pub committed: Offset,
}

/// What a task works with while it processes.
pub struct Work<'a> {
    /// The running epoch's records.
    pub buffer: &'a mut EpochBuffer,
    /// Elements dropped under the policy `skip`.
    pub skipped: &'a mut Vec<Skipped>,
    /// Refusals of earlier tries.
    pub verdicts: &'a Verdicts,
    /// Processing time.
    pub now: Timestamp,
}

/// A task that is open: restored, and running or about to.
pub struct Task {
    /// Which task.
    pub id: TaskId,
    /// `<subtopology>_<partition>`.
    pub name: String,
    /// Its inputs.
    pub inputs: Vec<Input>,
    /// Whether it takes part in the running epoch.
    pub touched: bool,
    /// Timers fired since it was opened.
    pub timers_fired: u64,
    pub(super) plan: Arc<InstancePlan>,
    chain: Box<dyn OperatorChain>,
    pub(super) state: TaskState,
    sealed: VecDeque<EpochMarker>,
    pub(super) time: Option<TaskTime>,
    pub(super) mutant: Mutant,
}

impl Task {
    /// Opens a task on its restored state. Errors: the chain's `open` (state, codecs).
    pub fn open(
        plan: &Arc<InstancePlan>,
        id: TaskId,
        state: TaskState,
        inputs: Vec<Input>,
        work: &mut Work<'_>,
        mutant: Mutant,
    ) -> Result<Self, OperatorError> {
        let subtopology = &plan.subtopologies[id.subtopology];
        let mut task = Self {
            id,
            name: subtopology.task_name(id.partition),
            inputs,
            touched: false,
            timers_fired: 0,
            chain: (subtopology.chain)(),
            plan: plan.clone(),
            state,
            sealed: VecDeque::new(),
            time: None,
            mutant,
        };
        task.open_time()?;
        #[cfg(feature = "mutants")]
        if mutant.is(Mutant::WatermarkForgotten) {
            task.forget_time();
        }
        task.with_chain(None, None, work, |chain, ctx| chain.open(ctx))?;
        Ok(task)
    }

    pub(super) fn subtopology(&self) -> &SubtopologyPlan {
        &self.plan.subtopologies[self.id.subtopology]
    }

    /// The last committed epoch; 0 before the first.
    pub fn committed_epoch(&self) -> u64 {
        self.state.marker().map_or(0, |marker| marker.id.epoch)
    }

    /// Whether processing-time timers are due: then the task takes part in the epoch.
    pub fn timers_due(&self, now: Timestamp) -> bool {
        self.state.next_timer(TimerDomain::ProcessingTime).is_some_and(|time| time <= now)
    }

    /// The earliest processing-time timer.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.state.next_timer(TimerDomain::ProcessingTime)
    }

    /// SEAL: fires due processing-time timers, runs the end-of-epoch hooks, closes the overlay and
    /// queues its changelog records and the epoch marker, which is the last of its epoch.
    /// Firing ends when the task's changes and the epoch's outputs reach `bytes_max`.
    pub fn seal(
        &mut self,
        id: EpochId,
        work: &mut Work<'_>,
        bytes_max: u64,
    ) -> Result<u64, OperatorError> {
        for _ in 0..TIMERS_PER_SEAL {
            if self.dirty_bytes() as u64 + work.buffer.bytes() >= bytes_max {
                break;
            }
            let due = self.state.pop_due_timer(TimerDomain::ProcessingTime, work.now);
            let Some(timer) = due else { break };
            self.timers_fired += 1;
            self.with_chain(None, None, work, |chain, ctx| chain.on_timer(&timer, ctx))?;
        }
        if self.mutant.is(Mutant::EventTimersAtSeal) {
            self.fire_due(work, Room { timers: u64::MAX, bytes: u64::MAX })?;
        }
        self.with_chain(None, None, work, |chain, ctx| chain.seal(ctx))?;
        if let Some(time) = &mut self.time {
            time.save(&mut self.state);
        }
        self.state.seal();
        let marker = self.marker(id);
        let written = self.queue_changelog(&marker, work.buffer)?;
        self.sealed.push_back(marker);
        self.touched = false;
        Ok(written)
    }

    /// The marker of the oldest sealed epoch: the positions that are committed with it.
    pub fn oldest_sealed(&self) -> Option<&EpochMarker> {
        self.sealed.front()
    }

    /// The marker of a sealed epoch.
    pub fn sealed_at(&self, epoch: u64) -> Option<&EpochMarker> {
        self.sealed.iter().find(|marker| marker.id.epoch == epoch)
    }

    /// APPLY: the oldest sealed epoch is committed; `changelog_next` is the offset behind its
    /// marker (any for a stateless task).
    pub fn apply(&mut self, changelog_next: Offset) {
        let Some(marker) = self.sealed.pop_front() else { return };
        for (input, position) in self.inputs.iter_mut().zip(&marker.sources) {
            input.committed = position.next;
        }
        self.state.commit(marker, changelog_next);
        self.chain.committed();
    }

    /// ABORT: drops everything that is not committed and rewinds the positions. Resident entries
    /// are kept only by the mutant that does so.
    pub fn abort(&mut self, mutant: Mutant) -> Result<(), OperatorError> {
        self.sealed.clear();
        self.touched = false;
        if !mutant.abort_keeps_resident() {
            self.chain.aborted();
        }
        self.state.abort()?;
        self.open_time()?;
        for input in &mut self.inputs {
            input.next = input.committed;
        }
        // Store ids that were allocated since the last commit are gone from the catalogue: the
        // same ones are allocated again, so that the next epoch carries its record.
        let (mut buffer, mut skipped) = (EpochBuffer::default(), vec![]);
        let verdicts = Verdicts::new();
        let mut work = Work {
            buffer: &mut buffer,
            skipped: &mut skipped,
            verdicts: &verdicts,
            now: Timestamp(0),
        };
        self.with_chain(None, None, &mut work, |chain, ctx| chain.open(ctx))
    }

    /// Writes the committed layer down. Stateless tasks have nothing to write.
    pub fn spill(&mut self, now: Timestamp) -> Result<(), StateError> {
        match &self.subtopology().changelog {
            Some(changelog) => {
                let topic_id = changelog.topic_id.clone();
                self.state.spill(&topic_id, now)
            }
            None => Ok(()),
        }
    }

    /// Starts to write the committed layer down, beside the thread where the store can; false
    /// where nothing was begun. Stateless tasks have nothing to write.
    pub fn begin_spill(&mut self, now: Timestamp) -> Result<bool, StateError> {
        match &self.subtopology().changelog {
            Some(changelog) => {
                let topic_id = changelog.topic_id.clone();
                self.state.begin_spill(&topic_id, now)
            }
            None => Ok(false),
        }
    }

    /// Whether no spill is in progress (any more).
    pub fn poll_spill(&mut self) -> Result<bool, StateError> {
        self.state.poll_spill()
    }

    /// The changelog's position behind the task's last commit; `None` before the first one.
    pub fn changelog_next(&self) -> Option<Offset> {
        self.state.changelog_next()
    }

    /// Bytes that a spill would write.
    pub fn committed_bytes(&self) -> usize {
        self.state.committed_bytes()
    }

    /// Bytes that are being written.
    pub fn spilling_bytes(&self) -> usize {
        self.state.frozen_bytes()
    }

    /// Bytes of sealed epochs that are not committed.
    pub fn sealed_bytes(&self) -> usize {
        self.state.sealed_bytes()
    }

    /// What the running epoch has changed: its overlay, and what sealing will add to it.
    pub fn dirty_bytes(&self) -> usize {
        self.state.running_bytes() + self.chain.changed_bytes()
    }

    /// What the task holds, byte by byte part.
    pub fn add_memory(&self, used: &mut MemoryUse) {
        used.cache += self.chain.resident_bytes() as u64;
        used.timers += self.state.timer_bytes() as u64;
        used.running += self.state.running_bytes() as u64;
        used.sealed += self.state.sealed_bytes() as u64;
        used.layers += self.state.committed_bytes() as u64;
        used.spilling += self.state.frozen_bytes() as u64;
    }

    /// What its byte store shares with all others of the process.
    pub fn shared_memory(&self) -> SharedMemory {
        self.state.shared_memory()
    }

    /// Bytes of the index of timers.
    pub fn timer_bytes(&self) -> usize {
        self.state.timer_bytes()
    }

    /// Bytes of committed layer and byte store.
    pub fn state_bytes(&self) -> u64 {
        (self.state.committed_bytes() + self.state.frozen_bytes()) as u64 + self.state.store_bytes()
    }

    /// Bytes of typed resident entries.
    pub fn resident_bytes(&self) -> usize {
        self.chain.resident_bytes()
    }

    /// Evicts resident entries down to a budget in bytes.
    pub fn evict(&mut self, budget_bytes: usize) -> Result<(), StateError> {
        self.chain.evict(&mut self.state, budget_bytes)
    }

    /// Resident entries against the state (simulation): what differs.
    pub fn verify(&self) -> Result<(), String> {
        self.chain.verify(&self.state)
    }

    /// Mutant `state-before-commit`: writes the sealed epoch down before it is committed.
    #[cfg(feature = "mutants")]
    pub fn write_before_commit(&mut self, now: Timestamp) -> Result<(), StateError> {
        let Some(changelog) = &self.subtopology().changelog else { return Ok(()) };
        let topic_id = changelog.topic_id.clone();
        self.state.write_before_commit(&topic_id, now)
    }

    fn marker(&self, id: EpochId) -> EpochMarker {
        let sources = self
            .inputs
            .iter()
            .map(|input| {
                let source = &self.subtopology().sources[input.source];
                SourcePosition {
                    topic: source.topic.to_string(),
                    topic_id: source.topic_id.clone(),
                    partitions: source.partitions,
                    next: input.next,
                }
            })
            .collect();
        EpochMarker { id, sources, watermark: self.watermark() }
    }

    fn queue_changelog(
        &self,
        marker: &EpochMarker,
        buffer: &mut EpochBuffer,
    ) -> Result<u64, StateError> {
        let Some(changelog) = &self.subtopology().changelog else { return Ok(0) };
        let origin = Origin { task: self.id, input: None };
        let mut written = 1;
        let record = |key, value| Emitted {
            key: Some(key),
            value,
            timestamp: Timestamp(-1),
            headers: &[],
            partition: Some(self.id.partition),
        };
        for (key, value) in self.state.sealed_changes() {
            buffer.push(changelog.slot, record(key, value), origin, false);
            written += 1;
        }
        let (key, encoded) =
            changelog::marker_record(marker).map_err(|error| StateError::Codec {
                state: "epoch marker".to_owned(),
                action: "encode",
                reason: error.to_string(),
            })?;
        buffer.push(changelog.slot, record(key, Some(&encoded)), origin, false);
        Ok(written)
    }

    pub(super) fn with_chain<R>(
        &mut self,
        provenance: Option<Provenance>,
        input: Option<(usize, Offset)>,
        work: &mut Work<'_>,
        call: impl FnOnce(&mut dyn OperatorChain, &mut TaskContext<'_>) -> Result<R, OperatorError>,
    ) -> Result<R, OperatorError> {
        let mut output = TaskOutput {
            buffer: work.buffer,
            sinks: &self.plan.subtopologies[self.id.subtopology].sinks,
            origin: Origin { task: self.id, input },
            verdicts: work.verdicts,
            now: work.now,
        };
        let mut ctx = TaskContext {
            state: &mut self.state,
            output: &mut output,
            now: work.now,
            watermark: self.time.as_ref().and_then(TaskTime::watermark),
            event_time: None,
            provenance,
            skipped: work.skipped,
        };
        call(&mut *self.chain, &mut ctx)
    }
}
