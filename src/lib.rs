//! Tidemill: Kafka-native, exactly-once stream processing.
//!
//! The modules follow the path of a record: it is declared, transformed, remembered, executed and
//! committed, carried, watched.

// What everything shares.
pub mod error;
pub mod record;

// Declared.
pub mod dsl;
pub mod topology;

// Transformed.
pub mod formats;
pub mod operators;
pub mod time;

// Remembered.
pub mod state;

// Executed and committed.
#[allow(clippy::indexing_slicing)] // by lanes and by the plan's own numbers, never by input
pub mod runtime;

// Carried.
#[allow(clippy::indexing_slicing)] // by the adapter's own numbers and lengths, never by input
pub mod kafka;

// Watched, set up, commanded.
#[cfg(feature = "service")]
pub mod cli;
#[cfg(feature = "service")]
pub mod ops;
#[cfg(feature = "service")]
pub mod settings;

// Shipped.
pub mod topologies;

// Simulated.
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "service")]
pub use cli::main;
pub use error::{Error, ErrorKind};
