//! What flows between operators, and how it is pushed on.
//!
//! Operators live on one thread and form an acyclic graph: an operator is borrowed while it pushes
//! to those below it, so a borrow can never meet itself.

use std::{cell::RefCell, rc::Rc};

use smallvec::SmallVec;

use crate::{
    operators::{OperatorError, TaskContext},
    record::{Header, RecordRef, Timestamp},
    state::{StateError, TaskState},
    time::TimerFired,
};

/// A type that can flow through a topology. Cloned only where a stream is used more than once.
pub trait Data: Clone + 'static {}

impl<T: Clone + 'static> Data for T {}

/// A key that state can be kept under.
pub trait Key: Data + Eq + std::hash::Hash {}

impl<T: Data + Eq + std::hash::Hash> Key for T {}

/// One typed record on its way through the operators.
#[derive(Debug, Clone)]
pub struct Element<'h, K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// The record's timestamp.
    pub timestamp: Timestamp,
    /// The headers of the record that led to it; none for what timers and hooks emit.
    pub headers: &'h [Header],
}

/// Takes typed elements.
pub trait Receive<K, V> {
    /// Works on one element and pushes what comes of it to the operators below.
    fn receive(
        &mut self,
        element: Element<'_, K, V>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError>;
}

/// Takes fetched records: the top of a chain.
pub trait ReceiveRecord {
    /// Decodes one record and pushes it to the operators below.
    fn receive(
        &mut self,
        record: &RecordRef<'_>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError>;
}

/// An operator that several others may push to.
pub type Receiver<K, V> = Rc<RefCell<dyn Receive<K, V>>>;

/// The part of a task's life that operators with state (or a buffer per epoch) take part in; what
/// each call means is said at [`crate::operators::OperatorChain`].
pub trait Stateful {
    /// The state is restored: look up store ids.
    fn open(&mut self, ctx: &mut TaskContext<'_>) -> Result<(), OperatorError>;

    /// A timer came due; `false` if it is not this operator's.
    fn on_timer(
        &mut self,
        _timer: &TimerFired,
        _ctx: &mut TaskContext<'_>,
    ) -> Result<bool, OperatorError> {
        Ok(false)
    }

    /// The end of the epoch: push what is held per epoch, then encode what changed. Operators are
    /// called from top to bottom, so what is pushed here is seen by the encoding below.
    fn seal(&mut self, ctx: &mut TaskContext<'_>) -> Result<(), OperatorError>;

    /// The oldest epoch in progress is committed.
    fn committed(&mut self);

    /// Everything since the last commit is dropped.
    fn aborted(&mut self);

    /// Let go of resident entries until at most `budget` bytes are held.
    fn evict(&mut self, state: &mut TaskState, budget: usize) -> Result<(), StateError>;

    /// Bytes held in memory.
    fn resident_bytes(&self) -> usize;

    /// Bytes that sealing would add to overlay or outputs, roughly.
    fn changed_bytes(&self) -> usize;

    /// Whether what is held in memory agrees with the state.
    fn verify(&self, state: &TaskState) -> Result<(), String>;
}

/// Where an operator pushes its results: to every operator below, in the order of declaration.
pub struct Outlet<K, V> {
    receivers: SmallVec<[Receiver<K, V>; 1]>,
}

impl<K: Data, V: Data> Outlet<K, V> {
    /// An outlet to these operators.
    pub fn new(receivers: impl IntoIterator<Item = Receiver<K, V>>) -> Self {
        Self { receivers: receivers.into_iter().collect() }
    }

    /// Whether nobody listens: then there is no need to make an element.
    pub fn is_empty(&self) -> bool {
        self.receivers.is_empty()
    }

    /// Pushes an element down. The last receiver gets it by move, the others a clone each.
    pub fn push(
        &self,
        element: Element<'_, K, V>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        let Some((last, others)) = self.receivers.split_last() else { return Ok(()) };
        for receiver in others {
            receiver.borrow_mut().receive(element.clone(), ctx)?;
        }
        last.borrow_mut().receive(element, ctx)
    }
}
