//! The Kafka adapter on a real broker: one file per promise, every test with topics and a group of
//! its own. `./dev test` starts a broker and names it in `TIDEMILL_TEST_BROKER`.

// A test may stop at the first surprise, and asks the clock for its deadlines.
#![allow(clippy::disallowed_methods, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]
#![allow(clippy::never_loop)] // `loop { match .. }` that ends in either arm reads as a wait

mod application;
mod fencing;
mod membership;
mod offsets;
mod overlap;
mod poison;
mod process;
mod purge;
mod reading;
mod reset;
mod restore;
#[path = "../process/running.rs"]
mod running;
mod secure;
mod support;
mod topics;
mod transactions;
