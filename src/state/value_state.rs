//! Values by key, resident as their types: decoded when they first come in, changed in place,
//! encoded once per epoch when they changed.
//!
//! A hot update is one lookup by the key's bytes and the change: nothing is allocated, no value is
//! encoded, no byte store called. Resident entries are a cache of the layers below plus the changes
//! of the running epoch; whatever an uncommitted epoch touched is dropped when it aborts.
//!
//! The running epoch has a number, and an entry remembers the last epoch that touched it: one that
//! changed it, or in which it was read out of an uncommitted overlay. Entries touched after the
//! last committed epoch are dropped by `aborted`.

use std::{marker::PhantomData, sync::Arc};

use hashbrown::HashTable;

use crate::{
    formats::Codec,
    state::{
        Layer, StateError, TaskState,
        key_group::key_group,
        key_hash::KeyHash,
        keys,
        resident::{GONE, Place, Resident, Slot, UNCHANGED},
    },
};

/// The values of one state of one operator in one task.
pub struct ValueState<K, V> {
    /// Operator uid and state name: the name in the catalogue.
    name: String,
    key_codec: Arc<dyn Codec<K>>,
    value_codec: Arc<dyn Codec<V>>,
    store: u16,
    key_groups: u16,
    table: HashTable<Place>,
    slots: Vec<Option<Resident<V>>>,
    free: Vec<Slot>,
    /// Entries that the running epoch changed, in the order of first touch.
    changed: Vec<Slot>,
    /// The number of the running epoch, and of the last committed one, since it was made.
    running: u32,
    committed: u32,
    resident_bytes: usize,
    /// Of the changed entries, in the overlay.
    changed_bytes: usize,
    /// Where the clock's hand stands.
    hand: usize,
    /// The key in hand: as its codec writes it, and as it is stored.
    user_key: Vec<u8>,
    key: Vec<u8>,
    value_bytes: Vec<u8>,
    keys: PhantomData<fn(&K)>,
}

impl<K, V> ValueState<K, V> {
    /// The values of a state of an operator. `open` comes before all else.
    pub fn new(
        operator: &str,
        state: &str,
        key: Arc<dyn Codec<K>>,
        value: Arc<dyn Codec<V>>,
    ) -> Self {
        Self {
            name: format!("{operator}/{state}"),
            key_codec: key,
            value_codec: value,
            store: keys::ENGINE_STORE,
            key_groups: 1,
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            changed: Vec::new(),
            running: 1,
            committed: 0,
            resident_bytes: 0,
            changed_bytes: 0,
            hand: 0,
            user_key: Vec::new(),
            key: Vec::new(),
            value_bytes: Vec::new(),
            keys: PhantomData,
        }
    }

    /// Looks the store's id up, or allocates it. Errors: none is left.
    pub fn open(&mut self, state: &mut TaskState) -> Result<(), StateError> {
        self.store = state.store_id(&self.name)?;
        self.key_groups = state.key_groups();
        Ok(())
    }

    /// The operator's uid and the state's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets `f` change the value of a key in place (`None`: there is none, or is to be none); the
    /// key counts as changed. Errors: key or value cannot be read; `f` is not called then.
    pub fn update<R>(
        &mut self,
        state: &mut TaskState,
        key: &K,
        f: impl FnOnce(&mut Option<V>) -> R,
    ) -> Result<R, StateError> {
        let slot = self.resident(state, key)?;
        let running = self.running;
        let place = self.changed.len() as Slot;
        let Some(Some(entry)) = self.slots.get_mut(slot as usize) else {
            return Err(self.broken("its table names an empty slot"));
        };
        entry.used = true;
        entry.touched = running;
        if !entry.is_changed() {
            entry.changed_at = place;
            self.changed_bytes += entry.changed_bytes();
            self.changed.push(slot);
        }
        Ok(f(&mut entry.value))
    }

    /// Lets `f` read the value of a key. Errors: key or value cannot be read; `f` is not called
    /// then.
    pub fn read<R>(
        &mut self,
        state: &mut TaskState,
        key: &K,
        f: impl FnOnce(Option<&V>) -> R,
    ) -> Result<R, StateError> {
        let slot = self.resident(state, key)?;
        let Some(Some(entry)) = self.slots.get_mut(slot as usize) else {
            return Err(self.broken("its table names an empty slot"));
        };
        entry.used = true;
        Ok(f(entry.value.as_ref()))
    }

    /// The end of the epoch: encodes each changed value once into the running overlay. Errors: a
    /// codec refuses a value; the epoch must be aborted then.
    pub fn seal(&mut self, state: &mut TaskState) -> Result<(), StateError> {
        for place in 0..self.changed.len() {
            if let Some(slot) = self.changed.get(place).copied().filter(|slot| *slot != GONE) {
                self.write_down(state, slot)?;
            }
        }
        self.changed.clear();
        self.changed_bytes = 0;
        self.running += 1;
        Ok(())
    }

    /// The oldest sealed epoch is committed: what only it touched is clean.
    pub fn committed(&mut self) {
        if self.committed + 1 < self.running {
            self.committed += 1;
        }
    }

    /// All epochs in progress are dropped, and with them every entry that they touched.
    pub fn aborted(&mut self) {
        self.changed.clear();
        self.changed_bytes = 0;
        for slot in 0..self.slots.len() as Slot {
            let touched = match self.slots.get(slot as usize) {
                Some(Some(entry)) => entry.touched > self.committed,
                _ => false,
            };
            if touched {
                self.remove(slot);
            }
        }
        self.running = self.committed + 1;
    }

    /// Drops entries until the resident ones take at most `budget_bytes`: those not used since the
    /// last round first, clean ones for nothing. What the running epoch changed is encoded into the
    /// running overlay. Errors: a codec refuses a value.
    pub fn evict(&mut self, state: &mut TaskState, budget_bytes: usize) -> Result<(), StateError> {
        // Two rounds: the first may only take the marks off.
        let mut steps = 2 * self.slots.len();
        while self.resident_bytes > budget_bytes && steps > 0 {
            steps -= 1;
            let slot = self.hand as Slot;
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            let Some(Some(entry)) = self.slots.get_mut(slot as usize) else { continue };
            if std::mem::take(&mut entry.used) {
                continue;
            }
            let (changed, changed_at) = (entry.is_changed(), entry.changed_at);
            if changed {
                self.write_down(state, slot)?;
                if let Some(place) = self.changed.get_mut(changed_at as usize) {
                    *place = GONE;
                }
            }
            self.remove(slot);
        }
        Ok(())
    }

    /// Bytes that the resident entries take, roughly: a value that grew counts from the next seal.
    pub fn resident_bytes(&self) -> usize {
        self.resident_bytes
    }

    /// Bytes that sealing puts into the overlay, by what changed values were when last encoded.
    pub fn changed_bytes(&self) -> usize {
        self.changed_bytes
    }

    /// How many entries are resident.
    pub fn resident_entries(&self) -> usize {
        self.table.len()
    }

    /// Whether every resident entry is what the layers hold, or marked as changed by the running
    /// epoch; and whether what counts as clean is committed. Says the first difference.
    pub fn verify(&self, state: &TaskState) -> Result<(), String> {
        let wrong = |what: String| Err(format!("resident {}: {what}", self.name));
        let (mut entries, mut bytes) = (0, 0);
        for (slot, entry) in self.slots.iter().enumerate() {
            let Some(entry) = entry else { continue };
            entries += 1;
            bytes += entry.resident_bytes();
            if entry.is_changed() {
                let listed = self.changed.get(entry.changed_at as usize);
                if entry.touched != self.running || listed != Some(&(slot as Slot)) {
                    return wrong(format!("slot {slot} is changed, and not marked so"));
                }
                continue;
            }
            let stored = &entry.key[..];
            let (below, layer) = state.find(stored).map_err(|error| error.to_string())?;
            let mut value = Vec::new();
            if let Some(resident) = &entry.value {
                let encoded = self.value_codec.encode(resident, &mut value);
                encoded.map_err(|error| error.to_string())?;
            }
            if below != entry.value.as_ref().map(|_| value.clone()) {
                return wrong(format!(
                    "key {stored:02x?} is {value:02x?}, below lies {below:02x?}"
                ));
            }
            if entry.touched <= self.committed && layer == Layer::Uncommitted {
                return wrong(format!("key {stored:02x?} counts as clean and is not committed"));
            }
        }
        if entries != self.table.len() || bytes != self.resident_bytes {
            return wrong(format!("{entries} entries of {bytes} bytes are not what is counted"));
        }
        Ok(())
    }

    /// The slot of a key, made resident where it was not.
    fn resident(&mut self, state: &TaskState, key: &K) -> Result<Slot, StateError> {
        self.take_key(key)?;
        let (hash, key, slots) = (KeyHash::of(&self.key), &self.key[..], &self.slots);
        let same = |place: &Place| {
            place.hash == hash
                && matches!(slots.get(place.slot as usize), Some(Some(entry)) if entry.key[..] == *key)
        };
        match self.table.find(hash.spread(), same) {
            Some(place) => Ok(place.slot),
            None => self.load(state, hash),
        }
    }

    /// Makes the key in hand resident.
    #[cold]
    fn load(&mut self, state: &TaskState, hash: KeyHash) -> Result<Slot, StateError> {
        let (bytes, layer) = state.find_hashed(hash, &self.key)?;
        let value = match &bytes {
            Some(bytes) => {
                let decoded = self.value_codec.decode(bytes);
                Some(decoded.map_err(|error| self.refused("decode", error.reason))?)
            }
            None => None,
        };
        let entry = Resident {
            key: self.key.as_slice().into(),
            value,
            touched: if layer == Layer::Uncommitted { self.running } else { 0 },
            changed_at: UNCHANGED,
            value_len: bytes.as_ref().map_or(0, |bytes| narrow(bytes.len())),
            used: true,
            stored: bytes.is_some(),
        };
        self.resident_bytes += entry.resident_bytes();
        let slot = self.occupy(entry);
        self.table.insert_unique(hash.spread(), Place { hash, slot }, |place| place.hash.spread());
        Ok(slot)
    }

    fn occupy(&mut self, entry: Resident<V>) -> Slot {
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.slots.get_mut(slot as usize)
        {
            *place = Some(entry);
            return slot;
        }
        self.slots.push(Some(entry));
        (self.slots.len() - 1) as Slot
    }

    /// Forgets a resident entry.
    fn remove(&mut self, slot: Slot) {
        let Some(entry) = self.slots.get_mut(slot as usize).and_then(Option::take) else { return };
        self.resident_bytes -= entry.resident_bytes();
        self.free.push(slot);
        let hash = KeyHash::of(&entry.key);
        if let Ok(found) = self.table.find_entry(hash.spread(), |place| place.slot == slot) {
            found.remove();
        }
    }

    /// Encodes a changed entry into the running overlay; it is as the layers are then.
    fn write_down(&mut self, state: &mut TaskState, slot: Slot) -> Result<(), StateError> {
        let mut value = std::mem::take(&mut self.value_bytes);
        value.clear();
        let Some(Some(entry)) = self.slots.get_mut(slot as usize) else {
            return Err(self.broken("a changed entry is not resident"));
        };
        let hash = KeyHash::of(&entry.key);
        if let Some(typed) = &entry.value {
            if let Err(error) = self.value_codec.encode(typed, &mut value) {
                return Err(self.refused("encode", error.reason));
            }
            state.put_hashed(hash, &entry.key, &value);
        } else if entry.stored {
            state.delete_hashed(hash, &entry.key);
        }
        self.resident_bytes -= entry.resident_bytes();
        self.changed_bytes -= entry.changed_bytes();
        entry.value_len = narrow(value.len());
        self.resident_bytes += entry.resident_bytes();
        entry.stored = entry.value.is_some();
        entry.changed_at = UNCHANGED;
        self.value_bytes = value;
        Ok(())
    }

    /// Takes a key in hand, as it is stored. Errors: its codec refuses it.
    fn take_key(&mut self, key: &K) -> Result<(), StateError> {
        self.user_key.clear();
        let encoded = self.key_codec.encode(key, &mut self.user_key);
        encoded.map_err(|error| self.refused("encode", error.reason))?;
        let group = key_group(&self.user_key, self.key_groups);
        self.key.clear();
        keys::encode_key(self.store, group, &self.user_key, &[], &mut self.key);
        Ok(())
    }

    fn refused(&self, action: &'static str, reason: String) -> StateError {
        StateError::Codec { state: self.name.clone(), action, reason }
    }

    /// An inconsistency of this cache itself: a defect, reported instead of a panic.
    fn broken(&self, reason: &str) -> StateError {
        StateError::Damaged { store: format!("cache of {}", self.name), reason: reason.to_owned() }
    }
}

fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "value_state_tests.rs"]
mod tests;
