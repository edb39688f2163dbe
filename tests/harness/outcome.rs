//! How a run ends: what it proves, and the exit code that says so.

use std::process::ExitCode;

/// A run's verdict. An error while it runs is `Invalid`: it proved nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// What was to be shown was shown.
    Pass,
    /// It is not so.
    Fail,
    /// The run did not do what it was to do, whatever it found.
    Invalid,
}

impl Outcome {
    /// Pass if it holds, else fail.
    pub(crate) fn of(holds: bool) -> Self {
        if holds { Self::Pass } else { Self::Fail }
    }

    /// 0, 1, 2.
    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Invalid => 2,
        })
    }
}
