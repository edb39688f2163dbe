//! The stream thread: one commit domain, driving its tasks over a [`Log`](crate::runtime::Log).
//!
//! Start at [`StreamThread::step`]. The files follow its duties: `thread` (the step), `membership`
//! (what the group gives and takes), `lifecycle` (a task from assignment to running), `processing`
//! (records into the running epoch), `commit` (the epoch's actions), `blocked` (dead owners), `orphans`
//! (partitions that nobody was given), `memory` (what it may hold).

mod blocked;
mod commit;
mod lifecycle;
mod membership;
mod memory;
mod orphans;
mod processing;
mod thread;

pub use thread::{Failure, Step, StreamThread, ThreadSettings};
