//! The workloads, one per file.

mod w0;
mod w10;
mod w11;
mod w13;
mod w2;
mod w3;
mod w4;
mod w7;
mod workload;

pub(crate) use workload::{ALL, Workload};
