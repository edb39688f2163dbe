//! A partition whose previous owner left a transaction open: find it, and fence it if it is dead
//! (DESIGN section 7; the decision is `takeover`'s).

use std::time::Duration;

use crate::{
    record::{Offset, TopicPartition},
    runtime::{
        BlockerReport, Log, Now, Request, RequestId,
        plan::TaskId,
        restore::RestoreService,
        stream_thread::{commit::lead_of, slot::Question, thread::StreamThread},
        takeover::{Blocked, FencingDecision, decide},
    },
};

/// How long a partition must be blocked before its blocker is looked for.
const GRACE: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The topic of the group's offsets, whose pending commits block stable fetches.
pub(super) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// What is known of a blocked task.
#[derive(Debug, Clone)]
pub(super) struct BlockedTask {
    since: Duration,
    changelog: bool,
    look_at: Option<Duration>,
    reason: String,
    /// A transaction that is complete, yet open in the partition, as the last look had it.
    missing: Option<(i64, Offset)>,
}

impl BlockedTask {
    pub(super) fn describe(&self) -> String {
        let what = if self.changelog { "changelog" } else { "committed offsets" };
        format!("{what} blocked by an open transaction since {:?}: {}", self.since, self.reason)
    }
}

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    pub(super) fn note_blocked(&mut self, id: TaskId, changelog: bool, now: Now) {
        let Some(state) = self.slots.get_mut(&id) else { return };
        let known = state.blocked.as_ref().is_some_and(|b| b.changelog == changelog);
        if !known {
            state.blocked = Some(BlockedTask {
                since: now.mono,
                changelog,
                look_at: Some(now.mono + GRACE),
                reason: "not looked at yet".to_owned(),
                missing: None,
            });
        }
    }

    pub(super) fn unblock(&mut self, id: TaskId) {
        if let Some(state) = self.slots.get_mut(&id) {
            state.blocked = None;
        }
    }

    pub(super) fn retry_blocked(&mut self, now: Now) {
        let mut looks = vec![];
        for (id, state) in &mut self.slots {
            let Some(blocked) = &mut state.blocked else { continue };
            if blocked.look_at.is_some_and(|at| now.mono >= at) {
                blocked.look_at = None;
                looks.push((*id, blocked.changelog));
            }
        }
        for (task, changelog) in looks {
            let partition = match &self.plan.subtopologies[task.subtopology].changelog {
                Some(plan) if changelog => {
                    TopicPartition { topic: plan.topic.clone(), partition: task.partition }
                }
                // The adapter knows which partition of it holds the group.
                _ => TopicPartition::new(OFFSETS_TOPIC, -1),
            };
            let id = self.ask(Question::Blockers { task, changelog });
            self.log.submit(Request::FindBlockers { id, partition });
        }
    }

    pub(super) fn blockers_answered(
        &mut self,
        id: RequestId,
        result: Result<BlockerReport, String>,
        now: Now,
    ) {
        let Some(Question::Blockers { task, changelog }) = self.questions.remove(&id) else {
            return;
        };
        let lead = lead_of(&self.plan, task);
        let missing = result.as_ref().ok().and_then(BlockerReport::without_marker);
        let decision = result.map(|report| {
            let blocked = Blocked { application: &self.plan.application, lead: &lead, changelog };
            decide(blocked, &report)
        });
        let name = self.plan.subtopologies[task.subtopology].task_name(task.partition);
        let Some(blocked) = self.slots.get_mut(&task).and_then(|s| s.blocked.as_mut()) else {
            return;
        };
        match decision {
            Ok(FencingDecision::Fence { transactional_id, producer_id, producer_epoch }) => {
                blocked.reason = format!("fencing {transactional_id}");
                tracing::warn!(task = %name, %transactional_id, producer_id, producer_epoch,
                    "fencing the open transaction of a dead owner");
                let id =
                    self.ask(Question::Fence { task, transactional_id: transactional_id.clone() });
                self.log.submit(Request::Fence {
                    id,
                    transactional_id,
                    producer_id,
                    producer_epoch,
                });
            }
            Ok(FencingDecision::Wait(reason)) => {
                blocked.reason = reason.to_string();
                blocked.look_at = Some(now.mono + LOOK_AGAIN);
                // One look may fall between two answers of the brokers. The same transaction
                // seen open again, after its coordinator called it complete, is beyond doubt.
                let before = std::mem::replace(&mut blocked.missing, missing);
                if missing.is_some() && before == missing {
                    return self.marker_missing(task, &reason.to_string(), now);
                }
                tracing::info!(task = %name, %reason, "blocked");
            }
            Err(reason) => {
                blocked.reason = reason;
                blocked.look_at = Some(now.mono + LOOK_AGAIN);
            }
        }
    }

    pub(super) fn fenced(&mut self, id: RequestId, result: Result<(), String>, now: Now) {
        let Some(Question::Fence { task, transactional_id }) = self.questions.remove(&id) else {
            return;
        };
        match result {
            Ok(()) => {
                self.counters.takeovers += 1;
                tracing::warn!(%transactional_id, "dead owner fenced");
            }
            Err(reason) => tracing::warn!(%transactional_id, %reason, "not fenced"),
        }
        if let Some(blocked) = self.slots.get_mut(&task).and_then(|s| s.blocked.as_mut()) {
            blocked.look_at = Some(now.mono + LOOK_AGAIN);
        }
    }
}
