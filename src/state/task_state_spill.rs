//! The committed layer on its way down to the byte store.
//!
//! A spill is one atomic write of whole committed epochs with the task's positions (EOS-2). Where
//! the byte store writes by itself, its caller goes on meanwhile, and what is being written is read
//! from memory, as a layer under the committed one.

use std::sync::Arc;

use super::TaskState;
use crate::{
    record::{Offset, Timestamp},
    state::{Positions, StateError},
};

impl TaskState {
    /// Bytes of an earlier committed layer that are on their way to the byte store.
    pub fn spilling_bytes(&self) -> usize {
        self.spilling.as_ref().map_or(0, |overlay| overlay.bytes())
    }

    /// Writes the committed layer and the task's positions to the byte store as one unit, and
    /// empties the layer; returns when that is done. `topic_id` is the changelog's; `now` is
    /// recorded for the age check. Nothing happens before the first commit. Errors: the store
    /// cannot be written; the layer is kept then.
    pub fn spill(&mut self, topic_id: &str, now: Timestamp) -> Result<(), StateError> {
        self.settle_spill(true)?;
        let Some(changelog_next) = self.changelog_next else { return Ok(()) };
        let positions = self.positions(changelog_next, topic_id, now);
        self.store.write(&mut self.committed.sorted(), &positions)?;
        self.committed.clear();
        self.store.flush()
    }

    /// As [`TaskState::spill`], but returns at once where the byte store can write by itself;
    /// false where it still writes an earlier layer. What is written is read from memory until
    /// [`TaskState::settle_spill`] finds it done.
    pub fn spill_behind(&mut self, topic_id: &str, now: Timestamp) -> Result<bool, StateError> {
        if !self.settle_spill(false)? {
            return Ok(false);
        }
        let Some(changelog_next) = self.changelog_next else { return Ok(true) };
        let positions = self.positions(changelog_next, topic_id, now);
        let layer = Arc::new(std::mem::take(&mut self.committed));
        self.spilling = Some(layer.clone());
        match self.store.write_behind(layer, &positions) {
            Ok(()) => self.settle_spill(false).map(|_| true),
            Err(error) => {
                self.take_back();
                Err(error)
            }
        }
    }

    /// Looks whether the byte store has written what [`TaskState::spill_behind`] gave it, or waits
    /// for it; true when nothing is on its way. Errors: it could not be written; it is part of the
    /// committed layer again then.
    pub fn settle_spill(&mut self, wait: bool) -> Result<bool, StateError> {
        if self.spilling.is_none() {
            return Ok(true);
        }
        match self.store.written(wait) {
            None => Ok(false),
            Some(Ok(())) => {
                self.spilling = None;
                Ok(true)
            }
            Some(Err(error)) => {
                self.take_back();
                Err(error)
            }
        }
    }

    /// What was not written lies under what was committed since.
    fn take_back(&mut self) {
        let younger = std::mem::take(&mut self.committed);
        for (key, value) in self.spilling.take().iter().flat_map(|layer| layer.iter()) {
            self.committed.set(key, value.map(|value| [value, &[]]));
        }
        self.committed.absorb(younger);
    }

    /// Breaks EOS-2 on purpose: writes the youngest sealed epoch to the byte store under the
    /// positions of the last committed one. For the negative control.
    #[cfg(feature = "mutants")]
    pub fn write_before_commit(
        &mut self,
        topic_id: &str,
        now: Timestamp,
    ) -> Result<(), StateError> {
        self.settle_spill(true)?;
        let next = self.changelog_next.unwrap_or(Offset(0));
        let positions = self.positions(next, topic_id, now);
        let none = super::Overlay::default();
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

#[cfg(test)]
#[path = "task_state_spill_tests.rs"]
mod tests;
