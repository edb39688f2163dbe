//! Watches that tasks move: who stands still for a minute is reported with its reason and started
//! anew (the decision is `stalls`'s).

use std::{collections::BTreeMap, time::Duration};

use crate::{
    record::{Offset, RecordBatch, TopicPartition},
    runtime::{
        Log, Now, OffsetsUnavailable, PartitionBounds, Request,
        mutants::Mutant,
        plan::TaskId,
        restore::RestoreService,
        stalls::{At, Cure, Ends, Facts, STILL, SURE, decide},
        stream_thread::{
            blocked::BlockedTask,
            slot::{Question, Slot, SlotState},
            thread::StreamThread,
        },
        task::Input,
    },
};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(2);

/// What is remembered of each task.
#[derive(Debug, Default)]
pub(super) struct Progress {
    looked_at: Duration,
    watched: BTreeMap<TaskId, Watched>,
    /// Partitions that were read again, and where they ended then: a record from below that was
    /// there before.
    read_again: BTreeMap<TopicPartition, (TaskId, Offset)>,
}

/// What must change for a task to have moved: what it is at, and how far.
type Mark = (u8, u64, i64);

#[derive(Debug)]
struct Watched {
    mark: Mark,
    since: Duration,
    ends: Known,
    /// The sum of the stable ends when it was last read again, and how often it was, until it moves.
    read_again: Option<(i64, u32)>,
    /// Said of it while it stands still.
    reason: Option<String>,
}

/// The ends of its inputs, as they were when it stood still.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Not,
    Asked {
        since: Duration,
    },
    /// The stable ends; something is behind its position.
    Behind {
        ends: Vec<(TopicPartition, Offset)>,
        since: Duration,
    },
}

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    /// Looks at every task, now and then.
    pub(super) fn watch_progress(&mut self, now: Now) {
        let off = self.settings.mutant.is(Mutant::StallsIgnored);
        if now.mono < self.progress.looked_at + LOOK || off || self.failure.is_some() {
            return;
        }
        self.progress.looked_at = now.mono;
        self.progress.watched.retain(|id, _| self.slots.contains_key(id));
        self.progress.read_again.retain(|_, (id, _)| self.slots.contains_key(id));
        let restores = self.restore_mark();
        let mut ask = vec![];
        for id in self.slots.keys().copied().collect::<Vec<_>>() {
            if let Some(Cure::AskEnds) = self.look_at(id, restores, now) {
                ask.push(id);
            }
        }
        if !ask.is_empty() {
            self.ask_ends(ask);
        }
    }

    /// Why a task stands still, where that has been said.
    pub(super) fn stall_of(&self, id: TaskId) -> Option<&str> {
        self.progress.watched.get(&id)?.reason.as_deref()
    }

    fn look_at(&mut self, id: TaskId, restores: i64, now: Now) -> Option<Cure> {
        let mark = mark_of(self.slots.get(&id)?, restores);
        let fresh = |read_again| Watched {
            mark,
            since: now.mono,
            ends: Known::Not,
            read_again,
            reason: None,
        };
        let watched = self.progress.watched.entry(id).or_insert_with(|| fresh(None));
        if watched.mark != mark {
            *watched = fresh(None);
            return None;
        }
        // A long epoch is no standstill.
        if now.mono < watched.since + STILL.max(self.settings.epoch.interval * 2) {
            return None;
        }
        let (cure, reason) = decide(&self.facts(id, now)?);
        match cure {
            Cure::Nothing => {}
            Cure::AskEnds => {
                self.progress.watched.get_mut(&id)?.ends = Known::Asked { since: now.mono };
            }
            Cure::ReadAgain => self.read_again(id, now),
            Cure::Report | Cure::Reopen => {
                self.stalled(id, &reason);
                *self.progress.watched.get_mut(&id)? =
                    Watched { reason: Some(reason), ..fresh(None) };
                if cure == Cure::Reopen {
                    self.reopen(id, now);
                }
            }
        }
        Some(cure)
    }

    fn facts(&self, id: TaskId, now: Now) -> Option<Facts<'_>> {
        let state = self.slots.get(&id)?;
        let watched = self.progress.watched.get(&id)?;
        let mine = self.epochs.iter().find(|epoch| epoch.tasks.contains(&id));
        let phase = self.machine.shown_phase();
        let failing = matches!(phase, "abort" | "resolve");
        let epoch = mine.map(|epoch| epoch.number).or(failing.then(|| self.machine.last_epoch()));
        Some(Facts {
            at: at_of(&state.slot),
            blocked: state.blocked.as_ref().map(BlockedTask::describe),
            epoch: epoch.map(|number| (number, phase)),
            draining: self.machine.is_draining(),
            memory_short: self.memory_short,
            fetched: self.has_fetched(id),
            ends: watched.ends(now.mono),
        })
    }

    fn has_fetched(&self, id: TaskId) -> bool {
        self.pending.front().is_some_and(|pending| {
            pending.next < pending.batch.len()
                && self.route(&pending.batch.record(pending.next)).is_some_and(|(of, _)| of == id)
        })
    }

    fn stalled(&mut self, id: TaskId, reason: &str) {
        let task = self.plan.subtopologies[id.subtopology].task_name(id.partition);
        self.counters.stalls += 1;
        tracing::error!(task = %task, reason, "task makes no progress");
    }

    /// Reads a task's inputs again from where it stands.
    fn read_again(&mut self, id: TaskId, now: Now) {
        let Some(watched) = self.progress.watched.get_mut(&id) else { return };
        let Known::Behind { ends, .. } = std::mem::replace(&mut watched.ends, Known::Not) else {
            return;
        };
        let vain = watched.read_again.map_or(0, |(_, vain)| vain);
        watched.read_again = Some((sum(&ends), vain + 1));
        watched.since = now.mono;
        tracing::debug!(?id, "nothing delivered for a minute: reading again");
        let known = ends.into_iter().map(|(partition, end)| (partition, (id, end)));
        self.progress.read_again.extend(known);
        self.read_inputs(id);
    }

    /// Records have come: whether some were there before their partition was read again.
    pub(super) fn note_delivered(&mut self, batch: &L::Batch) {
        if self.progress.read_again.is_empty() {
            return;
        }
        for index in 0..batch.len() {
            let record = batch.record(index);
            let (topic, partition) = (record.topic.clone(), record.partition);
            let at = TopicPartition { topic, partition };
            if let Some((id, end)) = self.progress.read_again.remove(&at)
                && record.offset < end
            {
                self.stalled(id, "its records were not delivered until they were read again");
            }
        }
    }

    /// Starts a task anew. It takes part in no epoch in flight; what it has committed is spilled.
    fn reopen(&mut self, id: TaskId, now: Now) {
        for partition in self.inputs_of(id) {
            self.log.submit(Request::Pause { partition });
        }
        self.close(id, now);
        let slot = Slot::Asking { retry_at: Some(now.mono), question: None };
        self.slots.insert(id, SlotState { slot, blocked: None, mismatches: 0 });
    }

    /// One question for all that stand still.
    fn ask_ends(&mut self, tasks: Vec<TaskId>) {
        let partitions = tasks.iter().flat_map(|id| self.inputs_of(*id)).collect();
        let id = self.ask(Question::Ends(tasks));
        self.log.submit(Request::Bounds { id, partitions });
    }

    pub(super) fn ends_answered(
        &mut self,
        tasks: Vec<TaskId>,
        result: Result<Vec<(TopicPartition, PartitionBounds)>, OffsetsUnavailable>,
        now: Now,
    ) {
        let bounds: BTreeMap<_, _> = result.unwrap_or_default().into_iter().collect();
        for id in tasks {
            let inputs = match self.slots.get(&id).map(|s| &s.slot) {
                Some(Slot::Open { task, .. }) => &task.inputs,
                _ => continue,
            };
            let end = |input: &Input| Some((input.next, bounds.get(&input.partition)?.last_stable));
            let known: Option<Vec<_>> = inputs.iter().map(end).collect();
            let ends = inputs.iter().zip(known.iter().flatten());
            let ends = ends.map(|(input, (_, end))| (input.partition.clone(), *end)).collect();
            let Some(watched) = self.progress.watched.get_mut(&id) else { continue };
            if !matches!(watched.ends, Known::Asked { .. }) {
                continue;
            }
            watched.ends = match known {
                Some(known) if known.iter().any(|(next, end)| next < end) => {
                    Known::Behind { ends, since: now.mono }
                }
                Some(_) => {
                    // At the end of all inputs: idle.
                    watched.since = now.mono;
                    watched.read_again = None;
                    Known::Not
                }
                None => Known::Not,
            };
        }
    }

    /// Restores share a thread and its memory: one that waits for another one's end is not stuck.
    fn restore_mark(&self) -> i64 {
        let remaining = |state: &SlotState| match &state.slot {
            Slot::Restoring { remaining, .. } => remaining + 1,
            _ => 0,
        };
        self.slots.values().map(remaining).sum()
    }
}

impl Watched {
    /// What is known; it is asked for again after a while.
    fn ends(&self, now: Duration) -> Ends {
        match &self.ends {
            Known::Not => Ends::Unknown,
            Known::Asked { since } | Known::Behind { since, .. } if now >= *since + STILL => {
                Ends::Unknown
            }
            Known::Asked { .. } => Ends::Asked,
            Known::Behind { ends, since } => Ends::Behind {
                sure: now >= *since + SURE,
                end: sum(ends),
                read_again: self.read_again,
            },
        }
    }
}

fn sum(ends: &[(TopicPartition, Offset)]) -> i64 {
    ends.iter().map(|(_, end)| end.0).sum()
}

fn at_of(slot: &Slot) -> At {
    match slot {
        Slot::Stopped { .. } => At::Stopped,
        Slot::Asking { .. } => At::Asking,
        Slot::Restoring { remaining, .. } => At::Restoring { remaining: *remaining },
        Slot::Bounds { .. } => At::Bounds,
        Slot::Open { starting: true, .. } => At::Starting,
        Slot::Open { checking: Some(_), .. } => At::Checking,
        Slot::Open { .. } => At::Running,
    }
}

fn mark_of(state: &SlotState, restores: i64) -> Mark {
    match &state.slot {
        Slot::Stopped { .. } => (0, 0, 0),
        Slot::Asking { .. } => (1, 0, 0),
        Slot::Restoring { .. } => (2, 0, restores),
        Slot::Bounds { .. } => (3, 0, 0),
        Slot::Open { task, starting, checking, .. } => {
            let positions = task.inputs.iter().map(|input| input.next.0).sum();
            let phase = 4 + u8::from(*starting) + 2 * u8::from(checking.is_some());
            (phase, task.committed_epoch(), positions)
        }
    }
}
