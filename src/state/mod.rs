//! What a task remembers: layered state above a byte store, its keys, its changelog's format.

mod byte_store;
mod error;
mod positions;
mod task_state;

pub use byte_store::{ByteStore, ByteStores, Change, Entry};
pub use error::StateError;
pub use positions::{EpochId, EpochMarker, Positions, SourcePosition};
pub use task_state::{Layer, TaskState};
