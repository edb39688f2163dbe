//! The core of `count`, `reduce`, `aggregate` and `table`: one value per key, changed in place.

use std::{fmt::Display, sync::Arc};

use crate::{
    operators::{
        Data, Element, Key, OperatorError, Outlet, Receive, Stateful, StepPolicy, TaskContext,
    },
    state::{StateError, TaskState, ValueState},
};

/// Folds every element into the value of its key, and pushes each new value.
pub struct Fold<F, K, A> {
    step: StepPolicy,
    state: ValueState<K, A>,
    function: Arc<F>,
    fallible: bool,
    next: Outlet<K, Option<A>>,
}

impl<F, K: Key, A: Data> Fold<F, K, A> {
    /// Folds with `function`, which is given the key, the element's value and the slot of the
    /// key's value. `fallible` says whether it can refuse an element at all.
    pub fn new(
        step: StepPolicy,
        state: ValueState<K, A>,
        function: Arc<F>,
        fallible: bool,
        next: Outlet<K, Option<A>>,
    ) -> Self {
        Self { step, state, function, fallible, next }
    }
}

impl<K: Key, V, A: Data, E: Display, F> Receive<K, V> for Fold<F, K, A>
where
    F: Fn(&K, V, &mut Option<A>) -> Result<(), E>,
{
    fn receive(
        &mut self,
        element: Element<'_, K, V>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        let Element { key, value, timestamp, headers } = element;
        // A skipped element must leave no trace, whatever the function did before it refused.
        // Under `fail` the epoch is dropped, and the half-changed value with it.
        let keep = self.fallible && self.step.skips();
        let silent = self.next.is_empty();
        let function = &*self.function;
        let folded = self.state.update(ctx.state, &key, |slot| {
            let before = if keep { slot.clone() } else { None };
            match function(&key, value, slot) {
                Ok(()) => Ok(if silent { None } else { slot.clone() }),
                Err(reason) => {
                    if keep {
                        *slot = before;
                    }
                    Err(reason)
                }
            }
        })?;
        match folded {
            Ok(_) if silent => Ok(()),
            Ok(value) => self.next.push(Element { key, value, timestamp, headers }, ctx),
            Err(reason) => self.step.refuse(reason, ctx),
        }
    }
}

impl<F, K: Key, A: Data> Stateful for Fold<F, K, A> {
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
