//! `map_values`: a new value under the same key.

use std::{fmt::Display, sync::Arc};

use crate::operators::{Data, Element, OperatorError, Outlet, Receive, StepPolicy, TaskContext};

/// Applies a function to the value; the key stays, and with it the partitioning.
pub struct MapValues<F, K, V> {
    step: StepPolicy,
    function: Arc<F>,
    next: Outlet<K, V>,
}

impl<F, K: Data, V: Data> MapValues<F, K, V> {
    /// Pushes what `function` makes to `next`.
    pub fn new(step: StepPolicy, function: Arc<F>, next: Outlet<K, V>) -> Self {
        Self { step, function, next }
    }
}

impl<K: Data, V0, V: Data, E: Display, F> Receive<K, V0> for MapValues<F, K, V>
where
    F: Fn(&K, V0) -> Result<V, E>,
{
    fn receive(
        &mut self,
        element: Element<'_, K, V0>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        let Element { key, value, timestamp, headers } = element;
        match (self.function)(&key, value) {
            Ok(value) => self.next.push(Element { key, value, timestamp, headers }, ctx),
            Err(reason) => self.step.refuse(reason, ctx),
        }
    }
}
