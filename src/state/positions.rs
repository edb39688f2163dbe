//! Where a task's state stands: what is written with every spill and with every epoch marker.

use serde::{Deserialize, Serialize};

use crate::record::{Offset, Timestamp};

/// Which epoch of which process: numbers are told apart across restarts by the incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EpochId {
    /// The number, of the stream thread.
    pub epoch: u64,
    /// A random number of the process.
    pub incarnation: u64,
}

/// The next record to read of one input of a task, and which topic that was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePosition {
    /// The topic's name.
    pub topic: String,
    /// The topic's id as 32 hex digits, so that a topic that was deleted and created again is
    /// recognised; empty where the log has no ids.
    pub topic_id: String,
    /// How many partitions it had.
    pub partitions: i32,
    /// The next record to read.
    pub next: Offset,
}

/// The content of an epoch marker: the last record of its epoch in a changelog partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochMarker {
    /// The epoch.
    #[serde(flatten)]
    pub id: EpochId,
    /// The task's inputs.
    pub sources: Vec<SourcePosition>,
    /// The task's watermark; never goes back (TIME-1).
    pub watermark: Option<Timestamp>,
}

/// Where a byte store's image stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions {
    /// The next changelog record that is not in the image.
    pub changelog_next: Offset,
    /// The changelog topic's id, 32 hex digits.
    pub changelog_topic_id: String,
    /// The marker of the last whole epoch in the image. `None` before the first.
    pub marker: Option<EpochMarker>,
    /// Whether the image is exactly that epoch. A restore that was interrupted leaves `false`:
    /// the image may only be restored further, never served.
    pub whole: bool,
    /// When the image was written (wall clock), for the age check against the changelog's
    /// `delete.retention.ms`.
    pub written_at: Timestamp,
}
