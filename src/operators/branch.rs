//! `branch`: each element goes one of two ways.

use std::{fmt::Display, sync::Arc};

use crate::operators::{Data, Element, OperatorError, Outlet, Receive, StepPolicy, TaskContext};

/// Sends what a predicate accepts one way and the rest the other.
pub struct Branch<F, K, V> {
    step: StepPolicy,
    predicate: Arc<F>,
    matched: Outlet<K, V>,
    rest: Outlet<K, V>,
}

impl<F, K: Data, V: Data> Branch<F, K, V> {
    /// Pushes what `predicate` accepts to `matched`, everything else to `rest`.
    pub fn new(
        step: StepPolicy,
        predicate: Arc<F>,
        matched: Outlet<K, V>,
        rest: Outlet<K, V>,
    ) -> Self {
        Self { step, predicate, matched, rest }
    }
}

impl<K: Data, V: Data, E: Display, F> Receive<K, V> for Branch<F, K, V>
where
    F: Fn(&K, &V) -> Result<bool, E>,
{
    fn receive(
        &mut self,
        element: Element<'_, K, V>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        match (self.predicate)(&element.key, &element.value) {
            Ok(true) => self.matched.push(element, ctx),
            Ok(false) => self.rest.push(element, ctx),
            Err(reason) => self.step.refuse(reason, ctx),
        }
    }
}
