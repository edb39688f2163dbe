//! What RocksDB may use, for all tasks of the process together.

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// Memory and threads of all RocksDB instances of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RocksDbSettings {
    /// Blocks, indexes, filters and write buffers of all instances: one bound (MEM-1).
    pub cache_bytes: ByteSize,
    /// The part of it that write buffers may take before they are flushed.
    pub write_buffer_bytes: ByteSize,
    /// Threads for flushes and compactions.
    pub background_threads: u16,
    /// Open files per task.
    pub open_files_max: u16,
}

impl Default for RocksDbSettings {
    fn default() -> Self {
        Self {
            cache_bytes: ByteSize::mib(256),
            write_buffer_bytes: ByteSize::mib(128),
            background_threads: 2,
            open_files_max: 128,
        }
    }
}
