//! `key_by`: a new key for the same value.

use std::{fmt::Display, sync::Arc};

use crate::operators::{Data, Element, OperatorError, Outlet, Receive, StepPolicy, TaskContext};

/// Chooses a new key. The partitioning is that of the old one, so the next step with state needs
/// a repartition topic in between: the `dsl` sees to it.
pub struct KeyBy<F, K, V> {
    step: StepPolicy,
    function: Arc<F>,
    next: Outlet<K, V>,
}

impl<F, K: Data, V: Data> KeyBy<F, K, V> {
    /// Pushes the value under the key that `function` makes to `next`.
    pub fn new(step: StepPolicy, function: Arc<F>, next: Outlet<K, V>) -> Self {
        Self { step, function, next }
    }
}

impl<K0, K: Data, V: Data, E: Display, F> Receive<K0, V> for KeyBy<F, K, V>
where
    F: Fn(&K0, &V) -> Result<K, E>,
{
    fn receive(
        &mut self,
        element: Element<'_, K0, V>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        let Element { key, value, timestamp, headers } = element;
        match (self.function)(&key, &value) {
            Ok(key) => self.next.push(Element { key, value, timestamp, headers }, ctx),
            Err(reason) => self.step.refuse(reason, ctx),
        }
    }
}
