//! Kafka itself: the real adapter of the runtime's `Log`, `RestoreLog` and `TopicAdmin`.
//!
//! The only user of rdkafka. The data plane is a thin layer over librdkafka's C interface
//! (`native`, the only unsafe code of the crate); what librdkafka cannot do is done by a small
//! client of the wire protocol (`wire`). Nothing here knows epochs, tasks or state.
//!
//! Without the feature `kafka` only the settings are here, so that every build reads the same file.

#[cfg(feature = "kafka")]
mod admin;
#[cfg(feature = "kafka")]
mod clients;
#[cfg(feature = "kafka")]
mod cluster;
#[cfg(feature = "kafka")]
mod deliveries;
#[cfg(feature = "kafka")]
mod failure;
#[cfg(feature = "kafka")]
mod group_questions;
#[cfg(feature = "kafka")]
mod lane;
#[cfg(feature = "kafka")]
mod lane_step;
#[cfg(feature = "kafka")]
mod log;
#[cfg(feature = "kafka")]
mod membership;
#[cfg(feature = "kafka")]
mod native;
#[cfg(feature = "kafka")]
mod offset_commits;
#[cfg(feature = "kafka")]
mod positions;
#[cfg(feature = "kafka")]
mod process_mark;
#[cfg(feature = "kafka")]
mod properties;
mod property;
#[cfg(feature = "kafka")]
mod questions;
#[cfg(feature = "kafka")]
mod reader;
#[cfg(feature = "kafka")]
mod restore;
mod settings;
#[cfg(feature = "kafka")]
mod transaction_thread;
#[cfg(feature = "kafka")]
mod wire;
#[cfg(feature = "kafka")]
mod writer;

#[cfg(feature = "kafka")]
pub use admin::KafkaTopicAdmin;
#[cfg(feature = "kafka")]
pub use clients::ClusterClients;
#[cfg(feature = "kafka")]
pub use log::{KafkaBatch, KafkaLog};
pub use property::PropertyValue;
#[cfg(feature = "kafka")]
pub use restore::KafkaRestoreLog;
pub use settings::{ConnectError, ConnectionSettings, SecretError, Settings, SettingsError};
