//! The hash of a full store key, the same in every layer: made once per access, kept beside places.
//!
//! Never stored and never sent: it may differ between versions.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

const HASHER: FixedState = FixedState::with_seed(0);

/// 32 bits of a key's hash: what tables of up to 2^25 places spread well over, and compare before
/// they look at a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyHash(u32);

impl KeyHash {
    /// Of a full store key.
    pub(crate) fn of(key: &[u8]) -> Self {
        let hash = HASHER.hash_one(key);
        Self((hash ^ (hash >> 32)) as u32)
    }

    /// For a table that takes a place from the lowest bits and a tag from the highest ones.
    pub(crate) fn spread(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.0)
    }
}
