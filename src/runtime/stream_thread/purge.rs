//! Deletes consumed records of repartition topics, now and then. Never beyond what the group has
//! committed: a successor starts there. Only the owner of the reading task asks for it, without
//! waiting for an answer.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    record::{Offset, TopicPartition},
    runtime::{
        Guarantee, Log, Now, Request, RequestId,
        restore::RestoreService,
        stream_thread::{slot::Question, thread::StreamThread},
    },
};

/// What has been asked for, and how far it may go.
#[derive(Debug, Default)]
pub(super) struct Purging {
    /// When it was last looked at.
    at: Duration,
    /// What was asked for last, so that an idle partition costs nothing.
    asked: BTreeMap<TopicPartition, Offset>,
    /// At least once, offsets follow the commit on their own: those that the group has taken.
    acknowledged: BTreeMap<TopicPartition, Offset>,
}

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    /// Asks for the deletion of what lies below the committed offsets of the repartition inputs.
    pub(super) fn purge(&mut self, now: Now) {
        let state = &self.settings.state;
        if !state.purge_repartition_topics || now.mono < self.purging.at + state.purge_interval {
            return;
        }
        self.purging.at = now.mono;
        let mut purges = vec![];
        for task in self.open_tasks() {
            let sources = &self.plan.subtopologies[task.id.subtopology].sources;
            for input in task.inputs.iter().filter(|i| sources[i.source].repartition) {
                let acknowledged = match self.settings.guarantee {
                    Guarantee::ExactlyOnce => Some(input.committed),
                    Guarantee::AtLeastOnce => {
                        self.purging.acknowledged.get(&input.partition).copied()
                    }
                };
                let Some(acknowledged) = acknowledged else { continue };
                purges.push((input.partition.clone(), input.committed.min(acknowledged)));
            }
        }
        for (partition, before) in purges {
            let asked = self.purging.asked.get(&partition).copied().unwrap_or(Offset(0));
            // A request that was lost is made up for by the next one that reaches further.
            if before > asked {
                self.purging.asked.insert(partition.clone(), before);
                self.log.submit(Request::Purge { partition, before });
            }
        }
    }

    /// The answer to a commit of offsets outside any transaction (at least once).
    pub(super) fn offsets_committed(&mut self, id: RequestId, result: Result<(), String>) {
        match (self.questions.remove(&id), result) {
            (_, Err(reason)) => {
                tracing::warn!(%reason, "offsets outside a transaction were not committed");
            }
            (Some(Question::Commit(offsets)), Ok(())) => {
                let passed = offsets.into_iter().map(|o| (o.partition, o.offset));
                self.purging.acknowledged.extend(passed);
            }
            (_, Ok(())) => {}
        }
    }
}
