//! `flat_map_values`: any number of values under the same key.

use std::{fmt::Display, sync::Arc};

use crate::operators::{Data, Element, OperatorError, Outlet, Receive, StepPolicy, TaskContext};

/// Applies a function that makes any number of values; the key stays, and with it the
/// partitioning.
pub struct FlatMapValues<F, K, V> {
    step: StepPolicy,
    function: Arc<F>,
    next: Outlet<K, V>,
}

impl<F, K: Data, V: Data> FlatMapValues<F, K, V> {
    /// Pushes each of what `function` makes to `next`, in order.
    pub fn new(step: StepPolicy, function: Arc<F>, next: Outlet<K, V>) -> Self {
        Self { step, function, next }
    }
}

impl<K: Data, V0, V: Data, I, E: Display, F> Receive<K, V0> for FlatMapValues<F, K, V>
where
    F: Fn(&K, V0) -> Result<I, E>,
    I: IntoIterator<Item = V>,
{
    fn receive(
        &mut self,
        element: Element<'_, K, V0>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        let Element { key, value, timestamp, headers } = element;
        match (self.function)(&key, value) {
            Ok(values) => values.into_iter().try_for_each(|value| {
                self.next.push(Element { key: key.clone(), value, timestamp, headers }, ctx)
            }),
            Err(reason) => self.step.refuse(reason, ctx),
        }
    }
}
