//! `table`: the latest value of each key of a topic.

use crate::{
    operators::{Data, Element, Key, OperatorError, Outlet, Receive, Stateful, TaskContext},
    state::{StateError, TaskState, ValueState},
};

/// Keeps the latest value per key and passes every change on; null deletes.
pub struct Table<K, V> {
    state: ValueState<K, V>,
    next: Outlet<K, Option<V>>,
}

impl<K: Key, V: Data> Table<K, V> {
    /// Keeps the values in `state`.
    pub fn new(state: ValueState<K, V>, next: Outlet<K, Option<V>>) -> Self {
        Self { state, next }
    }
}

impl<K: Key, V: Data> Receive<K, Option<V>> for Table<K, V> {
    fn receive(
        &mut self,
        element: Element<'_, K, Option<V>>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        if self.next.is_empty() {
            let Element { key, value, .. } = element;
            self.state.update(ctx.state, &key, |slot| *slot = value)?;
            return Ok(());
        }
        self.state.update(ctx.state, &element.key, |slot| slot.clone_from(&element.value))?;
        self.next.push(element, ctx)
    }
}

impl<K: Key, V: Data> Stateful for Table<K, V> {
    fn open(&mut self, ctx: &mut TaskContext<'_>) -> Result<(), OperatorError> {
        Ok(self.state.open(ctx.state)?)
    }

    fn seal(&mut self, ctx: &mut TaskContext<'_>) -> Result<(), OperatorError> {
        Ok(self.state.seal(ctx.state)?)
    }

    fn committed(&mut self) {
        self.state.committed();
    }

    fn aborted(&mut self) {
        self.state.aborted();
    }

    fn evict(&mut self, state: &mut TaskState, budget: usize) -> Result<(), StateError> {
        self.state.evict(state, budget)
    }

    fn resident_bytes(&self) -> usize {
        self.state.resident_bytes()
    }

    fn changed_bytes(&self) -> usize {
        self.state.changed_bytes()
    }

    fn verify(&self, state: &TaskState) -> Result<(), String> {
        self.state.verify(state)
    }
}
