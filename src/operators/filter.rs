//! `filter`: keeps what a predicate accepts.

use std::{fmt::Display, sync::Arc};

use crate::operators::{Data, Element, OperatorError, Outlet, Receive, StepPolicy, TaskContext};

/// Keeps the elements for which the predicate is true.
pub struct Filter<F, K, V> {
    step: StepPolicy,
    predicate: Arc<F>,
    next: Outlet<K, V>,
}

impl<F, K: Data, V: Data> Filter<F, K, V> {
    /// Pushes what `predicate` accepts to `next`.
    pub fn new(step: StepPolicy, predicate: Arc<F>, next: Outlet<K, V>) -> Self {
        Self { step, predicate, next }
    }
}

impl<K: Data, V: Data, E: Display, F> Receive<K, V> for Filter<F, K, V>
where
    F: Fn(&K, &V) -> Result<bool, E>,
{
    fn receive(
        &mut self,
        element: Element<'_, K, V>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        match (self.predicate)(&element.key, &element.value) {
            Ok(true) => self.next.push(element, ctx),
            Ok(false) => Ok(()),
            Err(reason) => self.step.refuse(reason, ctx),
        }
    }
}
