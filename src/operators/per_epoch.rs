//! `Emit::PerEpoch`: of all updates of a key in an epoch only the last one goes on.

use hashbrown::HashMap;

use crate::{
    operators::{Data, Element, Key, OperatorError, Outlet, Receive, Stateful, TaskContext},
    record::Timestamp,
    state::{StateError, TaskState},
};

/// When the updates of a table go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Emit {
    /// Every single one.
    #[default]
    EveryUpdate,
    /// The last one per key and epoch, at the epoch's end, in the order in which the keys were
    /// first touched, with the timestamp of the last update. How many there are depends on where
    /// epochs end; the last one of each key does not.
    PerEpoch,
}

/// Holds the last update per key until the epoch is sealed. Holds nothing across epochs, so it has
/// no state: what is aborted is made again by the replay.
pub struct PerEpoch<K, V> {
    index: HashMap<K, usize, foldhash::fast::FixedState>,
    /// In first-touch order; never iterated by hash, so that outputs are the same in every run.
    pending: Vec<(K, V, Timestamp)>,
    next: Outlet<K, V>,
}

impl<K: Key, V: Data> PerEpoch<K, V> {
    /// Pushes the last updates to `next`.
    pub fn new(next: Outlet<K, V>) -> Self {
        Self { index: HashMap::default(), pending: Vec::new(), next }
    }
}

impl<K: Key, V: Data> Receive<K, V> for PerEpoch<K, V> {
    fn receive(
        &mut self,
        element: Element<'_, K, V>,
        _ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        let Element { key, value, timestamp, .. } = element;
        let known = self.index.get(&key).and_then(|&index| self.pending.get_mut(index));
        if let Some((_, last_value, last_timestamp)) = known {
            *last_value = value;
            *last_timestamp = timestamp;
        } else {
            self.index.insert(key.clone(), self.pending.len());
            self.pending.push((key, value, timestamp));
        }
        Ok(())
    }
}

impl<K: Key, V: Data> Stateful for PerEpoch<K, V> {
    fn open(&mut self, _ctx: &mut TaskContext<'_>) -> Result<(), OperatorError> {
        Ok(())
    }

    fn seal(&mut self, ctx: &mut TaskContext<'_>) -> Result<(), OperatorError> {
        self.index.clear();
        self.pending.drain(..).try_for_each(|(key, value, timestamp)| {
            self.next.push(Element { key, value, timestamp, headers: &[] }, ctx)
        })
    }

    fn committed(&mut self) {}

    fn aborted(&mut self) {
        self.index.clear();
        self.pending.clear();
    }

    fn evict(&mut self, _state: &mut TaskState, _budget: usize) -> Result<(), StateError> {
        Ok(())
    }

    fn resident_bytes(&self) -> usize {
        // Without what keys and values own on the heap: the epoch's own limits bound those.
        self.pending.len() * (size_of::<(K, V, Timestamp)>() + size_of::<(K, usize)>())
    }

    fn changed_bytes(&self) -> usize {
        self.resident_bytes()
    }

    fn verify(&self, _state: &TaskState) -> Result<(), String> {
        if self.index.len() == self.pending.len() {
            Ok(())
        } else {
            Err(format!("{} keys for {} updates", self.index.len(), self.pending.len()))
        }
    }
}
