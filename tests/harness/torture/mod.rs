//! `torture`: the ledger on real Kafka while everything that can happen to it happens, by a seeded
//! schedule; then the checker's verdict.
//!
//! Start at `run`. `fault` says what there is, `schedule` plans it, `verdict` judges the run.

mod brokers;
mod disk;
mod fault;
mod kill;
mod network;
mod report_file;
mod run;
mod scaling;
mod schedule;
mod tally;
mod verdict;
mod zombie;

pub(crate) use disk::unmount_all;
pub(crate) use run::{Arguments, run};
