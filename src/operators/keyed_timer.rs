//! A process operator with durable keyed timers: one value per key, and a function that is called
//! for elements and for timers. Exercises the task seam; process functions with several states
//! grow out of it.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{
    formats::Codec,
    operators::{Data, Element, Key, OperatorError, Outlet, Receive, Stateful, TaskContext},
    record::Timestamp,
    state::{StateError, TaskState, ValueState},
    time::{TimerDomain, TimerFired},
};

/// What an operator with keyed timers does. One instance serves all tasks, so whatever differs by
/// key must be in the state that it is handed.
pub trait TimerFunction: Send + Sync + 'static {
    /// The key.
    type Key: Key;
    /// What comes in.
    type Value: Data;
    /// What is kept per key.
    type State: Data;
    /// What goes out.
    type Output: Data;

    /// An element of `key` came in. What is set on `timers` is set when this returns.
    fn on_element(
        &self,
        key: &Self::Key,
        value: Self::Value,
        state: &mut Option<Self::State>,
        timers: &mut Timers,
    ) -> Option<Self::Output>;

    /// A timer of `key` came due.
    fn on_timer(
        &self,
        key: &Self::Key,
        state: &mut Option<Self::State>,
        timers: &mut Timers,
    ) -> Option<Self::Output>;
}

/// The time of a call, and the timers that it sets or deletes for the key at hand.
#[derive(Debug)]
pub struct Timers {
    timestamp: Timestamp,
    now: Timestamp,
    watermark: Option<Timestamp>,
    changes: SmallVec<[(bool, Timestamp); 2]>,
}

impl Timers {
    fn new(timestamp: Timestamp, ctx: &TaskContext<'_>) -> Self {
        let TaskContext { now, watermark, .. } = *ctx;
        Self { timestamp, now, watermark, changes: SmallVec::new() }
    }

    /// The element's timestamp, or the time that the timer was set for.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// Processing time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The task's watermark; `None` before the first one, and where no source declares any. While
    /// a timer in event time fires, the one right before it.
    pub fn watermark(&self) -> Option<Timestamp> {
        self.watermark
    }

    /// Sets a timer; one that is set already stays one. One in the past fires at once: in event
    /// time before the next record, in processing time at the end of the epoch.
    pub fn set(&mut self, time: Timestamp) {
        self.changes.push((true, time));
    }

    /// Deletes a timer; nothing happens where there is none.
    pub fn delete(&mut self, time: Timestamp) {
        self.changes.push((false, time));
    }
}

/// What a [`KeyedTimer`] is made of.
pub struct KeyedTimerParts<F: TimerFunction> {
    /// The operator's uid.
    pub operator: Arc<str>,
    /// The name of its timer state.
    pub timers: &'static str,
    /// Which clock its timers follow.
    pub domain: TimerDomain,
    /// The codec of its keys.
    pub key: Arc<dyn Codec<F::Key>>,
    /// Its state.
    pub state: ValueState<F::Key, F::State>,
    /// What it does.
    pub function: Arc<F>,
}

/// Calls a [`TimerFunction`] for elements and timers.
pub struct KeyedTimer<F: TimerFunction> {
    parts: KeyedTimerParts<F>,
    /// The id of the timers' store, once it is opened.
    store: Option<u16>,
    key_bytes: Vec<u8>,
    next: Outlet<F::Key, F::Output>,
}

impl<F: TimerFunction> KeyedTimer<F> {
    /// Pushes what the function returns to `next`.
    pub fn new(parts: KeyedTimerParts<F>, next: Outlet<F::Key, F::Output>) -> Self {
        Self { parts, store: None, key_bytes: Vec::new(), next }
    }

    fn refuse(&self, reason: String) -> OperatorError {
        OperatorError::Element { operator: self.parts.operator.as_ref().into(), reason }
    }

    /// Makes the timer changes of one call.
    fn apply(
        &mut self,
        key: &F::Key,
        timers: &Timers,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        if timers.changes.is_empty() {
            return Ok(());
        }
        let store = self.store.ok_or_else(|| self.refuse("the operator is not open".into()))?;
        self.key_bytes.clear();
        if let Err(error) = self.parts.key.encode(key, &mut self.key_bytes) {
            return Err(self.refuse(format!("cannot encode the key: {error}")));
        }
        for &(set, time) in &timers.changes {
            if set {
                ctx.state.set_timer(store, self.parts.domain, &self.key_bytes, time);
            } else {
                ctx.state.delete_timer(store, self.parts.domain, &self.key_bytes, time);
            }
        }
        Ok(())
    }
}

impl<F: TimerFunction> Receive<F::Key, F::Value> for KeyedTimer<F> {
    fn receive(
        &mut self,
        element: Element<'_, F::Key, F::Value>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        let Element { key, value, timestamp, headers } = element;
        let mut timers = Timers::new(timestamp, ctx);
        let function = &*self.parts.function;
        let result = self
            .parts
            .state
            .update(ctx.state, &key, |slot| function.on_element(&key, value, slot, &mut timers))?;
        self.apply(&key, &timers, ctx)?;
        match result {
            Some(value) => self.next.push(Element { key, value, timestamp, headers }, ctx),
            None => Ok(()),
        }
    }
}

impl<F: TimerFunction> Stateful for KeyedTimer<F> {
    fn open(&mut self, ctx: &mut TaskContext<'_>) -> Result<(), OperatorError> {
        self.parts.state.open(ctx.state)?;
        let name = format!("{}/{}", self.parts.operator, self.parts.timers);
        self.store = Some(ctx.state.store_id(&name)?);
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: &TimerFired,
        ctx: &mut TaskContext<'_>,
    ) -> Result<bool, OperatorError> {
        if self.store != Some(timer.store) || self.parts.domain != timer.domain {
            return Ok(false);
        }
        let key = match self.parts.key.decode(&timer.key) {
            Ok(key) => key,
            Err(error) => {
                return Err(self.refuse(format!("cannot decode a timer's key: {error}")));
            }
        };
        let mut timers = Timers::new(timer.time, ctx);
        let function = &*self.parts.function;
        let result = self
            .parts
            .state
            .update(ctx.state, &key, |slot| function.on_timer(&key, slot, &mut timers))?;
        self.apply(&key, &timers, ctx)?;
        if let Some(value) = result {
            let element = Element { key, value, timestamp: timer.time, headers: &[] };
            self.next.push(element, ctx)?;
        }
        Ok(true)
    }

    fn seal(&mut self, ctx: &mut TaskContext<'_>) -> Result<(), OperatorError> {
        Ok(self.parts.state.seal(ctx.state)?)
    }

    fn committed(&mut self) {
        self.parts.state.committed();
    }

    fn aborted(&mut self) {
        self.parts.state.aborted();
    }

    fn evict(&mut self, state: &mut TaskState, budget: usize) -> Result<(), StateError> {
        self.parts.state.evict(state, budget)
    }

    fn resident_bytes(&self) -> usize {
        self.parts.state.resident_bytes()
    }

    fn changed_bytes(&self) -> usize {
        self.parts.state.changed_bytes()
    }

    fn verify(&self, state: &TaskState) -> Result<(), String> {
        self.parts.state.verify(state)
    }
}
