//! An entry of the typed resident cache.

use crate::state::overlay::ENTRY_OVERHEAD;

/// An entry's part of the table, which is between half and fully used.
const TABLE_SHARE: usize = 10;

/// Headers and roundings of the allocator for a key and a value on the heap.
const HEAP_OVERHEAD: usize = 32;

/// Stands among the changed entries for one that was evicted.
pub(crate) const GONE: Slot = u32::MAX;

/// The number of an entry's slot.
pub(crate) type Slot = u32;

/// The place among the changed entries of one that the running epoch has not changed.
pub(crate) const UNCHANGED: u32 = u32::MAX;

/// A resident entry; a key without value is resident too, so that its absence is not looked up
/// again.
pub(crate) struct Resident<K, V> {
    pub(crate) key: K,
    pub(crate) value: Option<V>,
    /// The last epoch that touched it.
    pub(crate) touched: u64,
    /// Its place in `changed`.
    pub(crate) changed_at: Slot,
    /// Encoded bytes of key and value when last seen.
    pub(crate) bytes: u32,
    /// Used since the hand last passed.
    pub(crate) used: bool,
    /// Whether the layers below hold a value.
    pub(crate) stored: bool,
}

impl<K, V> Resident<K, V> {
    /// Whether the running epoch changed it and it is not encoded since.
    pub(crate) fn is_changed(&self) -> bool {
        self.changed_at != UNCHANGED
    }

    /// Memory that it takes, roughly: what is encoded stands for what is on the heap.
    pub(crate) fn resident_bytes(&self) -> usize {
        size_of::<Option<Self>>() + TABLE_SHARE + HEAP_OVERHEAD + self.bytes as usize
    }

    /// What it takes in an overlay, roughly, if the running epoch changed it; 0 else.
    pub(crate) fn changed_bytes(&self) -> usize {
        if self.is_changed() { ENTRY_OVERHEAD + self.bytes as usize } else { 0 }
    }
}
