//! The workloads, one per file, in the order in which they are run.

mod w0;
mod w10;
mod w11;
mod w13;
mod w2;
mod w3;
mod w7;

use anyhow::Result;

use crate::{
    input::{Input, Keys, PARTITIONS},
    session::Session,
};

/// A workload: its name, what it is, how it is run.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&mut Session) -> Result<()>,
}

/// All of them.
pub(crate) const ALL: &[Workload] = &[
    w2::WORKLOAD,
    w3::WORKLOAD,
    w0::WORKLOAD,
    w13::WORKLOAD,
    w11::WORKLOAD,
    w10::WORKLOAD,
    w7::WORKLOAD,
];

/// Keys of W0, W2 and W3.
const CARDINALITY: u64 = 1_000_000;

const UNIFORM: Input =
    Input { keys: Keys::Uniform, cardinality: CARDINALITY, partitions: PARTITIONS };
const HOT: Input = Input { keys: Keys::Hot, cardinality: CARDINALITY, partitions: PARTITIONS };

/// The epoch of all workloads but where another is named, in milliseconds.
const EPOCH_MS: u64 = 100;
