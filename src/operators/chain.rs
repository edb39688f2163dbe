//! The seam of the runtime: bytes in, bytes out.
//!
//! An [`OperatorChain`] is the compiled program of one task. It is handed fetched records, and may
//! read and write its state, set timers and emit records through the [`TaskContext`]. It knows
//! nothing of threads, clocks, transactions or Kafka's client. The typed `dsl` (and later `sql`)
//! compile to it.

use crate::{
    record::{Header, Offset, PartitionId, RecordRef, Timestamp, TopicName},
    state::{StateError, TaskState},
    time::TimerFired,
};

/// An input of a subtopology: its index in `Subtopology::sources`.
pub type SourceIndex = usize;

/// An output of a subtopology: its index in `Subtopology::sinks`.
pub type SinkIndex = usize;

/// Where the record being processed came from; timers have none.
#[derive(Debug, Clone)]
pub struct Provenance {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionId,
    /// The offset.
    pub offset: Offset,
}

/// A record that an operator emits to a sink; the task chooses the partition from the key unless
/// one is given.
#[derive(Debug, Clone, Copy)]
pub struct Emitted<'a> {
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The record's timestamp.
    pub timestamp: Timestamp,
    /// The headers.
    pub headers: &'a [Header],
    /// An explicit partition, else murmur2 of the key (Kafka's Java partitioner).
    pub partition: Option<PartitionId>,
}

/// Why a sink refuses a record (ERR-1): found against the target topic's configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmitRefused {
    /// Larger than the topic's `max.message.bytes` allows.
    #[error("record of {size} bytes is larger than topic {topic} takes ({limit} bytes)")]
    TooLarge {
        /// The target topic.
        topic: TopicName,
        /// The record's size with overhead, in bytes.
        size: usize,
        /// The topic's limit in bytes.
        limit: usize,
    },
    /// Outside the topic's `message.timestamp.before/after.max.ms`.
    #[error("timestamp {timestamp} is outside what topic {topic} takes ({reason})")]
    Timestamp {
        /// The target topic.
        topic: TopicName,
        /// The record's timestamp.
        timestamp: Timestamp,
        /// Which bound.
        reason: String,
    },
    /// The broker refused this very record before (the verdict outlives the abort).
    #[error("topic {topic} refused the record: {reason}")]
    Verdict {
        /// The target topic.
        topic: TopicName,
        /// The broker's words.
        reason: String,
    },
}

/// Takes what a task emits.
pub trait Output {
    /// Emit to a sink, or say why the target would refuse it.
    fn emit(&mut self, sink: SinkIndex, record: Emitted<'_>) -> Result<(), EmitRefused>;
}

/// What an operator cannot go on with, under the policy `fail`. Under `skip` the operator counts
/// the element in [`TaskContext::skipped`] and goes on.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// A user function, a codec or a sink refused an element.
    #[error("operator {operator}: {reason}")]
    Element {
        /// The operator's uid.
        operator: String,
        /// What was wrong.
        reason: String,
    },
    /// The state could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What a chain works with while it is called.
pub struct TaskContext<'a> {
    /// The task's state stores and timers.
    pub state: &'a mut TaskState,
    /// Where emitted records go.
    pub output: &'a mut dyn Output,
    /// Processing time.
    pub now: Timestamp,
    /// The task's watermark, where there is one. While a timer fires, the one right before it.
    pub watermark: Option<Timestamp>,
    /// The timestamp of the record being processed: set by its source once it is decoded.
    pub event_time: Option<Timestamp>,
    /// The record being processed; `None` in timers and hooks.
    pub provenance: Option<Provenance>,
    /// Elements that the policy `skip` dropped, by operator: added to by operators, read and
    /// cleared by the runtime (logged and counted there).
    pub skipped: &'a mut Vec<Skipped>,
}

/// One element dropped under the policy `skip` (ERR-1).
#[derive(Debug, Clone)]
pub struct Skipped {
    /// The operator's uid.
    pub operator: String,
    /// The record that led to it.
    pub provenance: Option<Provenance>,
    /// What was wrong.
    pub reason: String,
}

/// The compiled program of one task. Built on the thread that runs it; dropped and rebuilt freely:
/// whatever must survive is in the state.
pub trait OperatorChain {
    /// The task's state is restored: look up (or allocate) store ids. Called once, before
    /// anything else.
    fn open(&mut self, ctx: &mut TaskContext<'_>) -> Result<(), OperatorError>;

    /// Process one record of an input.
    fn process(
        &mut self,
        source: SourceIndex,
        record: &RecordRef<'_>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError>;

    /// A timer that an operator set has come due.
    fn on_timer(
        &mut self,
        timer: &TimerFired,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError>;

    /// The end of the epoch: emit what is held per epoch, encode changed resident values into the
    /// running overlay. Called before the overlay is sealed.
    fn seal(&mut self, ctx: &mut TaskContext<'_>) -> Result<(), OperatorError>;

    /// The oldest epoch in progress is committed: its touched entries are clean.
    fn committed(&mut self);

    /// Everything since the last commit is dropped: forget every resident entry that was touched
    /// since, and whatever else is not in the state.
    fn aborted(&mut self);

    /// Evicts resident entries until they hold about `budget_bytes`; changed ones are encoded into
    /// the running overlay first.
    fn evict(&mut self, state: &mut TaskState, budget_bytes: usize) -> Result<(), StateError>;

    /// Bytes held by resident entries; for budgets and metrics.
    fn resident_bytes(&self) -> usize;

    /// Bytes that sealing would add to overlay or outputs, roughly: an epoch ends early by them.
    fn changed_bytes(&self) -> usize;

    /// Whether every resident entry equals what the state holds (or is marked as touched since the
    /// last seal). For the simulation: says what differs.
    fn verify(&self, state: &TaskState) -> Result<(), String>;
}
