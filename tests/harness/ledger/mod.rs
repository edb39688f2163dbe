//! The ledger's generator, oracle and checker; they lie beside the topology.

#[path = "../../../topologies/ledger/checker.rs"]
pub mod checker;
#[path = "../../../topologies/ledger/generator.rs"]
pub mod generator;
#[path = "../../../topologies/ledger/oracle.rs"]
pub mod oracle;

pub use checker::{Checker, Findings};
pub use generator::Generator;
