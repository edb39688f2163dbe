//! The public boundary's error: what went wrong in words, and what the caller must do.
//!
//! Knows no other module; who maps module errors to kinds is `cli` (one file, `blame.rs`).

use std::fmt;

/// What must be done about an error. Each kind has its own exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// The command line, a setting or the topology is wrong: correct it. Trying again is useless.
    Invalid,
    /// No broker answers: check the address and the network. Trying again may help.
    Unreachable,
    /// A topic is missing, or not as it must be: create or alter it as the message says.
    Topics,
    /// State and Kafka do not fit, or state is unreadable: decide as the message says. Nothing
    /// was served from it. Trying again is useless.
    State,
    /// A record cannot be processed under the policy `fail`: correct the topology, the data or
    /// the policy. Its offset is not passed; a restart stops at it again.
    Record,
    /// Another process uses the same state directory or instance id: stop one of the two, or try
    /// again when the other has ended.
    InUse,
    /// The brokers refuse, or too many epochs failed in a row: check their health and the
    /// client's rights. A restart resumes without loss or repetition.
    Kafka,
    /// A stop took longer than `shutdown.timeout`: nothing is lost, the next start repeats the
    /// last epoch. Allow more time.
    Undrained,
    /// Something failed that has no better kind: disk, ports, threads, or a bug. Read the message.
    Other,
}

impl ErrorKind {
    /// All, in the order of their exit codes.
    pub const ALL: [Self; 9] = [
        Self::Other,
        Self::Invalid,
        Self::Unreachable,
        Self::Topics,
        Self::State,
        Self::Record,
        Self::InUse,
        Self::Kafka,
        Self::Undrained,
    ];

    /// The word in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unreachable => "unreachable",
            Self::Topics => "topics",
            Self::State => "state",
            Self::Record => "record",
            Self::InUse => "in-use",
            Self::Kafka => "kafka",
            Self::Undrained => "undrained",
            Self::Other => "other",
        }
    }
}

/// An error at the public boundary.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error in words: lower case, no full stop, with the way out where there is one.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// An error whose words are those of its source.
    pub fn from_source(
        kind: ErrorKind,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self { kind, message: source.to_string(), source: Some(Box::new(source)) }
    }

    /// What must be done.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The message already is the source's; a reporter that prints the chain goes on below it.
        self.source.as_ref().and_then(|source| source.source())
    }
}
