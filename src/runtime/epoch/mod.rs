//! The epoch of a stream thread: the pure state machine that decides what happens when.
//!
//! Start at [`EpochMachine`]; `phase` is its vocabulary, `answers` what it is told, `failing` takes
//! epochs down.

mod answers;
mod failing;
mod machine;
mod phase;

pub use machine::EpochMachine;
pub use phase::{EpochAction, EpochLimits, EpochPhase, Resolution};
