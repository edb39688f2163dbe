//! An entry of the typed resident cache.

use smallvec::SmallVec;

use crate::state::{key_hash::KeyHash, overlay::ENTRY_OVERHEAD};

/// An entry's part of the table, which is between half and fully used.
const TABLE_SHARE: usize = size_of::<Place>() * 3 / 2 + 2;

/// Headers and roundings of the allocator for what lies on the heap.
const HEAP_OVERHEAD: usize = 16;

/// Stands among the changed entries for one that was evicted.
pub(crate) const GONE: Slot = u32::MAX;

/// The number of an entry's slot.
pub(crate) type Slot = u32;

/// The place among the changed entries of one that the running epoch has not changed.
pub(crate) const UNCHANGED: u32 = u32::MAX;

/// Where an entry lies: most lookups of absent keys end here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) hash: KeyHash,
    pub(crate) slot: Slot,
}

/// A resident entry; a key without value is resident too, so that its absence is not looked up
/// again. With a key of up to 24 bytes and a value of 8 it is one cache line.
pub(crate) struct Resident<V> {
    /// The full store key.
    pub(crate) key: SmallVec<[u8; 24]>,
    pub(crate) value: Option<V>,
    /// The last epoch that touched it.
    pub(crate) touched: u32,
    /// Its place in `changed`.
    pub(crate) changed_at: Slot,
    /// Bytes of the encoded value when last seen.
    pub(crate) value_len: u32,
    /// Used since the hand last passed.
    pub(crate) used: bool,
    /// Whether the layers below hold a value.
    pub(crate) stored: bool,
}

impl<V> Resident<V> {
    /// Whether the running epoch changed it and it is not encoded since.
    pub(crate) fn is_changed(&self) -> bool {
        self.changed_at != UNCHANGED
    }

    /// Memory that it takes, roughly: what is encoded stands for what a value has on the heap.
    pub(crate) fn resident_bytes(&self) -> usize {
        let heap = |used: bool, bytes: usize| if used { HEAP_OVERHEAD + bytes } else { 0 };
        size_of::<Option<Self>>()
            + TABLE_SHARE
            + heap(self.key.spilled(), self.key.len())
            + heap(std::mem::needs_drop::<V>(), self.value_len as usize)
    }

    /// What it takes in an overlay, roughly, if the running epoch changed it; 0 else.
    pub(crate) fn changed_bytes(&self) -> usize {
        let entry = ENTRY_OVERHEAD + self.key.len() + self.value_len as usize;
        if self.is_changed() { entry } else { 0 }
    }
}
