//! The byte store of one task in RocksDB.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError},
    },
};

use rocksdb::{DB, Direction, Error, ErrorKind, FlushOptions, IteratorMode, ReadOptions};
use rocksdb::{WriteBatch, WriteOptions};

use super::{
    position_frame::{self, PositionError},
    rocksdb_stores::SharedResources,
    spiller::SpillJob,
};
use crate::state::{
    ByteStore, Entry, FrozenChanges, Positions, SharedMemory, StateError, keys::POSITIONS_KEY,
};

/// RocksDB's defaults: how many tables that overlap start a compaction, slow writes, stop them.
const TRIGGERS: [(&str, &str); 3] = [
    ("level0_file_num_compaction_trigger", "4"),
    ("level0_slowdown_writes_trigger", "20"),
    ("level0_stop_writes_trigger", "36"),
];

/// While tables come one after the other: each compaction rewrites what is below, so that few
/// large ones cost a fraction of many small ones. Each table takes memory while it is merged, so
/// that their number stays bounded.
const BULK_TRIGGERS: [(&str, &str); 3] = [
    ("level0_file_num_compaction_trigger", "24"),
    ("level0_slowdown_writes_trigger", "64"),
    ("level0_stop_writes_trigger", "96"),
];

/// An open RocksDB.
pub(super) struct RocksDbByteStore {
    name: String,
    path: PathBuf,
    db: Arc<DB>,
    shared: Arc<SharedResources>,
    /// The outcome of the write in progress.
    writing: Option<Receiver<Result<(), StateError>>>,
}

impl RocksDbByteStore {
    /// Wraps an open database, whose positions are checked. Errors: they are damaged, or newer
    /// than this version.
    pub(super) fn new(
        name: &str,
        path: PathBuf,
        db: DB,
        shared: Arc<SharedResources>,
    ) -> Result<Self, StateError> {
        let store = Self { name: name.to_owned(), path, db: Arc::new(db), shared, writing: None };
        store.positions()?;
        Ok(store)
    }

    fn framed(&self, positions: &Positions) -> Result<Vec<u8>, StateError> {
        position_frame::encode(positions).map_err(|error| StateError::Store {
            store: self.name.clone(),
            reason: error.to_string(),
        })
    }

    fn writer_is_gone(&self) -> StateError {
        StateError::Store {
            store: self.name.clone(),
            reason: "the thread that writes state has ended".to_owned(),
        }
    }

    fn failed(&self, error: Error) -> StateError {
        state_error(&self.name, error)
    }
}

/// What RocksDB reports, in our terms: what is not readable as it was written is damaged, and
/// repaired from Kafka; all else is the disk's or the process's.
pub(super) fn state_error(store: &str, error: Error) -> StateError {
    let kind = error.kind();
    let reason = error.into_string();
    let missing = kind == ErrorKind::IOError && reason.contains("No such file");
    let store = store.to_owned();
    if kind == ErrorKind::Corruption || missing {
        StateError::Damaged { store, reason }
    } else {
        StateError::Store { store, reason }
    }
}

impl ByteStore for RocksDbByteStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.db.get(key).map_err(|error| self.failed(error))
    }

    fn scan<'a>(
        &'a self,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Box<dyn Iterator<Item = Result<Entry, StateError>> + 'a> {
        if to.is_some_and(|to| to <= from) {
            return Box::new(std::iter::empty());
        }
        let mut options = ReadOptions::default();
        if let Some(to) = to {
            options.set_iterate_upper_bound(to);
        }
        let entries = self.db.iterator_opt(IteratorMode::From(from, Direction::Forward), options);
        Box::new(entries.filter_map(|entry| match entry {
            Ok((key, _)) if *key == *POSITIONS_KEY => None,
            Ok((key, value)) => Some(Ok((key.into_vec(), value.into_vec()))),
            Err(error) => Some(Err(self.failed(error))),
        }))
    }

    fn write(
        &mut self,
        changes: &mut dyn Iterator<Item = (&[u8], Option<&[u8]>)>,
        positions: &Positions,
    ) -> Result<(), StateError> {
        self.finish_write()?;
        let mut batch = WriteBatch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        batch.put(POSITIONS_KEY, self.framed(positions)?);
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch, &options).map_err(|error| self.failed(error))
    }

    fn begin_write(
        &mut self,
        changes: Arc<dyn FrozenChanges>,
        positions: Positions,
    ) -> Result<(), StateError> {
        self.finish_write()?;
        let job = SpillJob {
            store: self.name.clone(),
            path: self.path.clone(),
            db: Arc::clone(&self.db),
            options: self.shared.options(),
            changes,
            positions: self.framed(&positions)?,
        };
        self.writing = Some(self.shared.spiller().begin(job)?);
        Ok(())
    }

    fn poll_write(&mut self) -> Result<bool, StateError> {
        let Some(writing) = &self.writing else { return Ok(true) };
        let outcome = match writing.try_recv() {
            Err(TryRecvError::Empty) => return Ok(false),
            Err(TryRecvError::Disconnected) => Err(self.writer_is_gone()),
            Ok(outcome) => outcome,
        };
        self.writing = None;
        outcome.map(|()| true)
    }

    fn finish_write(&mut self) -> Result<(), StateError> {
        match self.writing.take().map(|writing| writing.recv()) {
            None => Ok(()),
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(self.writer_is_gone()),
        }
    }

    fn discard(&mut self, changes: Arc<dyn FrozenChanges>) {
        self.shared.spiller().discard(changes);
    }

    fn flush(&mut self) -> Result<(), StateError> {
        let mut options = FlushOptions::default();
        options.set_wait(false);
        self.db.flush_opt(&options).map_err(|error| self.failed(error))
    }

    fn positions(&self) -> Result<Option<Positions>, StateError> {
        let framed = self.db.get(POSITIONS_KEY).map_err(|error| self.failed(error))?;
        let decoded = framed.map(|framed| position_frame::decode(&framed)).transpose();
        decoded.map_err(|error| match error {
            PositionError::Newer(_) => StateError::Foreign {
                path: self.path.display().to_string(),
                reason: error.to_string(),
            },
            PositionError::Damaged(_) => {
                StateError::Damaged { store: self.name.clone(), reason: error.to_string() }
            }
        })
    }

    fn size_bytes(&self) -> u64 {
        let property = |name: &str| self.db.property_int_value(name).ok().flatten().unwrap_or(0);
        property("rocksdb.total-sst-files-size") + property("rocksdb.cur-size-all-mem-tables")
    }

    fn shared_memory(&self) -> SharedMemory {
        self.shared.memory()
    }

    fn set_bulk(&mut self, bulk: bool) -> Result<(), StateError> {
        let triggers = if bulk { &BULK_TRIGGERS } else { &TRIGGERS };
        self.db.set_options(triggers).map_err(|error| self.failed(error))
    }
}

impl Drop for RocksDbByteStore {
    /// The directory is free for another owner once this is gone: so is the writer.
    fn drop(&mut self) {
        if let Err(error) = self.finish_write() {
            tracing::warn!(store = %self.name, %error, "the last write failed");
        }
    }
}
