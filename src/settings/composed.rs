//! The whole tree of settings. Only `main` and `cli` see it whole; modules get their own part.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::{
    kafka,
    runtime::{self, EpochSettings, TimeSettings, memory::MemoryPlan},
    settings::MemorySettings,
};

/// Everything that a person can set. `default.toml` documents each key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// The group's name and the prefix of internal topics.
    pub application_id: Option<String>,
    /// This instance's stable name.
    pub instance_id: Option<String>,
    /// Stream threads.
    pub threads: usize,
    /// The brokers.
    pub kafka: kafka::Settings,
    /// Epochs.
    pub epoch: EpochSettings,
    /// Memory.
    pub memory: MemorySettings,
    /// State.
    pub state: StateSettings,
    /// Event time.
    pub time: TimeSettings,
    /// The operators' port.
    pub http: HttpSettings,
    /// Stopping.
    pub shutdown: ShutdownSettings,
    /// Logs.
    pub log: LogSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            application_id: None,
            instance_id: None,
            threads: 1,
            kafka: kafka::Settings::default(),
            epoch: EpochSettings::default(),
            memory: MemorySettings::default(),
            state: StateSettings::default(),
            time: TimeSettings::default(),
            http: HttpSettings::default(),
            shutdown: ShutdownSettings::default(),
            log: LogSettings::default(),
        }
    }
}

impl Settings {
    /// The application id: as set, else the topology's name.
    pub fn application_id<'a>(&'a self, topology: &'a str) -> &'a str {
        self.application_id.as_deref().unwrap_or(topology)
    }

    /// Whether a stop leaves the group: as set, else not where the instance has a configured
    /// name, whose restart resumes its own partitions (DESIGN section 7).
    pub fn leave_on_shutdown(&self) -> bool {
        self.shutdown.leave.unwrap_or(self.instance_id.is_none())
    }
}

/// What lies under a task's committed layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateBackend {
    /// On disk; survives the process.
    #[default]
    Rocksdb,
    /// In memory; restored from the changelog at every start.
    Memory,
}

/// `[state]`. Not `flatten`ed from the runtime's part: serde cannot both flatten and refuse
/// unknown keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct StateSettings {
    /// The state directory.
    pub dir: PathBuf,
    /// The backend.
    pub backend: StateBackend,
    /// See [`runtime::StateSettings::spill_bytes`]; without it, a share of the memory limit.
    pub spill_bytes: Option<ByteSize>,
    /// See [`runtime::StateSettings::spill_interval`].
    #[serde(with = "humantime_serde")]
    pub spill_interval: Duration,
    /// See [`runtime::StateSettings::cache_bytes`]; without it, a share of the memory limit.
    pub cache_bytes: Option<ByteSize>,
    /// See [`runtime::StateSettings::purge_repartition_topics`].
    pub purge_repartition_topics: bool,
    /// Of the backend `rocksdb`.
    pub rocksdb: RocksDbLimits,
}

impl Default for StateSettings {
    fn default() -> Self {
        let runtime::StateSettings { spill_interval, purge_repartition_topics, .. } =
            runtime::StateSettings::default();
        Self {
            dir: PathBuf::from("tidemill-state"),
            backend: StateBackend::default(),
            spill_bytes: None,
            spill_interval,
            cache_bytes: None,
            purge_repartition_topics,
            rocksdb: RocksDbLimits::default(),
        }
    }
}

impl StateSettings {
    /// The runtime's part, with its shares of the memory.
    pub fn runtime(&self, memory: &MemoryPlan) -> runtime::StateSettings {
        runtime::StateSettings {
            spill_bytes: ByteSize(memory.spill_bytes()),
            spill_interval: self.spill_interval,
            cache_bytes: ByteSize(memory.cache),
            purge_repartition_topics: self.purge_repartition_topics,
            ..runtime::StateSettings::default()
        }
    }

    /// The backend's part.
    #[cfg(feature = "rocksdb")]
    pub fn rocksdb(&self, memory: &MemoryPlan) -> crate::state::RocksDbSettings {
        let limits = &self.rocksdb;
        let write_buffers = ByteSize(memory.write_buffer_bytes());
        crate::state::RocksDbSettings {
            cache_bytes: ByteSize(memory.byte_store),
            write_buffer_bytes: limits.write_buffer_bytes.unwrap_or(write_buffers),
            background_threads: limits.background_threads,
            open_files_max: limits.open_files_max,
        }
    }
}

/// `[state.rocksdb]`: also there without the feature `rocksdb`, so that every build reads the same
/// file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RocksDbLimits {
    /// Blocks, indexes, filters and write buffers of all tasks; without it, a share of the memory
    /// limit.
    pub cache_bytes: Option<ByteSize>,
    /// The part of it that write buffers may take.
    pub write_buffer_bytes: Option<ByteSize>,
    /// Threads for flushes and compactions.
    pub background_threads: u16,
    /// Open files per task.
    pub open_files_max: u16,
}

impl Default for RocksDbLimits {
    fn default() -> Self {
        Self {
            cache_bytes: None,
            write_buffer_bytes: None,
            background_threads: 2,
            open_files_max: 128,
        }
    }
}

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct HttpSettings {
    /// Where to listen.
    pub bind: SocketAddr,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { bind: SocketAddr::from(([127, 0, 0, 1], 9464)) }
    }
}

/// `[shutdown]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ShutdownSettings {
    /// Whether a stop leaves the group; see [`Settings::leave_on_shutdown`].
    pub leave: Option<bool>,
    /// The longest that a drain may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        Self { leave: None, timeout: Duration::from_secs(30) }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LogSettings {
    /// The format.
    pub format: LogFormat,
    /// A level, or levels by module.
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::default(), level: "info".to_owned() }
    }
}
