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
    /// Rebalances that did not help so far: each doubles the patience with what they left.
    forced: u32,
}

/// Doublings of the patience.
const FORCED_MAX: u32 = 6;

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
        if found.is_empty() {
            self.orphans.forced = 0;
        }
        self.orphans.found = found;
        let me = format!("{}.{}", self.plan.instance, self.settings.thread);
        let names = members.iter().filter_map(|member| member.instance_id.as_ref());
        // One is enough: the first by name; if that one does nothing, the next.
        let rank = names.filter(|name| **name < me).count();
        if self.orphans.looks >= patience(rank, self.orphans.forced) {
            tracing::warn!(partitions = ?self.orphans.found, "nobody owns them: rebalancing");
            self.orphans.looks = 0;
            self.orphans.forced += 1;
            self.counters.rebalances_forced += 1;
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

/// Looks before the group is made to rebalance, by the member of this rank and after so many
/// rebalances that did not help.
fn patience(rank: usize, forced: u32) -> u32 {
    let rank = u32::try_from(rank).unwrap_or(u32::MAX);
    LOOKS.saturating_add(rank.saturating_mul(2)).saturating_mul(1 << forced.min(FORCED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rebalance_that_does_not_help_is_asked_for_ever_more_rarely() {
        let looks: Vec<u32> = (0..9).map(|forced| patience(0, forced)).collect();
        assert_eq!(looks, [3, 6, 12, 24, 48, 96, 192, 192, 192]);
        assert_eq!((patience(1, 0), patience(2, 1)), (5, 14), "the first by name comes first");
        assert_eq!(patience(usize::MAX, 9), u32::MAX);
    }
}
