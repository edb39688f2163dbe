//! The epoch of a stream thread: the pure state machine that decides what happens when.
//!
//! Start at [`EpochMachine`]; `failing` takes epochs down.

mod failing;
mod machine;

pub use machine::{EpochAction, EpochLimits, EpochMachine, EpochPhase, Resolution};
