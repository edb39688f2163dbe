//! A group's stable offsets and members, and the bounds of partitions. Any thread may ask; every
//! call blocks, at most about one time-out long per request.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    failure::{self, AskError},
    native::{
        Edge, Error, GroupClient, code, code_text,
        describe::{self, GroupState},
    },
    properties,
    settings::ConnectionSettings,
};
use crate::{
    record::{Offset, TopicPartition},
    runtime::{
        CommittedOffset, Isolation, Member, OffsetsUnavailable, PartitionBounds, mutants::Mutant,
    },
};

/// Asks on behalf of an application's group, without being in it.
pub(super) struct GroupQuestions {
    connection: ConnectionSettings,
    timeout: Duration,
    /// `None` until the next question after its coordinator was found to be none: librdkafka
    /// keeps a coordinator that answered once for as long as it is asked.
    client: Mutex<Option<Arc<GroupClient>>>,
}

impl GroupQuestions {
    /// Makes a client, which connects while others start.
    pub(super) fn new(connection: &ConnectionSettings) -> Result<Self, Error> {
        let client = GroupClient::new(properties::questions(connection)?)?;
        Ok(Self {
            connection: connection.clone(),
            timeout: connection.settings.question_timeout(),
            client: Mutex::new(Some(Arc::new(client))),
        })
    }

    /// The group's stable committed offsets, in the order asked: an open transaction on one of
    /// the partitions is an error of its own, and told at once (KIP-447).
    pub(super) fn committed_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<CommittedOffset>, OffsetsUnavailable> {
        if partitions.is_empty() {
            return Ok(vec![]);
        }
        let group = self.connection.application.as_str();
        let stable = !self.connection.mutant.is(Mutant::UnstableOffsets);
        let found = self
            .ask("committed offsets", |client| {
                client.committed(group, partitions, stable, self.timeout)
            })
            .map_err(unavailable)?;
        in_order(partitions, found)
    }

    /// First offset, last stable offset and high watermark of each partition, in the order asked.
    pub(super) fn bounds(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, PartitionBounds)>, OffsetsUnavailable> {
        let edge = |edge| -> Result<BTreeMap<TopicPartition, Offset>, OffsetsUnavailable> {
            let asked =
                self.client().map_err(|e| unavailable(failure::of_question("bounds", &e)))?;
            let found = self
                .ask("bounds", |client| client.edges(partitions, edge, self.timeout))
                .map_err(unavailable)?;
            if found.iter().any(|(_, at)| at.is_err_and(failure::is_leader_gone)) {
                self.forget(&asked);
            }
            found
                .into_iter()
                .map(|(partition, offset)| match offset {
                    Ok(offset) => Ok((partition, offset)),
                    Err(code) => Err(about(&format!("bounds of {partition}"), code)),
                })
                .collect()
        };
        // The stable end first: then the other one is never below it.
        let starts = edge(Edge::Start)?;
        let stable = edge(Edge::End(Isolation::ReadCommitted))?;
        let ends = edge(Edge::End(Isolation::ReadUncommitted))?;
        partitions
            .iter()
            .map(|partition| {
                let find = |offsets: &BTreeMap<TopicPartition, Offset>| {
                    offsets.get(partition).copied().ok_or_else(|| unanswered(partition))
                };
                let bounds = PartitionBounds {
                    start: find(&starts)?,
                    last_stable: find(&stable)?,
                    end: find(&ends)?,
                };
                Ok((partition.clone(), bounds))
            })
            .collect()
    }

    /// The group's members; `None` while it rebalances.
    pub(super) fn members(&self) -> Result<Option<Vec<Member>>, AskError> {
        let group = self.connection.application.as_str();
        let described =
            self.ask("group", |client| describe::group(client.handle(), group, self.timeout))?;
        if described.state == GroupState::Rebalancing {
            return Ok(None);
        }
        let members = described.members.into_iter();
        let member = |member: describe::MemberDescription| Member {
            instance_id: member.instance,
            partitions: member.partitions,
        };
        Ok(Some(members.map(member).collect()))
    }

    /// Member id and client id of the member with that instance id, also while the group
    /// rebalances; `None` where nobody has it.
    pub(super) fn holder_of(&self, instance: &str) -> Result<Option<(String, String)>, AskError> {
        let group = self.connection.application.as_str();
        let described =
            self.ask("group", |client| describe::group(client.handle(), group, self.timeout))?;
        let mut members = described.members.into_iter();
        let holder = members.find(|member| member.instance.as_deref() == Some(instance));
        Ok(holder.map(|member| (member.id, member.client)))
    }

    fn ask<T>(
        &self,
        what: &str,
        question: impl FnOnce(&GroupClient) -> Result<T, Error>,
    ) -> Result<T, AskError> {
        let client = self.client().map_err(|error| failure::of_question(what, &error))?;
        let result = question(&client);
        let met = client.errors();
        result.map_err(|error| {
            if failure::is_coordinator_gone(error.code) || error.code == code::TIMED_OUT {
                self.forget(&client);
            }
            match met.into_iter().find(|(code, _)| failure::is_credentials(*code)) {
                Some((code, words)) if error.code < 0 => {
                    AskError::Credentials(Error::new(code, words).to_string())
                }
                _ => failure::of_question(what, &error),
            }
        })
    }

    fn client(&self) -> Result<Arc<GroupClient>, Error> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let fresh = Arc::new(GroupClient::new(properties::questions(&self.connection)?)?);
        *client = Some(fresh.clone());
        Ok(fresh)
    }

    /// The next question makes a new client, unless somebody has done so already.
    fn forget(&self, client: &Arc<GroupClient>) {
        let mut current = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, client)) {
            *current = None;
        }
    }
}

/// Answers in the order of the question; the first error decides, an undecided transaction before
/// all others.
fn in_order(
    partitions: &[TopicPartition],
    found: Vec<(CommittedOffset, i32)>,
) -> Result<Vec<CommittedOffset>, OffsetsUnavailable> {
    if found.iter().any(|(_, error)| *error == code::UNSTABLE_OFFSET_COMMIT) {
        return Err(OffsetsUnavailable::Unstable);
    }
    if let Some((offset, error)) = found.iter().find(|(_, error)| *error != code::OK) {
        return Err(about(&format!("offset of {}", offset.partition), *error));
    }
    let mut found: BTreeMap<TopicPartition, CommittedOffset> =
        found.into_iter().map(|(offset, _)| (offset.partition.clone(), offset)).collect();
    partitions
        .iter()
        .map(|partition| found.remove(partition).ok_or_else(|| unanswered(partition)))
        .collect()
}

fn unavailable(error: AskError) -> OffsetsUnavailable {
    match error {
        AskError::Refused { code: code::UNSTABLE_OFFSET_COMMIT, .. } => {
            OffsetsUnavailable::Unstable
        }
        other => OffsetsUnavailable::Retriable(other.to_string()),
    }
}

fn about(what: &str, code: i32) -> OffsetsUnavailable {
    unavailable(failure::of_question(what, &Error::new(code, code_text(code))))
}

fn unanswered(partition: &TopicPartition) -> OffsetsUnavailable {
    OffsetsUnavailable::Retriable(format!("no answer about {partition}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(partition: i32, offset: Option<i64>, error: i32) -> (CommittedOffset, i32) {
        let partition = TopicPartition::new("in", partition);
        let offset = offset.map(Offset);
        (CommittedOffset { partition, offset, metadata: "m".to_owned() }, error)
    }

    #[test]
    fn an_undecided_transaction_is_told_before_every_other_reason() {
        let asked = [TopicPartition::new("in", 1), TopicPartition::new("in", 0)];
        let found = vec![answer(0, Some(3), 0), answer(1, None, 0)];
        let offsets: Vec<_> =
            in_order(&asked, found).unwrap().iter().map(|found| found.offset).collect();
        assert_eq!(offsets, [None, Some(Offset(3))]);
        let found = vec![answer(0, None, 30), answer(1, None, 88)];
        assert_eq!(in_order(&asked, found), Err(OffsetsUnavailable::Unstable));
        let Err(OffsetsUnavailable::Retriable(reason)) =
            in_order(&asked, vec![answer(0, Some(3), 0), answer(1, None, 30)])
        else {
            panic!("an error is no answer")
        };
        assert!(reason.contains("in-1: GROUP_AUTHORIZATION_FAILED"), "{reason}");
        // A partition that is left out is never taken for one without an offset (EOS-8).
        let missing = in_order(&asked, vec![answer(0, Some(3), 0)]);
        assert_eq!(missing, Err(unanswered(&asked[0])));
    }
}
