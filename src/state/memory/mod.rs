//! Byte stores in memory: gone with the process, the same in all else.

mod memory_store;

pub use memory_store::MemoryByteStores;
