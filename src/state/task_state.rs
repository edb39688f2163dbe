//! A task's state as bytes: overlays of the epochs in progress above the committed layer above
//! the byte store (DESIGN section 6).
//!
//! Reads go running overlay → sealed overlays, youngest first → committed layer → byte store.
//! Writes go to the running overlay only. Nothing reaches the byte store before its epoch is
//! committed (EOS-2).

use std::collections::{BTreeMap, VecDeque};

use crate::{
    record::{Offset, Timestamp},
    state::{ByteStore, EpochMarker, Positions, StateError},
    time::{TimerDomain, TimerFired},
};

/// Where a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// In the overlay of an epoch that is not committed: an entry made resident from it must be
    /// dropped when that epoch aborts.
    Uncommitted,
    /// In the committed layer or the byte store.
    Committed,
}

type Overlay = BTreeMap<Box<[u8]>, Option<Box<[u8]>>>;

/// The layered state of one task.
pub struct TaskState {
    running: Overlay,
    sealed: VecDeque<Overlay>,
    committed: Overlay,
    store: Box<dyn ByteStore>,
}

impl TaskState {
    /// Opens the state on a restored (whole or empty) byte store.
    pub fn open(_store: Box<dyn ByteStore>) -> Result<Self, StateError> {
        unimplemented!()
    }

    /// The id of a store by its qualified name `<operator>/<state>`, allocated (in the running
    /// overlay, as a catalogue record) where the catalogue has none.
    pub fn store_id(&mut self, _qualified: &str) -> Result<u16, StateError> {
        unimplemented!()
    }

    /// The value of a full store key and where it was found.
    pub fn get(&self, _key: &[u8]) -> Result<Option<(Vec<u8>, Layer)>, StateError> {
        unimplemented!()
    }

    /// Sets a full store key in the running overlay.
    pub fn put(&mut self, _key: &[u8], _value: &[u8]) {
        unimplemented!()
    }

    /// Deletes a full store key in the running overlay.
    pub fn delete(&mut self, _key: &[u8]) {
        unimplemented!()
    }

    /// The live entries with `from <= key < to` over all layers, in key order.
    pub fn scan(
        &self,
        _from: &[u8],
        _to: Option<&[u8]>,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        unimplemented!()
    }

    /// Sets a timer (deduplicated per store, key and time). `store` is a store id of its own.
    pub fn set_timer(&mut self, _store: u16, _domain: TimerDomain, _key: &[u8], _time: Timestamp) {
        unimplemented!()
    }

    /// Deletes a timer; nothing happens where there is none.
    pub fn delete_timer(
        &mut self,
        _store: u16,
        _domain: TimerDomain,
        _key: &[u8],
        _time: Timestamp,
    ) {
        unimplemented!()
    }

    /// The time of the earliest timer.
    pub fn next_timer(&self, _domain: TimerDomain) -> Option<Timestamp> {
        unimplemented!()
    }

    /// Takes the earliest timer with `time <= until`, ordered by (time, store, key).
    pub fn pop_due_timer(&mut self, _domain: TimerDomain, _until: Timestamp) -> Option<TimerFired> {
        unimplemented!()
    }

    /// Bytes in the running overlay.
    pub fn running_bytes(&self) -> usize {
        unimplemented!()
    }

    /// Closes the running overlay; the next epoch gets an empty one. At most two are sealed.
    pub fn seal(&mut self) {
        unimplemented!()
    }

    /// The changes of the youngest sealed overlay, in key order: what goes to the changelog.
    pub fn sealed_changes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.sealed.back().into_iter().flatten().map(|(k, v)| (&**k, v.as_deref()))
    }

    /// The oldest sealed epoch is committed: its overlay moves into the committed layer. The task
    /// stands at `marker`, whose changelog record is followed by `changelog_next`.
    pub fn commit(&mut self, _marker: EpochMarker, _changelog_next: Offset) {
        unimplemented!()
    }

    /// Drops the running and all sealed overlays; timers and catalogue stand as committed.
    pub fn abort(&mut self) -> Result<(), StateError> {
        unimplemented!()
    }

    /// The marker of the last committed epoch; `None` before the first.
    pub fn marker(&self) -> Option<&EpochMarker> {
        unimplemented!()
    }

    /// Bytes in the committed layer: what a spill would write.
    pub fn committed_bytes(&self) -> usize {
        unimplemented!()
    }

    /// Writes the committed layer and the task's positions to the byte store as one unit, and
    /// empties the layer. `topic_id` is the changelog's; `now` is recorded for the age check.
    pub fn spill(&mut self, _topic_id: &str, _now: Timestamp) -> Result<(), StateError> {
        unimplemented!()
    }

    /// Gives the byte store back, dropping what is not spilled.
    pub fn into_store(self) -> Box<dyn ByteStore> {
        self.store
    }

    /// The positions of the byte store's image.
    pub fn store_positions(&self) -> Result<Option<Positions>, StateError> {
        self.store.positions()
    }
}
