//! `count`: how many elements each key has had.

use std::convert::Infallible;

/// The function that counts, for [`crate::operators::Fold`].
pub fn count<K, V>(_key: &K, _value: V, slot: &mut Option<u64>) -> Result<(), Infallible> {
    // 2^64 elements of one key do not happen.
    *slot = Some(slot.map_or(1, |count| count.saturating_add(1)));
    Ok(())
}
