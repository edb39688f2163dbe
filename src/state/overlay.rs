//! The changes of an epoch, or of several committed ones: sorted, one per key.
//!
//! Owns the accounting of their bytes. Knows nothing of epochs.

use std::collections::BTreeMap;

use crate::state::{FrozenChanges, StateError, byte_store::TakeChange};

/// What an entry costs beside its key and value: its share of a tree node two thirds full, and two
/// headers and roundings of the allocator. An estimate, for budgets.
pub(crate) const ENTRY_OVERHEAD: usize = 96;

/// A key's new value; `None` where it is deleted.
pub(crate) type Changed<'a> = Option<&'a [u8]>;

/// Sorted changes; `None` deletes a key.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    changes: BTreeMap<Box<[u8]>, Option<Box<[u8]>>>,
    bytes: usize,
}

impl Overlay {
    /// The change of a key: `None` where it is untouched here, `Some(None)` where it is deleted.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Changed<'_>> {
        self.changes.get(key).map(Option::as_deref)
    }

    /// Sets a key to the concatenation of `parts`, or deletes it where there are none.
    pub(crate) fn set(&mut self, key: &[u8], parts: Option<[&[u8]; 2]>) {
        let Some(slot) = self.changes.get_mut(key) else {
            let value = parts.map(|parts| parts.concat().into_boxed_slice());
            self.bytes += ENTRY_OVERHEAD + key.len() + length(value.as_deref());
            self.changes.insert(key.into(), value);
            return;
        };
        self.bytes -= length(slot.as_deref());
        match (slot.as_mut(), parts) {
            // A value of the same size, the usual case of counters, is written in place.
            (Some(value), Some([head, tail])) if value.len() == head.len() + tail.len() => {
                let (to_head, to_tail) = value.split_at_mut(head.len());
                to_head.copy_from_slice(head);
                to_tail.copy_from_slice(tail);
            }
            (_, parts) => *slot = parts.map(|parts| parts.concat().into_boxed_slice()),
        }
        self.bytes += length(slot.as_deref());
    }

    /// Forgets the change of a key.
    pub(crate) fn forget(&mut self, key: &[u8]) {
        if let Some(value) = self.changes.remove(key) {
            self.bytes -= ENTRY_OVERHEAD + key.len() + length(value.as_deref());
        }
    }

    /// Lays younger changes over these.
    pub(crate) fn absorb(&mut self, younger: Self) {
        if self.changes.is_empty() {
            *self = younger;
            return;
        }
        for (key, value) in younger.changes {
            let (key_bytes, value_bytes) = (key.len(), length(value.as_deref()));
            match self.changes.insert(key, value) {
                Some(old) => self.bytes = self.bytes - length(old.as_deref()) + value_bytes,
                None => self.bytes += ENTRY_OVERHEAD + key_bytes + value_bytes,
            }
        }
    }

    /// All changes, in key order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.changes.iter().map(|(key, value)| (&**key, value.as_deref()))
    }

    /// The changes with `from <= key < to`, in key order.
    pub(crate) fn range<'a>(
        &'a self,
        from: &'a [u8],
        to: Option<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        // A tree's range panics where the bounds are out of order.
        let bounded = to.is_none_or(|to| from < to).then(|| {
            self.changes.range::<[u8], _>((Included(from), to.map_or(Unbounded, Excluded)))
        });
        bounded.into_iter().flatten().map(|(key, value)| (&**key, value.as_deref()))
    }

    /// Roughly the bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is no change.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl FrozenChanges for Overlay {
    fn for_each(&self, take: &mut TakeChange<'_>) -> Result<(), StateError> {
        self.iter().try_for_each(|(key, value)| take(key, value))
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

fn length(value: Option<&[u8]>) -> usize {
    value.map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recounted(overlay: &Overlay) -> usize {
        overlay.iter().map(|(k, v)| ENTRY_OVERHEAD + k.len() + v.map_or(0, <[u8]>::len)).sum()
    }

    #[test]
    fn bytes_are_those_of_the_entries_after_any_change() {
        let mut overlay = Overlay::default();
        overlay.set(b"a", Some([b"1", b"22"]));
        overlay.set(b"a", Some([b"3", b"44"]));
        assert_eq!(overlay.get(b"a"), Some(Some(b"344".as_slice())));
        overlay.set(b"a", Some([b"", b"longer"]));
        overlay.set(b"b", Some([b"1", b"2"]));
        overlay.set(b"b", None);
        overlay.set(b"c", None);
        assert_eq!(overlay.bytes(), recounted(&overlay));

        let mut younger = Overlay::default();
        younger.set(b"b", Some([b"x", b"yz"]));
        younger.set(b"d", Some([b"x", b"yz"]));
        overlay.absorb(younger);
        overlay.forget(b"a");
        overlay.forget(b"never");
        assert_eq!(overlay.bytes(), recounted(&overlay));
        assert_eq!(overlay.get(b"b"), Some(Some(b"xyz".as_slice())));
    }

    #[test]
    fn a_range_whose_bounds_are_out_of_order_is_empty() {
        let mut overlay = Overlay::default();
        overlay.set(b"b", Some([b"", b""]));
        assert_eq!(overlay.range(b"c", Some(b"a")).count(), 0);
        assert_eq!(overlay.range(b"b", Some(b"b")).count(), 0);
        assert_eq!(overlay.range(b"b", None).count(), 1);
    }
}
