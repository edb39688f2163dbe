//! What a crash may leave of a store. And that it is a byte store at all.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use crate::{
    record::{Offset, Timestamp},
    state::{ByteStore, ByteStores, Positions, StateError},
};

fn positions(next: i64) -> Positions {
    Positions {
        changelog_next: Offset(next),
        changelog_topic_id: String::new(),
        marker: None,
        whole: true,
        written_at: Timestamp(0),
    }
}

/// Writes `k = next`, and `next` as position.
fn write(store: &mut dyn ByteStore, next: i64) -> Result<(), StateError> {
    let value = next.to_string();
    let mut changes = [(&b"k"[..], Some(value.as_bytes()))].into_iter();
    store.write(&mut changes, &positions(next))
}

/// What is found after a crash with that seed: `Ok(None)` for an empty store.
fn after_crash(seed: u64) -> (DiskOutcome, Result<Option<i64>, StateError>) {
    let mut disk = SimDisk::new();
    let mut store = disk.open("s_0").expect("open");
    for next in 1..=3 {
        write(&mut *store, next).expect("write");
    }
    store.flush().expect("flush");
    for next in 4..=6 {
        write(&mut *store, next).expect("write");
    }
    let outcomes = disk.crash(&mut fastrand::Rng::with_seed(seed));
    assert!(write(&mut *store, 7).is_err(), "the process is dead");
    drop(store);
    let found = disk.open("s_0").map(|store| {
        let position = store.positions().expect("positions").map(|p| p.changelog_next.0);
        let value = store.get(b"k").expect("get");
        assert_eq!(value, position.map(|p| p.to_string().into_bytes()), "a whole image");
        position
    });
    (outcomes[0].1, found)
}

#[test]
fn a_crash_keeps_an_image_since_the_last_flush_or_nothing_or_damage() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let (outcome, found) = after_crash(seed);
        seen.insert(outcome);
        match (outcome, found) {
            (DiskOutcome::Kept, Ok(Some(6)))
            | (DiskOutcome::RolledBack, Ok(Some(3..=5)))
            | (DiskOutcome::Lost, Ok(None))
            | (DiskOutcome::Damaged, Err(StateError::Damaged { .. })) => {}
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert_eq!(seen.len(), 4, "every outcome occurs");
}

#[test]
fn a_damaged_store_opens_again_after_a_wipe() {
    let mut disk = SimDisk::new();
    let mut store = disk.open("s_0").expect("open");
    write(&mut *store, 1).expect("write");
    drop(store);
    assert!(disk.damage("s_0"));
    assert!(matches!(disk.open("s_0"), Err(StateError::Damaged { .. })));
    disk.wipe("s_0").expect("wipe");
    assert_eq!(disk.open("s_0").expect("open").positions().expect("positions"), None);
}

#[test]
fn a_full_disk_refuses_a_write_and_keeps_the_image_before_it() {
    let mut disk = SimDisk::new();
    let mut store = disk.open("s_0").expect("open");
    write(&mut *store, 1).expect("write");
    disk.set_full(true);
    assert!(write(&mut *store, 2).is_err());
    assert_eq!(store.get(b"k").expect("get"), Some(b"1".to_vec()));
    disk.set_full(false);
    assert!(disk.open("s_0").is_err(), "a store is open once");
    drop(store);
    let image = disk.image("s_0").expect("written");
    assert_eq!(image, (vec![(b"k".to_vec(), b"1".to_vec())], positions(1)));
}

#[test]
fn a_store_agrees_with_a_map_over_writes_scans_and_openings() {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut disk = SimDisk::new();
    let mut store = disk.open("s_0").expect("open");
    let mut model = BTreeMap::new();
    for next in 0..500 {
        let mut changes: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        for _ in 0..rng.usize(0..5) {
            let value = rng.bool().then(|| vec![rng.u8(..)]);
            changes.insert(vec![rng.u8(0..20)], value);
        }
        let mut written = changes.iter().map(|(k, v)| (&k[..], v.as_deref()));
        store.write(&mut written, &positions(next)).expect("write");
        for (key, value) in changes {
            match value {
                Some(value) => model.insert(key, value),
                None => model.remove(&key),
            };
        }
        match rng.u8(0..10) {
            0 => store.flush().expect("flush"),
            1 => {
                drop(store);
                store = disk.open("s_0").expect("open");
            }
            _ => {}
        }
        let (from, to) = (vec![rng.u8(0..20)], vec![rng.u8(0..20)]);
        let found: Vec<_> = store.scan(&from, Some(&to)).map(|e| e.expect("entry")).collect();
        let expected: Vec<_> = model
            .iter()
            .filter(|(key, _)| **key >= from && **key < to)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(store.get(&from).expect("get"), model.get(&from).cloned());
        assert_eq!(store.positions().expect("positions"), Some(positions(next)));
    }
    assert!(!model.is_empty());
}
