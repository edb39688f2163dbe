//! A lane's transaction thread: makes the blocking transaction calls, one at a time, and answers.
//!
//! It never touches records or delivery reports, which are the stream thread's; a call that hangs
//! takes only this thread with it (facts 2.2), which its lane then abandons.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    failure,
    native::{Error, GroupIdentity, PartitionList, Producer, Wake},
    properties,
    settings::ConnectionSettings,
};
use crate::runtime::{
    Lane, TransactionFailure,
    epoch::recovery::{Call, Failed, Recovery, recover},
};

/// What a thread is told to do.
pub(super) enum Command {
    /// Make a new producer on the lane's transactional id; `old` is disposed of afterwards.
    Open { old: Option<Arc<Producer>> },
    /// Wait for all acknowledgements.
    Flush(Arc<Producer>),
    /// Add offsets.
    SendOffsets { producer: Arc<Producer>, offsets: PartitionList, group: GroupIdentity },
    /// Commit.
    Commit(Arc<Producer>),
    /// Abort.
    Abort(Arc<Producer>),
    /// Drop a producer that is not needed any more.
    Dispose(Arc<Producer>),
}

/// How a command ended.
pub(super) enum Outcome {
    Opened(Result<Arc<Producer>, TransactionFailure>),
    Flushed(Result<(), TransactionFailure>),
    OffsetsSent(Result<(), TransactionFailure>),
    Committed(Result<(), TransactionFailure>),
    Aborted(Result<(), TransactionFailure>),
}

/// An outcome, and which thread of which lane it comes from.
pub(super) struct Answer {
    pub(super) lane: Lane,
    pub(super) incarnation: u64,
    pub(super) outcome: Outcome,
}

/// What the thread works with.
pub(super) struct TransactionThread {
    pub(super) connection: ConnectionSettings,
    pub(super) lane: Lane,
    /// Which of the lane's threads this is; the answers of an abandoned one are discarded.
    pub(super) incarnation: u64,
    pub(super) answers: Sender<Answer>,
    pub(super) wake: Arc<Wake>,
}

/// The pause before a retriable call is made again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

impl TransactionThread {
    /// Starts the thread; it ends when the sender is dropped.
    pub(super) fn spawn(self) -> std::io::Result<Sender<Command>> {
        let (sender, commands) = channel();
        let name = format!("txn-{}-{}", self.connection.thread, self.lane);
        thread::Builder::new().name(name).spawn(move || self.run(&commands))?;
        Ok(sender)
    }

    fn run(self, commands: &Receiver<Command>) {
        while let Ok(command) = commands.recv() {
            let outcome = match command {
                Command::Open { old } => {
                    let opened = self.open();
                    self.answer(Outcome::Opened(opened));
                    // Fenced by now; the stream thread holds no handle of it. May take a while.
                    drop(old);
                    continue;
                }
                Command::Flush(producer) => Outcome::Flushed(self.flush(&producer)),
                Command::SendOffsets { producer, offsets, group } => {
                    Outcome::OffsetsSent(self.retrying(Call::SendOffsets, |left| {
                        producer.send_offsets(&offsets, &group, left)
                    }))
                }
                Command::Commit(producer) => {
                    Outcome::Committed(self.retrying(Call::Commit, |left| producer.commit(left)))
                }
                Command::Abort(producer) => {
                    Outcome::Aborted(self.retrying(Call::Abort, |left| producer.abort(left)))
                }
                Command::Dispose(producer) => {
                    drop(producer);
                    continue;
                }
            };
            self.answer(outcome);
        }
    }

    fn answer(&self, outcome: Outcome) {
        let answer = Answer { lane: self.lane, incarnation: self.incarnation, outcome };
        // Nobody listens where the log is gone already.
        if self.answers.send(answer).is_ok() {
            self.wake.notify();
        }
    }

    fn open(&self) -> Result<Arc<Producer>, TransactionFailure> {
        let refused = |error: Error| failure::of_transaction(&error);
        let config = properties::producer(&self.connection, self.lane).map_err(refused)?;
        let producer = Arc::new(Producer::new(config, &self.wake).map_err(refused)?);
        // Finding the brokers first saves the half second that `init_transactions` loses when
        // its first attempt finds none (facts 9.2). It fails again below where none is there.
        if let Err(error) = producer.find_brokers(self.bound() / 2) {
            tracing::debug!(lane = %self.lane, %error, "no brokers found yet");
        }
        self.retrying(Call::Open, |left| producer.init_transactions(left))?;
        Ok(producer)
    }

    fn flush(&self, producer: &Producer) -> Result<(), TransactionFailure> {
        producer.flush(self.bound()).map_err(|error| failure::of_transaction(&error))?;
        match producer.fatal_error() {
            None => Ok(()),
            Some(error) => Err(failure::of_transaction(&error)),
        }
    }

    /// Makes a call, and again while that is what `recovery` says and time is left.
    fn retrying(
        &self,
        call: Call,
        make: impl Fn(Duration) -> Result<(), Error>,
    ) -> Result<(), TransactionFailure> {
        let bound = match call {
            Call::SendOffsets => shortened(self.connection.offsets_timeout()),
            _ => self.bound(),
        };
        let deadline = now() + bound;
        loop {
            let left = deadline.saturating_duration_since(now());
            let Err(error) = make(left.max(Duration::from_millis(1))) else { return Ok(()) };
            let failure = failure::of_transaction(&error);
            // Opening is tried again from the start by the epoch machine, whatever it was.
            let again = matches!(failure, TransactionFailure::Retriable(_))
                && recover(&Failed::Call(call, &failure)) == Recovery::RetryCall;
            if !again || now() + RETRY_PAUSE >= deadline {
                return Err(failure);
            }
            tracing::debug!(lane = %self.lane, %error, "transaction call tried again");
            pause(RETRY_PAUSE);
        }
    }

    fn bound(&self) -> Duration {
        shortened(self.connection.settings.call_timeout)
    }
}

/// A little less than the watchdog allows, so that a call that keeps its time answers itself.
fn shortened(watched: Duration) -> Duration {
    watched * 9 / 10
}

/// Drops a producer on a thread of its own.
pub(super) fn dispose(producer: Arc<Producer>) {
    let spawned = thread::Builder::new().name("dispose".to_owned()).spawn(move || drop(producer));
    if let Err(error) = spawned {
        tracing::warn!(%error, "no thread to dispose of a producer");
    }
}

/// Takes all answers that have arrived.
pub(super) fn take_answers(receiver: &Receiver<Answer>) -> impl Iterator<Item = Answer> {
    std::iter::from_fn(|| receiver.try_recv().ok())
}

#[allow(clippy::disallowed_methods)] // An adapter's own thread: no runtime decision hangs on it.
fn now() -> Instant {
    Instant::now()
}

#[allow(clippy::disallowed_methods)] // Nothing signals that a broker is ready again.
fn pause(duration: Duration) {
    thread::sleep(duration);
}
