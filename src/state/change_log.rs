//! Changes in the order in which they came, gathered for one sorted write: what a restore reads
//! before it goes into the byte store.
//!
//! Nothing is looked up here while it grows, so a change costs a copy of its bytes and no more;
//! sorting, and leaving out what a later change of the same key made void, is the writer's.

use crate::state::{FrozenChanges, StateError, byte_store::TakeChange};

/// Stands for the length of a value that there is not; no record is that long.
const DELETED: u32 = u32::MAX;

/// Keys and values in one arena, and where each lies.
#[derive(Debug, Default)]
pub struct ChangeLog {
    arena: Vec<u8>,
    places: Vec<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    /// The first bytes of the key, zeroes behind a shorter one: most comparisons end here, without
    /// a look into the arena.
    prefix: u64,
    start: u64,
    key: u32,
    /// [`DELETED`] where the key is deleted.
    value: u32,
}

impl ChangeLog {
    /// Adds a change, which makes earlier ones of the same key void.
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        let needed = key.len() + value.map_or(0, <[u8]>::len);
        if self.arena.capacity() - self.arena.len() < needed {
            // By a quarter, not by doubling: what is reserved counts (MEM-1).
            self.arena.reserve_exact(needed.max(self.arena.len() / 4).max(4_096));
        }
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(DELETED - 1);
        let start = self.arena.len() as u64;
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(value.unwrap_or_default());
        if self.places.len() == self.places.capacity() {
            self.places.reserve_exact((self.places.len() / 4).max(64));
        }
        self.places.push(Place {
            prefix: prefix(key),
            start,
            key: length(key),
            value: value.map_or(DELETED, length),
        });
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes held: twice the places, since the writer sorts a copy of them.
    pub fn held_bytes(&self) -> usize {
        self.arena.capacity() + 2 * self.places.capacity() * size_of::<Place>()
    }

    fn key(&self, place: Place) -> &[u8] {
        let start = usize::try_from(place.start).unwrap_or(usize::MAX);
        self.arena.get(start..start + place.key as usize).unwrap_or_default()
    }

    /// Orders changes of keys that begin alike; mostly it is one key.
    fn order_keys(&self, alike: &mut [Place]) {
        let key = alike.first().map(|first| self.key(*first));
        if alike.iter().any(|place| Some(self.key(*place)) != key) {
            alike.sort_unstable_by(|a, b| {
                self.key(*a).cmp(self.key(*b)).then(b.start.cmp(&a.start))
            });
        }
    }

    fn value(&self, place: Place) -> Option<&[u8]> {
        let start = usize::try_from(place.start).unwrap_or(usize::MAX) + place.key as usize;
        let there = place.value != DELETED;
        there.then(|| self.arena.get(start..start + place.value as usize).unwrap_or_default())
    }
}

fn prefix(key: &[u8]) -> u64 {
    let mut first = [0; size_of::<u64>()];
    let length = key.len().min(first.len());
    if let (Some(to), Some(from)) = (first.get_mut(..length), key.get(..length)) {
        to.copy_from_slice(from);
    }
    u64::from_be_bytes(first)
}

impl FrozenChanges for ChangeLog {
    fn for_each(&self, take: &mut TakeChange<'_>) -> Result<(), StateError> {
        let mut sorted = self.places.clone();
        // By what lies in the places alone: a look at each key would be a miss of the cache, again
        // and again. The last change of a key comes first: it is the one that counts.
        sorted.sort_unstable_by_key(|place| {
            (u128::from(place.prefix) << 64) | u128::from(!place.start)
        });
        for alike in sorted.chunk_by_mut(|a, b| a.prefix == b.prefix) {
            self.order_keys(alike);
            let mut last: Option<Place> = None;
            for place in alike {
                if last.is_none_or(|last| self.key(last) != self.key(*place)) {
                    take(self.key(*place), self.value(*place))?;
                }
                last = Some(*place);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.held_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_change_of_each_key_comes_out_in_key_order() {
        let mut log = ChangeLog::default();
        let changes: [(&[u8], Option<&[u8]>); 6] = [
            (b"b", Some(b"1")),
            (b"a", Some(b"2")),
            (b"b", None),
            (b"c", Some(b"")),
            (b"a", Some(b"3")),
            (b"ab", Some(b"4")),
        ];
        for (key, value) in changes {
            log.push(key, value);
        }
        let mut seen = vec![];
        log.for_each(&mut |key, value| {
            seen.push((key.to_vec(), value.map(<[u8]>::to_vec)));
            Ok(())
        })
        .unwrap();
        let expected = [("a", Some("3")), ("ab", Some("4")), ("b", None), ("c", Some(""))];
        let expected = expected.map(|(key, value)| {
            (key.as_bytes().to_vec(), value.map(|value| value.as_bytes().to_vec()))
        });
        assert_eq!(seen, expected);
        assert!(log.held_bytes() >= 10);
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map_of_the_last_changes(
            changes in proptest::collection::vec(
                // Keys that begin alike, and some that are others' beginnings.
                ("(same-prefix|[ab])[ab\\x00]{0,3}", proptest::option::of(any::<u8>())),
                0..60,
            )
        ) {
            let (mut log, mut model) = (ChangeLog::default(), BTreeMap::new());
            for (key, value) in &changes {
                let value = value.map(|byte| vec![byte; 3]);
                log.push(key.as_bytes(), value.as_deref());
                model.insert(key.as_bytes().to_vec(), value);
            }
            let mut seen = vec![];
            log.for_each(&mut |key, value| {
                seen.push((key.to_vec(), value.map(<[u8]>::to_vec)));
                Ok(())
            })
            .unwrap();
            prop_assert_eq!(seen, model.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_held_is_little_more_than_what_was_pushed() {
        let mut log = ChangeLog::default();
        for number in 0..10_000u32 {
            log.push(&number.to_be_bytes(), Some(&[0; 96]));
        }
        let least = 10_000 * (100 + 2 * size_of::<Place>());
        assert!((least..least * 13 / 10).contains(&log.held_bytes()), "{}", log.held_bytes());
    }
}
