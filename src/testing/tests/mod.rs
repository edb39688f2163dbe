//! The model's semantics, each by script; and that a seed is a run.

mod determinism;
mod disk;
mod groups;
mod offsets;
mod reads;
mod script;
mod transactions;
