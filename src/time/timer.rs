//! Keyed timers: what is set, and what is handed back when it comes due.

use crate::record::Timestamp;

/// Which clock a timer follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerDomain {
    /// Fires when the watermark passes it: in RUN, before the next record.
    EventTime,
    /// Fires when the wall clock passes it: at SEAL.
    ProcessingTime,
}

/// A timer that came due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerFired {
    /// The store id of the operator's timers (one per operator and domain).
    pub store: u16,
    /// Which clock.
    pub domain: TimerDomain,
    /// The user key, as it was given.
    pub key: Vec<u8>,
    /// The time it was set for.
    pub time: Timestamp,
}
