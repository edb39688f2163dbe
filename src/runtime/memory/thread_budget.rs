//! When a stream thread does something about its memory, and what it reports.

use crate::state::SharedMemory;

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

    /// What is free as long as no task is open: cache, layers, and the changes of two epochs.
    pub fn lendable(&self) -> u64 {
        self.cache.saturating_add(self.spill.saturating_add(self.epoch).saturating_mul(2))
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
    /// Overlays of the epoch that runs.
    pub running: u64,
    /// Overlays of epochs that are sealed and not committed.
    pub sealed: u64,
    /// Outputs and changelog records that the client has not taken.
    pub outputs: u64,
    /// Committed layers.
    pub layers: u64,
    /// Committed layers that are being written.
    pub spilling: u64,
    /// Fetched records in the client.
    pub fetch_queue: u64,
    /// Fetched records with the thread.
    pub fetched: u64,
    /// Produced records in the client.
    pub produce_queue: u64,
    /// Changelog records in the client.
    pub restore_queue: u64,
    /// Changes of restores that are not written.
    pub restore: u64,
    /// Of the byte stores of the process.
    pub byte_store: SharedMemory,
}

/// Something that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The part of the limit that bounds it, by the name that [`MemoryPlan::parts`] uses.
    ///
    /// [`MemoryPlan::parts`]: crate::runtime::memory::MemoryPlan::parts
    pub part: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Bytes.
    pub bytes: u64,
}

impl MemoryUse {
    /// What this thread holds, part by part.
    pub fn held(&self) -> [Held; 12] {
        let held = |part, what, bytes| Held { part, what, bytes };
        [
            held("cache", "entries", self.cache),
            held("cache", "timers", self.timers),
            held("epochs", "running", self.running),
            held("epochs", "sealed", self.sealed),
            held("epochs", "outputs", self.outputs),
            held("layers", "committed", self.layers),
            held("layers", "frozen", self.spilling),
            held("fetch", "queue", self.fetch_queue),
            held("fetch", "taken", self.fetched),
            held("produce", "queue", self.produce_queue),
            held("restore", "queue", self.restore_queue),
            held("restore", "changes", self.restore),
        ]
    }

    /// What it holds together with all other threads of the process.
    pub fn shared(&self) -> [Held; 2] {
        let held = |what, bytes| Held { part: "byte-store", what, bytes };
        let SharedMemory { blocks, write_buffers } = self.byte_store;
        [held("blocks", blocks), held("write-buffers", write_buffers)]
    }

    /// Overlays and layers.
    pub fn changes(&self) -> u64 {
        self.running + self.sealed + self.layers + self.spilling
    }
}
