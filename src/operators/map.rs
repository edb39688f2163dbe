//! `map`: one element in, one out, key and value of any type.

use std::{fmt::Display, sync::Arc};

use crate::operators::{Data, Element, OperatorError, Outlet, Receive, StepPolicy, TaskContext};

/// Applies a function to key and value.
pub struct Map<F, K, V> {
    step: StepPolicy,
    function: Arc<F>,
    next: Outlet<K, V>,
}

impl<F, K: Data, V: Data> Map<F, K, V> {
    /// Pushes what `function` makes to `next`.
    pub fn new(step: StepPolicy, function: Arc<F>, next: Outlet<K, V>) -> Self {
        Self { step, function, next }
    }
}

impl<K0, V0, K: Data, V: Data, E: Display, F> Receive<K0, V0> for Map<F, K, V>
where
    F: Fn(K0, V0) -> Result<(K, V), E>,
{
    fn receive(
        &mut self,
        element: Element<'_, K0, V0>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        let Element { key, value, timestamp, headers } = element;
        match (self.function)(key, value) {
            Ok((key, value)) => self.next.push(Element { key, value, timestamp, headers }, ctx),
            Err(reason) => self.step.refuse(reason, ctx),
        }
    }
}
