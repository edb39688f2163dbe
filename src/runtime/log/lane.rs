//! The two transactional producers of a stream thread, and what became of their transactions.

use std::fmt;

use crate::record::{Offset, TopicPartition};

/// The two transactional producers of a stream thread: epochs alternate between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Transactional id `<app>.<instance>.<thread>.a`.
    A,
    /// Transactional id `<app>.<instance>.<thread>.b`.
    B,
}

impl Lane {
    /// Both, for tables and loops.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// 0 or 1.
    pub fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }

    /// The last letter of the lane's transactional id.
    pub fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.letter())
    }
}

/// What happened to a transaction call, with the broker's or the client's words, error code first.
/// What is done about it is decided in `epoch::recovery`, nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TransactionFailure {
    /// The client says that the same call may be made again: the coordinator moves, loads, is away,
    /// or the last transaction's markers are under way.
    Retriable(String),
    /// The client says that the transaction must be aborted, and can be.
    Abortable(String),
    /// The group refuses the membership that the offsets came with, or there is none.
    Membership(String),
    /// The broker refused a record.
    RecordRefused(String),
    /// The broker knows the producer id no more (it has expired), or not for this id.
    ProducerIdLost(String),
    /// The broker missed a batch of this producer's.
    OutOfOrder(String),
    /// Another producer has taken the transactional id, or the transaction timed out: this
    /// producer is dead.
    Fenced(String),
    /// The call's time was over: producer and thread are left to themselves.
    Abandoned(String),
    /// The broker refuses this client.
    Unauthorized(String),
    /// Anything else: a time-out, a lost connection, a client that is broken.
    Unknown(String),
}

impl TransactionFailure {
    /// The broker's or the client's words, error code first.
    pub fn reason(&self) -> &str {
        match self {
            Self::Retriable(reason)
            | Self::Abortable(reason)
            | Self::Membership(reason)
            | Self::RecordRefused(reason)
            | Self::ProducerIdLost(reason)
            | Self::OutOfOrder(reason)
            | Self::Fenced(reason)
            | Self::Abandoned(reason)
            | Self::Unauthorized(reason)
            | Self::Unknown(reason) => reason,
        }
    }

    /// Whether the client that said so can still abort and go on.
    pub fn is_abortable(&self) -> bool {
        matches!(
            self,
            Self::Abortable(_)
                | Self::Membership(_)
                | Self::RecordRefused(_)
                | Self::ProducerIdLost(_)
        )
    }

    /// Whether a broker refused a zombie, or took this for one.
    pub fn is_fencing(&self) -> bool {
        matches!(self, Self::Fenced(_) | Self::Membership(_))
    }
}

impl fmt::Display for TransactionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Retriable(_) => "not now",
            Self::Abortable(_) => "abortable",
            Self::Membership(_) => "membership refused",
            Self::RecordRefused(_) => "record refused",
            Self::ProducerIdLost(_) => "producer id unknown",
            Self::OutOfOrder(_) => "out of order",
            Self::Fenced(_) => "fenced",
            Self::Abandoned(_) => "abandoned",
            Self::Unauthorized(_) => "not authorized",
            Self::Unknown(_) => "unknown outcome",
        };
        write!(f, "{what}: {}", self.reason())
    }
}

/// What was acknowledged since the transaction began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Delivery {
    /// The highest acknowledged offset per partition written.
    pub last_offsets: Vec<(TopicPartition, Offset)>,
    /// Records that were refused, at most a handful (the first ones).
    pub refused: Vec<RefusedRecord>,
}

/// A record that the broker did not take.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RefusedRecord {
    /// The tag given to [`Log::produce`].
    pub tag: u64,
    /// Where it was to go.
    pub partition: TopicPartition,
    /// Whether the record itself is the cause (size, timestamp, validation), not the broker.
    pub caused_by_record: bool,
    /// The broker's words.
    pub reason: String,
}
