//! Restores tasks from their changelogs, beside the poll loop (EOS-5).
//!
//! A [`Restorer`] is a `step(now)` machine over a [`RestoreLog`] and the instance's [`ByteStores`];
//! production loops over it on a thread of its own, the simulator schedules it. It takes the
//! cheapest valid start (local image, else empty), reads the changelog read_committed up to the
//! end that it had when the restore began (read_uncommitted: what is undecided there may belong to
//! the committed epoch) and until the marker of the committed epoch has been seen.

mod active;
mod job;
mod pace;
mod restorer;
mod writing;

pub use job::{RestoreError, RestoreJob, RestoreMemory, RestoreOutcome, RestoreService};
pub use restorer::Restorer;
