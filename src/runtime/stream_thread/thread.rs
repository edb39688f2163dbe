//! The step: time and events in, requests to the log out. Never blocks beyond its deadline.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    record::{Timestamp, TopicPartition},
    runtime::{
        Counters, EpochSample, Guarantee, Log, Now, Request, RequestId, StateSettings, StatusBoard,
        TimeSettings,
        epoch::{EpochLimits, EpochMachine},
        hooks::{Hooks, Point},
        mutants::Mutant,
        output::Verdicts,
        plan::{InstancePlan, TaskId},
        rejoining::Rejoining,
        restore::RestoreService,
        stream_thread::{
            event_time::PassedOn,
            fenced::Fenced,
            memory::MeanBytes,
            orphans::Orphans,
            progress::Progress,
            purge::Purging,
            slot::{EpochData, Life, Pending, Question, Slot, SlotState},
        },
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
    /// How event time is kept.
    pub time: TimeSettings,
    /// A random number of the process.
    pub incarnation: u64,
    /// How long the group keeps a member that is silent.
    pub session_timeout: Duration,
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
    /// Partitions whose tasks are closed, to be given back when the pause is over.
    pub(super) giving_back: Vec<TopicPartition>,
    pub(super) rejoining: Rejoining,
    /// The instance id belongs to another membership.
    pub(super) fenced: Option<Fenced>,
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
    pub(super) published_at: Option<Duration>,
    described_at: Duration,
    /// Partitions whose position does not exist, and when the group is asked about them next.
    pub(super) out_of_range: BTreeMap<TopicPartition, Duration>,
    pub(super) purging: Purging,
    pub(super) passed_on: PassedOn,
    pub(super) orphans: Orphans,
    pub(super) progress: Progress,
    /// Bytes of resident entries of all tasks, as of the last record.
    pub(super) resident_bytes: u64,
    /// Bytes of the timers of all tasks, as of this step.
    pub(super) timer_bytes: u64,
    pub(super) mean: MeanBytes,
    /// What is resident cannot be evicted before the epoch is sealed.
    pub(super) cache_is_full: bool,
    /// Records wait for memory.
    pub(super) memory_short: bool,
    /// For the mutant that never takes a fresh one.
    #[cfg(feature = "mutants")]
    pub(super) first_membership: Option<crate::runtime::GroupMetadata>,
    /// The client takes no more records until some are acknowledged.
    pub(super) queue_is_full: bool,
}

/// Events handled in one step.
const EVENTS_PER_STEP: usize = 16;
const DESCRIBE_INTERVAL: Duration = Duration::from_secs(10);

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
            machine: EpochMachine::new(settings.epoch).with_mutant(settings.mutant),
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
            giving_back: vec![],
            rejoining: Rejoining::default(),
            fenced: None,
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
            out_of_range: BTreeMap::new(),
            purging: Purging::default(),
            passed_on: PassedOn::new(),
            orphans: Orphans::default(),
            progress: Progress::default(),
            resident_bytes: 0,
            timer_bytes: 0,
            mean: MeanBytes::default(),
            cache_is_full: false,
            memory_short: false,
            #[cfg(feature = "mutants")]
            first_membership: None,
            queue_is_full: false,
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
            if want_records && !self.pending.is_empty() {
                break; // records go first: what else has come is served after the next ones
            }
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
            matches!(s.slot, Slot::Open { starting: false, checking: None, .. }).then_some(*id)
        };
        self.slots.iter().filter_map(running).collect()
    }

    /// The earliest processing-time timer of its open tasks (the embedded log, which moves time on).
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.open_tasks().filter_map(Task::next_timer).min()
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

    /// Periodic questions and retries.
    fn retry(&mut self, now: Now) {
        if now.mono >= self.described_at + DESCRIBE_INTERVAL {
            self.described_at = now.mono;
            self.describe();
        }
        self.look_for_orphans(now);
        self.look_for_namesake(now);
        self.renew(now);
        self.watch_progress(now);
        self.look_out_of_range(now);
        if let Some((epoch, at)) = self.resolve_again
            && now.mono >= at
        {
            self.resolve_again = None;
            self.resolve(epoch);
        }
        self.retry_slots(now);
    }

    fn wait_until(&self, now: Now) -> Duration {
        let tick = if self.memory_short || self.queue_is_full {
            // Neither a spill's end nor an acknowledgement is an event.
            Duration::from_millis(1)
        } else if self.slots.values().all(|s| matches!(s.slot, Slot::Open { .. })) {
            Duration::from_millis(100)
        } else {
            Duration::from_millis(5)
        };
        let timers = self.next_timer().map(|time| {
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

    pub(super) fn reach(&mut self, point: Point) {
        self.hooks.reach(point);
    }

    /// Carries out what the epoch machine wants, until it wants nothing.
    pub(super) fn advance(&mut self, now: Now) {
        loop {
            self.send(now);
            let Some(action) = self.machine.poll(now.mono) else { return };
            self.carry_out(action, now);
        }
    }
}
