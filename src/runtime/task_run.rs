//! RUN of a task: records, the event-time timers that they make due, and what is passed on.
//!
//! The other half of [`Task`], as pure as that. Where its clock is kept: `runtime::event_time`.

use crate::{
    operators::{OperatorError, Provenance},
    record::{RecordRef, Timestamp},
    runtime::{
        event_time::{Room, TaskTime},
        mutants::Mutant,
        task::{Task, Work},
    },
    state::StateError,
    time::{Control, Progress},
};

impl Task {
    /// The clock as the state has it.
    pub(super) fn open_time(&mut self) -> Result<(), StateError> {
        let plan = &self.plan.subtopologies[self.id.subtopology];
        let sources = self.inputs.iter().map(|input| &plan.sources[input.source]);
        self.time = TaskTime::open(plan, sources, &mut self.state)?;
        Ok(())
    }

    /// Processes one record of input `input`, moves the position behind it, and fires the
    /// event-time timers that the watermark has reached, as far as there is room. None may be due
    /// before ([`Self::is_firing`]). Gives how many fired.
    pub fn process(
        &mut self,
        input: usize,
        record: &RecordRef<'_>,
        work: &mut Work<'_>,
        room: Room,
    ) -> Result<u64, OperatorError> {
        let source = self.inputs[input].source;
        self.touched = true;
        match self.control_of(source, record)? {
            Some(control) => {
                if let Some(time) = &mut self.time {
                    time.clock().control(input, &control);
                }
            }
            None => self.process_record(input, source, record, work)?,
        }
        self.inputs[input].next = record.offset.next();
        self.fire(work, room)
    }

    fn process_record(
        &mut self,
        input: usize,
        source: usize,
        record: &RecordRef<'_>,
        work: &mut Work<'_>,
    ) -> Result<(), OperatorError> {
        let provenance = Provenance {
            topic: record.topic.clone(),
            partition: record.partition,
            offset: record.offset,
        };
        let origin = Some((source, record.offset));
        let event_time = self.with_chain(Some(provenance), origin, work, |chain, ctx| {
            chain.process(source, record, ctx)?;
            Ok(ctx.event_time)
        })?;
        if let (Some(time), Some(event_time)) = (&mut self.time, event_time) {
            time.clock().record(input, event_time);
        }
        Ok(())
    }

    /// The control record that a record of a repartition topic is, if it is one.
    fn control_of(
        &self,
        source: usize,
        record: &RecordRef<'_>,
    ) -> Result<Option<Control>, OperatorError> {
        if record.headers.is_empty() || !self.subtopology().sources[source].repartition {
            return Ok(None);
        }
        Control::of(record).map_err(|error| OperatorError::Element {
            operator: "watermarks".to_owned(),
            reason: error.to_string(),
        })
    }

    /// Whether the watermark has reached event-time timers that have not fired: records wait.
    pub fn is_firing(&self) -> bool {
        let Some(time) = &self.time else { return false };
        time.is_due(&self.state) && !self.mutant.is(Mutant::EventTimersAtSeal)
    }

    /// Fires due event-time timers as far as there is room; gives how many. What is left goes on
    /// in the next step, or epoch.
    pub fn fire(&mut self, work: &mut Work<'_>, room: Room) -> Result<u64, OperatorError> {
        if self.mutant.is(Mutant::EventTimersAtSeal) {
            if let Some(time) = &mut self.time {
                time.clock().settle();
            }
            return Ok(0);
        }
        self.fire_due(work, room)
    }

    pub(super) fn fire_due(
        &mut self,
        work: &mut Work<'_>,
        room: Room,
    ) -> Result<u64, OperatorError> {
        let mut fired = 0;
        while fired < room.timers {
            // At least one, so that every step gets on.
            if fired > 0 && self.dirty_bytes() as u64 + work.buffer.bytes() >= room.bytes {
                break;
            }
            let Some(time) = &mut self.time else { break };
            let Some(timer) = time.next_due(&mut self.state) else { break };
            self.touched = true;
            self.timers_fired += 1;
            fired += 1;
            self.with_chain(None, None, work, |chain, ctx| chain.on_timer(&timer, ctx))?;
        }
        // Also where the last timer took the last room: the watermark is where it can be.
        if fired > 0
            && !self.is_firing()
            && let Some(time) = &mut self.time
        {
            time.clock().settle();
        }
        Ok(fired)
    }

    /// What downstream tasks have not been told of this task's event time, if anything.
    pub fn to_pass_on(&self) -> Option<Progress> {
        self.time.as_ref()?.to_pass_on()
    }

    /// Downstream tasks are told in this epoch.
    pub fn passed_on(&mut self, progress: Progress) {
        if let Some(time) = &mut self.time {
            time.passed_on(progress);
        }
    }

    /// The task's watermark; `None` where it has none, or none yet.
    pub fn watermark(&self) -> Option<Timestamp> {
        self.time.as_ref().and_then(TaskTime::watermark)
    }

    /// The mutant that breaks TIME-1.
    #[cfg(feature = "mutants")]
    pub(super) fn forget_time(&mut self) {
        let sources = &self.plan.subtopologies[self.id.subtopology].sources;
        let kinds = self.inputs.iter().map(|input| match sources[input.source].watermarks {
            Some(strategy) => crate::time::InputKind::Source(strategy),
            None => crate::time::InputKind::Repartition,
        });
        if let Some(time) = &mut self.time {
            time.forget(kinds);
        }
    }
}
