//! The byte store: what lies under a task's committed layer, and survives the process.
//!
//! Knows bytes, positions and atomic writes; nothing of epochs in progress, types or Kafka.

use std::sync::Arc;

use crate::state::{Positions, StateError};

/// A change of one key: `None` deletes it.
pub type Change = (Box<[u8]>, Option<Box<[u8]>>);

/// An entry: key and value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Changes that are written behind the caller's back: it keeps them to read from meanwhile.
pub trait Changes: Send + Sync {
    /// Hands over every change, sorted by key, one per key.
    fn each(&self, give: &mut dyn FnMut(&[u8], Option<&[u8]>));
}

/// An ordered key-value store of bytes for one task.
///
/// Required of implementors: `write` is atomic, also across SIGKILL: what a later `open` finds is
/// the image of some earlier `write` in full, with its positions, or of none. Later writes may be
/// lost by a crash; earlier ones never without those after them.
pub trait ByteStore: Send {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// The entries with `from <= key < to`, in key order; `to = None` reads to the end.
    fn scan<'a>(
        &'a self,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Box<dyn Iterator<Item = Result<Entry, StateError>> + 'a>;

    /// Writes changes (sorted by key, one per key) and positions as one atomic unit.
    fn write(
        &mut self,
        changes: &mut dyn Iterator<Item = (&[u8], Option<&[u8]>)>,
        positions: &Positions,
    ) -> Result<(), StateError>;

    /// As `write` and then `flush`, possibly on a thread of the store's own: it is done when
    /// `written` says so, and until then nothing else is written. Errors: it cannot even begin.
    fn write_behind(
        &mut self,
        changes: Arc<dyn Changes>,
        positions: &Positions,
    ) -> Result<(), StateError> {
        let mut sorted = Vec::new();
        changes.each(&mut |key, value| sorted.push((key.to_vec(), value.map(<[u8]>::to_vec))));
        self.write(&mut sorted.iter().map(|(key, value)| (&**key, value.as_deref())), positions)?;
        self.flush()
    }

    /// The outcome of the last `write_behind`, once; `None` while it goes on. With `wait` it is
    /// waited for.
    fn written(&mut self, _wait: bool) -> Option<Result<(), StateError>> {
        Some(Ok(()))
    }

    /// Starts to make everything written so far survive the process.
    fn flush(&mut self) -> Result<(), StateError>;

    /// The positions of the last write; `None` in an empty store.
    fn positions(&self) -> Result<Option<Positions>, StateError>;

    /// Bytes on disk or in memory, roughly; for metrics and budgets.
    fn size_bytes(&self) -> u64;
}

/// Opens and wipes the byte stores of tasks: a state directory, or its simulation.
pub trait ByteStores: Send {
    /// Opens the store of the task named `name` (`<subtopology>_<partition>`), made empty where
    /// there is none. Errors: unreadable, damaged or foreign images (DATA-1), a full disk.
    fn open(&mut self, name: &str) -> Result<Box<dyn ByteStore>, StateError>;

    /// Removes the store of that task.
    fn wipe(&mut self, name: &str) -> Result<(), StateError>;
}
