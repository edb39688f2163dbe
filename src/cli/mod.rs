//! The command line: one file per command, and the flow that they share.
//!
//! The only place that reads the environment and sees the settings whole. Start at [`main`]; what
//! executes is behind [`Engine`].

mod arguments;
mod blame;
mod catalog;
mod cluster;
mod describe;
mod dev;
#[cfg(feature = "testing")]
mod embedded;
mod engine;
mod entry;
mod exit;
#[cfg(test)]
mod fake_cluster;
mod logging;
#[cfg(feature = "kafka")]
mod on_kafka;
mod reset;
mod run;
mod topics_create;
mod validate;

pub use catalog::Catalog;
pub use dev::{DevJob, DevRecord};
pub use engine::{Engine, Job, thread_settings};
pub use entry::{execute, main, shipped};
pub use exit::Exit;
