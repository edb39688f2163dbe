//! A TCP proxy in front of every broker that knows Kafka's framing and does what networks do.
//!
//! Clients that are given [`FaultProxy::bootstrap`] stay behind it: the addresses in the brokers'
//! answers are rewritten. Requests are counted per API and fault. It must never change what a
//! request says: a fault loses, delays, repeats late, cuts or refuses, and nothing else.
//! The program is `tidemill-fault-proxy`; start reading at `server`, then `pump`.

mod api;
mod control;
mod cut;
mod fault;
mod frame;
mod pump;
mod refusal;
mod rewrite;
mod schedule;
mod server;
mod stop;

pub use api::Api;
pub use control::{Command, CommandError};
pub use fault::Fault;
pub use schedule::{Counts, Rule};
pub use server::{FaultProxy, ProxyError};
