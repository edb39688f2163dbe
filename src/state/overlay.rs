//! The changes of an epoch, or of several committed ones: one per key, in an arena.
//!
//! Owns the accounting of their bytes. Knows nothing of epochs. A change costs one hash and one
//! copy: a sorted tree costs several times that, and nothing but a spill and a scan needs order.
//! The order of keys is made where it is asked for: once for a spill, and from the first range on
//! for an overlay that is scanned.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
    sync::OnceLock,
};

use hashbrown::HashTable;

use crate::state::{FrozenChanges, StateError, byte_store::TakeChange, key_hash::KeyHash};

/// What an entry will cost beside its key and value: its place in the list and in the table, what
/// both keep in reserve, and its place in the order that a spill makes. An estimate, for what is
/// not in an overlay yet; a test holds it against [`Overlay::bytes`].
pub(crate) const ENTRY_OVERHEAD: usize = 80;

/// Of the table, for each entry that it has room for: an index, a byte of its hash, and the eighth
/// that stays free.
const TABLE_SHARE: usize = 6;

/// A place in the order that a spill makes.
const SORTED_SHARE: usize = size_of::<([u64; 2], &Place)>();

/// A place in the order that a range makes, beside its key: nodes that are half full, and what the
/// allocator adds.
const ORDER_SHARE: usize = 72;

/// The arena is written anew when at least this much of it, and half, is waste.
const WASTE_MIN: usize = 64 * 1024;

/// The least that is reserved of a list.
const RESERVE_MIN_BYTES: usize = 256;

/// The length of a value that is none: the key is deleted.
const DELETED: u32 = u32::MAX;

/// The length of a value whose change was forgotten.
const FORGOTTEN: u32 = u32::MAX - 1;

/// A key's new value; `None` where it is deleted.
pub(crate) type Changed<'a> = Option<&'a [u8]>;

/// Where key and value lie in the arena.
#[derive(Debug, Clone, Copy)]
struct Place {
    key: usize,
    value: usize,
    hash: KeyHash,
    key_len: u32,
    value_len: u32,
}

impl Place {
    fn is_live(&self) -> bool {
        self.value_len != FORGOTTEN
    }
}

/// Changes by key; `None` deletes a key.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    arena: Vec<u8>,
    places: Vec<Place>,
    table: HashTable<u32>,
    /// Bytes of the keys that are live.
    key_bytes: usize,
    /// Bytes of the arena that nothing points to any more.
    waste: usize,
    /// The keys in order, from the first range on.
    order: OnceLock<BTreeMap<Box<[u8]>, u32>>,
}

impl Overlay {
    /// The change of a key: `None` where it is untouched here, `Some(None)` where it is deleted.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Changed<'_>> {
        self.get_hashed(KeyHash::of(key), key)
    }

    /// As [`Overlay::get`], for a key whose hash is known.
    pub(crate) fn get_hashed(&self, hash: KeyHash, key: &[u8]) -> Option<Changed<'_>> {
        let index = self.find(hash, key)?;
        self.places.get(index as usize).map(|place| self.value(place))
    }

    /// Sets a key to the concatenation of `parts`, or deletes it where there are none.
    pub(crate) fn set(&mut self, key: &[u8], parts: Option<[&[u8]; 2]>) {
        self.set_hashed(KeyHash::of(key), key, parts);
    }

    /// Forgets the change of a key.
    pub(crate) fn forget(&mut self, key: &[u8]) {
        let hash = KeyHash::of(key);
        let Some(index) = self.find(hash, key) else { return };
        if let Ok(found) = self.table.find_entry(hash.spread(), |other| *other == index) {
            found.remove();
        }
        if let Some(place) = self.places.get_mut(index as usize) {
            self.key_bytes -= place.key_len as usize;
            self.waste += place.key_len as usize + length(place.value_len);
            place.value_len = FORGOTTEN;
        }
        if self.table.is_empty() {
            // Without changes nothing is held: nobody spills an overlay only to free its waste.
            *self = Self::default();
            return;
        }
        if let Some(order) = self.order.get_mut() {
            order.remove(key);
        }
        self.tidy();
    }

    /// Lays younger changes over these.
    pub(crate) fn absorb(&mut self, younger: Self) {
        if self.table.is_empty() {
            *self = younger;
            return;
        }
        for place in younger.places.iter().filter(|place| place.is_live()) {
            let value = younger.value(place).map(|value| [value, &[]]);
            self.set_hashed(place.hash, younger.key(place), value);
        }
    }

    /// All changes, in the order in which their keys were first set.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let live = self.places.iter().filter(|place| place.is_live());
        live.map(|place| (self.key(place), self.value(place)))
    }

    /// All changes, in key order.
    pub(crate) fn sorted(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let live = self.places.iter().filter(|place| place.is_live());
        // Most comparisons end within the first 16 bytes, which lie beside each other here.
        let mut order: Vec<([u64; 2], &Place)> = Vec::with_capacity(self.table.len());
        order.extend(live.map(|place| (prefix(self.key(place)), place)));
        order.sort_unstable_by(|(prefix, place), (other_prefix, other)| {
            prefix.cmp(other_prefix).then_with(|| self.key(place).cmp(self.key(other)))
        });
        order.into_iter().map(|(_, place)| (self.key(place), self.value(place)))
    }

    /// The changes with `from <= key < to`, in key order.
    pub(crate) fn range<'a>(
        &'a self,
        from: &'a [u8],
        to: Option<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        // A tree's range panics where the bounds are out of order.
        let asked = !self.table.is_empty() && to.is_none_or(|to| from < to);
        let found = asked.then(|| {
            let order = self.order.get_or_init(|| self.ordered());
            order.range::<[u8], _>((Included(from), to.map_or(Unbounded, Excluded)))
        });
        found.into_iter().flatten().filter_map(|(key, index)| {
            self.places.get(*index as usize).map(|place| (&**key, self.value(place)))
        })
    }

    /// The bytes held, what is reserved included, and those that a spill will take to sort.
    pub(crate) fn bytes(&self) -> usize {
        let order = |order: &BTreeMap<_, _>| order.len() * ORDER_SHARE + self.key_bytes;
        self.arena.capacity()
            + self.places.capacity() * size_of::<Place>()
            + self.table.capacity() * TABLE_SHARE
            + self.table.len() * SORTED_SHARE
            + self.order.get().map_or(0, order)
    }

    /// Whether there is no change.
    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    fn key(&self, place: &Place) -> &[u8] {
        self.arena.get(place.key..place.key + place.key_len as usize).unwrap_or_default()
    }

    fn value(&self, place: &Place) -> Option<&[u8]> {
        let held = place.value..place.value + length(place.value_len);
        (place.value_len != DELETED).then(|| self.arena.get(held).unwrap_or_default())
    }

    fn find(&self, hash: KeyHash, key: &[u8]) -> Option<u32> {
        let same = |index: &u32| {
            let place = self.places.get(*index as usize);
            place.is_some_and(|place| place.hash == hash && self.key(place) == key)
        };
        self.table.find(hash.spread(), same).copied()
    }

    /// As [`Overlay::set`], for a key whose hash is known.
    pub(crate) fn set_hashed(&mut self, hash: KeyHash, key: &[u8], parts: Option<[&[u8]; 2]>) {
        let size = parts.map_or(0, |[head, tail]| head.len() + tail.len());
        let value_len = if parts.is_none() { DELETED } else { narrow(size) };
        let found = self.find(hash, key).and_then(|index| self.places.get_mut(index as usize));
        let Some(place) = found else {
            return self.insert(hash, key, value_len, parts);
        };
        let old = length(place.value_len);
        // A value that is not larger, the usual case of counters, is written in place.
        let (mut at, held) = (place.value, place.value_len);
        if held == DELETED || size > old {
            self.waste += old;
            at = self.arena.len();
            reserve(&mut self.arena, size);
            self.arena.resize(at + size, 0);
        } else {
            self.waste += old - size;
        }
        (place.value, place.value_len) = (at, value_len);
        if let (Some([head, tail]), Some(to)) = (parts, self.arena.get_mut(at..at + size)) {
            let (to_head, to_tail) = to.split_at_mut(head.len());
            to_head.copy_from_slice(head);
            to_tail.copy_from_slice(tail);
        }
        self.tidy();
    }

    fn insert(&mut self, hash: KeyHash, key: &[u8], value_len: u32, parts: Option<[&[u8]; 2]>) {
        let index = narrow(self.places.len());
        let at = self.arena.len();
        let size = parts.map_or(0, |[head, tail]| head.len() + tail.len());
        reserve(&mut self.arena, key.len() + size);
        self.arena.extend_from_slice(key);
        let value = self.arena.len();
        for part in parts.into_iter().flatten() {
            self.arena.extend_from_slice(part);
        }
        self.key_bytes += key.len();
        let key_len = narrow(key.len());
        reserve(&mut self.places, 1);
        self.places.push(Place { key: at, value, hash, key_len, value_len });
        let places = &self.places;
        let rehash =
            |index: &u32| places.get(*index as usize).map_or(0, |place| place.hash.spread());
        self.table.insert_unique(hash.spread(), index, rehash);
        if let Some(order) = self.order.get_mut() {
            order.insert(key.into(), index);
        }
    }

    /// Writes the arena anew where half of it is waste.
    fn tidy(&mut self) {
        if self.waste < WASTE_MIN || self.waste < self.arena.len() / 2 {
            return;
        }
        let old = std::mem::take(self);
        for place in old.places.iter().filter(|place| place.is_live()) {
            let parts = old.value(place).map(|value| [value, &[]]);
            let value_len = place.value_len;
            self.insert(place.hash, old.key(place), value_len, parts);
        }
    }

    fn ordered(&self) -> BTreeMap<Box<[u8]>, u32> {
        let indexed = (0..).zip(&self.places).filter(|(_, place)| place.is_live());
        indexed.map(|(index, place)| (self.key(place).into(), index)).collect()
    }
}

impl FrozenChanges for Overlay {
    fn for_each(&self, take: &mut TakeChange<'_>) -> Result<(), StateError> {
        self.sorted().try_for_each(|(key, value)| take(key, value))
    }

    fn bytes(&self) -> usize {
        Self::bytes(self)
    }
}

/// Makes room for `more` items: by a quarter, not by doubling, and little at first, since what is
/// reserved counts (MEM-1) and there may be hundreds of tasks.
fn reserve<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more.max(list.len() / 4).max(RESERVE_MIN_BYTES / size_of::<T>()));
    }
}

/// The first 16 bytes as two numbers that sort as they do, as far as they go.
fn prefix(key: &[u8]) -> [u64; 2] {
    let mut first = [0; 16];
    for (to, from) in first.iter_mut().zip(key) {
        *to = *from;
    }
    let both = u128::from_be_bytes(first);
    [(both >> 64) as u64, both as u64]
}

/// Records and overlays are far below 4 GiB; a longer one would be cut by every client as well.
fn narrow(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX).min(FORGOTTEN - 1)
}

fn length(value_len: u32) -> usize {
    if value_len >= FORGOTTEN { 0 } else { value_len as usize }
}

#[cfg(test)]
#[path = "overlay_tests.rs"]
mod tests;
