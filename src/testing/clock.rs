//! The virtual clock: time that moves only when a test says so.
//!
//! Owns no time of its own beyond a number; it must never look at the machine's clock.

use std::time::Duration;

use crate::{record::Timestamp, runtime::Now};

/// A clock that stands still until it is advanced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtualClock {
    mono: Duration,
    start_wall: Timestamp,
}

impl VirtualClock {
    /// A clock at monotonic time zero, whose wall clock then shows `start_wall`.
    pub fn new(start_wall: Timestamp) -> Self {
        Self { mono: Duration::ZERO, start_wall }
    }

    /// The present, as a step of the runtime takes it.
    pub fn now(&self) -> Now {
        Now { mono: self.mono, wall: self.wall() }
    }

    /// Monotonic time since the start.
    pub fn mono(&self) -> Duration {
        self.mono
    }

    /// What the wall clock shows.
    pub fn wall(&self) -> Timestamp {
        let elapsed_ms = i64::try_from(self.mono.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.start_wall.0.saturating_add(elapsed_ms))
    }

    /// Moves to `time`; a time that has passed already changes nothing.
    pub fn advance_to(&mut self, time: Duration) {
        self.mono = self.mono.max(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_follows_monotonic_time_and_neither_goes_back() {
        let mut clock = VirtualClock::new(Timestamp(1_000));
        clock.advance_to(Duration::from_millis(250));
        clock.advance_to(Duration::from_millis(100));
        assert_eq!(clock.now(), Now { mono: Duration::from_millis(250), wall: Timestamp(1_250) });
    }
}
