//! `merge`: several streams become one.

use crate::operators::{Data, Element, OperatorError, Outlet, Receive, TaskContext};

/// Passes on what several operators push. The order within each of them is kept; between them
/// there is none to keep.
pub struct Merge<K, V> {
    next: Outlet<K, V>,
}

impl<K: Data, V: Data> Merge<K, V> {
    /// Passes everything on to `next`.
    pub fn new(next: Outlet<K, V>) -> Self {
        Self { next }
    }
}

impl<K: Data, V: Data> Receive<K, V> for Merge<K, V> {
    fn receive(
        &mut self,
        element: Element<'_, K, V>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        self.next.push(element, ctx)
    }
}
