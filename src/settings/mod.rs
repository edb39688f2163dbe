//! What a person can set: one tree of plain data, from file, environment and flags.
//!
//! Composes the modules' own settings; start at [`Settings`] and `default.toml`, the one
//! documented place of defaults. Must never read the environment (its caller hands it over) nor
//! show a secret.

mod check;
mod composed;
mod keys;
mod load;
mod memory;
mod problem;
#[cfg(test)]
mod reference;

pub use composed::{
    HttpSettings, LogFormat, LogSettings, RocksDbLimits, Settings, ShutdownSettings, StateBackend,
    StateSettings,
};
pub use load::{Sources, load};
pub use memory::MemorySettings;
pub use problem::{Place, Problem, SettingsError};
