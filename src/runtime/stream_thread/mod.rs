//! The stream thread: one commit domain, driving its tasks over a [`Log`](crate::runtime::Log).
//!
//! Start at [`StreamThread::step`]. The files follow its duties: `thread` (the step), `membership`
//! (what the group gives and takes), `lifecycle` (a task from assignment to running), `processing`
//! (records into the running epoch), `commit` (the epoch's actions), `events` (what the log says),
//! `reading` (positions that do not exist), `purge` (consumed records that are deleted),
//! `blocked` (dead owners), `orphans` (partitions that nobody was given), `topics_watch` (topics
//! that change), `markers` (commits whose marker never comes), `memory` (what it may hold),
//! `mismatches` (offsets and changelog of different epochs), `fenced` (an instance id given to
//! another membership), `progress` (tasks that stand still), `publishing` (its status),
//! `event_time` (due timers, and watermarks in band);
//! `slot` is what is kept of tasks and epochs.

mod blocked;
mod commit;
mod event_time;
mod events;
mod fenced;
mod lifecycle;
mod markers;
mod membership;
mod memory;
mod mismatches;
mod orphans;
mod processing;
mod progress;
mod publishing;
mod purge;
mod reading;
mod slot;
mod thread;
mod topics_watch;

pub use thread::{Failure, Step, StreamThread, ThreadSettings};
