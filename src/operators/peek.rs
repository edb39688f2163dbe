//! `peek`: looks at what passes.

use std::sync::Arc;

use crate::operators::{Data, Element, OperatorError, Outlet, Receive, TaskContext};

/// Calls a function with each element and passes the element on. What the function does outside
/// the topology is not part of the epoch: after an abort it is done again.
pub struct Peek<F, K, V> {
    function: Arc<F>,
    next: Outlet<K, V>,
}

impl<F, K: Data, V: Data> Peek<F, K, V> {
    /// Passes everything on to `next`.
    pub fn new(function: Arc<F>, next: Outlet<K, V>) -> Self {
        Self { function, next }
    }
}

impl<K: Data, V: Data, F: Fn(&K, &V)> Receive<K, V> for Peek<F, K, V> {
    fn receive(
        &mut self,
        element: Element<'_, K, V>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        (self.function)(&element.key, &element.value);
        self.next.push(element, ctx)
    }
}
