//! One suite for all backends: what a byte store must do, and the layers above it against models.

mod backend;
mod byte_store;
mod task_state;
mod value_state;
