//! Whether a transaction that blocks a partition may be fenced (DESIGN section 7).
//!
//! Pure: facts from the brokers in, one decision out. Fences never a live member's transaction,
//! and never one that is decided already.

use std::fmt;

use crate::{
    record::TopicPartition,
    runtime::{BlockerReport, Member, TransactionState},
};

/// What to do about a blocked partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FencingDecision {
    /// Fence exactly this producer.
    Fence {
        /// Its transactional id.
        transactional_id: String,
        /// Its producer id.
        producer_id: i64,
        /// Its epoch.
        producer_epoch: i16,
    },
    /// Ask again later.
    Wait(WaitReason),
}

/// Why nothing is fenced now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitReason {
    /// Nobody blocks the partition any more.
    NotBlocked,
    /// The group rebalances: who is a member is not known.
    Rebalancing,
    /// The owner is a member and may finish its transaction.
    LiveOwner(String),
    /// The outcome is decided, its markers are under way.
    Deciding(String),
    /// The transaction is complete, yet its marker is missing here (facts 9.6): an operator's case.
    MarkerMissing(String),
    /// Not a transaction of this application.
    Foreign(String),
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBlocked => write!(f, "nothing blocks it any more"),
            Self::Rebalancing => write!(f, "the group rebalances"),
            Self::LiveOwner(id) => write!(f, "open transaction of the live member {id}"),
            Self::Deciding(id) => write!(f, "the transaction of {id} is being decided"),
            Self::MarkerMissing(id) => write!(
                f,
                "the transaction of {id} is complete, yet its marker is missing: see \
                 `kafka-transactions.sh find-hanging`"
            ),
            Self::Foreign(id) => write!(f, "open transaction of {id}, not of this application"),
        }
    }
}

/// What was asked about.
#[derive(Debug, Clone, Copy)]
pub struct Blocked<'a> {
    /// The application id.
    pub application: &'a str,
    /// The lead partition of the blocked task: a member that has it is its live owner.
    pub lead: &'a TopicPartition,
    /// Whether the report is about the changelog. On the offsets topic transactions of other
    /// tasks stand side by side, so there only those of no member at all are fenced.
    pub changelog: bool,
}

/// Decides about the first blocker that something can be done about.
pub fn decide(blocked: Blocked<'_>, report: &BlockerReport) -> FencingDecision {
    let mut wait = WaitReason::NotBlocked;
    for blocker in &report.blockers {
        let Some(id) = blocker.transactional_id.as_deref() else {
            wait = WaitReason::Foreign(format!("producer id {}", blocker.producer_id));
            continue;
        };
        let Some(instance_id) = instance_of(blocked.application, id) else {
            wait = WaitReason::Foreign(id.to_owned());
            continue;
        };
        match blocker.state {
            TransactionState::PrepareCommit | TransactionState::PrepareAbort => {
                wait = WaitReason::Deciding(id.to_owned());
            }
            TransactionState::Complete => wait = WaitReason::MarkerMissing(id.to_owned()),
            TransactionState::Unknown => wait = WaitReason::Deciding(id.to_owned()),
            TransactionState::Ongoing => match &report.members {
                None => return FencingDecision::Wait(WaitReason::Rebalancing),
                Some(members) if is_live(members, instance_id, blocked) => {
                    wait = WaitReason::LiveOwner(id.to_owned());
                }
                Some(_) => {
                    return FencingDecision::Fence {
                        transactional_id: id.to_owned(),
                        producer_id: blocker.producer_id,
                        producer_epoch: blocker.producer_epoch,
                    };
                }
            },
        }
    }
    FencingDecision::Wait(wait)
}

/// `<instance>.<thread>` of a transactional id `<app>.<instance>.<thread>.<a|b>`.
fn instance_of<'a>(application: &str, transactional_id: &'a str) -> Option<&'a str> {
    let rest = transactional_id.strip_prefix(application)?.strip_prefix('.')?;
    rest.strip_suffix(".a").or_else(|| rest.strip_suffix(".b"))
}

fn is_live(members: &[Member], instance_id: &str, blocked: Blocked<'_>) -> bool {
    members.iter().any(|member| {
        member.instance_id.as_deref() == Some(instance_id)
            && (!blocked.changelog || member.partitions.contains(blocked.lead))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Blocker;

    fn report(state: TransactionState, id: &str, members: Option<Vec<Member>>) -> BlockerReport {
        BlockerReport {
            partition: TopicPartition::new("app-s-changelog", 1),
            blockers: vec![Blocker {
                producer_id: 7,
                producer_epoch: 3,
                start: crate::record::Offset(5),
                transactional_id: Some(id.to_owned()),
                state,
            }],
            members,
        }
    }

    fn member(partition: i32) -> Member {
        Member {
            instance_id: Some("i.0".into()),
            partitions: vec![TopicPartition::new("in", partition)],
        }
    }

    #[test]
    fn only_a_dead_or_departed_owners_open_transaction_is_fenced() {
        use TransactionState as S;
        use WaitReason as W;
        let lead = TopicPartition::new("in", 1);
        let fence = FencingDecision::Fence {
            transactional_id: "app.i.0.a".into(),
            producer_id: 7,
            producer_epoch: 3,
        };
        let id = || "app.i.0.a".to_owned();
        let wait = FencingDecision::Wait;
        let cases = [
            (true, S::Ongoing, "app.i.0.a", Some(vec![]), fence.clone()),
            (true, S::Ongoing, "app.i.0.a", Some(vec![member(2)]), fence.clone()),
            (true, S::Ongoing, "app.i.0.a", Some(vec![member(1)]), wait(W::LiveOwner(id()))),
            (false, S::Ongoing, "app.i.0.a", Some(vec![member(2)]), wait(W::LiveOwner(id()))),
            (false, S::Ongoing, "app.i.0.a", Some(vec![]), fence),
            (true, S::Ongoing, "app.i.0.a", None, wait(W::Rebalancing)),
            (true, S::PrepareCommit, "app.i.0.a", Some(vec![]), wait(W::Deciding(id()))),
            (true, S::PrepareAbort, "app.i.0.a", Some(vec![]), wait(W::Deciding(id()))),
            (true, S::Complete, "app.i.0.a", Some(vec![]), wait(W::MarkerMissing(id()))),
            (true, S::Ongoing, "other.i.0.a", Some(vec![]), wait(W::Foreign("other.i.0.a".into()))),
            (true, S::Ongoing, "apple.i.0.a", Some(vec![]), wait(W::Foreign("apple.i.0.a".into()))),
        ];
        for (changelog, state, id, members, expected) in cases {
            let blocked = Blocked { application: "app", lead: &lead, changelog };
            let report = report(state, id, members.clone());
            assert_eq!(
                decide(blocked, &report),
                expected,
                "{changelog} {state:?} {id} {members:?}"
            );
        }
    }

    #[test]
    fn an_empty_report_means_that_nothing_blocks() {
        let lead = TopicPartition::new("in", 1);
        let blocked = Blocked { application: "app", lead: &lead, changelog: true };
        let report =
            BlockerReport { partition: lead.clone(), blockers: vec![], members: Some(vec![]) };
        assert_eq!(decide(blocked, &report), FencingDecision::Wait(WaitReason::NotBlocked));
    }
}
