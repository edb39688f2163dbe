//! What is asked of a lane, step by step, and the call that its transaction thread is making.

use std::time::Duration;

use super::settings::ConnectionSettings;
use crate::runtime::{GroupMetadata, OffsetCommit};

/// A request that waits for the one before it.
pub(super) enum Step {
    Open,
    Begin,
    Flush,
    SendOffsets { offsets: Vec<OffsetCommit>, group: GroupMetadata },
    Commit,
    Abort,
}

/// A call that the transaction thread is making.
pub(super) struct InFlight {
    pub(super) kind: Kind,
    pub(super) deadline: Duration,
    /// The deadline has passed once: the answer may have been on its way.
    pub(super) overdue: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Open,
    /// An `Open` that nobody asked for: the producer was disturbed.
    Replace,
    Flush,
    SendOffsets,
    Commit,
    Abort,
}

impl Step {
    pub(super) fn kind(&self) -> Kind {
        match self {
            // `Begin` has no answer of its own.
            Self::Open | Self::Begin => Kind::Open,
            Self::Flush => Kind::Flush,
            Self::SendOffsets { .. } => Kind::SendOffsets,
            Self::Commit => Kind::Commit,
            Self::Abort => Kind::Abort,
        }
    }
}

impl Kind {
    /// How long the call may take.
    pub(super) fn time(self, connection: &ConnectionSettings) -> Duration {
        match self {
            Self::SendOffsets => connection.offsets_timeout(),
            _ => connection.settings.call_timeout,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Open | Self::Replace => "init_transactions",
            Self::Flush => "flush",
            Self::SendOffsets => "send_offsets_to_transaction",
            Self::Commit => "commit_transaction",
            Self::Abort => "abort_transaction",
        }
    }
}
