//! What operators see: health, readiness, metrics and status on one port.
//!
//! Reads status boards and nothing else; must never reach into the runtime. Tokio lives here, on
//! one named thread (start at [`Service`]).

#[cfg(test)]
pub(crate) mod documents;
#[cfg(feature = "mutants")]
mod failpoints;
mod health;
mod http;
pub mod metrics;
mod process;
mod report;
mod service;
mod signals;

#[cfg(feature = "mutants")]
pub use failpoints::FileFailpoints;
pub use health::Verdict;
pub use report::{Board, report};
pub use service::{Service, ServiceError};
