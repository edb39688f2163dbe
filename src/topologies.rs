//! The shipped topologies, by name. Their files lie in `topologies/`, each beside what belongs to
//! it; they use the public API only.

use crate::topology::{Topology, TopologyError};

#[path = "../topologies/ledger/topology.rs"]
pub mod ledger;
#[path = "../topologies/word-count/topology.rs"]
pub mod word_count;

/// What makes a topology.
pub type MakeTopology = fn() -> Result<Topology, TopologyError>;

/// Every shipped topology, sorted by name.
pub const ALL: [(&str, MakeTopology); 2] =
    [("ledger", ledger::topology), ("word-count", word_count::topology)];

/// The shipped topology of that name.
pub fn by_name(name: &str) -> Option<MakeTopology> {
    ALL.iter().find(|(shipped, _)| *shipped == name).map(|(_, make)| *make)
}

/// The names of the shipped topologies, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

#[cfg(test)]
#[path = "topologies_tests.rs"]
mod tests;
