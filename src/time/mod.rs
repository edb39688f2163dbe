//! Event time: timers now, watermarks and windows later.

mod timer;

pub use timer::{TimerDomain, TimerFired};
