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

/// Why a transaction call failed, by what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionFailure {
    /// The transaction must be aborted; the producer can go on afterwards.
    Abortable(String),
    /// Another producer has taken the transactional id, or the transaction timed out: this
    /// producer is dead, the outcome of a commit is unknown.
    Fenced(String),
    /// Anything else: the outcome is unknown (EOS-4), the producer must be replaced.
    Unknown(String),
}

impl TransactionFailure {
    /// The broker's or the client's words, error code first.
    pub fn reason(&self) -> &str {
        match self {
            Self::Abortable(reason) | Self::Fenced(reason) | Self::Unknown(reason) => reason,
        }
    }
}

impl fmt::Display for TransactionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abortable(reason) => write!(f, "abortable: {reason}"),
            Self::Fenced(reason) => write!(f, "fenced: {reason}"),
            Self::Unknown(reason) => write!(f, "unknown outcome: {reason}"),
        }
    }
}

/// What was acknowledged since the transaction began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The highest acknowledged offset per partition written.
    pub last_offsets: Vec<(TopicPartition, Offset)>,
    /// Records that were refused, at most a handful (the first ones).
    pub refused: Vec<RefusedRecord>,
}

/// A record that the broker did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
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
