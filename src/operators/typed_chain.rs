//! The chain that the typed `dsl` compiles to: heads that decode records, and a list of the
//! operators that take part in the task's life.

use std::{cell::RefCell, rc::Rc};

use crate::{
    operators::{OperatorChain, OperatorError, ReceiveRecord, SourceIndex, Stateful, TaskContext},
    record::RecordRef,
    state::{StateError, TaskState},
    time::TimerFired,
};

/// One task's wired operators.
pub struct Chain {
    heads: Vec<Box<dyn ReceiveRecord>>,
    /// From top to bottom.
    stateful: Vec<Rc<RefCell<dyn Stateful>>>,
    broken: Option<String>,
}

impl Chain {
    pub(super) fn new(
        heads: Vec<Box<dyn ReceiveRecord>>,
        stateful: Vec<Rc<RefCell<dyn Stateful>>>,
        broken: Option<String>,
    ) -> Self {
        Self { heads, stateful, broken }
    }

    /// Why the operators could not be wired; `None` for a sound chain.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }
}

fn misuse(reason: String) -> OperatorError {
    OperatorError::Element { operator: "chain".into(), reason }
}

impl OperatorChain for Chain {
    fn open(&mut self, ctx: &mut TaskContext<'_>) -> Result<(), OperatorError> {
        if let Some(reason) = &self.broken {
            return Err(misuse(reason.clone()));
        }
        self.stateful.iter().try_for_each(|operator| operator.borrow_mut().open(ctx))
    }

    fn process(
        &mut self,
        source: SourceIndex,
        record: &RecordRef<'_>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        match self.heads.get_mut(source) {
            Some(head) => head.receive(record, ctx),
            None => Err(misuse(format!("there is no source {source}"))),
        }
    }

    fn on_timer(
        &mut self,
        timer: &TimerFired,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        for operator in &self.stateful {
            if operator.borrow_mut().on_timer(timer, ctx)? {
                return Ok(());
            }
        }
        // A timer is state: one that nobody takes was set by an operator that is gone, or by a
        // fault. Dropping it silently would hide either.
        Err(misuse(format!("no operator has timer store {}", timer.store)))
    }

    fn seal(&mut self, ctx: &mut TaskContext<'_>) -> Result<(), OperatorError> {
        self.stateful.iter().try_for_each(|operator| operator.borrow_mut().seal(ctx))
    }

    fn committed(&mut self) {
        for operator in &self.stateful {
            operator.borrow_mut().committed();
        }
    }

    fn aborted(&mut self) {
        for operator in &self.stateful {
            operator.borrow_mut().aborted();
        }
    }

    fn evict(&mut self, state: &mut TaskState, budget: usize) -> Result<(), StateError> {
        let held = self.resident_bytes();
        if held <= budget {
            return Ok(());
        }
        for operator in &self.stateful {
            let mut operator = operator.borrow_mut();
            // Each operator keeps its share: proportional to what it holds.
            let share = operator.resident_bytes() as u128 * budget as u128 / held as u128;
            operator.evict(state, usize::try_from(share).unwrap_or(usize::MAX))?;
        }
        Ok(())
    }

    fn resident_bytes(&self) -> usize {
        self.stateful.iter().map(|operator| operator.borrow().resident_bytes()).sum()
    }

    fn changed_bytes(&self) -> usize {
        self.stateful.iter().map(|operator| operator.borrow().changed_bytes()).sum()
    }

    fn verify(&self, state: &TaskState) -> Result<(), String> {
        self.stateful.iter().try_for_each(|operator| operator.borrow().verify(state))
    }
}
