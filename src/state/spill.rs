//! How a task's committed layer goes into its byte store: frozen, beside the task, as whole epochs
//! with their positions (EOS-2).

use std::{iter, sync::Arc};

use crate::{
    record::{Offset, Timestamp},
    state::{Positions, StateError, TaskState, overlay::Overlay},
};

/// A committed layer on its way into the byte store: it changes no more, and is read until it is
/// written.
pub(super) struct Frozen {
    pub(super) changes: Arc<Overlay>,
    positions: Positions,
    /// Its write failed: it stays, and is written by the next `spill`.
    failed: bool,
}

impl TaskState {
    /// Starts to write the committed layer and the task's positions to the byte store as one unit
    /// (EOS-2: whole committed epochs). The layer stays readable until [`TaskState::poll_spill`]
    /// has seen its end; commits go into a new one meanwhile. `topic_id` is the changelog's; `now`
    /// is recorded for the age check. False where nothing was begun: a spill is in progress, or
    /// there is nothing to write. Errors: the store cannot be written; the layer is kept then.
    pub fn begin_spill(&mut self, topic_id: &str, now: Timestamp) -> Result<bool, StateError> {
        let Some(changelog_next) = self.changelog_next else { return Ok(false) };
        if self.frozen.is_some() || self.committed.is_empty() {
            return Ok(false);
        }
        let positions = self.positions(changelog_next, topic_id, now);
        let changes = Arc::new(std::mem::take(&mut self.committed));
        let frozen =
            Frozen { changes: Arc::clone(&changes), positions: positions.clone(), failed: false };
        let frozen = self.frozen.insert(frozen);
        let begun = self.store.begin_write(changes, positions);
        frozen.failed = begun.is_err();
        begun.map(|()| true)
    }

    /// Whether no spill is in progress (any more). Never waits. Errors: it failed; its layer is
    /// kept, and written with the next [`TaskState::spill`].
    pub fn poll_spill(&mut self) -> Result<bool, StateError> {
        let Some(frozen) = &mut self.frozen else { return Ok(true) };
        if frozen.failed {
            return Ok(false);
        }
        let polled = self.store.poll_write();
        frozen.failed = polled.is_err();
        let done = polled?;
        if done && let Some(frozen) = self.frozen.take() {
            self.store.discard(frozen.changes);
        }
        Ok(done)
    }

    /// Writes everything committed and the task's positions to the byte store, and waits for it.
    /// Nothing happens before the first commit. Errors: the store cannot be written; the layers
    /// are kept then.
    pub fn spill(&mut self, topic_id: &str, now: Timestamp) -> Result<(), StateError> {
        if let Some(frozen) = &self.frozen {
            if frozen.failed || self.store.finish_write().is_err() {
                // Once more: what made it fail may have passed.
                let (changes, positions) = (frozen.changes.clone(), frozen.positions.clone());
                self.store.begin_write(changes, positions)?;
                self.store.finish_write()?;
            }
            self.frozen = None;
        }
        let Some(changelog_next) = self.changelog_next else { return Ok(()) };
        let positions = self.positions(changelog_next, topic_id, now);
        if self.committed.is_empty() {
            // Epochs without changes of state move the positions on.
            self.store.write(&mut iter::empty(), &positions)?;
            return self.store.flush();
        }
        self.begin_spill(topic_id, now)?;
        let written = self.store.finish_write();
        if written.is_ok() {
            self.frozen = None;
        }
        written
    }

    /// Breaks EOS-2 on purpose: writes the youngest sealed epoch to the byte store under the
    /// positions of the last committed one. For the negative control.
    #[cfg(feature = "mutants")]
    pub fn write_before_commit(
        &mut self,
        topic_id: &str,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let next = self.changelog_next.unwrap_or(Offset(0));
        let positions = self.positions(next, topic_id, now);
        let none = Overlay::default();
        let youngest = self.sealed.back().unwrap_or(&none);
        self.store.write(&mut youngest.sorted(), &positions)?;
        self.store.flush()
    }

    fn positions(&self, changelog_next: Offset, topic_id: &str, now: Timestamp) -> Positions {
        Positions {
            changelog_next,
            changelog_topic_id: topic_id.to_owned(),
            marker: self.marker.clone(),
            whole: true,
            written_at: now,
        }
    }
}
