//! Kafka itself: the real adapter of the runtime's `Log`, `RestoreLog` and `TopicAdmin`.
//!
//! The only user of rdkafka. The data plane is a thin layer over librdkafka's C interface
//! (`native`, the only unsafe code of the crate); what librdkafka cannot do is done by a small
//! client of the wire protocol (`wire`). Nothing here knows epochs, tasks or state.

mod admin;
mod deliveries;
mod failure;
mod lane;
mod lane_step;
mod log;
mod membership;
mod native;
mod positions;
mod properties;
mod questions;
mod reader;
mod restore;
mod settings;
mod transaction_thread;
mod wire;
mod writer;

pub use admin::KafkaTopicAdmin;
pub use log::{KafkaBatch, KafkaLog};
pub use restore::KafkaRestoreLog;
pub use settings::{ConnectError, ConnectionSettings, Settings, SettingsError};
