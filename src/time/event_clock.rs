//! The event time of one task: the minimum over its inputs, how far its timers have fired, and
//! the parts of it that must survive a crash.
//!
//! The *reach* is what the inputs allow; the *watermark* follows it once the timers in between
//! have fired, so that what is passed on never passes an unfired timer. Neither goes back
//! (TIME-1). Owns no storage: changed parts are handed out as bytes and handed in again.

use std::collections::BTreeSet;

use crate::{
    record::Timestamp,
    time::{Control, Generator, Progress, Upstream, WatermarkStrategy},
};

/// Where an input's watermark comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputKind {
    /// From its records, by this strategy.
    Source(WatermarkStrategy),
    /// In band: what upstream tasks say.
    Repartition,
}

/// A part of the clock's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClockPart {
    /// Of a source: its newest timestamp. Of a repartition topic: the number of upstream tasks.
    Head,
    /// The last word of an upstream task.
    Task(u32),
}

/// Stored bytes that are no part of the clock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{bytes:?} is no stored watermark ({part:?})")]
pub struct ClockError {
    /// Of which part.
    pub part: ClockPart,
    /// What was found.
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Input {
    Source(Generator),
    Repartition(Upstream),
}

impl Input {
    fn progress(&self) -> Option<Progress> {
        match self {
            Self::Source(generator) => generator.watermark().map(Progress::At),
            Self::Repartition(upstream) => upstream.progress(),
        }
    }
}

/// A task's event time.
#[derive(Debug, Clone)]
pub struct EventClock {
    inputs: Vec<Input>,
    reach: Option<Timestamp>,
    watermark: Option<Timestamp>,
    idle: bool,
    /// Parts that have changed since they were last handed out.
    changed: BTreeSet<(usize, ClockPart)>,
}

impl EventClock {
    /// A clock of these inputs that stands at a watermark already.
    pub fn new(inputs: impl IntoIterator<Item = InputKind>, watermark: Option<Timestamp>) -> Self {
        let inputs = inputs.into_iter().map(|kind| match kind {
            InputKind::Source(strategy) => Input::Source(Generator::new(strategy, None)),
            InputKind::Repartition => Input::Repartition(Upstream::default()),
        });
        let inputs = inputs.collect();
        Self { inputs, reach: watermark, watermark, idle: false, changed: BTreeSet::new() }
    }

    /// A record of a source has this timestamp.
    pub fn record(&mut self, input: usize, timestamp: Timestamp) {
        if let Some(Input::Source(generator)) = self.inputs.get_mut(input)
            && generator.advance(timestamp)
        {
            self.changed.insert((input, ClockPart::Head));
            self.look();
        }
    }

    /// A repartition topic brought a control record.
    pub fn control(&mut self, input: usize, control: &Control) {
        let Some(Input::Repartition(upstream)) = self.inputs.get_mut(input) else { return };
        if upstream.know(control.tasks) {
            self.changed.insert((input, ClockPart::Head));
        }
        let news = upstream.take(control);
        self.changed.extend(news.into_iter().map(|task| (input, ClockPart::Task(task))));
        self.look();
    }

    /// How far the inputs allow timers to fire; `None` while an input is unknown.
    pub fn reach(&self) -> Option<Timestamp> {
        self.reach
    }

    /// The watermark that operators see.
    pub fn watermark(&self) -> Option<Timestamp> {
        self.watermark
    }

    /// A timer of this time is about to fire: all before it have. What it emits is not behind the
    /// watermark yet.
    pub fn firing(&mut self, time: Timestamp) {
        self.raise(Timestamp(time.0.saturating_sub(1)));
    }

    /// No timer is due any more.
    pub fn settle(&mut self) {
        if let Some(reach) = self.reach {
            self.raise(reach);
        }
    }

    /// What is passed on: nothing while an input is unknown.
    pub fn progress(&self) -> Option<Progress> {
        // Idle only once what was due has fired.
        if self.idle && self.watermark == self.reach {
            return Some(Progress::Idle);
        }
        self.watermark.map(Progress::At)
    }

    /// The parts that changed since the last call, as bytes.
    pub fn take_changes(&mut self) -> Vec<(usize, ClockPart, Vec<u8>)> {
        let changed = std::mem::take(&mut self.changed);
        let encoded = |(input, part): (usize, ClockPart)| {
            let bytes = self.inputs.get(input)?.encode(part)?;
            Some((input, part, bytes))
        };
        changed.into_iter().filter_map(encoded).collect()
    }

    /// Takes a stored part back. Errors: bytes that are none; one of another kind of input.
    pub fn restore(
        &mut self,
        input: usize,
        part: ClockPart,
        bytes: &[u8],
    ) -> Result<(), ClockError> {
        let wrong = || ClockError { part, bytes: bytes.to_vec() };
        let restored = self.inputs.get_mut(input).and_then(|input| input.decode(part, bytes));
        restored.ok_or_else(wrong)?;
        self.look();
        Ok(())
    }

    fn raise(&mut self, to: Timestamp) {
        self.watermark = Some(self.watermark.map_or(to, |watermark| watermark.max(to)));
    }

    /// The minimum over the inputs.
    fn look(&mut self) {
        let each = self.inputs.iter().map(Input::progress);
        let least = each.reduce(|one, two| Some(one?.min(two?))).flatten();
        self.idle = least == Some(Progress::Idle);
        if let Some(Progress::At(least)) = least {
            self.reach = Some(self.reach.map_or(least, |reach| reach.max(least)));
        }
    }
}

const AT: u8 = 0;
const IDLE: u8 = 1;

impl Input {
    fn encode(&self, part: ClockPart) -> Option<Vec<u8>> {
        match (self, part) {
            (Self::Source(generator), ClockPart::Head) => {
                Some(generator.newest()?.0.to_be_bytes().to_vec())
            }
            (Self::Source(_), ClockPart::Task(_)) => None,
            (Self::Repartition(upstream), ClockPart::Head) => {
                Some(upstream.tasks().to_be_bytes().to_vec())
            }
            (Self::Repartition(upstream), ClockPart::Task(task)) => {
                Some(match upstream.heard(task)? {
                    Progress::At(watermark) => [&[AT][..], &watermark.0.to_be_bytes()].concat(),
                    Progress::Idle => vec![IDLE],
                })
            }
        }
    }

    fn decode(&mut self, part: ClockPart, bytes: &[u8]) -> Option<()> {
        match (self, part) {
            (Self::Source(generator), ClockPart::Head) => {
                generator.advance(Timestamp(i64::from_be_bytes(bytes.try_into().ok()?)));
            }
            (Self::Source(_), ClockPart::Task(_)) => return None,
            (Self::Repartition(upstream), ClockPart::Head) => {
                upstream.know(u32::from_be_bytes(bytes.try_into().ok()?));
            }
            (Self::Repartition(upstream), ClockPart::Task(task)) => {
                let progress = match bytes {
                    [IDLE] => Progress::Idle,
                    [AT, time @ ..] => {
                        Progress::At(Timestamp(i64::from_be_bytes(time.try_into().ok()?)))
                    }
                    _ => return None,
                };
                upstream.hear(task, progress);
            }
        }
        Some(())
    }
}

#[cfg(test)]
#[path = "event_clock_tests.rs"]
mod tests;
