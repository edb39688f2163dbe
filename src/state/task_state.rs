//! A task's state as bytes: overlays of the epochs in progress above the committed layer above
//! the byte store (DESIGN section 6).
//!
//! Reads go running overlay → sealed overlays, youngest first → committed layer → byte store.
//! Writes go to the running overlay only. Nothing reaches the byte store before its epoch is
//! committed (EOS-2).
//!
//! Values carry a version byte in front in every layer, in the changelog and in the byte store;
//! it is put there by `put` and taken off by `get`, so callers never see it. The engine's own
//! records (store 0) are no entries: `scan` leaves them out.

use std::{
    collections::{BTreeSet, VecDeque},
    iter,
};

use crate::{
    record::{Offset, Timestamp},
    state::{
        ByteStore, Entry, EpochMarker, Positions, SharedMemory, StateError, StoreCatalogue,
        key_group::key_group,
        key_hash::KeyHash,
        keys::{self, CATALOGUE_KEY, ENGINE_STORE},
        overlay::{Changed, Overlay},
        scan,
        spill::Frozen,
        timers::{TimerIndex, TimerPlace},
        value,
    },
    time::{TimerDomain, TimerFired},
};

/// Epochs that can be sealed and not yet committed (EOS-6).
const SEALED_MAX: usize = 2;

/// Where a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// In the overlay of an epoch that is not committed: an entry made resident from it must be
    /// dropped when that epoch aborts.
    Uncommitted,
    /// In the committed layer or the byte store.
    Committed,
}

/// The layered state of one task.
pub struct TaskState {
    running: Overlay,
    /// Counts running overlays from 1 on: tells timers that only the running one knows.
    running_number: u64,
    pub(super) sealed: VecDeque<Overlay>,
    pub(super) committed: Overlay,
    pub(super) frozen: Option<Frozen>,
    pub(super) store: Box<dyn ByteStore>,
    /// Of the last committed epoch.
    pub(super) marker: Option<EpochMarker>,
    pub(super) changelog_next: Option<Offset>,
    catalogue: StoreCatalogue,
    timers: TimerIndex,
    scratch: Vec<u8>,
}

impl TaskState {
    /// Opens the state on a restored (whole or empty) byte store. Errors: an image that is not a
    /// whole epoch, or that cannot be read.
    pub fn open(store: Box<dyn ByteStore>) -> Result<Self, StateError> {
        Self::open_with(store, StoreCatalogue::default())
    }

    /// As [`TaskState::open`], with another number of key groups where the store is empty. One
    /// that holds state keeps the number it was made with.
    pub fn open_with_key_groups(
        store: Box<dyn ByteStore>,
        groups: u16,
    ) -> Result<Self, StateError> {
        Self::open_with(store, StoreCatalogue::new(groups.max(1)))
    }

    fn open_with(store: Box<dyn ByteStore>, first: StoreCatalogue) -> Result<Self, StateError> {
        let positions = store.positions()?;
        if positions.as_ref().is_some_and(|positions| !positions.whole) {
            return Err(StateError::of_task(
                "the image is not a whole epoch: its restore was interrupted",
            ));
        }
        let catalogue = match store.get(CATALOGUE_KEY)? {
            Some(record) => StoreCatalogue::decode(&record)?,
            None => first,
        };
        let (marker, changelog_next) =
            positions.map_or((None, None), |found| (found.marker, Some(found.changelog_next)));
        let mut state = Self {
            running: Overlay::default(),
            running_number: 1,
            sealed: VecDeque::new(),
            committed: Overlay::default(),
            frozen: None,
            store,
            marker,
            changelog_next,
            catalogue,
            timers: TimerIndex::default(),
            scratch: Vec::new(),
        };
        state.timers = state.read_timers()?;
        Ok(state)
    }

    /// The id of a store by its qualified name `<operator>/<state>`, allocated (in the running
    /// overlay, as a catalogue record) where the catalogue has none. Allocated ids outlive an
    /// abort. Errors: all ids are taken.
    pub fn store_id(&mut self, qualified: &str) -> Result<u16, StateError> {
        let (id, new) = self.catalogue.allocate(qualified)?;
        if new {
            self.put_catalogue()?;
        }
        Ok(id)
    }

    /// The names and ids of the stores.
    pub fn catalogue(&self) -> &StoreCatalogue {
        &self.catalogue
    }

    /// The number of key groups, fixed at the first start.
    pub fn key_groups(&self) -> u16 {
        self.catalogue.groups()
    }

    /// The value of a full store key and the layer it was found in; of a missing value the layer
    /// that it is missing in: one that an uncommitted epoch deleted comes back when that epoch
    /// aborts.
    pub fn find(&self, key: &[u8]) -> Result<(Option<Vec<u8>>, Layer), StateError> {
        self.find_hashed(KeyHash::of(key), key)
    }

    /// As [`TaskState::find`], for a key whose hash is known.
    pub(crate) fn find_hashed(
        &self,
        hash: KeyHash,
        key: &[u8],
    ) -> Result<(Option<Vec<u8>>, Layer), StateError> {
        if let Some(change) = self.uncommitted(hash, key) {
            let value = change.map(|framed| value::unframe(framed).map(<[u8]>::to_vec));
            return Ok((value.transpose()?, Layer::Uncommitted));
        }
        let frozen =
            || self.frozen.as_ref().and_then(|frozen| frozen.changes.get_hashed(hash, key));
        let value = match self.committed.get_hashed(hash, key).or_else(frozen) {
            Some(change) => change.map(|framed| value::unframe(framed).map(<[u8]>::to_vec)),
            None => self.store.get(key)?.map(value::unframe_owned),
        };
        Ok((value.transpose()?, Layer::Committed))
    }

    /// Sets a full store key in the running overlay.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.put_hashed(KeyHash::of(key), key, value);
    }

    /// As [`TaskState::put`], for a key whose hash is known.
    pub(crate) fn put_hashed(&mut self, hash: KeyHash, key: &[u8], value: &[u8]) {
        self.running.set_hashed(hash, key, Some([&[value::VERSION], value]));
    }

    /// Deletes a full store key in the running overlay.
    pub fn delete(&mut self, key: &[u8]) {
        self.delete_hashed(KeyHash::of(key), key);
    }

    /// As [`TaskState::delete`], for a key whose hash is known.
    pub(crate) fn delete_hashed(&mut self, hash: KeyHash, key: &[u8]) {
        self.running.set_hashed(hash, key, None);
    }

    /// The live entries with `from <= key < to` over all layers, in key order.
    pub fn scan(&self, from: &[u8], to: Option<&[u8]>) -> Result<Vec<Entry>, StateError> {
        let frozen = self.frozen.as_ref().map(|frozen| &*frozen.changes);
        let committed = frozen.into_iter().chain([&self.committed]);
        let overlays = committed.chain(&self.sealed).chain([&self.running]);
        let live = scan::merged(overlays, &*self.store, from, to);
        let entries = live.filter(|entry| match entry {
            Ok((key, _)) => keys::store_of(key) != Some(ENGINE_STORE),
            Err(_) => true,
        });
        entries
            .map(|entry| entry.and_then(|(key, value)| Ok((key, value::unframe_owned(value)?))))
            .collect()
    }

    /// Sets a timer (deduplicated per store, key and time). `store` is a store id of its own, for
    /// one domain.
    pub fn set_timer(&mut self, store: u16, domain: TimerDomain, key: &[u8], time: Timestamp) {
        let place: TimerPlace = (time, store, key.into());
        if self.timers.contains(domain, &place) {
            return;
        }
        if self.catalogue.note_timers(store, domain) {
            // A catalogue of ids and names always encodes. Were it not so, the timers of this store
            // would be lost at the next restart: said, and tried again with the next new store.
            if let Err(error) = self.put_catalogue() {
                tracing::error!(store, %error, "the store catalogue was not written");
            }
        }
        debug_assert_eq!(self.catalogue.timer_domain(store), Some(domain), "one store, one domain");
        let stored = self.timer_key(store, key, time);
        let fresh = self.running.get(&stored).is_none();
        self.running.set(&stored, Some([&[value::VERSION], &[]]));
        self.timers.insert(domain, place, if fresh { self.running_number } else { 0 });
        self.scratch = stored;
    }

    /// Deletes a timer; nothing happens where there is none.
    pub fn delete_timer(&mut self, store: u16, domain: TimerDomain, key: &[u8], time: Timestamp) {
        if let Some(fresh_in) = self.timers.remove(domain, &(time, store, key.into())) {
            self.delete_timer_key(store, key, time, fresh_in);
        }
    }

    /// The time of the earliest timer.
    pub fn next_timer(&self, domain: TimerDomain) -> Option<Timestamp> {
        self.timers.next(domain)
    }

    /// How many timers are set.
    pub fn timer_count(&self, domain: TimerDomain) -> usize {
        self.timers.len(domain)
    }

    /// Takes the earliest timer with `time <= until`, ordered by (time, store, key).
    pub fn pop_due_timer(&mut self, domain: TimerDomain, until: Timestamp) -> Option<TimerFired> {
        let (fired, fresh_in) = self.timers.pop(domain, until)?;
        self.delete_timer_key(fired.store, &fired.key, fired.time, fresh_in);
        Some(fired)
    }

    /// Bytes in the running overlay.
    pub fn running_bytes(&self) -> usize {
        self.running.bytes()
    }

    /// Closes the running overlay; the next epoch gets an empty one. At most two are sealed.
    pub fn seal(&mut self) {
        debug_assert!(self.sealed.len() < SEALED_MAX, "EOS-6: {SEALED_MAX} epochs are sealed");
        self.sealed.push_back(std::mem::take(&mut self.running));
        self.running_number += 1;
    }

    /// The changes of the youngest sealed overlay, one per key, in the order in which the keys were
    /// first changed: what goes to the changelog, as it is.
    pub fn sealed_changes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.sealed.back().into_iter().flat_map(Overlay::iter)
    }

    /// The oldest sealed epoch is committed: its overlay moves into the committed layer. The task
    /// stands at `marker`, whose changelog record is followed by `changelog_next`.
    pub fn commit(&mut self, marker: EpochMarker, changelog_next: Offset) {
        debug_assert!(!self.sealed.is_empty(), "a commit without a sealed epoch");
        if let Some(oldest) = self.sealed.pop_front() {
            self.committed.absorb(oldest);
        }
        self.marker = Some(marker);
        self.changelog_next = Some(changelog_next);
    }

    /// Drops the running and all sealed overlays: state and timers stand as committed. Store ids
    /// that were allocated since stay allocated (operators hold them) and are recorded anew in the
    /// next epoch. Errors: the byte store cannot be read; the state is unusable then.
    pub fn abort(&mut self) -> Result<(), StateError> {
        let mut dropped = std::mem::take(&mut self.sealed);
        dropped.push_back(std::mem::take(&mut self.running));
        self.running_number += 1;
        let touched: BTreeSet<&[u8]> = dropped
            .iter()
            .flat_map(Overlay::iter)
            .map(|(key, _)| key)
            .filter(|key| self.timer_store(key).is_some())
            .collect();
        for key in touched {
            self.reindex_timer(key)?;
        }
        if dropped.iter().any(|overlay| overlay.get(CATALOGUE_KEY).is_some()) {
            self.put_catalogue()?;
        }
        Ok(())
    }

    /// The marker of the last committed epoch; `None` before the first.
    pub fn marker(&self) -> Option<&EpochMarker> {
        self.marker.as_ref()
    }

    /// The next changelog record after the last committed epoch; `None` before the first.
    pub fn changelog_next(&self) -> Option<Offset> {
        self.changelog_next
    }

    /// Bytes in the committed layer: what a spill would write.
    pub fn committed_bytes(&self) -> usize {
        self.committed.bytes()
    }

    /// Bytes in the layer that is being written.
    pub fn frozen_bytes(&self) -> usize {
        self.frozen.as_ref().map_or(0, |frozen| frozen.changes.bytes())
    }

    /// Bytes in the overlays of epochs that are sealed and not committed.
    pub fn sealed_bytes(&self) -> usize {
        self.sealed.iter().map(Overlay::bytes).sum()
    }

    /// Bytes of the timers' index, roughly.
    pub fn timer_bytes(&self) -> usize {
        self.timers.bytes()
    }

    /// Gives the byte store back, dropping what is not spilled.
    pub fn into_store(self) -> Box<dyn ByteStore> {
        self.store
    }

    /// The positions of the byte store's image.
    pub fn store_positions(&self) -> Result<Option<Positions>, StateError> {
        self.store.positions()
    }

    /// Memory that the byte stores of all tasks of the process share.
    pub fn shared_memory(&self) -> SharedMemory {
        self.store.shared_memory()
    }

    /// Bytes in the byte store, roughly.
    pub fn store_bytes(&self) -> u64 {
        self.store.size_bytes()
    }

    /// The change of a key in the epochs in progress, the youngest first.
    fn uncommitted(&self, hash: KeyHash, key: &[u8]) -> Option<Changed<'_>> {
        let mut layers = iter::once(&self.running).chain(self.sealed.iter().rev());
        layers.find_map(|layer| layer.get_hashed(hash, key))
    }

    fn put_catalogue(&mut self) -> Result<(), StateError> {
        let record = self.catalogue.encode()?;
        self.running.set(CATALOGUE_KEY, Some([&record, &[]]));
        Ok(())
    }

    /// The stored key of a timer, in the scratch buffer: to be put back by the caller.
    fn timer_key(&mut self, store: u16, key: &[u8], time: Timestamp) -> Vec<u8> {
        let mut stored = std::mem::take(&mut self.scratch);
        stored.clear();
        let group = key_group(key, self.catalogue.groups());
        keys::encode_timer_key(store, group, time, key, &mut stored);
        stored
    }

    fn delete_timer_key(&mut self, store: u16, key: &[u8], time: Timestamp, fresh_in: u64) {
        let stored = self.timer_key(store, key, time);
        if fresh_in == self.running_number {
            self.running.forget(&stored);
        } else {
            self.running.set(&stored, None);
        }
        self.scratch = stored;
    }

    /// The domain of the timer store that a key lies in; `None` for other stores.
    fn timer_store(&self, key: &[u8]) -> Option<TimerDomain> {
        self.catalogue.timer_domain(keys::store_of(key)?)
    }

    /// Brings the index in line with the layers for one timer's stored key.
    fn reindex_timer(&mut self, key: &[u8]) -> Result<(), StateError> {
        let Some(domain) = self.timer_store(key) else { return Ok(()) };
        let timer = keys::decode_timer_key(key).map_err(StateError::of_task)?;
        let place: TimerPlace = (timer.time, timer.store, timer.user_key.into_boxed_slice());
        if self.find(key)?.0.is_some() {
            self.timers.insert(domain, place, 0);
        } else {
            self.timers.remove(domain, &place);
        }
        Ok(())
    }

    /// The index of all timers, from the layers.
    fn read_timers(&self) -> Result<TimerIndex, StateError> {
        let mut index = TimerIndex::default();
        for (store, domain) in self.catalogue.timers() {
            let (from, to) = keys::store_range(store);
            for (key, _) in self.scan(&from, to.as_deref())? {
                let timer = keys::decode_timer_key(&key).map_err(StateError::of_task)?;
                let place = (timer.time, timer.store, timer.user_key.into_boxed_slice());
                index.insert(domain, place, 0);
            }
        }
        Ok(index)
    }
}
