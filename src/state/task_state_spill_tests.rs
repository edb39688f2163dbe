//! A spill behind the caller's back, step by step: what is read meanwhile, and when it fails.

use std::sync::{Arc, Mutex};

use crate::{
    record::{Offset, Timestamp},
    state::{
        ByteStore, ByteStores, Changes, Entry, EpochId, EpochMarker, MemoryByteStores, Positions,
        StateError, TaskState,
    },
};

/// Whether a write goes on, is let through, or fails.
#[derive(Clone, Copy, PartialEq)]
enum Gate {
    Closed,
    Open,
    Fails,
}

/// A store whose writes behind go on until the gate says so.
struct Slow {
    below: Box<dyn ByteStore>,
    gate: Arc<Mutex<Gate>>,
    held: Option<(Arc<dyn Changes>, Positions)>,
}

impl ByteStore for Slow {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.below.get(key)
    }

    fn scan<'a>(
        &'a self,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Box<dyn Iterator<Item = Result<Entry, StateError>> + 'a> {
        self.below.scan(from, to)
    }

    fn write(
        &mut self,
        changes: &mut dyn Iterator<Item = (&[u8], Option<&[u8]>)>,
        positions: &Positions,
    ) -> Result<(), StateError> {
        assert!(self.held.is_none(), "one write at a time");
        self.below.write(changes, positions)
    }

    fn write_behind(
        &mut self,
        changes: Arc<dyn Changes>,
        positions: &Positions,
    ) -> Result<(), StateError> {
        assert!(self.held.is_none(), "one write at a time");
        self.held = Some((changes, positions.clone()));
        Ok(())
    }

    fn written(&mut self, wait: bool) -> Option<Result<(), StateError>> {
        let gate = *self.gate.lock().unwrap();
        if gate == Gate::Closed && !wait {
            return None;
        }
        let (changes, positions) = self.held.take()?;
        if gate == Gate::Fails {
            return Some(Err(StateError::of_task("the disk is full")));
        }
        Some(self.below.write_behind(changes, &positions))
    }

    fn flush(&mut self) -> Result<(), StateError> {
        self.below.flush()
    }

    fn positions(&self) -> Result<Option<Positions>, StateError> {
        self.below.positions()
    }

    fn size_bytes(&self) -> u64 {
        self.below.size_bytes()
    }
}

/// A state on a slow store, the gate, and the keys of a store.
fn slow() -> (TaskState, Arc<Mutex<Gate>>, impl Fn(u8) -> Vec<u8>) {
    let below = MemoryByteStores::default().open("t").unwrap();
    let gate = Arc::new(Mutex::new(Gate::Closed));
    let store = Slow { below, gate: gate.clone(), held: None };
    let mut state = TaskState::open(Box::new(store)).unwrap();
    let id = state.store_id("counts").unwrap().to_be_bytes();
    (state, gate, move |key| vec![id[0], id[1], 0, 0, key])
}

fn commit(state: &mut TaskState, epoch: u64) {
    state.seal();
    let id = EpochId { epoch, incarnation: 1 };
    let marker = EpochMarker { id, sources: Vec::new(), watermark: None };
    state.commit(marker, Offset(i64::try_from(epoch).unwrap() * 10));
}

fn read(state: &TaskState, key: &[u8]) -> Option<Vec<u8>> {
    let found = state.get(key).unwrap().map(|(value, _)| value);
    let scanned = state.scan(key, None).unwrap();
    let scanned = scanned.iter().find(|(other, _)| other == key).map(|(_, value)| value.clone());
    assert_eq!(found, scanned, "a read and a scan differ");
    found
}

fn spilled_epoch(state: &TaskState) -> Option<u64> {
    Some(state.store_positions().unwrap()?.marker?.id.epoch)
}

#[test]
fn what_is_being_written_is_read_from_memory_and_younger_changes_hide_it() {
    let (mut state, gate, key) = slow();
    state.put(&key(1), b"one");
    state.put(&key(2), b"two");
    commit(&mut state, 1);
    assert!(state.spill_behind("id", Timestamp(5)).unwrap());
    assert_eq!((state.committed_bytes(), spilled_epoch(&state)), (0, None));
    assert!(state.spilling_bytes() > 0);
    assert_eq!(read(&state, &key(1)).as_deref(), Some(&b"one"[..]));

    state.put(&key(1), b"1");
    state.delete(&key(2));
    commit(&mut state, 2);
    assert_eq!(read(&state, &key(1)).as_deref(), Some(&b"1"[..]));
    assert_eq!(read(&state, &key(2)), None);
    assert!(!state.spill_behind("id", Timestamp(6)).unwrap(), "the first still goes on");
    assert!(!state.settle_spill(false).unwrap());

    *gate.lock().unwrap() = Gate::Open;
    assert!(state.settle_spill(false).unwrap());
    // The image is epoch 1 in full, whatever was committed meanwhile.
    assert_eq!((state.spilling_bytes(), spilled_epoch(&state)), (0, Some(1)));
    assert_eq!(read(&state, &key(1)).as_deref(), Some(&b"1"[..]));
    assert_eq!(read(&state, &key(2)), None);
    state.spill("id", Timestamp(7)).unwrap();
    let store = state.into_store();
    assert_eq!(store.get(&key(2)).unwrap(), None);
    assert!(store.get(&key(1)).unwrap().is_some());
    assert_eq!(store.positions().unwrap().unwrap().changelog_next, Offset(20));
}

#[test]
fn a_write_that_fails_is_part_of_the_committed_layer_again() {
    let (mut state, gate, key) = slow();
    state.put(&key(1), b"one");
    state.put(&key(2), b"two");
    commit(&mut state, 1);
    state.spill_behind("id", Timestamp(5)).unwrap();
    state.put(&key(2), b"2");
    commit(&mut state, 2);
    *gate.lock().unwrap() = Gate::Fails;
    assert!(state.settle_spill(false).is_err());
    assert_eq!(state.spilling_bytes(), 0);
    *gate.lock().unwrap() = Gate::Open;
    state.spill("id", Timestamp(6)).unwrap();
    assert_eq!(spilled_epoch(&state), Some(2));
    assert_eq!(read(&state, &key(1)).as_deref(), Some(&b"one"[..]));
    assert_eq!(read(&state, &key(2)).as_deref(), Some(&b"2"[..]));
}

#[test]
fn a_spill_waits_for_the_one_that_goes_on() {
    let (mut state, _gate, key) = slow();
    state.put(&key(1), b"one");
    commit(&mut state, 1);
    state.spill_behind("id", Timestamp(5)).unwrap();
    state.put(&key(1), b"1");
    commit(&mut state, 2);
    state.spill("id", Timestamp(6)).unwrap();
    assert_eq!(spilled_epoch(&state), Some(2));
    assert_eq!(read(&state, &key(1)).as_deref(), Some(&b"1"[..]));
}
