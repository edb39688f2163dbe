//! The Kafka adapter on a real broker: one file per promise, every test with topics and a group of
//! its own. `./dev test` starts a broker and names it in `TIDEMILL_TEST_BROKER`.

mod membership;
mod offsets;
mod reading;
mod restore;
mod support;
mod topics;
mod transactions;
