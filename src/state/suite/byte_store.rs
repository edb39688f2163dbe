//! What every byte store must do.

use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::Config};

use super::backend::{Backend, on_all_backends, positions};
use crate::state::{ByteStore, StateError};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn write(store: &mut dyn ByteStore, changes: &[(&[u8], Option<&[u8]>)], next: i64) {
    store.write(&mut changes.iter().copied(), &positions(next)).unwrap();
}

fn scan(store: &dyn ByteStore, from: &[u8], to: Option<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    store.scan(from, to).collect::<Result<_, _>>().unwrap()
}

fn a_new_store_is_empty<B: Backend>() {
    let backend = B::make();
    let store = backend.stores().open("0_0").unwrap();
    assert_eq!(store.positions().unwrap(), None);
    assert_eq!(store.get(b"\0\x01k").unwrap(), None);
    assert_eq!(scan(&*store, b"", None), vec![]);
}

fn what_was_written_is_there_after_a_restart<B: Backend>() {
    let backend = B::make();
    let mut store = backend.stores().open("0_0").unwrap();
    write(&mut *store, &[(b"\0\x01a", Some(b"1")), (b"\0\x01b", Some(b""))], 5);
    write(&mut *store, &[(b"\0\x01a", None), (b"\0\x01c", Some(b"3"))], 9);
    store.flush().unwrap();
    drop(store);
    let store = backend.stores().open("0_0").unwrap();
    assert_eq!(store.positions().unwrap(), Some(positions(9)));
    assert_eq!(
        scan(&*store, b"", None),
        [(b"\0\x01b".to_vec(), b"".to_vec()), (b"\0\x01c".to_vec(), b"3".to_vec())]
    );
    assert!(store.size_bytes() > 0);
}

fn positions_are_no_entry<B: Backend>() {
    let backend = B::make();
    let mut store = backend.stores().open("0_0").unwrap();
    write(&mut *store, &[(b"\0\0\0\0catalogue", Some(b"x")), (b"\0\x01", Some(b"y"))], 1);
    let keys: Vec<_> = scan(&*store, b"", None).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [b"\0\0\0\0catalogue".to_vec(), b"\0\x01".to_vec()]);
}

fn a_wiped_store_is_new<B: Backend>() {
    let backend = B::make();
    let mut stores = backend.stores();
    let mut store = stores.open("0_0").unwrap();
    write(&mut *store, &[(b"\0\x01a", Some(b"1"))], 5);
    drop(store);
    stores.wipe("0_0").unwrap();
    stores.wipe("never_made").unwrap();
    let store = stores.open("0_0").unwrap();
    assert_eq!(store.positions().unwrap(), None);
    assert_eq!(scan(&*store, b"", None), vec![]);
}

fn a_store_is_open_once_and_stores_are_apart<B: Backend>() {
    let backend = B::make();
    let mut stores = backend.stores();
    let mut first = stores.open("0_0").unwrap();
    assert!(matches!(stores.open("0_0").map(|_| ()), Err(StateError::Store { .. })));
    let second = stores.open("0_1").unwrap();
    write(&mut *first, &[(b"\0\x01a", Some(b"1"))], 5);
    assert_eq!(second.get(b"\0\x01a").unwrap(), None);
    drop(first);
    assert_eq!(stores.open("0_0").unwrap().positions().unwrap(), Some(positions(5)));
}

fn a_store_is_an_ordered_map<B: Backend>() {
    let key = || proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255)], 1..5);
    let key = move || key().prop_map(|tail| [vec![0, 1], tail].concat());
    let batch = proptest::collection::btree_map(key(), proptest::option::of("[a-c]{0,2}"), 0..8);
    let range = || (key(), proptest::option::of(key()));
    let config = Config { failure_persistence: None, ..Config::with_cases(B::CASES) };
    proptest!(config, |(batches in proptest::collection::vec(batch, 1..6), (from, to) in range())| {
        let backend = B::make();
        let mut store = backend.stores().open("0_0").unwrap();
        let mut model = Map::new();
        for (next, batch) in batches.iter().enumerate() {
            let changes = batch.iter().map(|(k, v)| (&k[..], v.as_ref().map(String::as_bytes)));
            store.write(&mut changes.clone(), &positions(next as i64)).unwrap();
            for (key, value) in changes {
                match value {
                    Some(value) => model.insert(key.to_vec(), value.to_vec()),
                    None => model.remove(key),
                };
            }
            store.flush().unwrap();
        }
        let within = |key: &Vec<u8>| *key >= from && to.as_ref().is_none_or(|to| key < to);
        let expected: Vec<_> =
            model.iter().filter(|(k, _)| within(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
        prop_assert_eq!(scan(&*store, &from, to.as_deref()), expected);
        prop_assert_eq!(store.get(&from).unwrap(), model.get(&from).cloned());
        prop_assert_eq!(store.positions().unwrap(), Some(positions(batches.len() as i64 - 1)));
    });
}

on_all_backends!(
    a_new_store_is_empty,
    what_was_written_is_there_after_a_restart,
    positions_are_no_entry,
    a_wiped_store_is_new,
    a_store_is_open_once_and_stores_are_apart,
    a_store_is_an_ordered_map,
);
