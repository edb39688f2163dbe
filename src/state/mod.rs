//! What a task remembers: layered state above a byte store, its keys, its changelog's format.

mod byte_store;
mod catalogue;
mod change_log;
pub mod changelog;
mod directory;
mod error;
mod key_group;
mod key_hash;
pub mod keys;
mod memory;
mod overlay;
mod positions;
mod resident;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod scan;
mod spill;
#[cfg(test)]
mod suite;
mod task_state;
mod timers;
mod value;
mod value_state;

pub(crate) use byte_store::write_at_once;
pub use byte_store::{
    ByteStore, ByteStores, Change, Entry, FrozenChanges, SharedMemory, TakeChange,
};
pub use catalogue::{CatalogueError, StoreCatalogue};
pub use change_log::ChangeLog;
pub use changelog::{ChangelogError, ChangelogRecord};
pub use directory::{StateBackend, StateDirectory};
pub use error::StateError;
pub use key_group::{
    KEY_GROUPS_DEFAULT, KeyGroup, PartitionCountError, check_partitions, key_group, murmur2,
    partition_of,
};
pub use memory::MemoryByteStores;
pub use positions::{EpochId, EpochMarker, Positions, SourcePosition};
#[cfg(feature = "rocksdb")]
pub use rocksdb::{RocksDbByteStores, RocksDbSettings};
pub use task_state::{Layer, TaskState};
pub use value::ValueError;
pub use value_state::ValueState;
