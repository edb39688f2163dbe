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

/// What an entry costs beside its key and value: its place in the list and in the table, what
/// both keep in reserve, and its place in the order that a spill makes. An estimate, for budgets.
pub(crate) const ENTRY_OVERHEAD: usize = 96;

/// The arena is written anew when at least this much of it, and half, is waste.
const WASTE_MIN: usize = 64 * 1024;

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
    bytes: usize,
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
            let held = place.key_len as usize + length(place.value_len);
            place.value_len = FORGOTTEN;
            self.bytes -= ENTRY_OVERHEAD + held;
            self.waste += held;
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

    /// Roughly the bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.waste
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
        self.bytes = self.bytes - old + size;
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
        self.bytes += ENTRY_OVERHEAD + self.arena.len() - at;
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

/// Makes room for `more` items: by a quarter, not by doubling, since what is reserved counts
/// (MEM-1).
fn reserve<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more.max(list.len() / 4).max(64));
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn length_of(value: Option<&[u8]>) -> usize {
        value.map_or(0, <[u8]>::len)
    }

    fn recounted(overlay: &Overlay) -> usize {
        let entry = |(k, v): (&[u8], Option<&[u8]>)| ENTRY_OVERHEAD + k.len() + length_of(v);
        overlay.iter().map(entry).sum::<usize>() + overlay.waste
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
        assert!(!overlay.is_empty() && Overlay::default().is_empty());
    }

    #[test]
    fn what_forgot_its_last_change_holds_nothing() {
        let mut overlay = Overlay::default();
        overlay.set(b"timer", Some([b"1", b""]));
        overlay.forget(b"timer");
        assert!(overlay.is_empty());
        assert_eq!(overlay.bytes(), 0, "an empty overlay is never spilled: its bytes would stay");

        let mut committed = Overlay::default();
        committed.absorb(overlay);
        assert_eq!(committed.bytes(), 0);
    }

    #[test]
    fn order_is_made_where_it_is_asked_for() {
        let mut overlay = Overlay::default();
        for key in [b"c".as_slice(), b"a", b"b", b"a\0", b"0123456789abcdefg", b"0123456789abcdef"]
        {
            overlay.set(key, Some([b"", key]));
        }
        overlay.forget(b"b");
        let keys = |found: Vec<(&[u8], Option<&[u8]>)>| -> Vec<Vec<u8>> {
            found.iter().map(|(key, _)| key.to_vec()).collect()
        };
        let sorted = keys(overlay.sorted().collect());
        assert_eq!(sorted, [&b"0123456789abcdef"[..], b"0123456789abcdefg", b"a", b"a\0", b"c"]);
        assert_eq!(keys(overlay.range(b"", None).collect()), sorted);
        assert_eq!(keys(overlay.iter().collect())[..2], [b"c".to_vec(), b"a".to_vec()]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Set(u8, Option<Vec<u8>>),
        Forget(u8),
        Scan(u8, u8),
        Absorb(Vec<(u8, Option<Vec<u8>>)>),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Values of up to 20 kB: the arena is written anew now and then.
        let value = || {
            proptest::option::of((any::<u8>(), 0..20_000_usize))
                .prop_map(|value| value.map(|(byte, size)| vec![byte; size]))
        };
        prop_oneof![
            6 => (0..12_u8, value()).prop_map(|(key, value)| Step::Set(key, value)),
            1 => (0..12_u8).prop_map(Step::Forget),
            1 => (0..12_u8, 0..12_u8).prop_map(|(from, to)| Step::Scan(from, to)),
            1 => proptest::collection::vec((0..12_u8, value()), 0..6).prop_map(Step::Absorb),
        ]
    }

    fn change(overlay: &mut Overlay, key: u8, value: Option<&Vec<u8>>) {
        overlay.set(&[key], value.map(|value| value.split_at(value.len() / 3)).map(Into::into));
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map_whatever_is_done(steps in proptest::collection::vec(step(), 0..80)) {
            let (mut overlay, mut model) = (Overlay::default(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Set(key, value) => {
                        change(&mut overlay, key, value.as_ref());
                        model.insert(vec![key], value);
                    }
                    Step::Forget(key) => {
                        overlay.forget(&[key]);
                        model.remove([key].as_slice());
                    }
                    Step::Scan(from, to) => {
                        let bounds = ([from], [to]);
                        let found: Vec<_> = overlay.range(&bounds.0, Some(&bounds.1)).collect();
                        let expected: Vec<_> = model
                            .iter()
                            .filter(|(key, _)| key[0] >= from && key[0] < to)
                            .map(|(key, value)| (&key[..], value.as_deref()))
                            .collect();
                        prop_assert_eq!(found, expected);
                    }
                    Step::Absorb(changes) => {
                        let mut younger = Overlay::default();
                        for (key, value) in changes {
                            change(&mut younger, key, value.as_ref());
                            model.insert(vec![key], value);
                        }
                        overlay.absorb(younger);
                    }
                }
                let expected = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| {
                    (key.clone(), value.clone())
                };
                let found: Vec<_> = overlay
                    .sorted()
                    .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
                    .collect();
                prop_assert_eq!(found, model.iter().map(expected).collect::<Vec<_>>());
                prop_assert_eq!(overlay.bytes(), recounted(&overlay));
                prop_assert!(overlay.waste <= WASTE_MIN.max(overlay.arena.len()));
                prop_assert_eq!(overlay.is_empty(), overlay.bytes() == 0);
                for key in 0..12 {
                    let found = overlay.get(&[key]).map(|value| value.map(<[u8]>::to_vec));
                    prop_assert_eq!(found, model.get([key].as_slice()).cloned());
                }
            }
        }
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
