//! One limit for all memory of a process, and how it is shared out (MEM-1).
//!
//! Pure: bytes in, bytes out. [`MemoryPlan::split`] gives every part of every stream thread its
//! share, [`ThreadBudget`] says when a thread evicts, seals early, spills or waits, and
//! [`MemoryUse`] is what a thread reports. Who enforces it is `stream_thread`, the byte stores and
//! the client.

mod client;
mod plan;
mod thread_budget;

pub use client::{ClientMemory, QueueLimit, QueuedRecords, queued_bytes};
pub use plan::{LIMIT_MIN, MemoryError, MemoryOverrides, MemoryPlan, default_limit};
pub use thread_budget::{Held, MemoryUse, ThreadBudget};

pub use crate::state::SharedMemory;
