//! `flat_map`: one element in, any number out.

use std::{fmt::Display, sync::Arc};

use crate::operators::{Data, Element, OperatorError, Outlet, Receive, StepPolicy, TaskContext};

/// Applies a function that makes any number of keys and values.
pub struct FlatMap<F, K, V> {
    step: StepPolicy,
    function: Arc<F>,
    next: Outlet<K, V>,
}

impl<F, K: Data, V: Data> FlatMap<F, K, V> {
    /// Pushes each of what `function` makes to `next`, in order.
    pub fn new(step: StepPolicy, function: Arc<F>, next: Outlet<K, V>) -> Self {
        Self { step, function, next }
    }
}

impl<K0, V0, K: Data, V: Data, I, E: Display, F> Receive<K0, V0> for FlatMap<F, K, V>
where
    F: Fn(K0, V0) -> Result<I, E>,
    I: IntoIterator<Item = (K, V)>,
{
    fn receive(
        &mut self,
        element: Element<'_, K0, V0>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        let Element { key, value, timestamp, headers } = element;
        match (self.function)(key, value) {
            Ok(items) => items.into_iter().try_for_each(|(key, value)| {
                self.next.push(Element { key, value, timestamp, headers }, ctx)
            }),
            Err(reason) => self.step.refuse(reason, ctx),
        }
    }
}
