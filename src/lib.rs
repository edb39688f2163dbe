//! Tidemill: Kafka-native, exactly-once stream processing.
//!
//! The modules follow the path of a record: it is declared, transformed, remembered, executed and
//! committed, carried, watched.

// What everything shares.
pub mod record;

// Declared.
pub mod topology;

// Transformed.
pub mod formats;
pub mod operators;
pub mod time;

// Remembered.
pub mod state;

// Executed and committed.
pub mod runtime;

// Watched, and set up.
#[cfg(feature = "service")]
pub mod ops;
#[cfg(feature = "service")]
pub mod settings;
