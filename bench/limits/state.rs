//! The state of L3 and L4: counts in a hash map, or in RocksDB by Get and Put per record.

use std::path::Path;

use anyhow::{Context, Result};
use hashbrown::{HashMap, HashSet};

/// A key of the workloads.
pub(crate) type Key = [u8; 16];

/// Counts by key, and which of them changed since the last epoch.
pub(crate) enum Counts {
    /// L3: one entry per key, with the last epoch in which it changed.
    Resident { counts: HashMap<Key, (u64, u64), foldhash::fast::RandomState>, changed: Vec<Key> },
    /// L4: read and written by every record.
    Stored {
        store: rocksdb::DB,
        options: rocksdb::WriteOptions,
        changed: HashSet<Key, foldhash::fast::RandomState>,
    },
}

impl Counts {
    /// In memory.
    pub(crate) fn resident() -> Self {
        Self::Resident { counts: HashMap::default(), changed: Vec::new() }
    }

    /// In RocksDB with the settings that PERFORMANCE's unit costs were measured with.
    pub(crate) fn stored(directory: &Path) -> Result<Self> {
        let mut table = rocksdb::BlockBasedOptions::default();
        table.set_block_cache(&rocksdb::Cache::new_lru_cache(256 << 20));
        table.set_bloom_filter(10.0, false);
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        options.set_write_buffer_size(64 << 20);
        options.set_compression_type(rocksdb::DBCompressionType::None);
        let store = rocksdb::DB::open(&options, directory).context("L4's store")?;
        let mut options = rocksdb::WriteOptions::default();
        options.disable_wal(true);
        Ok(Self::Stored { store, options, changed: HashSet::default() })
    }

    /// Counts one record of `epoch`; the count after it.
    pub(crate) fn add(&mut self, key: Key, epoch: u64) -> Result<u64> {
        match self {
            Self::Resident { counts, changed } => {
                let (count, last) = counts.entry(key).or_insert((0, u64::MAX));
                *count += 1;
                if *last != epoch {
                    *last = epoch;
                    changed.push(key);
                }
                Ok(*count)
            }
            Self::Stored { store, options, changed } => {
                let count = read(store, &key)? + 1;
                store.put_opt(key, count.to_be_bytes(), options)?;
                changed.insert(key);
                Ok(count)
            }
        }
    }

    /// Hands over every key that changed since the last call, once, with its count.
    pub(crate) fn drain(&mut self, mut give: impl FnMut(&Key, u64) -> Result<()>) -> Result<()> {
        match self {
            Self::Resident { counts, changed } => {
                for key in changed.drain(..) {
                    give(&key, counts.get(&key).map_or(0, |(count, _)| *count))?;
                }
            }
            Self::Stored { store, changed, .. } => {
                for key in changed.drain() {
                    give(&key, read(store, &key)?)?;
                }
            }
        }
        Ok(())
    }
}

fn read(store: &rocksdb::DB, key: &Key) -> Result<u64> {
    let found = store.get_pinned(key)?;
    Ok(found.and_then(|bytes| bytes.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes))
}
