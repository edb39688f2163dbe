//! The epoch of a stream thread: the pure state machine that decides what happens when.
//!
//! Start at [`EpochMachine`]; `phase` is its vocabulary, `answers` what it is told, [`recovery`] what is
//! done about a failure, `failing` takes epochs down, [`resolution`] reads an unknown outcome from offsets.

mod answers;
mod failing;
mod machine;
mod phase;
pub mod recovery;
mod resolution;

pub use machine::EpochMachine;
pub use phase::{EpochAction, EpochLimits, EpochPhase, Resolution};
pub use resolution::resolution;
