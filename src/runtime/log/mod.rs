//! What the runtime needs from Kafka: one narrow seam that never blocks.
//!
//! [`Log`] is one stream thread's connection: membership, fetched records, two transactional
//! producers ([`Lane`]). [`RestoreLog`] reads changelogs for restores. Calls *submit*; outcomes
//! come back as [`Event`]s from `poll`. Two adapters implement it: `kafka` (the real one) and
//! `testing`'s in-memory log (virtual clock, faults by seed).
//!
//! Ordering required of implementors: requests for one lane take effect in the order of their
//! submission; `produce` calls before a `Flush` are covered by it; after `Read` or `Release` no
//! record of that partition that was fetched before is delivered.

mod event;
mod group;
mod lane;
mod request;
mod restore_log;
mod seam;

pub use event::{Event, FatalCause, Isolation, PartitionBounds, ReadFailure};
pub use group::{
    Blocker, BlockerReport, CommittedOffset, GroupMetadata, Member, Namesake, OffsetCommit,
    OffsetsUnavailable, Standing, TransactionState,
};
pub use lane::{Delivery, Lane, RefusedRecord, TransactionFailure};
pub use request::{Request, RequestId};
pub use restore_log::{RestoreEvent, RestoreLog, RestoreRequest};
pub use seam::{Log, Now, QueueFull};
