//! Seeded simulations of the whole runtime on the in-memory log: one seed, one run.
//!
//! Start at `world`. `TIDEMILL_SIM_SEED=N` replays one seed with its trace, one line per event;
//! `TIDEMILL_SIM_SEEDS=N` sets how many are run.

// A test may stop at the first surprise, and prints what it saw.
#![allow(clippy::indexing_slicing, clippy::print_stdout, clippy::unwrap_used)]

mod bad_input;
mod broker_defects;
mod controls;
mod ending;
mod event_time;
mod event_world;
mod faults;
mod fencing;
mod following;
mod hourly;
mod instances;
mod memory;
mod oracle;
mod overtaking;
mod progress;
mod purge;
mod scenario;
mod seeds;
mod striking;
mod topics;
mod topology;
mod tracer;
mod world;
