//! Where an epoch is, when it ends by itself, and what its driver is told to do: plain data.

use std::time::Duration;

use super::recovery::Call;
use crate::runtime::Lane;

/// When an epoch ends by itself.
#[derive(Debug, Clone, Copy)]
pub struct EpochLimits {
    /// The time from one seal to the next.
    pub interval: Duration,
    /// The shortest time between two seals, whatever else is reached.
    pub min_pause: Duration,
    /// Input records.
    pub max_records: u64,
    /// Bytes of output and state changes.
    pub max_bytes: u64,
    /// How long a submitted step may stay without an answer before it counts as unknown.
    pub timeout: Duration,
    /// Whether the next epoch is processed while one commits (EOS-6).
    pub pipelining: bool,
    /// Consecutive failed epochs before the thread gives up.
    pub tolerated_failures: u32,
}

/// Where an epoch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EpochPhase {
    /// Processing.
    Running,
    /// Sealed; its records are on their way into the client's queue.
    Sealed,
    /// Waiting for acknowledgements.
    Flushing,
    /// Acknowledged; waiting for the older epoch's commit.
    Flushed,
    /// Offsets on their way into the transaction.
    SendingOffsets,
    /// The group coordinator took the offsets; the commit is about to be submitted.
    OffsetsSent,
    /// The transaction is being committed: from here on the outcome is the broker's.
    Committing,
}

impl EpochPhase {
    /// All, in order.
    pub const ALL: [Self; 7] = [
        Self::Running,
        Self::Sealed,
        Self::Flushing,
        Self::Flushed,
        Self::SendingOffsets,
        Self::OffsetsSent,
        Self::Committing,
    ];

    /// The call whose answer is waited for in this phase.
    pub fn call(self) -> Option<Call> {
        match self {
            Self::Flushing => Some(Call::Flush),
            Self::SendingOffsets => Some(Call::SendOffsets),
            Self::Committing => Some(Call::Commit),
            Self::Running | Self::Sealed | Self::Flushed | Self::OffsetsSent => None,
        }
    }

    /// The word in logs, metrics and simulation tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "run",
            Self::Sealed => "seal",
            Self::Flushing => "flush",
            Self::Flushed => "flushed",
            Self::SendingOffsets => "offsets",
            Self::OffsetsSent => "offsets-sent",
            Self::Committing => "commit",
        }
    }
}

/// What the broker's committed offsets say of an epoch whose commit has no known outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Its offsets are committed: so is all of it.
    Committed,
    /// An earlier epoch of this thread stands there: it was aborted.
    Aborted,
}

/// What the driver must do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EpochAction {
    /// Make (or replace) the producer of a lane.
    Open(Lane),
    /// Begin the transaction of the epoch; its records may be sent from now on.
    Begin {
        /// The producer.
        lane: Lane,
        /// The epoch.
        epoch: u64,
    },
    /// Flush the sealed epoch's producer.
    Flush {
        /// The producer.
        lane: Lane,
        /// The epoch.
        epoch: u64,
    },
    /// Put the epoch's offsets into its transaction, with a fresh membership. Without one the
    /// driver answers with [`EpochMachine::handle_offsets_sent`] and an abortable failure.
    SendOffsets {
        /// The producer.
        lane: Lane,
        /// The epoch.
        epoch: u64,
    },
    /// Commit.
    Commit {
        /// The producer.
        lane: Lane,
        /// The epoch.
        epoch: u64,
    },
    /// The epoch is committed: move its overlays into the committed layers.
    Apply {
        /// The epoch.
        epoch: u64,
    },
    /// Abort the transaction at the broker.
    Abort {
        /// The producer.
        lane: Lane,
        /// The epoch.
        epoch: u64,
    },
    /// Ask the group's stable offsets what became of the epoch; answer with
    /// [`EpochMachine::handle_resolved`].
    Resolve {
        /// The epoch.
        epoch: u64,
    },
    /// Drop everything of this epoch and later: overlays, resident entries, unsent records;
    /// rewind the inputs. All of it is decided at the broker.
    Discard {
        /// The oldest epoch that is dropped.
        from: u64,
    },
    /// Nothing can go on: too many failures in a row, or one that only a restart can help.
    GiveUp {
        /// Why.
        reason: String,
    },
}
