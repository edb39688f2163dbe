//! Opens and wipes the RocksDB of tasks; what they share.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, Options, WriteBufferManager};

use super::{
    RocksDbSettings,
    rocksdb_store::{RocksDbByteStore, state_error},
    spiller::{Spiller, TABLE_FILE},
};
use crate::state::{ByteStore, ByteStores, SharedMemory, StateError};

/// Bits per key of the filters: one in a hundred lookups of a missing key reads a block.
const FILTER_BITS_PER_KEY: f64 = 10.0;

/// Of each table that takes part in a compaction so much is read ahead: held beside the cache.
const COMPACTION_READ_BYTES: usize = 256 * 1024;

/// RocksDB's own logs, per task.
const LOG_FILES_MAX: usize = 2;
const LOG_FILE_BYTES_MAX: usize = 1024 * 1024;

/// What all RocksDB instances of the process share. The background threads belong to RocksDB's
/// default environment, which is one per process.
pub(crate) struct SharedResources {
    cache: Cache,
    write_buffers: WriteBufferManager,
    spiller: Spiller,
    settings: RocksDbSettings,
}

impl SharedResources {
    /// Resources as the settings say.
    pub(crate) fn new(settings: RocksDbSettings) -> Self {
        let cache = Cache::new_lru_cache(size(settings.cache_bytes.as_u64()));
        // Charged to the cache, so that one number bounds both; never stalls a stream thread.
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(
            size(settings.write_buffer_bytes.as_u64()),
            false,
            cache.clone(),
        );
        let spiller = Spiller::new(settings.background_threads);
        Self { cache, write_buffers, spiller, settings }
    }

    /// Who writes.
    pub(super) fn spiller(&self) -> &Spiller {
        &self.spiller
    }

    /// Blocks, indexes, filters and write buffers.
    pub(super) fn memory(&self) -> SharedMemory {
        // Write buffers are charged to the cache.
        let write_buffers = self.write_buffers.get_usage() as u64;
        let blocks = (self.cache.get_usage() as u64).saturating_sub(write_buffers);
        SharedMemory { blocks, write_buffers }
    }

    /// The options of a database and of the tables that it takes in.
    pub(super) fn options(&self) -> Options {
        let mut tables = BlockBasedOptions::default();
        tables.set_block_cache(&self.cache);
        tables.set_bloom_filter(FILTER_BITS_PER_KEY, false);
        tables.set_cache_index_and_filter_blocks(true);
        tables.set_pin_l0_filter_and_index_blocks_in_cache(true);

        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&tables);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_write_buffer_manager(&self.write_buffers);
        options.set_write_buffer_size(size(self.settings.write_buffer_bytes.as_u64()));
        options.set_max_background_jobs(i32::from(self.settings.background_threads.max(1)));
        options.set_max_open_files(i32::from(self.settings.open_files_max.max(16)));
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_compaction_readahead_size(COMPACTION_READ_BYTES);
        options.set_keep_log_file_num(LOG_FILES_MAX);
        options.set_max_log_file_size(LOG_FILE_BYTES_MAX);
        options
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The RocksDB instances under one directory, one per task.
pub struct RocksDbByteStores {
    directory: PathBuf,
    shared: Arc<SharedResources>,
}

impl RocksDbByteStores {
    /// Stores under `directory`, with memory and threads of their own. The directory belongs to
    /// one process: see `StateDirectory`, which holds its lock.
    pub fn new(directory: &Path, settings: RocksDbSettings) -> Self {
        Self::sharing(directory, Arc::new(SharedResources::new(settings)))
    }

    pub(crate) fn sharing(directory: &Path, shared: Arc<SharedResources>) -> Self {
        Self { directory: directory.to_owned(), shared }
    }
}

impl ByteStores for RocksDbByteStores {
    fn open(&mut self, name: &str) -> Result<Box<dyn ByteStore>, StateError> {
        let failed = |reason: &dyn ToString| StateError::Store {
            store: name.to_owned(),
            reason: reason.to_string(),
        };
        let path = self.directory.join(name);
        fs::create_dir_all(&path).map_err(|error| failed(&error))?;
        let db = DB::open(&self.shared.options(), &path).map_err(|e| state_error(name, e))?;
        // What a crash left of a spill: it was never taken in.
        match fs::remove_file(path.join(TABLE_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&error)),
            _ => {}
        }
        let store = RocksDbByteStore::new(name, path, db, Arc::clone(&self.shared))?;
        Ok(Box::new(store))
    }

    fn wipe(&mut self, name: &str) -> Result<(), StateError> {
        match fs::remove_dir_all(self.directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StateError::Store { store: name.to_owned(), reason: error.to_string() })
            }
            _ => Ok(()),
        }
    }
}
