//! The byte store: what lies under a task's committed layer, and survives the process.
//!
//! Knows bytes, positions and atomic writes; nothing of epochs in progress, types or Kafka.

use std::sync::Arc;

use crate::state::{Positions, StateError};

/// A change of one key: `None` deletes it.
pub type Change = (Box<[u8]>, Option<Box<[u8]>>);

/// An entry: key and value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Takes one change; an error ends the walk.
pub type TakeChange<'a> = dyn FnMut(&[u8], Option<&[u8]>) -> Result<(), StateError> + 'a;

/// Changes that change no more: shared by those who read them and whoever writes them down.
pub trait FrozenChanges: Send + Sync {
    /// Hands out the changes sorted by key, one per key; `None` deletes. Errors: `take`'s.
    fn for_each(&self, take: &mut TakeChange<'_>) -> Result<(), StateError>;

    /// Bytes that they hold, roughly.
    fn bytes(&self) -> usize;
}

/// Memory that all byte stores of the process share, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SharedMemory {
    /// Cached blocks, indexes and filters.
    pub blocks: u64,
    /// Writes that are not on disk.
    pub write_buffers: u64,
}

/// An ordered key-value store of bytes for one task.
///
/// Required of implementors: `write` and `begin_write` are atomic, also across SIGKILL: what a
/// later `open` finds is the image of some earlier write in full, with its positions, or of none.
/// Later writes may be lost by a crash; earlier ones never without those after them. Dropping a
/// store ends the write in progress, one way or the other.
pub trait ByteStore: Send {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// The entries with `from <= key < to`, in key order; `to = None` reads to the end.
    fn scan<'a>(
        &'a self,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Box<dyn Iterator<Item = Result<Entry, StateError>> + 'a>;

    /// Writes changes (sorted by key, one per key) and positions as one atomic unit, after the
    /// write in progress.
    fn write(
        &mut self,
        changes: &mut dyn Iterator<Item = (&[u8], Option<&[u8]>)>,
        positions: &Positions,
    ) -> Result<(), StateError>;

    /// Starts to write frozen changes and positions as one atomic unit that survives the process;
    /// beside the caller where the store can. Until it is done, reads may or may not see them.
    /// One write at a time: it ends the one in progress first.
    fn begin_write(
        &mut self,
        changes: Arc<dyn FrozenChanges>,
        positions: Positions,
    ) -> Result<(), StateError>;

    /// Whether the write that was begun is done; true where none was begun. Never waits. Errors:
    /// it failed; nothing of it is in the store.
    fn poll_write(&mut self) -> Result<bool, StateError>;

    /// Waits for the end of the write that was begun. Errors: as `poll_write`.
    fn finish_write(&mut self) -> Result<(), StateError>;

    /// Takes changes back that nobody reads any more: to free them may take as long as to write
    /// them, and a store that writes beside the caller frees there too.
    fn discard(&mut self, changes: Arc<dyn FrozenChanges>) {
        drop(changes);
    }

    /// Starts to make everything written so far survive the process.
    fn flush(&mut self) -> Result<(), StateError>;

    /// The positions of the last write; `None` in an empty store.
    fn positions(&self) -> Result<Option<Positions>, StateError>;

    /// Bytes on disk or in memory, roughly; for metrics and budgets.
    fn size_bytes(&self) -> u64;

    /// Memory that all stores of the process share; none by default.
    fn shared_memory(&self) -> SharedMemory {
        SharedMemory::default()
    }

    /// More writes follow each other at once, none of whose entries is read soon: the store may
    /// put off the tidying up after each until this is taken back. Errors: the store's.
    fn set_bulk(&mut self, _bulk: bool) -> Result<(), StateError> {
        Ok(())
    }
}

/// Writes frozen changes at once: [`ByteStore::begin_write`] of a store that has no other way.
pub(crate) fn write_at_once(
    store: &mut dyn ByteStore,
    changes: &dyn FrozenChanges,
    positions: &Positions,
) -> Result<(), StateError> {
    let mut all: Vec<Change> = Vec::new();
    changes.for_each(&mut |key, value| {
        all.push((key.into(), value.map(Into::into)));
        Ok(())
    })?;
    store.write(&mut all.iter().map(|(key, value)| (&**key, value.as_deref())), positions)?;
    store.flush()
}

/// Opens and wipes the byte stores of tasks: a state directory, or its simulation.
pub trait ByteStores: Send {
    /// Opens the store of the task named `name` (`<subtopology>_<partition>`), made empty where
    /// there is none. Errors: unreadable, damaged or foreign images (DATA-1), a full disk.
    fn open(&mut self, name: &str) -> Result<Box<dyn ByteStore>, StateError>;

    /// Removes the store of that task.
    fn wipe(&mut self, name: &str) -> Result<(), StateError>;
}
