//! The step: time and events in, requests to the log out. Never blocks beyond its deadline.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    record::{TopicName, TopicPartition},
    runtime::{
        CommittedOffset, Counters, EpochSample, Event, FatalCause, Guarantee, Lane, Log, Now,
        ReadFailure, Request, RequestId, StateSettings, StatusBoard, TaskPhase, TaskStatus,
        epoch::{EpochAction, EpochLimits, EpochMachine},
        hooks::{Hooks, Point},
        mutants::Mutant,
        output::{EpochBuffer, Verdicts},
        plan::{InstancePlan, TaskId},
        restore::{RestoreError, RestoreService},
        task::Task,
    },
};

/// What one stream thread needs to know.
#[derive(Debug, Clone)]
pub struct ThreadSettings {
    /// Its number within the instance.
    pub thread: usize,
    /// The epoch's limits.
    pub epoch: EpochLimits,
    /// What is guaranteed.
    pub guarantee: Guarantee,
    /// How state is kept.
    pub state: StateSettings,
    /// A random number of the process.
    pub incarnation: u64,
    /// A guarantee that is broken on purpose.
    pub mutant: Mutant,
}

/// Why a thread ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A record, an operator or a sink under the policy `fail`.
    Processing(String),
    /// State or changelog: damaged, foreign, mismatched.
    State(String),
    /// Topics were changed under the application.
    Topics(String),
    /// Another process uses this instance id.
    Twin(String),
    /// Kafka refuses, or too many epochs failed in a row.
    Kafka(String),
}

impl Failure {
    /// The message.
    pub fn message(&self) -> &str {
        match self {
            Self::Processing(m)
            | Self::State(m)
            | Self::Topics(m)
            | Self::Twin(m)
            | Self::Kafka(m) => m,
        }
    }
}

/// What a step ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Call again.
    Continue,
    /// Drained; drop the thread.
    Stopped,
    /// Failed; drop the thread.
    Failed(Failure),
}

/// A batch whose records are not all processed.
pub(super) struct Pending<B> {
    pub(super) batch: B,
    pub(super) next: usize,
}

/// What the thread keeps of an epoch in flight.
pub(super) struct EpochData {
    pub(super) number: u64,
    pub(super) buffer: EpochBuffer,
    pub(super) tasks: BTreeSet<TaskId>,
    pub(super) records: u64,
    /// Of the records: what changed values have grown by is not known before they are encoded.
    pub(super) input_bytes: u64,
    /// What its tasks have changed, as of the last record.
    pub(super) dirty: u64,
    /// How many of them the counters have.
    pub(super) counted: u64,
    pub(super) sealed: bool,
    pub(super) delivered: Vec<(TopicPartition, crate::record::Offset)>,
    pub(super) sample: EpochSample,
    pub(super) since: Duration,
}

/// A task from assignment to running.
pub(super) enum Slot {
    /// Stable committed offsets are being asked for.
    Asking { retry_at: Option<Duration>, question: Option<RequestId> },
    /// The changelog is being read.
    Restoring { offsets: Vec<CommittedOffset>, remaining: i64 },
    /// Start positions of inputs without a committed offset are being asked for.
    Bounds {
        offsets: Vec<CommittedOffset>,
        state: Option<Box<crate::state::TaskState>>,
        question: RequestId,
    },
    /// Open. `starting`: its start position is not committed yet (EOS-8).
    Open { task: Box<Task>, starting: bool, committed_at: Duration, spilled_at: Duration },
}

/// A task's slot with what is known about its being blocked.
pub(super) struct SlotState {
    pub(super) slot: Slot,
    pub(super) blocked: Option<super::blocked::BlockedTask>,
    /// How often its restore found another epoch than the offsets name.
    pub(super) mismatches: u32,
}

/// What an outstanding question was about.
#[derive(Debug, Clone)]
pub(super) enum Question {
    Offsets(TaskId),
    Bounds(TaskId),
    Resolve { epoch: u64 },
    Blockers { task: TaskId, changelog: bool },
    Fence { task: TaskId, transactional_id: String },
    Describe(Vec<TopicName>),
    Group,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    New,
    Running,
    Draining { leave: bool },
    Leaving,
    Ended,
}

/// One stream thread.
pub struct StreamThread<L: Log, R: RestoreService> {
    pub(super) plan: Arc<InstancePlan>,
    pub(super) settings: ThreadSettings,
    pub(super) log: L,
    pub(super) restore: R,
    pub(super) hooks: Box<dyn Hooks>,
    pub(super) status: StatusBoard,
    pub(super) machine: EpochMachine,
    pub(super) life: Life,
    pub(super) slots: BTreeMap<TaskId, SlotState>,
    /// Lead partitions that the group gave and that are not released.
    pub(super) owned: BTreeSet<TopicPartition>,
    /// Partitions to be released as soon as nothing is in flight.
    pub(super) releasing: BTreeSet<TopicPartition>,
    /// The group asked for nothing back, and waits for the answer.
    pub(super) releasing_nothing: bool,
    pub(super) joined: bool,
    /// The monotonic time of this step.
    pub(super) now_mono: Duration,
    pub(super) pending: VecDeque<Pending<L::Batch>>,
    pub(super) epochs: VecDeque<EpochData>,
    pub(super) verdicts: Verdicts,
    pub(super) questions: BTreeMap<RequestId, Question>,
    pub(super) next_question: RequestId,
    /// When a resolve that had no answer is asked again.
    pub(super) resolve_again: Option<(u64, Duration)>,
    pub(super) counters: Counters,
    pub(super) failure: Option<Failure>,
    pub(super) samples: Vec<EpochSample>,
    published_at: Option<Duration>,
    described_at: Duration,
    pub(super) purged_at: Duration,
    pub(super) orphans: super::orphans::Orphans,
    /// Bytes of resident entries of all tasks, as of the last record.
    pub(super) resident_bytes: u64,
    /// What is resident cannot be evicted before the epoch is sealed.
    pub(super) cache_is_full: bool,
    /// Records wait for memory.
    pub(super) memory_short: bool,
}

/// Events handled in one step.
const EVENTS_PER_STEP: usize = 16;
const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);
const DESCRIBE_INTERVAL: Duration = Duration::from_secs(10);
const EPOCH_SAMPLES_MAX: usize = 4_096;

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    /// A thread that has not joined its group.
    pub fn new(
        plan: Arc<InstancePlan>,
        settings: ThreadSettings,
        log: L,
        restore: R,
        status: StatusBoard,
        hooks: Box<dyn Hooks>,
    ) -> Self {
        Self {
            machine: EpochMachine::new(settings.epoch),
            plan,
            settings,
            log,
            restore,
            hooks,
            status,
            life: Life::New,
            slots: BTreeMap::new(),
            owned: BTreeSet::new(),
            releasing: BTreeSet::new(),
            releasing_nothing: false,
            joined: false,
            now_mono: Duration::ZERO,
            pending: VecDeque::new(),
            epochs: VecDeque::new(),
            verdicts: Verdicts::new(),
            questions: BTreeMap::new(),
            next_question: 1,
            resolve_again: None,
            counters: Counters::default(),
            failure: None,
            samples: vec![],
            published_at: None,
            described_at: Duration::ZERO,
            purged_at: Duration::ZERO,
            orphans: super::orphans::Orphans::default(),
            resident_bytes: 0,
            cache_is_full: false,
            memory_short: false,
        }
    }

    /// Finish the running epoch, close the tasks and end; `leave` gives the membership up too.
    pub fn stop(&mut self, leave: bool) {
        if matches!(self.life, Life::New | Life::Running) {
            self.life = Life::Draining { leave };
            self.machine.start_drain();
        }
    }

    /// Works, and waits for events until `deadline` (monotonic) at the latest.
    pub fn step(&mut self, now: Now, deadline: Duration) -> Step {
        if self.life == Life::New {
            self.life = Life::Running;
            self.log.submit(Request::Join { topics: self.plan.lead_topics() });
        }
        self.now_mono = now.mono;
        self.machine.handle_tick(now.mono);
        self.take_restores(now);
        self.retry(now);
        self.advance(now);
        let more = self.process(now);
        self.seal_if_due(now);
        self.advance(now);
        self.release(now);
        self.settle(now);
        let mut wait = if more { now.mono } else { self.wait_until(now).min(deadline) };
        for _ in 0..EVENTS_PER_STEP {
            let want_records =
                self.pending.is_empty() && self.failure.is_none() && !self.memory_short;
            let Some(event) = self.log.poll(wait, want_records) else { break };
            wait = now.mono;
            self.handle(event, now);
            self.advance(now);
        }
        self.publish(now);
        self.ended(now)
    }

    /// What went into and out of it so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The epoch's phase in one word.
    pub fn phase(&self) -> &'static str {
        self.machine.shown_phase()
    }

    /// Every open task's resident entries against its state: what differs (simulation).
    pub fn verify(&self) -> Result<(), String> {
        self.open_tasks().try_for_each(Task::verify)
    }

    /// Names of the tasks that run.
    pub fn running_tasks(&self) -> Vec<TaskId> {
        let running = |(id, s): (&TaskId, &SlotState)| {
            matches!(s.slot, Slot::Open { starting: false, .. }).then_some(*id)
        };
        self.slots.iter().filter_map(running).collect()
    }

    /// The log, for simulations that reach behind the seam.
    pub fn log_mut(&mut self) -> &mut L {
        &mut self.log
    }

    pub(super) fn open_tasks(&self) -> impl Iterator<Item = &Task> {
        self.slots.values().filter_map(|s| match &s.slot {
            Slot::Open { task, .. } => Some(&**task),
            _ => None,
        })
    }

    pub(super) fn task_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        match self.slots.get_mut(&id).map(|s| &mut s.slot) {
            Some(Slot::Open { task, .. }) => Some(task),
            _ => None,
        }
    }

    pub(super) fn ask(&mut self, question: Question) -> RequestId {
        let id = self.next_question;
        self.next_question += 1;
        self.questions.insert(id, question);
        id
    }

    /// Nothing can go on: abort what is in flight, then end.
    pub(super) fn fail(&mut self, failure: Failure) {
        if self.failure.is_none() {
            tracing::error!(thread = self.settings.thread, "{}", failure.message());
            self.machine.handle_failure(failure.message());
            self.machine.start_drain();
            self.failure = Some(failure);
        }
    }

    fn handle(&mut self, event: Event<L::Batch>, now: Now) {
        match event {
            Event::Records(batch) => self.pending.push_back(Pending { batch, next: 0 }),
            Event::Assigned { partitions } => self.assigned(partitions, now),
            Event::Revoking { partitions } => self.revoking(partitions),
            Event::Lost { partitions } => self.lost(partitions),
            Event::Left => self.life = Life::Ended,
            Event::CommittedOffsets { id, result } => self.offsets_answered(id, result, now),
            Event::Bounds { id, result } => self.bounds_answered(id, result, now),
            Event::Opened { lane, result } => {
                if let Err(failure) = &result {
                    tracing::warn!(%lane, %failure, "producer not opened");
                }
                self.machine.handle_opened(lane, result, now.mono);
            }
            Event::Flushed { lane, result } => self.flushed(lane, result, now),
            Event::OffsetsSent { lane, result } => {
                self.note_refusal(lane, &result);
                self.clock(lane, now, |sample, seconds| sample.offsets = seconds);
                self.machine.handle_offsets_sent(lane, result, now.mono);
            }
            Event::Committed { lane, result } => {
                self.note_refusal(lane, &result);
                self.clock(lane, now, |sample, seconds| sample.commit = seconds);
                self.machine.handle_committed(lane, result);
            }
            Event::Aborted { lane, result } => {
                self.note_refusal(lane, &result);
                self.machine.handle_aborted(lane, result);
            }
            Event::OffsetsCommitted { result, .. } => {
                if let Err(reason) = result {
                    tracing::warn!(%reason, "offsets outside a transaction were not committed");
                }
            }
            Event::Blockers { id, result } => self.blockers_answered(id, result, now),
            Event::Fenced { id, result } => self.fenced(id, result, now),
            Event::Described { id, result } => self.described(id, result),
            Event::GroupDescribed { id, result } => self.group_described(id, result),
            Event::ReadFailed { partition, cause } => self.read_failed(&partition, &cause),
            Event::Fatal(cause) => self.fatal(&cause),
        }
    }

    fn read_failed(&mut self, partition: &TopicPartition, cause: &ReadFailure) {
        match cause {
            ReadFailure::OutOfRange => self.fail(Failure::Topics(format!(
                "position of {partition} is out of range: records that were not processed are \
                 gone, or the topic was created again; nothing is skipped, `tidemill reset` \
                 starts over"
            ))),
            ReadFailure::UnknownPartition => self.fail(Failure::Topics(format!(
                "{partition} does not exist any more: the topic was deleted"
            ))),
            ReadFailure::Other(reason) => tracing::warn!(%partition, %reason, "read failed"),
        }
    }

    fn fatal(&mut self, cause: &FatalCause) {
        let failure = match cause {
            FatalCause::FencedInstanceId(detail) => {
                self.counters.fenced += 1;
                Failure::Twin(format!(
                    "another process has joined with the instance id {}.{}: {detail}; instance \
                     ids must be unique within an application",
                    self.plan.instance, self.settings.thread
                ))
            }
            FatalCause::Unauthorized(detail) => {
                Failure::Kafka(format!("the broker refuses this client: {detail}"))
            }
            FatalCause::Other(detail) => Failure::Kafka(format!("client failure: {detail}")),
        };
        // The membership is gone: whatever is in flight must not be committed (EOS-7).
        self.machine.handle_lost();
        self.fail(failure);
    }

    /// The refusals of a zombie, in any of the broker's words.
    fn note_refusal(
        &mut self,
        lane: Lane,
        result: &Result<(), crate::runtime::TransactionFailure>,
    ) {
        let Err(failure) = result else { return };
        let words = ["ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "FENCED", "INVALID_PRODUCER_EPOCH"];
        if words.iter().any(|word| failure.reason().to_uppercase().contains(word)) {
            self.counters.fenced += 1;
        }
        tracing::warn!(%lane, %failure, epoch = self.epochs.front().map(|e| e.number),
            "transaction step refused");
    }

    /// Periodic questions and retries.
    fn retry(&mut self, now: Now) {
        if now.mono >= self.described_at + DESCRIBE_INTERVAL {
            self.described_at = now.mono;
            self.describe();
        }
        self.look_for_orphans(now);
        if let Some((epoch, at)) = self.resolve_again
            && now.mono >= at
        {
            self.resolve_again = None;
            self.resolve(epoch);
        }
        self.retry_slots(now);
    }

    fn wait_until(&self, now: Now) -> Duration {
        let tick = if self.memory_short {
            // A spill's end is no event.
            Duration::from_millis(1)
        } else if self.slots.values().all(|s| matches!(s.slot, Slot::Open { .. })) {
            Duration::from_millis(100)
        } else {
            Duration::from_millis(5)
        };
        let timers = self.open_tasks().filter_map(Task::next_timer).min().map(|time| {
            let ms = u64::try_from(time.0.saturating_sub(now.wall.0)).unwrap_or_default();
            now.mono.saturating_add(Duration::from_millis(ms))
        });
        let deadlines = [self.machine.next_deadline(), timers, Some(now.mono + tick)];
        deadlines.into_iter().flatten().min().unwrap_or(now.mono)
    }

    fn ended(&mut self, now: Now) -> Step {
        if !self.machine.is_idle() && self.life != Life::Ended {
            return Step::Continue;
        }
        if let Some(failure) = self.failure.clone() {
            self.close_all(now);
            self.life = Life::Ended;
            self.show_end(failure.message());
            return Step::Failed(failure);
        }
        match self.life {
            Life::Draining { leave } => {
                self.close_all(now);
                if leave {
                    self.life = Life::Leaving;
                    self.log.submit(Request::Leave);
                    Step::Continue
                } else {
                    self.life = Life::Ended;
                    self.show_end("drained");
                    Step::Stopped
                }
            }
            Life::Ended => {
                self.close_all(now);
                self.show_end("left the group");
                Step::Stopped
            }
            Life::New | Life::Running | Life::Leaving => Step::Continue,
        }
    }

    fn show_end(&mut self, reason: &str) {
        let counters = self.counters.clone();
        self.status.update(self.settings.thread, |status| {
            status.ended = Some(reason.to_owned());
            status.counters = counters;
            status.tasks.clear();
            status.epoch_phase = "ended";
        });
    }

    fn publish(&mut self, now: Now) {
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
        let mut samples = std::mem::take(&mut self.samples);
        let counters = self.counters.clone();
        let (joined, phase) = (self.joined, self.machine.shown_phase());
        let memory = self.memory();
        let epoch = self.machine.last_epoch();
        self.status.update(self.settings.thread, |status| {
            status.joined = joined;
            status.epoch_phase = phase;
            status.epoch = epoch;
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
        status.blocked = state.blocked.as_ref().map(super::blocked::BlockedTask::describe);
        status.phase = match &state.slot {
            Slot::Asking { .. } => TaskPhase::Created,
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

    pub(super) fn reach(&mut self, point: Point) {
        self.hooks.reach(point);
    }

    /// Carries out what the epoch machine wants, until it wants nothing.
    pub(super) fn advance(&mut self, now: Now) {
        loop {
            self.send(now);
            let Some(action) = self.machine.poll(now.mono) else { return };
            self.act(action, now);
        }
    }

    /// A restore that found another epoch: the offsets may have been read before a last commit.
    pub(super) fn is_mismatch(error: &RestoreError) -> bool {
        matches!(error, RestoreError::EpochMismatch { .. })
    }

    pub(super) fn act(&mut self, action: EpochAction, now: Now) {
        self.carry_out(action, now);
    }
}
