//! One task under restore: what was read, what is written down, and whether its image was valid.

use std::{ops::Range, sync::Arc, time::Duration};

use crate::{
    record::{Offset, RecordBatch},
    runtime::{Now, PartitionBounds, restore::RestoreJob},
    state::{
        ByteStore, ChangeLog, EpochMarker, FrozenChanges, Positions, StateError,
        changelog::{self, ChangelogError, ChangelogRecord},
    },
};

/// An image may not be older than `delete.retention.ms` less this margin: deleted keys could come
/// back.
const RETENTION_MARGIN_MS: i64 = 3_600_000;

/// How long to wait before bounds that nobody knew are asked for again: a leader is being elected.
const ASK_PAUSE: Duration = Duration::from_millis(100);

/// A restore under way. What was read gathers in `chunk`; a full one is written beside the reader,
/// with the positions that it leads to, so that a restore that was cut goes on from there.
pub(super) struct Active {
    pub(super) job: RestoreJob,
    pub(super) store: Box<dyn ByteStore>,
    pub(super) bounds: Option<PartitionBounds>,
    /// When the bounds are asked for again: nobody knew them.
    ask_at: Option<Duration>,
    pub(super) next: Offset,
    pub(super) marker: Option<EpochMarker>,
    chunk: ChangeLog,
    writing: Option<Arc<ChangeLog>>,
    pub(super) records: u64,
    /// Bytes of keys and values read.
    pub(super) bytes: u64,
    pub(super) whole: bool,
    /// The store has been told that many writes come.
    bulk: bool,
    /// Everything is read and checked; the last write is on its way.
    pub(super) finishing: bool,
}

impl Active {
    pub(super) fn new(job: RestoreJob, store: Box<dyn ByteStore>) -> Self {
        Self {
            job,
            store,
            bounds: None,
            ask_at: None,
            next: Offset(0),
            marker: None,
            chunk: ChangeLog::default(),
            writing: None,
            records: 0,
            bytes: 0,
            whole: false,
            bulk: false,
            finishing: false,
        }
    }

    /// Nobody knew the bounds: asks for them again after a moment.
    pub(super) fn ask_later(&mut self, now: Now) {
        self.ask_at = Some(now.mono + ASK_PAUSE);
    }

    /// Whether the bounds are asked for again now.
    pub(super) fn asks_again(&mut self, now: Now) -> bool {
        self.ask_at.take_if(|at| now.mono >= *at).is_some()
    }

    /// Takes one changelog record.
    fn take(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), ChangelogError> {
        self.records += 1;
        self.bytes += (key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)) as u64;
        self.whole = false;
        let record = changelog::parse(key, value)?;
        if let Some((key, value)) = record.change() {
            self.chunk.push(key, value);
        }
        if let ChangelogRecord::Marker(marker) = record {
            self.marker = Some(marker);
        }
        Ok(())
    }

    /// Takes the records `run` of a batch, all of this partition; gives their bytes. Errors: the
    /// first that cannot be read, with its offset.
    pub(super) fn take_run<B: RecordBatch>(
        &mut self,
        batch: &B,
        run: Range<usize>,
    ) -> Result<usize, (Offset, ChangelogError)> {
        let before = self.bytes;
        for index in run {
            let record = batch.record(index);
            if record.offset >= self.next {
                let taken = self.take(record.key, record.value);
                taken.map_err(|error| (record.offset, error))?;
                self.next = record.offset.next();
            }
        }
        Ok(usize::try_from(self.bytes - before).unwrap_or(usize::MAX))
    }

    /// Bytes that are read and not written.
    pub(super) fn held_bytes(&self) -> usize {
        self.chunk_bytes() + self.writing.as_ref().map_or(0, |chunk| chunk.bytes())
    }

    /// Bytes that the next write would take down.
    pub(super) fn chunk_bytes(&self) -> usize {
        self.chunk.held_bytes()
    }

    /// Starts to write the chunk, after the one before.
    pub(super) fn write(&mut self, whole: bool, now: Now) -> Result<(), StateError> {
        self.end_write()?;
        // One that is cut leaves nothing behind: a store is opened without.
        if self.bulk == whole {
            self.store.set_bulk(!whole)?;
            self.bulk = !whole;
        }
        let positions = Positions {
            changelog_next: self.next,
            changelog_topic_id: self.job.topic_id.clone(),
            marker: self.marker.clone(),
            whole,
            written_at: now.wall,
        };
        let chunk = Arc::new(std::mem::take(&mut self.chunk));
        self.writing = Some(Arc::clone(&chunk));
        self.store.begin_write(chunk, positions)?;
        self.whole = whole;
        Ok(())
    }

    /// Whether nothing is being written (any more).
    pub(super) fn poll_write(&mut self) -> Result<bool, StateError> {
        let done = self.store.poll_write()?;
        if done {
            self.take_back();
        }
        Ok(done)
    }

    /// Waits for the write on its way.
    pub(super) fn end_write(&mut self) -> Result<(), StateError> {
        self.store.finish_write()?;
        self.take_back();
        Ok(())
    }

    fn take_back(&mut self) {
        if let Some(chunk) = self.writing.take() {
            self.store.discard(chunk);
        }
    }

    /// The image is whole with what was read: starts to say so, unless it already does and nothing
    /// came. The restore is done when the write is.
    pub(super) fn finish(&mut self, now: Now) -> Result<(), StateError> {
        self.finishing = true;
        let untouched = self.whole && self.records == 0;
        if untouched || (self.marker.is_none() && self.records == 0) {
            return Ok(());
        }
        self.write(true, now)
    }
}

/// Where the run of records of one partition ends that begins at `from`.
pub(super) fn run_end<B: RecordBatch>(batch: &B, from: usize) -> usize {
    let first = batch.record(from);
    let same = |index: &usize| {
        let record = batch.record(*index);
        record.partition == first.partition && *record.topic == *first.topic
    };
    (from + 1..batch.len()).take_while(same).last().map_or(from + 1, |last| last + 1)
}

/// DESIGN section 6: the same changelog topic, its records still there, no deleted key forgotten.
pub(super) fn is_valid(
    image: &Positions,
    job: &RestoreJob,
    bounds: PartitionBounds,
    now: Now,
) -> bool {
    let age = now.wall.0 - image.written_at.0;
    let reason = if image.changelog_topic_id != job.topic_id {
        "it belongs to another changelog topic"
    } else if image.changelog_next < bounds.start {
        "the changelog starts behind it"
    } else if image.changelog_next > bounds.end {
        "the changelog ends before it"
    } else if age > job.delete_retention_ms - RETENTION_MARGIN_MS.min(job.delete_retention_ms / 2) {
        "it is older than the changelog's delete.retention.ms: deleted keys could come back"
    } else {
        return true;
    };
    tracing::info!(task = %job.name, reason, "local image is not used");
    false
}
