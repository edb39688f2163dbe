//! The wish to stop, shared by who wishes and who drains.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A flag that is raised once. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct StopSignal {
    requested: Arc<AtomicBool>,
}

impl StopSignal {
    /// Asks for a drain; asking again changes nothing.
    pub fn stop(&self) {
        self.requested.store(true, Ordering::Release);
    }

    /// Whether it was asked for.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }
}
