//! The byte store of one task in RocksDB.
//!
//! A large write takes tens of milliseconds, which the stream thread does not have: it is done by a
//! thread of its own, one at a time.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use rocksdb::{DB, Direction, Error, ErrorKind, FlushOptions, IteratorMode, ReadOptions};
use rocksdb::{WriteBatch, WriteOptions};

use super::position_frame::{self, PositionError};
use crate::state::{ByteStore, Changes, Entry, Positions, StateError, keys::POSITIONS_KEY};

/// An open RocksDB.
pub(super) struct RocksDbByteStore {
    name: String,
    path: String,
    db: Arc<DB>,
    /// Writes what `write_behind` was given.
    writer: Option<JoinHandle<Result<(), StateError>>>,
}

impl RocksDbByteStore {
    /// Wraps an open database, whose positions are checked. Errors: they are damaged, or newer
    /// than this version.
    pub(super) fn new(name: &str, path: String, db: DB) -> Result<Self, StateError> {
        let store = Self { name: name.to_owned(), path, db: Arc::new(db), writer: None };
        store.positions()?;
        Ok(store)
    }

    fn failed(&self, error: Error) -> StateError {
        state_error(&self.name, error)
    }

    /// Completes a batch with the positions.
    fn position(&self, batch: &mut WriteBatch, positions: &Positions) -> Result<(), StateError> {
        let framed = position_frame::encode(positions).map_err(|error| StateError::Store {
            store: self.name.clone(),
            reason: error.to_string(),
        })?;
        batch.put(POSITIONS_KEY, framed);
        Ok(())
    }
}

impl Drop for RocksDbByteStore {
    fn drop(&mut self) {
        // Whoever opens or wipes the directory next must find it closed. A write that fails now
        // is one that a crash would have lost.
        let _outcome = self.written(true);
    }
}

/// Adds a change to a batch.
fn add(batch: &mut WriteBatch, key: &[u8], value: Option<&[u8]>) {
    match value {
        Some(value) => batch.put(key, value),
        None => batch.delete(key),
    }
}

/// Writes a batch, without RocksDB's own log: the changelog is it.
fn write(db: &DB, batch: WriteBatch) -> Result<(), Error> {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    db.write_opt(batch, &options)
}

/// Starts a flush.
fn flush(db: &DB) -> Result<(), Error> {
    let mut options = FlushOptions::default();
    options.set_wait(false);
    db.flush_opt(&options)
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
        let mut batch = WriteBatch::default();
        for (key, value) in changes {
            add(&mut batch, key, value);
        }
        self.position(&mut batch, positions)?;
        write(&self.db, batch).map_err(|error| self.failed(error))
    }

    fn write_behind(
        &mut self,
        changes: Arc<dyn Changes>,
        positions: &Positions,
    ) -> Result<(), StateError> {
        let mut batch = WriteBatch::default();
        self.position(&mut batch, positions)?;
        let (db, name) = (Arc::clone(&self.db), self.name.clone());
        let work = move || {
            changes.each(&mut |key, value| add(&mut batch, key, value));
            drop(changes);
            write(&db, batch).and_then(|()| flush(&db)).map_err(|error| state_error(&name, error))
        };
        let writer = thread::Builder::new().name("spill".to_owned()).spawn(work);
        self.writer = Some(writer.map_err(|error| StateError::Store {
            store: self.name.clone(),
            reason: format!("no thread for a spill: {error}"),
        })?);
        Ok(())
    }

    fn written(&mut self, wait: bool) -> Option<Result<(), StateError>> {
        let Some(writer) = self.writer.take_if(|writer| wait || writer.is_finished()) else {
            return self.writer.is_none().then_some(Ok(()));
        };
        Some(writer.join().unwrap_or_else(|_| {
            let reason = "the thread that spilled has panicked".to_owned();
            Err(StateError::Store { store: self.name.clone(), reason })
        }))
    }

    fn flush(&mut self) -> Result<(), StateError> {
        flush(&self.db).map_err(|error| self.failed(error))
    }

    fn positions(&self) -> Result<Option<Positions>, StateError> {
        let framed = self.db.get(POSITIONS_KEY).map_err(|error| self.failed(error))?;
        let decoded = framed.map(|framed| position_frame::decode(&framed)).transpose();
        decoded.map_err(|error| match error {
            PositionError::Newer(_) => {
                StateError::Foreign { path: self.path.clone(), reason: error.to_string() }
            }
            PositionError::Damaged(_) => {
                StateError::Damaged { store: self.name.clone(), reason: error.to_string() }
            }
        })
    }

    fn size_bytes(&self) -> u64 {
        let property = |name: &str| self.db.property_int_value(name).ok().flatten().unwrap_or(0);
        property("rocksdb.total-sst-files-size") + property("rocksdb.cur-size-all-mem-tables")
    }
}
