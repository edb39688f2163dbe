//! Writes frozen changes into RocksDB beside the stream threads.
//!
//! A few threads per process: while one waits for the disk, another sorts. A write is one sorted table that
//! holds the changes *and* the positions, ingested as a whole; a small one is one write batch,
//! which costs no file of its own. Either is atomic. The two may follow each other in any order:
//! both hold the positions' key, so RocksDB sees them overlap, and flushes what an ingested table
//! would overtake before it takes the table in.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use rocksdb::{
    DB, FlushOptions, IngestExternalFileOptions, Options, SstFileWriter, WriteBatch, WriteOptions,
};

use super::rocksdb_store::state_error;
use crate::state::{FrozenChanges, StateError, keys::POSITIONS_KEY};

/// From this size on changes are ingested as a table (ADR 0008 has the figures).
const TABLE_BYTES_MIN: usize = 1 << 20;

/// A table on its way into a database, in the database's directory.
pub(super) const TABLE_FILE: &str = "spill.ingest";

/// One write.
pub(super) struct SpillJob {
    pub(super) store: String,
    pub(super) path: PathBuf,
    pub(super) db: Arc<DB>,
    pub(super) options: Options,
    pub(super) changes: Arc<dyn FrozenChanges>,
    /// The framed positions.
    pub(super) positions: Vec<u8>,
}

enum Work {
    Write(SpillJob, Sender<Result<(), StateError>>),
    /// To be freed here, not on a stream thread.
    Discard(Arc<dyn FrozenChanges>),
}

/// The threads and the way to them; they start with the first write, and end when this is dropped.
pub(super) struct Spiller {
    threads: u16,
    work: Mutex<Option<Sender<Work>>>,
}

impl Spiller {
    /// So many threads, none of them started.
    pub(super) fn new(threads: u16) -> Self {
        Self { threads: threads.max(1), work: Mutex::new(None) }
    }

    /// Starts a write; its outcome comes out of the receiver.
    pub(super) fn begin(
        &self,
        job: SpillJob,
    ) -> Result<Receiver<Result<(), StateError>>, StateError> {
        let (done, outcome) = channel();
        let store = job.store.clone();
        let failed = |reason: String| StateError::Store { store: store.clone(), reason };
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = match &*work {
            Some(sender) => sender.clone(),
            None => {
                work.insert(start(self.threads).map_err(|error| failed(error.to_string()))?).clone()
            }
        };
        sender
            .send(Work::Write(job, done))
            .map_err(|_| failed("the thread that writes state has ended".to_owned()))?;
        Ok(outcome)
    }

    /// Frees changes on the thread.
    pub(super) fn discard(&self, changes: Arc<dyn FrozenChanges>) {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*work {
            // Without the thread they are freed here.
            let _ended = sender.send(Work::Discard(changes));
        }
    }
}

fn start(threads: u16) -> std::io::Result<Sender<Work>> {
    let (sender, queue) = channel::<Work>();
    let queue = Arc::new(Mutex::new(queue));
    for number in 0..threads {
        let queue = Arc::clone(&queue);
        let next = move || {
            // Held while waiting: one thread waits at the queue, the others for it.
            queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
        };
        thread::Builder::new().name(format!("spill-{number}")).spawn(move || {
            while let Some(work) = next() {
                work.carry_out();
            }
        })?;
    }
    Ok(sender)
}

impl Work {
    fn carry_out(self) {
        match self {
            Self::Write(job, done) => {
                let result = job.run();
                // The database is closed before its owner hears: it may open it anew.
                drop(job);
                // An owner that is gone wants no answer.
                let _gone = done.send(result);
            }
            Self::Discard(changes) => drop(changes),
        }
    }
}

impl SpillJob {
    /// Writes.
    fn run(&self) -> Result<(), StateError> {
        if self.changes.bytes() < TABLE_BYTES_MIN { self.batch() } else { self.table() }
    }

    fn failed(&self, error: rocksdb::Error) -> StateError {
        state_error(&self.store, error)
    }

    /// As one write batch without a log, flushed.
    pub(super) fn batch(&self) -> Result<(), StateError> {
        let mut batch = WriteBatch::default();
        self.changes.for_each(&mut |key, value| {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
            Ok(())
        })?;
        batch.put(POSITIONS_KEY, &self.positions);
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch, &options).map_err(|error| self.failed(error))?;
        let mut options = FlushOptions::default();
        // Nobody waits here but this thread; what waits for a flush would hold its arena (MEM-1).
        options.set_wait(true);
        self.db.flush_opt(&options).map_err(|error| self.failed(error))
    }

    /// As one table that is ingested: no memory but its blocks, no search of places, and on disk
    /// when it is done.
    pub(super) fn table(&self) -> Result<(), StateError> {
        let file = self.path.join(TABLE_FILE);
        let mut writer = SstFileWriter::create(&self.options);
        writer.open(&file).map_err(|error| self.failed(error))?;
        let mut positions = Some(&self.positions);
        self.changes.for_each(&mut |key, value| {
            if key > POSITIONS_KEY
                && let Some(positions) = positions.take()
            {
                writer.put(POSITIONS_KEY, positions).map_err(|error| self.failed(error))?;
            }
            match value {
                Some(value) => writer.put(key, value),
                None => writer.delete(key),
            }
            .map_err(|error| self.failed(error))
        })?;
        if let Some(positions) = positions.take() {
            writer.put(POSITIONS_KEY, positions).map_err(|error| self.failed(error))?;
        }
        writer.finish().map_err(|error| self.failed(error))?;
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        self.db.ingest_external_file_opts(&options, vec![&file]).map_err(|error| self.failed(error))
    }
}
