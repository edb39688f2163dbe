//! Runs an instance: starts its stream threads and their restore threads, and waits for their end.
//!
//! The only place where the runtime meets threads and the clock. Everything that is driven here is
//! a `step(now)` function that the simulation schedules too.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    record::Timestamp,
    runtime::{
        Log, Now, RestoreLog, StatusBoard,
        hooks::Hooks,
        mutants::Mutant,
        plan::{InstancePlan, TaskId},
        restore::{RestoreJob, RestoreMemory, RestoreOutcome, RestoreService, Restorer},
        stream_thread::{Failure, Step, StreamThread, ThreadSettings},
    },
    state::ByteStores,
};

/// How long a step may wait for events, so that a stop is seen.
const STEP_WAIT: Duration = Duration::from_millis(50);

/// The clock of a process.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[allow(clippy::disallowed_methods)] // The driver: here the clock is asked.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time.
    #[allow(clippy::disallowed_methods)]
    pub fn now(&self) -> Now {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        Now { mono: self.start.elapsed(), wall: Timestamp(wall) }
    }
}

/// Asks an instance to stop.
#[derive(Debug, Clone, Default)]
pub struct StopSignal {
    requested: Arc<AtomicBool>,
}

impl StopSignal {
    /// Finish the running epoch and end.
    pub fn stop(&self) {
        self.requested.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }
}

/// What a stream thread is made of. Called on the threads that will use the parts.
pub trait Connections: Send + Sync {
    /// The stream thread's connection.
    type Log: Log;
    /// The restore thread's connection.
    type RestoreLog: RestoreLog;

    /// Connects a stream thread. The error is the client's, in words.
    fn log(&self, thread: usize, clock: SystemClock) -> Result<Self::Log, String>;

    /// Connects its restore thread.
    fn restore_log(&self, thread: usize, clock: SystemClock) -> Result<Self::RestoreLog, String>;

    /// The instance's byte stores.
    fn byte_stores(&self, thread: usize) -> Box<dyn ByteStores>;

    /// Bytes that the restores of a thread may hold before they are written.
    fn restore_bytes(&self) -> u64 {
        64 << 20
    }

    /// What watches the thread.
    fn hooks(&self, thread: usize) -> Box<dyn Hooks>;
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every epoch in progress was committed.
    Drained,
    /// A thread failed; the others were drained.
    Failed(Failure),
}

/// What an instance runs, and how.
pub struct Instance<C> {
    /// The resolved topology.
    pub plan: Arc<InstancePlan>,
    /// Settings of thread 0; the others differ in their number only.
    pub settings: ThreadSettings,
    /// How many stream threads.
    pub threads: usize,
    /// Whether a stop leaves the group.
    pub leave: bool,
    /// Connections and stores.
    pub connections: Arc<C>,
    /// Where the threads publish.
    pub status: StatusBoard,
    /// Where a stop is asked for.
    pub stop: StopSignal,
}

impl<C: Connections + 'static> Instance<C> {
    /// Runs until a stop is asked for or a thread fails, and all threads have ended. A panic in a
    /// thread counts as a failure and commits nothing.
    pub fn run(&self) -> Outcome {
        let clock = SystemClock::start();
        let handles: Vec<_> =
            (0..self.threads).map(|number| (number, self.spawn(number, clock))).collect();
        let mut outcome = Outcome::Drained;
        for (number, handle) in handles {
            let result = match handle {
                Ok(handle) => handle.join().unwrap_or_else(|panic| Err(panicked(number, &*panic))),
                Err(error) => Err(Failure::Kafka(format!("cannot start a thread: {error}"))),
            };
            if let Err(failure) = result
                && outcome == Outcome::Drained
            {
                outcome = Outcome::Failed(failure);
            }
        }
        outcome
    }

    fn spawn(
        &self,
        number: usize,
        clock: SystemClock,
    ) -> std::io::Result<thread::JoinHandle<Result<(), Failure>>> {
        let plan = self.plan.clone();
        let settings = ThreadSettings { thread: number, ..self.settings.clone() };
        let (connections, status, stop) =
            (self.connections.clone(), self.status.clone(), self.stop.clone());
        let leave = self.leave;
        thread::Builder::new().name(format!("stream-{number}")).spawn(move || {
            let run = || {
                let restore = RestoreHandle::spawn(number, &connections, settings.mutant, clock)?;
                let log = connections.log(number, clock).map_err(Failure::Kafka)?;
                let hooks = connections.hooks(number);
                let mut thread =
                    StreamThread::new(plan, settings, log, restore, status.clone(), hooks);
                drive(&mut thread, clock, &stop, leave)
            };
            let result = catch_unwind(AssertUnwindSafe(run))
                .unwrap_or_else(|panic| Err(panicked(number, &*panic)));
            if let Err(failure) = &result {
                status.update(number, |s| s.ended = Some(failure.message().to_owned()));
            }
            // One for all: the group gives the others' work to other instances.
            stop.stop();
            result
        })
    }
}

fn drive<L: Log, R: RestoreService>(
    thread: &mut StreamThread<L, R>,
    clock: SystemClock,
    stop: &StopSignal,
    leave: bool,
) -> Result<(), Failure> {
    loop {
        if stop.is_requested() {
            thread.stop(leave);
        }
        let now = clock.now();
        match thread.step(now, now.mono + STEP_WAIT) {
            Step::Continue => {}
            Step::Stopped => return Ok(()),
            Step::Failed(failure) => return Err(failure),
        }
    }
}

fn panicked(thread: usize, panic: &(dyn Any + Send)) -> Failure {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    Failure::Processing(format!("stream thread {thread} panicked: {text}"))
}

enum Command {
    Submit(RestoreJob),
    Cancel(TaskId, Sender<()>),
}

/// A restore thread, seen from its stream thread. Dropping it ends the thread.
pub struct RestoreHandle {
    commands: Sender<Command>,
    outcomes: Receiver<RestoreOutcome>,
    restoring: std::collections::BTreeSet<TaskId>,
    memory: Arc<Mutex<RestoreMemory>>,
    lent: Arc<AtomicU64>,
}

/// The restore thread's ends of its connections to the stream thread.
struct Ends {
    commands: Receiver<Command>,
    outcomes: Sender<RestoreOutcome>,
    memory: Arc<Mutex<RestoreMemory>>,
    lent: Arc<AtomicU64>,
}

impl RestoreHandle {
    fn spawn<C: Connections + 'static>(
        number: usize,
        connections: &Arc<C>,
        mutant: Mutant,
        clock: SystemClock,
    ) -> Result<Self, Failure> {
        let (commands, command_queue) = mpsc::channel();
        let (outcome_queue, outcomes) = mpsc::channel();
        let connections = connections.clone();
        let memory = Arc::<Mutex<RestoreMemory>>::default();
        let lent = Arc::<AtomicU64>::default();
        let (shown, borrowed) = (memory.clone(), lent.clone());
        thread::Builder::new()
            .name(format!("restore-{number}"))
            .spawn(move || match connections.restore_log(number, clock) {
                Ok(log) => {
                    let restorer = Restorer::new(log, connections.byte_stores(number))
                        .holding(connections.restore_bytes())
                        .with_mutant(mutant);
                    let ends = Ends {
                        commands: command_queue,
                        outcomes: outcome_queue,
                        memory: shown,
                        lent: borrowed,
                    };
                    restore_loop(restorer, &ends, clock);
                }
                Err(reason) => tracing::error!(%reason, "restore thread has no connection"),
            })
            .map_err(|error| Failure::Kafka(format!("cannot start a restore thread: {error}")))?;
        Ok(Self { commands, outcomes, restoring: std::collections::BTreeSet::new(), memory, lent })
    }
}

impl RestoreService for RestoreHandle {
    fn submit(&mut self, job: RestoreJob) {
        self.restoring.insert(job.task);
        if self.commands.send(Command::Submit(job)).is_err() {
            tracing::error!("the restore thread has ended");
        }
    }

    fn cancel(&mut self, task: TaskId) {
        if !self.restoring.remove(&task) {
            return;
        }
        let (done, answered) = mpsc::channel();
        if self.commands.send(Command::Cancel(task, done)).is_ok() {
            // The store must be closed before another owner opens it; a step is short.
            let _closed = answered.recv_timeout(Duration::from_secs(1));
        }
        // An outcome on its way carries a store: it is dropped when it is polled.
    }

    fn poll(&mut self) -> Option<RestoreOutcome> {
        loop {
            let outcome = self.outcomes.try_recv().ok()?;
            let task = outcome.task();
            if !self.restoring.contains(&task) {
                continue;
            }
            if !matches!(outcome, RestoreOutcome::Progress { .. }) {
                self.restoring.remove(&task);
            }
            return Some(outcome);
        }
    }

    fn lend(&mut self, bytes: u64) {
        self.lent.store(bytes, Ordering::Relaxed);
    }

    fn memory(&self) -> RestoreMemory {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn restore_loop<R: RestoreLog>(mut restorer: Restorer<R>, ends: &Ends, clock: SystemClock) {
    const STEP: Duration = Duration::from_millis(5);
    const IDLE: Duration = Duration::from_secs(3_600);
    loop {
        let wait = if restorer.is_idle() { IDLE } else { Duration::ZERO };
        match ends.commands.recv_timeout(wait) {
            Ok(Command::Submit(job)) => restorer.submit(job),
            Ok(Command::Cancel(task, done)) => {
                restorer.cancel(task);
                let _gone = done.send(());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = clock.now();
        restorer.lend(ends.lent.load(Ordering::Relaxed));
        restorer.step(now, now.mono + STEP);
        *ends.memory.lock().unwrap_or_else(PoisonError::into_inner) = restorer.memory();
        while let Some(outcome) = restorer.poll() {
            if ends.outcomes.send(outcome).is_err() {
                return;
            }
        }
    }
}
