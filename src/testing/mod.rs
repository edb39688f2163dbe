//! The in-memory log with Kafka's transactional semantics, a virtual clock, and a simulated disk.
//!
//! The ground on which the whole runtime is simulated, and the embedded log of `dev` and `test`.
//! Start at [`SimCluster`]; the broker's side is in `partition`, `transactions`, `group`,
//! `group_offsets`,
//! `broker` and `questions`, the client's side in `lanes`, `membership` and `reads`; what lies between
//! them, and makes requests late, in `links`.
//! Beside it lies `proxy`, for faults between the real engine and real brokers.

mod assignor;
mod batch;
mod broker;
mod client;
mod client_lane;
mod clock;
mod cluster;
mod codes;
mod defects;
mod digest;
mod epoch_rules;
mod faults;
mod group;
mod group_offsets;
mod handle;
mod lane_requests;
mod lanes;
mod leftovers;
mod links;
mod membership;
mod partition;
#[cfg(feature = "kafka")]
pub mod proxy;
mod questions;
mod reads;
mod requests;
mod settings;
mod sim_disk;
mod sim_log;
mod topic;
mod trace;
mod transactions;

pub use batch::{OwnedRecord, SimBatch};
pub use clock::VirtualClock;
pub use faults::{CoordinatorRequest, Fate, FaultChances, FaultKind, LaneRequest, MovedOn};
pub use handle::{OpenTransaction, SimCluster};
pub use links::Awaits;
pub use settings::{ClientSettings, Delay, SimSettings};
pub use sim_disk::{DiskOutcome, SimDisk};
pub use sim_log::{SimLog, SimRestoreLog, SimTopicAdmin};

#[cfg(test)]
mod tests;
