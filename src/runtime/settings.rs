//! The runtime's settings: plain data, composed by `settings`.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// What an epoch guarantees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// Outputs, state and offsets in one transaction.
    #[default]
    ExactlyOnce,
    /// Outputs are flushed before offsets are committed; a crash may repeat them.
    AtLeastOnce,
}

/// When an epoch ends, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct EpochSettings {
    /// Processing guarantee.
    pub guarantee: Guarantee,
    /// How long an epoch lasts.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// An epoch ends early after this many input records.
    pub max_records: u64,
    /// An epoch ends early after this many bytes of output and state changes.
    pub max_bytes: ByteSize,
    /// An epoch that is not committed after this time is given up and resolved.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// The shortest time between the ends of two epochs.
    #[serde(with = "humantime_serde")]
    pub min_pause: Duration,
    /// Consecutive failed epochs before the thread stops.
    pub tolerated_failures: u32,
    /// Process epoch n+1 while epoch n commits (EOS-6).
    pub pipelining: bool,
}

impl Default for EpochSettings {
    fn default() -> Self {
        Self {
            guarantee: Guarantee::ExactlyOnce,
            interval: Duration::from_millis(100),
            max_records: 1_000_000,
            max_bytes: ByteSize::mib(64),
            timeout: Duration::from_secs(30),
            min_pause: Duration::ZERO,
            tolerated_failures: 100,
            pipelining: true,
        }
    }
}

/// How event time is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TimeSettings {
    /// The shortest time between two control records that a stream thread writes to a partition of
    /// a repartition topic.
    #[serde(with = "humantime_serde")]
    pub watermark_interval: Duration,
}

impl Default for TimeSettings {
    fn default() -> Self {
        Self { watermark_interval: Duration::from_secs(1) }
    }
}

/// How state is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct StateSettings {
    /// The committed layer is written down when it holds this much.
    pub spill_bytes: ByteSize,
    /// The committed layer is written down after this time.
    #[serde(with = "humantime_serde")]
    pub spill_interval: Duration,
    /// Typed resident entries of all tasks of a thread together.
    pub cache_bytes: ByteSize,
    /// Delete consumed records of repartition topics.
    pub purge_repartition_topics: bool,
    /// Time between two looks at what can be deleted.
    #[serde(with = "humantime_serde")]
    pub purge_interval: Duration,
}

impl Default for StateSettings {
    fn default() -> Self {
        Self {
            spill_bytes: ByteSize::mib(64),
            spill_interval: Duration::from_secs(10),
            cache_bytes: ByteSize::mib(256),
            purge_repartition_topics: true,
            purge_interval: Duration::from_secs(10),
        }
    }
}
