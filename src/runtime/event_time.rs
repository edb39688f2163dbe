//! A task's event time in the runtime: where its clock is kept, and what it passes on.
//!
//! What must survive (DESIGN section 8, TIME-1) lies in a store of the task's state, so it is part
//! of the epoch, of its changelog and of its abort like any other state; the watermark itself is
//! in the epoch's marker.

use crate::{
    record::{Timestamp, TopicName},
    runtime::plan::{SourcePlan, SubtopologyPlan},
    state::{KeyGroup, StateError, TaskState, keys},
    time::{ClockPart, EventClock, InputKind, Progress, TimerDomain, TimerFired},
    topology::watermark_store,
};

/// What one subtopology's tasks are told of their event time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTimePlan {
    /// Indices of its sinks that are repartition topics: watermarks go there in band.
    pub repartitions: Vec<usize>,
    /// How many tasks it has.
    pub tasks: u32,
}

/// How much may be fired before records, or the end of the epoch, have their turn.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Timers.
    pub timers: u64,
    /// Bytes of the task's changes and of the epoch's outputs.
    pub bytes: u64,
}

/// The event time of one open task.
#[derive(Debug)]
pub struct TaskTime {
    clock: EventClock,
    store: u16,
    /// By input, as the clock counts them.
    topics: Vec<TopicName>,
    /// What upstream of whom was told last.
    passed_on: Option<Progress>,
}

impl TaskTime {
    /// The clock of a task as its state has it; `None` where the subtopology has no watermark.
    /// `inputs` are the sources in the order of the task's inputs.
    pub fn open<'a>(
        plan: &SubtopologyPlan,
        inputs: impl Iterator<Item = &'a SourcePlan>,
        state: &mut TaskState,
    ) -> Result<Option<Self>, StateError> {
        if plan.event_time.is_none() {
            return Ok(None);
        }
        let store = state.store_id(&watermark_store().qualified())?;
        let inputs: Vec<&SourcePlan> = inputs.collect();
        let kinds = inputs.iter().map(|source| match source.watermarks {
            Some(strategy) if !source.repartition => InputKind::Source(strategy),
            _ => InputKind::Repartition,
        });
        let watermark = state.marker().and_then(|marker| marker.watermark);
        let clock = EventClock::new(kinds, watermark);
        let topics = inputs.iter().map(|source| source.topic.clone()).collect();
        let mut time = Self { clock, store, topics, passed_on: None };
        time.restore(state)?;
        Ok(Some(time))
    }

    /// Takes back what is stored. Parts of topics that are no input any more are left alone.
    fn restore(&mut self, state: &TaskState) -> Result<(), StateError> {
        let (from, to) = keys::store_range(self.store);
        for (key, value) in state.scan(&from, to.as_deref())? {
            let key = keys::decode_key(&key).map_err(StateError::of_task)?;
            let Some(input) = self.topics.iter().position(|t| t.as_bytes() == key.user_key) else {
                continue;
            };
            let part = match key.namespace {
                [] => ClockPart::Head,
                task => ClockPart::Task(u32::from_be_bytes(task.try_into().map_err(|_| {
                    StateError::of_task(format!("{task:?} is no upstream task's number"))
                })?)),
            };
            self.clock.restore(input, part, &value).map_err(StateError::of_task)?;
        }
        Ok(())
    }

    /// Forgets all that it knows (the mutant that breaks TIME-1).
    #[cfg(feature = "mutants")]
    pub fn forget(&mut self, inputs: impl Iterator<Item = InputKind>) {
        self.clock = EventClock::new(inputs, None);
    }

    /// SEAL: what changed goes into the running overlay.
    pub fn save(&mut self, state: &mut TaskState) {
        for (input, part, value) in self.clock.take_changes() {
            let Some(topic) = self.topics.get(input) else { continue };
            let task = match part {
                ClockPart::Head => None,
                ClockPart::Task(task) => Some(task.to_be_bytes()),
            };
            let namespace = task.as_ref().map_or(&[][..], |task| task);
            let mut key = Vec::new();
            keys::encode_key(self.store, KeyGroup(0), topic.as_bytes(), namespace, &mut key);
            state.put(&key, &value);
        }
    }

    /// The clock.
    pub fn clock(&mut self) -> &mut EventClock {
        &mut self.clock
    }

    /// The watermark that operators see.
    pub fn watermark(&self) -> Option<Timestamp> {
        self.clock.watermark()
    }

    /// Whether a timer is due that has not fired.
    pub fn is_due(&self, state: &TaskState) -> bool {
        let reach = self.clock.reach();
        let next = reach.and_then(|_| state.next_timer(TimerDomain::EventTime));
        next.is_some_and(|time| Some(time) <= reach)
    }

    /// Takes the next due timer; `None` once all have fired, and then the watermark stands where
    /// the inputs allow it.
    pub fn next_due(&mut self, state: &mut TaskState) -> Option<TimerFired> {
        let reach = self.clock.reach()?;
        let due = state.pop_due_timer(TimerDomain::EventTime, reach);
        match &due {
            Some(timer) => self.clock.firing(timer.time),
            None => self.clock.settle(),
        }
        due
    }

    /// What downstream tasks have not been told, if anything.
    pub fn to_pass_on(&self) -> Option<Progress> {
        self.clock.progress().filter(|progress| self.passed_on != Some(*progress))
    }

    /// It is told now.
    pub fn passed_on(&mut self, progress: Progress) {
        self.passed_on = Some(progress);
    }
}
