//! The resident cache in single steps; the models are in `suite`.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{
    formats::CodecError,
    record::{Offset, Timestamp},
    state::{ByteStores, EpochId, EpochMarker, MemoryByteStores},
};

/// Counts its calls.
#[derive(Default)]
struct Number(AtomicUsize);

impl Codec<u64> for Number {
    fn encode(&self, value: &u64, out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<u64, CodecError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let bytes =
            bytes.try_into().map_err(|_| CodecError { reason: "not 8 bytes".to_owned() })?;
        Ok(u64::from_be_bytes(bytes))
    }
}

fn owned(value: Option<&u64>) -> Option<u64> {
    value.copied()
}

struct Fixture {
    state: TaskState,
    values: ValueState<u64, u64>,
    key_codec: Arc<Number>,
    codec: Arc<Number>,
    stores: MemoryByteStores,
    epoch: u64,
}

fn fixture() -> Fixture {
    let mut stores = MemoryByteStores::default();
    let mut state = TaskState::open(stores.open("0_0").unwrap()).unwrap();
    let (key_codec, codec) = (Arc::new(Number::default()), Arc::new(Number::default()));
    let mut values = ValueState::new("op", "count", key_codec.clone(), codec.clone());
    values.open(&mut state).unwrap();
    Fixture { state, values, key_codec, codec, stores, epoch: 0 }
}

impl Fixture {
    fn add(&mut self, key: u64) {
        self.values.update(&mut self.state, &key, |v| *v.get_or_insert(0) += 1).unwrap();
    }

    fn seal(&mut self) {
        self.values.seal(&mut self.state).unwrap();
        self.state.seal();
    }

    fn commit(&mut self) {
        self.epoch += 1;
        let id = EpochId { epoch: self.epoch, incarnation: 0 };
        let marker = EpochMarker { id, sources: vec![], watermark: None };
        self.state.commit(marker, Offset(self.epoch as i64));
        self.values.committed();
    }

    fn entry(&mut self, key: u64) -> &mut Resident<u64> {
        self.values.take_key(&key).unwrap();
        let key = &self.values.key;
        self.values.slots.iter_mut().flatten().find(|entry| entry.key[..] == key[..]).unwrap()
    }
}

#[test]
fn a_hot_update_encodes_no_value_and_a_seal_each_one_once() {
    let mut f = fixture();
    let calls = |f: &Fixture| {
        let calls = |codec: &Number| codec.0.load(Ordering::Relaxed);
        (calls(&f.key_codec), calls(&f.codec))
    };
    for _ in 0..1000 {
        f.add(7);
    }
    assert_eq!(calls(&f), (1000, 0), "a lookup is by the key's bytes");
    f.seal();
    assert_eq!(calls(&f), (1000, 1));
    assert_eq!(f.state.sealed_changes().count(), 2, "the entry and the catalogue");
}

#[test]
fn a_key_that_comes_and_goes_within_an_epoch_leaves_no_trace() {
    let mut f = fixture();
    f.values.update(&mut f.state, &1, |v| *v = Some(5)).unwrap();
    f.values.update(&mut f.state, &1, |v| *v = None).unwrap();
    f.values.update(&mut f.state, &2, |_| ()).unwrap();
    f.seal();
    assert_eq!(f.state.sealed_changes().count(), 1, "the catalogue alone");
}

#[test]
fn an_abort_drops_what_both_sealed_epochs_and_the_running_one_touched() {
    let mut f = fixture();
    f.add(1);
    f.seal();
    f.commit();
    f.add(2);
    f.seal();
    f.add(3);
    f.seal();
    f.add(4);
    f.state.abort().unwrap();
    f.values.aborted();
    assert_eq!(f.values.resident_entries(), 1);
    f.values.verify(&f.state).unwrap();
    let read = |f: &mut Fixture, key| f.values.read(&mut f.state, &key, owned).unwrap();
    assert_eq!((read(&mut f, 1), read(&mut f, 2), read(&mut f, 4)), (Some(1), None, None));
}

#[test]
fn the_epoch_behind_a_committed_one_is_still_dropped() {
    let mut f = fixture();
    f.add(1);
    f.seal();
    f.add(1);
    f.add(2);
    f.seal();
    f.commit();
    f.state.abort().unwrap();
    f.values.aborted();
    assert_eq!(f.values.resident_entries(), 0, "both were touched by the second epoch");
    assert_eq!(f.values.read(&mut f.state, &1, owned).unwrap(), Some(1));
}

#[test]
fn a_delete_of_an_uncommitted_epoch_that_was_read_again_is_dropped_with_it() {
    let mut f = fixture();
    f.add(1);
    f.seal();
    f.commit();
    f.values.update(&mut f.state, &1, |v| *v = None).unwrap();
    f.seal();
    // Two rounds: the first takes the marks of use.
    f.values.evict(&mut f.state, 0).unwrap();
    assert_eq!(f.values.resident_entries(), 0);
    assert_eq!(f.values.read(&mut f.state, &1, owned).unwrap(), None);
    f.state.abort().unwrap();
    f.values.aborted();
    assert_eq!(f.values.read(&mut f.state, &1, owned).unwrap(), Some(1));
}

#[test]
fn eviction_spares_what_was_used_and_writes_down_what_the_epoch_changed() {
    let mut f = fixture();
    (0..10).for_each(|key| f.add(key));
    f.seal();
    f.commit();
    let one = f.values.resident_bytes() / 10;
    f.values.evict(&mut f.state, one * 9).unwrap();
    f.add(5);
    f.values.read(&mut f.state, &6, |_| ()).unwrap();
    f.values.evict(&mut f.state, one * 2).unwrap();
    assert_eq!(f.values.resident_entries(), 2);
    (f.entry(5).used, f.entry(6).used) = (true, true);
    f.values.evict(&mut f.state, 0).unwrap();
    assert_eq!((f.values.resident_entries(), f.values.changed_bytes()), (0, 0));
    assert_eq!(f.values.read(&mut f.state, &5, owned).unwrap(), Some(2), "out of the overlay");
    f.state.abort().unwrap();
    f.values.aborted();
    assert_eq!(f.values.read(&mut f.state, &5, owned).unwrap(), Some(1));
}

#[test]
fn keys_too_long_for_a_slot_and_keys_with_zeros_are_keys_like_others() {
    let mut stores = MemoryByteStores::default();
    let mut state = TaskState::open(stores.open("0_0").unwrap()).unwrap();
    let codec = Arc::new(crate::formats::Bytes);
    let mut values: ValueState<Vec<u8>, u64> =
        ValueState::new("op", "count", codec, Arc::new(Number::default()));
    values.open(&mut state).unwrap();
    let keys = [vec![], vec![0], vec![0, 0], vec![7; 18], vec![7; 19], vec![7; 4_000]];
    for (number, key) in (0..).zip(&keys) {
        values.update(&mut state, key, |value| *value = Some(number)).unwrap();
    }
    values.seal(&mut state).unwrap();
    state.seal();
    values.verify(&state).unwrap();
    let bytes = values.resident_bytes();
    assert!(bytes > 4_000 + 6 * size_of::<Resident<u64>>(), "a long key counts: {bytes}");
    values.evict(&mut state, 0).unwrap();
    values.evict(&mut state, 0).unwrap();
    for (number, key) in (0..).zip(&keys) {
        assert_eq!(values.read(&mut state, key, owned).unwrap(), Some(number));
    }
}

#[test]
fn a_short_key_with_a_number_is_one_cache_line() {
    assert_eq!(size_of::<Option<Resident<u64>>>(), 64);
}

#[test]
fn verify_finds_a_resident_value_that_is_not_what_lies_below() {
    let mut f = fixture();
    f.add(1);
    f.seal();
    f.commit();
    f.values.verify(&f.state).unwrap();
    f.entry(1).value = Some(99);
    assert!(f.values.verify(&f.state).unwrap_err().contains("below lies"));
    f.entry(1).value = None;
    assert!(f.values.verify(&f.state).unwrap_err().contains("below lies"));
}

#[test]
fn verify_finds_an_entry_that_outlived_its_abort() {
    let mut f = fixture();
    f.add(1);
    f.seal();
    f.state.abort().unwrap();
    assert!(f.values.verify(&f.state).unwrap_err().contains("below lies"));
    f.values.aborted();
    f.values.verify(&f.state).unwrap();
}

#[test]
fn verify_finds_uncommitted_entries_that_count_as_clean_and_unmarked_changes() {
    let mut f = fixture();
    f.add(1);
    f.seal();
    f.entry(1).touched = 0;
    assert!(f.values.verify(&f.state).unwrap_err().contains("counts as clean"));
    f.entry(1).touched = 1;
    f.add(2);
    f.values.verify(&f.state).unwrap();
    f.entry(2).touched = 1;
    assert!(f.values.verify(&f.state).unwrap_err().contains("not marked so"));
    f.entry(2).touched = 2;
    f.values.changed.clear();
    assert!(f.values.verify(&f.state).unwrap_err().contains("not marked so"));
}

#[test]
fn a_value_that_its_codec_refuses_is_named() {
    let mut f = fixture();
    f.values.take_key(&1).unwrap();
    f.state.put(&f.values.key, b"short");
    let refused = f.values.read(&mut f.state, &1, |_| ()).unwrap_err();
    assert_eq!(refused.to_string(), "state op/count: cannot decode: not 8 bytes");
    assert_eq!(f.values.resident_entries(), 0);
}

#[test]
fn values_come_back_after_a_restart() {
    let mut f = fixture();
    f.add(1);
    f.add(1);
    f.seal();
    f.commit();
    f.state.spill("topic", Timestamp(0)).unwrap();
    drop(f.state);
    let mut state = TaskState::open(f.stores.open("0_0").unwrap()).unwrap();
    let mut values = ValueState::new("op", "count", f.key_codec.clone(), f.codec.clone());
    values.open(&mut state).unwrap();
    assert_eq!(values.read(&mut state, &1, owned).unwrap(), Some(2));
}
