//! Event time: timers, watermarks and how they cross repartition topics; windows later.
//!
//! Pure arithmetic over what is handed in. Must never ask a clock, and never let a watermark go
//! back (TIME-1).

mod control;
mod event_clock;
mod timer;
mod upstream;
mod watermark;

pub use control::{CONTROL_HEADER, Control, ControlError};
pub use event_clock::{ClockError, ClockPart, EventClock, InputKind};
pub use timer::{TimerDomain, TimerFired};
pub use upstream::{Progress, Upstream};
pub use watermark::{Generator, WatermarkStrategy};
