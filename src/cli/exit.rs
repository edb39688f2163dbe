//! Exit codes: the one place.

use crate::error::ErrorKind;

/// How the process ends, as the shell sees it. The numbers are part of the interface.
///
/// A process that a second signal ends has 128 + the signal's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; for `run`: drained, the last epoch is committed.
    Success = 0,
    /// Something failed that has no code of its own.
    Failure = 1,
    /// The command line, a setting or the topology is wrong.
    Invalid = 2,
    /// No broker answers, under `--fail-fast`.
    Unreachable = 3,
    /// A topic is missing, or not as it must be.
    Topics = 4,
    /// State and Kafka do not fit, or state is unreadable.
    State = 5,
    /// A record cannot be processed under the policy `fail`.
    Record = 6,
    /// Another process uses the state directory or the instance id.
    InUse = 7,
    /// The brokers refuse, or too many epochs failed.
    Kafka = 8,
    /// A stop took longer than `shutdown.timeout`.
    Undrained = 9,
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Other => Self::Failure,
            ErrorKind::Invalid => Self::Invalid,
            ErrorKind::Unreachable => Self::Unreachable,
            ErrorKind::Topics => Self::Topics,
            ErrorKind::State => Self::State,
            ErrorKind::Record => Self::Record,
            ErrorKind::InUse => Self::InUse,
            ErrorKind::Kafka => Self::Kafka,
            ErrorKind::Undrained => Self::Undrained,
        }
    }
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_an_exit_code_of_its_own_and_the_numbers_stay() {
        let codes: Vec<u8> = ErrorKind::ALL.into_iter().map(|k| Exit::from(k).code()).collect();
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(Exit::Success.code(), 0);
    }
}
