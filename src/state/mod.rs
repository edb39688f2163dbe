//! What a task remembers: layered state above a byte store, its keys, its changelog's format.

mod byte_store;
mod catalogue;
mod error;
mod key_group;
pub mod keys;
mod overlay;
mod positions;
mod task_state;
mod timers;
mod value;

pub use byte_store::{ByteStore, ByteStores, Change, Entry};
pub use catalogue::{CatalogueError, StoreCatalogue};
pub use error::StateError;
pub use key_group::{
    KEY_GROUPS_DEFAULT, KeyGroup, PartitionCountError, check_partitions, key_group, murmur2,
    partition_of,
};
pub use positions::{EpochId, EpochMarker, Positions, SourcePosition};
pub use task_state::{Layer, TaskState};
pub use value::ValueError;
