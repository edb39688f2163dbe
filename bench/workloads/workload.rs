//! What a workload is, and all of them in the order in which they are run.

use anyhow::Result;

use super::{w0, w2, w3, w4, w7, w10, w11, w13};

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
    w0::WORKLOAD,
    w2::WORKLOAD,
    w3::WORKLOAD,
    w4::WORKLOAD,
    w10::WORKLOAD,
    w11::WORKLOAD,
    w13::WORKLOAD,
    w7::WORKLOAD,
];

/// Keys of W0, W2 and W3.
pub(super) const CARDINALITY: u64 = 1_000_000;

pub(super) const UNIFORM: Input =
    Input { keys: Keys::Uniform, cardinality: CARDINALITY, partitions: PARTITIONS };
pub(super) const HOT: Input =
    Input { keys: Keys::Hot, cardinality: CARDINALITY, partitions: PARTITIONS };

/// The epoch of all workloads but where another is named, in milliseconds.
pub(super) const EPOCH_MS: u64 = 100;
