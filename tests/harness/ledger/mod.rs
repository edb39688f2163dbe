//! The ledger's generator, oracle and checker; they lie beside the topology.

#[path = "../../../topologies/ledger/checker.rs"]
pub(crate) mod checker;
#[path = "../../../topologies/ledger/generator.rs"]
pub(crate) mod generator;
#[path = "../../../topologies/ledger/oracle.rs"]
pub(crate) mod oracle;

pub(crate) use checker::{Checker, Findings};
pub(crate) use generator::Generator;
