//! Lead partitions that the group gave to nobody: found, and cured by a rebalance.
//!
//! With cooperative rebalancing a partition changes hands in two rounds: its owner gives it back
//! and joins again, which makes the second round. A static member that dies in between comes back
//! to its place without a rebalance, so the second round never comes, and what it was about to
//! give back stays without an owner until something else makes the group rebalance.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    record::TopicPartition,
    runtime::{
        Log, Member, Now, Request, RequestId,
        restore::RestoreService,
        stream_thread::{
            slot::{Life, Question},
            thread::StreamThread,
        },
    },
};

const INTERVAL: Duration = Duration::from_secs(3);

/// Looks in a row that must find the same orphans: a slow handover looks the same for a while.
const LOOKS: u32 = 3;

/// What the last looks found.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    looked_at: Duration,
    found: BTreeSet<TopicPartition>,
    looks: u32,
}

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    pub(super) fn look_for_orphans(&mut self, now: Now) {
        let settled = self.life == Life::Running && !self.machine.is_draining();
        if settled && self.log.group().is_some() && now.mono >= self.orphans.looked_at + INTERVAL {
            self.orphans.looked_at = now.mono;
            let id = self.ask(Question::Group);
            self.log.submit(Request::DescribeGroup { id });
        }
    }

    pub(super) fn group_described(
        &mut self,
        id: RequestId,
        result: Result<Option<Vec<Member>>, String>,
    ) {
        if self.questions.remove(&id).is_none() {
            return;
        }
        let Ok(Some(members)) = result else {
            self.orphans.looks = 0;
            return;
        };
        let found = self.orphans_among(&members);
        self.orphans.looks = match found == self.orphans.found {
            true if !found.is_empty() => self.orphans.looks + 1,
            _ => 0,
        };
        self.orphans.found = found;
        let me = format!("{}.{}", self.plan.instance, self.settings.thread);
        let names = members.iter().filter_map(|member| member.instance_id.as_ref());
        // One is enough: the first by name; if that one does nothing, the next.
        let rank = names.filter(|name| **name < me).count();
        let patience = LOOKS + u32::try_from(rank).unwrap_or(u32::MAX / 4) * 2;
        if self.orphans.looks >= patience {
            tracing::warn!(partitions = ?self.orphans.found, "nobody owns them: rebalancing");
            self.orphans.looks = 0;
            self.log.submit(Request::Rejoin);
        }
    }

    fn orphans_among(&self, members: &[Member]) -> BTreeSet<TopicPartition> {
        let mut all = BTreeSet::new();
        for subtopology in &self.plan.subtopologies {
            let lead = subtopology.lead_source();
            all.extend(
                (0..lead.partitions)
                    .map(|partition| TopicPartition { topic: lead.topic.clone(), partition }),
            );
        }
        for member in members {
            for partition in &member.partitions {
                all.remove(partition);
            }
        }
        all
    }
}
