//! One task under restore: what was read, what is written down, and whether its image was valid.

use std::collections::BTreeMap;

use crate::{
    record::Offset,
    runtime::{Now, PartitionBounds, restore::RestoreJob},
    state::{
        ByteStore, EpochMarker, Positions, StateError,
        changelog::{self, ChangelogError, ChangelogRecord},
    },
};

/// An image may not be older than `delete.retention.ms` less this margin: deleted keys could come
/// back.
const RETENTION_MARGIN_MS: i64 = 3_600_000;

/// A restore under way.
pub(super) struct Active {
    pub(super) job: RestoreJob,
    pub(super) store: Box<dyn ByteStore>,
    pub(super) bounds: Option<PartitionBounds>,
    pub(super) next: Offset,
    pub(super) marker: Option<EpochMarker>,
    pub(super) chunk: BTreeMap<Box<[u8]>, Option<Box<[u8]>>>,
    pub(super) chunk_bytes: usize,
    pub(super) records: u64,
    pub(super) whole: bool,
}

impl Active {
    pub(super) fn take(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), ChangelogError> {
        self.records += 1;
        self.whole = false;
        let record = changelog::parse(key, value)?;
        if let Some((key, value)) = record.change() {
            self.chunk_bytes += key.len() + value.map_or(0, <[u8]>::len) + 64;
            self.chunk.insert(key.into(), value.map(Into::into));
        }
        if let ChangelogRecord::Marker(marker) = record {
            self.marker = Some(marker);
        }
        Ok(())
    }

    pub(super) fn write(&mut self, whole: bool, now: Now) -> Result<(), StateError> {
        let positions = Positions {
            changelog_next: self.next,
            changelog_topic_id: self.job.topic_id.clone(),
            marker: self.marker.clone(),
            whole,
            written_at: now.wall,
        };
        let mut changes = self.chunk.iter().map(|(k, v)| (&**k, v.as_deref()));
        self.store.write(&mut changes, &positions)?;
        self.chunk.clear();
        self.chunk_bytes = 0;
        self.whole = whole;
        Ok(())
    }

    /// The image is whole now: say so, unless it already does and nothing came.
    pub(super) fn finish(&mut self, now: Now) -> Result<(), StateError> {
        let untouched = self.whole && self.records == 0;
        if untouched || (self.marker.is_none() && self.records == 0) {
            return Ok(());
        }
        self.write(true, now)?;
        self.store.flush()
    }
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
