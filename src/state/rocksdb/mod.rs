//! Byte stores on disk: one RocksDB per task, sharing memory and threads.
//!
//! The only user of the `rocksdb` crate. The write-ahead log is off: what a crash leaves is what
//! was flushed or ingested, and since a spill is one write batch or one table, that is a whole
//! epoch with its positions. Spills are written beside the stream threads (`spiller`).

mod position_frame;
mod rocksdb_store;
mod rocksdb_stores;
#[cfg(test)]
mod rocksdb_tests;
mod settings;
mod spiller;
#[cfg(test)]
mod spiller_tests;

pub use rocksdb_stores::RocksDbByteStores;
pub(crate) use rocksdb_stores::SharedResources;
pub use settings::RocksDbSettings;
