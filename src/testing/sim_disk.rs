//! A simulated disk: byte stores that survive a crash as some earlier whole image, not at all, or
//! damaged.
//!
//! Keeps every image written since the last flush as a history of changes, so that a crash can go
//! back to any of them (what `ByteStore` allows, and RocksDB without a WAL does).

use std::{
    collections::BTreeMap,
    fmt,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::state::{
    ByteStore, ByteStores, Change, Entry, FrozenChanges, Positions, StateError, write_at_once,
};

type Entries = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// What a crash left of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskOutcome {
    /// The last image.
    Kept,
    /// An earlier image: the last writes are gone.
    RolledBack,
    /// Nothing.
    Lost,
    /// Something that fails its checksum: `open` refuses it until it is wiped.
    Damaged,
}

/// The state directory of one instance. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    stores: BTreeMap<String, History>,
    /// Numbers the openings of stores: one that is not its history's current one is dead.
    openings: u64,
    full: bool,
}

/// One write.
#[derive(Debug, Clone)]
struct Written {
    changes: Vec<Change>,
    positions: Positions,
}

#[derive(Debug, Default)]
struct History {
    /// The image of the last flush.
    base: Entries,
    base_positions: Option<Positions>,
    /// The writes since.
    writes: Vec<Written>,
    damaged: bool,
    /// The opening that may write now.
    open: Option<u64>,
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// The process dies. Each store keeps, drawn from `rng`, its last image, an earlier one since
    /// the last flush, nothing, or something damaged; stores that are open are dead. Returns what
    /// became of each store that had been written.
    pub fn crash(&self, rng: &mut fastrand::Rng) -> Vec<(String, DiskOutcome)> {
        let mut disk = self.lock();
        let mut outcomes = Vec::new();
        for (name, history) in &mut disk.stores {
            history.open = None;
            if history.positions().is_none() || history.damaged {
                continue;
            }
            outcomes.push((name.clone(), history.crash(rng)));
        }
        outcomes
    }

    /// Makes a store damaged; `false` where there is none.
    pub fn damage(&self, name: &str) -> bool {
        let mut disk = self.lock();
        disk.stores.get_mut(name).map(|history| history.damaged = true).is_some()
    }

    /// Removes everything, as a fresh volume does.
    pub fn wipe_all(&self) {
        self.lock().stores.clear();
    }

    /// From now on writes fail (or succeed again).
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// The last image of a store and its positions, for oracles; `None` where nothing was written.
    pub fn image(&self, name: &str) -> Option<(Vec<Entry>, Positions)> {
        let disk = self.lock();
        let history = disk.stores.get(name)?;
        let positions = history.positions()?.clone();
        let entries = history.image(history.writes.len());
        Some((entries.into_iter().map(|(k, v)| (k.into(), v.into())).collect(), positions))
    }

    /// The names of the stores.
    pub fn stores(&self) -> Vec<String> {
        self.lock().stores.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    /// The image after the first `writes` writes since the flush.
    fn image(&self, writes: usize) -> Entries {
        let mut entries = self.base.clone();
        for written in self.writes.iter().take(writes) {
            apply(&mut entries, &written.changes);
        }
        entries
    }

    fn positions(&self) -> Option<&Positions> {
        self.writes.last().map(|w| &w.positions).or(self.base_positions.as_ref())
    }

    /// Makes everything written so far the image that survives.
    fn flush(&mut self) {
        for written in std::mem::take(&mut self.writes) {
            apply(&mut self.base, &written.changes);
            self.base_positions = Some(written.positions);
        }
    }

    fn crash(&mut self, rng: &mut fastrand::Rng) -> DiskOutcome {
        match rng.u8(0..10) {
            0 => {
                self.damaged = true;
                DiskOutcome::Damaged
            }
            1 | 2 => {
                *self = Self::default();
                DiskOutcome::Lost
            }
            _ => {
                let kept = rng.usize(0..=self.writes.len());
                let outcome = if kept == self.writes.len() {
                    DiskOutcome::Kept
                } else {
                    DiskOutcome::RolledBack
                };
                self.writes.truncate(kept);
                self.flush();
                outcome
            }
        }
    }
}

fn apply(entries: &mut Entries, changes: &[Change]) {
    for (key, value) in changes {
        match value {
            Some(value) => entries.insert(key.clone(), value.clone()),
            None => entries.remove(key),
        };
    }
}

impl ByteStores for SimDisk {
    fn open(&mut self, name: &str) -> Result<Box<dyn ByteStore>, StateError> {
        let mut disk = self.lock();
        disk.openings += 1;
        let opening = disk.openings;
        let history = disk.stores.entry(name.to_owned()).or_default();
        if history.damaged {
            return Err(StateError::Damaged {
                store: name.to_owned(),
                reason: "checksum mismatch (simulated)".to_owned(),
            });
        }
        if history.open.is_some() {
            return Err(StateError::Store {
                store: name.to_owned(),
                reason: "already open".to_owned(),
            });
        }
        history.open = Some(opening);
        let entries = history.image(history.writes.len());
        let positions = history.positions().cloned();
        drop(disk);
        let disk = self.clone();
        let name = name.to_owned();
        Ok(Box::new(SimStore { disk, name, opening, entries, positions, writing: None }))
    }

    fn wipe(&mut self, name: &str) -> Result<(), StateError> {
        self.lock().stores.remove(name);
        Ok(())
    }
}

/// A store that is open.
struct SimStore {
    disk: SimDisk,
    name: String,
    opening: u64,
    entries: Entries,
    positions: Option<Positions>,
    writing: Option<Writing>,
}

/// A write beside the task: nothing of it is seen, or survives, before its end.
struct Writing {
    changes: Arc<dyn FrozenChanges>,
    positions: Positions,
    /// Looks at it until it is done.
    looks: u64,
}

/// The most looks that a write beside the task takes; how many differs from write to write.
const LOOKS_MAX: u64 = 40;
/// How much longer a slow one takes.
const SLOW: u64 = 20;

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimStore({}, {} entries)", self.name, self.entries.len())
    }
}

impl SimStore {
    fn error(&self, reason: &str) -> StateError {
        StateError::Store { store: self.name.clone(), reason: reason.to_owned() }
    }

    /// Runs `work` on the history, unless the process of this store has died.
    fn on_disk(&self, work: impl FnOnce(&mut History)) -> Result<(), StateError> {
        let mut disk = self.disk.lock();
        if disk.full {
            return Err(self.error("no space left on device (simulated)"));
        }
        match disk.stores.get_mut(&self.name) {
            Some(history) if history.open == Some(self.opening) => {
                work(history);
                Ok(())
            }
            _ => Err(self.error("the process of this store has died, or it was wiped")),
        }
    }
}

impl ByteStore for SimStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.entries.get(key).map(|value| value.to_vec()))
    }

    fn scan<'a>(
        &'a self,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Box<dyn Iterator<Item = Result<Entry, StateError>> + 'a> {
        if to.is_some_and(|to| to <= from) {
            return Box::new(std::iter::empty());
        }
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.entries.range::<[u8], _>((Bound::Included(from), to));
        Box::new(range.map(|(key, value)| Ok((key.to_vec(), value.to_vec()))))
    }

    fn write(
        &mut self,
        changes: &mut dyn Iterator<Item = (&[u8], Option<&[u8]>)>,
        positions: &Positions,
    ) -> Result<(), StateError> {
        self.finish_write()?;
        let changes: Vec<Change> =
            changes.map(|(key, value)| (key.into(), value.map(Into::into))).collect();
        let written = Written { changes: changes.clone(), positions: positions.clone() };
        self.on_disk(|history| history.writes.push(written))?;
        apply(&mut self.entries, &changes);
        self.positions = Some(positions.clone());
        Ok(())
    }

    fn begin_write(
        &mut self,
        changes: Arc<dyn FrozenChanges>,
        positions: Positions,
    ) -> Result<(), StateError> {
        self.finish_write()?;
        // As scattered as a disk's times, and the same in every run of a seed.
        let number = (changes.bytes() as u64).wrapping_mul(31);
        let slow = if number.is_multiple_of(5) { SLOW } else { 1 };
        let looks = number % LOOKS_MAX * slow;
        self.writing = Some(Writing { changes, positions, looks });
        Ok(())
    }

    fn poll_write(&mut self) -> Result<bool, StateError> {
        match &mut self.writing {
            Some(writing) if writing.looks > 0 => {
                writing.looks -= 1;
                Ok(false)
            }
            Some(_) => self.finish_write().map(|()| true),
            None => Ok(true),
        }
    }

    fn finish_write(&mut self) -> Result<(), StateError> {
        let Some(Writing { changes, positions, .. }) = self.writing.take() else { return Ok(()) };
        write_at_once(self, &*changes, &positions)
    }

    fn flush(&mut self) -> Result<(), StateError> {
        self.on_disk(History::flush)
    }

    fn positions(&self) -> Result<Option<Positions>, StateError> {
        Ok(self.positions.clone())
    }

    fn size_bytes(&self) -> u64 {
        let bytes: usize = self.entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl Drop for SimStore {
    fn drop(&mut self) {
        // A store that is closed ends its write; one whose process has died cannot.
        let _gone = self.finish_write();
        let mut disk = self.disk.lock();
        if let Some(history) = disk.stores.get_mut(&self.name)
            && history.open == Some(self.opening)
        {
            history.open = None;
        }
    }
}
