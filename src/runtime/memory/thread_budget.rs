//! When a stream thread does something about its memory, and what it reports.

/// When a thread does something about its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadBudget {
    /// Typed resident entries, at most.
    pub cache: u64,
    /// Committed layers start to be written above this.
    pub spill: u64,
    /// An epoch is sealed at this weight.
    pub epoch: u64,
}

impl ThreadBudget {
    /// Resident entries above this are evicted at the end of a step,
    pub fn evict_above(&self) -> u64 {
        self.cache / 4 * 3
    }

    /// down to this,
    pub fn evict_to(&self) -> u64 {
        self.cache / 8 * 5
    }

    /// and above this the step ends at once.
    pub fn step_ends_above(&self) -> u64 {
        self.cache / 8 * 7
    }

    /// Sealed and committed changes above this are waited for: spills and commits come first.
    pub fn wait_above(&self) -> u64 {
        self.spill.saturating_mul(2).saturating_add(self.epoch)
    }

    /// What overlays and layers hold at most, when no single record weighs more than a quarter of
    /// an epoch.
    pub fn changes_max(&self) -> u64 {
        self.wait_above().saturating_add(self.epoch + self.epoch / 2)
    }

    /// What outputs hold at most.
    pub fn outputs_max(&self) -> u64 {
        self.epoch.saturating_mul(4)
    }
}

/// What one stream thread holds, in bytes, roughly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUse {
    /// Typed resident entries.
    pub cache: u64,
    /// The index of timers.
    pub timers: u64,
    /// Overlays of epochs in progress.
    pub overlays: u64,
    /// Committed layers.
    pub layers: u64,
    /// Committed layers that are being written.
    pub spilling: u64,
    /// Outputs and changelog records that the client has not taken.
    pub outputs: u64,
    /// Changes of restores that are not written.
    pub restore: u64,
    /// Of the byte stores of the process.
    pub byte_store: u64,
}

impl MemoryUse {
    /// Every part by its name.
    pub fn parts(&self) -> [(&'static str, u64); 8] {
        [
            ("cache", self.cache),
            ("timers", self.timers),
            ("overlays", self.overlays),
            ("layers", self.layers),
            ("spilling", self.spilling),
            ("outputs", self.outputs),
            ("restore", self.restore),
            ("byte-store", self.byte_store),
        ]
    }

    /// Overlays and layers.
    pub fn changes(&self) -> u64 {
        self.overlays + self.layers + self.spilling
    }
}
