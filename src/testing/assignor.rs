//! The cooperative-sticky assignor, in short: balanced, moves as little as it can, and gives a
//! partition to its new owner only once its old one has let it go.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{TopicName, TopicPartition};

/// What a member says of itself when it joins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Claim {
    pub(super) topics: BTreeSet<TopicName>,
    pub(super) owned: BTreeSet<TopicPartition>,
    /// The generation in which it came to own them.
    pub(super) generation: i32,
}

type Assignment = BTreeMap<String, BTreeSet<TopicPartition>>;

/// Assigns the partitions of the subscribed topics (`topics`: partition counts) to members.
pub(super) fn assign(
    claims: &BTreeMap<String, Claim>,
    topics: &BTreeMap<TopicName, i32>,
) -> Assignment {
    let owners = present_owners(claims, topics);
    let mut target: Assignment =
        claims.keys().map(|member| (member.clone(), BTreeSet::new())).collect();
    for (partition, owner) in &owners {
        if let Some(partitions) = target.get_mut(owner) {
            partitions.insert(partition.clone());
        }
    }
    for (topic, count) in topics {
        for number in 0..*count {
            let partition = TopicPartition::new(TopicName::clone(topic), number);
            if owners.contains_key(&partition) {
                continue;
            }
            if let Some(member) = least_loaded(claims, &target, topic)
                && let Some(partitions) = target.get_mut(&member)
            {
                partitions.insert(partition);
            }
        }
    }
    while let Some((partition, from, to)) = next_move(claims, &target) {
        if let Some(partitions) = target.get_mut(&from) {
            partitions.remove(&partition);
        }
        if let Some(partitions) = target.get_mut(&to) {
            partitions.insert(partition);
        }
    }
    for (member, partitions) in &mut target {
        partitions.retain(|partition| owners.get(partition).is_none_or(|owner| owner == member));
    }
    target
}

/// Who owns what now: of two claims the one of the newer generation holds, of equal ones none.
fn present_owners(
    claims: &BTreeMap<String, Claim>,
    topics: &BTreeMap<TopicName, i32>,
) -> BTreeMap<TopicPartition, String> {
    let mut best: BTreeMap<TopicPartition, (i32, Option<String>)> = BTreeMap::new();
    for (member, claim) in claims {
        for partition in &claim.owned {
            let exists = topics.get(&partition.topic).is_some_and(|n| partition.partition < *n);
            if !exists || !claim.topics.contains(&partition.topic) {
                continue;
            }
            let slot = best.entry(partition.clone()).or_insert((i32::MIN, None));
            if claim.generation > slot.0 {
                *slot = (claim.generation, Some(member.clone()));
            } else if claim.generation == slot.0 {
                slot.1 = None;
            }
        }
    }
    best.into_iter().filter_map(|(partition, (_, owner))| Some((partition, owner?))).collect()
}

fn load(target: &Assignment, member: &str) -> usize {
    target.get(member).map_or(0, BTreeSet::len)
}

fn least_loaded(
    claims: &BTreeMap<String, Claim>,
    target: &Assignment,
    topic: &TopicName,
) -> Option<String> {
    claims
        .iter()
        .filter(|(_, claim)| claim.topics.contains(topic))
        .map(|(member, _)| member)
        .min_by_key(|member| load(target, member))
        .cloned()
}

/// A partition whose move makes the loads more even.
fn next_move(
    claims: &BTreeMap<String, Claim>,
    target: &Assignment,
) -> Option<(TopicPartition, String, String)> {
    let mut from: Vec<_> = target.iter().collect();
    from.sort_by_key(|(member, partitions)| (usize::MAX - partitions.len(), (*member).clone()));
    for (member, partitions) in from {
        for partition in partitions.iter().rev() {
            if let Some(to) = least_loaded(claims, target, &partition.topic)
                && load(target, &to) + 1 < partitions.len()
            {
                return Some((partition.clone(), member.clone(), to));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(numbers: &[i32]) -> BTreeSet<TopicPartition> {
        numbers.iter().map(|number| TopicPartition::new("lead", *number)).collect()
    }

    fn claim(owned: &[i32], generation: i32) -> Claim {
        Claim {
            topics: BTreeSet::from([TopicName::from("lead")]),
            owned: partitions(owned),
            generation,
        }
    }

    fn run(claims: &[(&str, Claim)]) -> Vec<(String, Vec<i32>)> {
        let claims =
            claims.iter().map(|(member, claim)| ((*member).to_owned(), claim.clone())).collect();
        let topics = BTreeMap::from([(TopicName::from("lead"), 4)]);
        assign(&claims, &topics)
            .into_iter()
            .map(|(member, set)| (member, set.iter().map(|p| p.partition).collect()))
            .collect()
    }

    fn expect(pairs: &[(&str, &[i32])]) -> Vec<(String, Vec<i32>)> {
        pairs.iter().map(|(member, set)| ((*member).to_owned(), set.to_vec())).collect()
    }

    #[test]
    fn a_single_member_gets_everything() {
        assert_eq!(run(&[("m", claim(&[], -1))]), expect(&[("m", &[0, 1, 2, 3])]));
    }

    #[test]
    fn a_newcomer_gets_nothing_before_the_owner_has_revoked() {
        let first = run(&[("a", claim(&[0, 1, 2, 3], 1)), ("b", claim(&[], -1))]);
        assert_eq!(first, expect(&[("a", &[0, 1]), ("b", &[])]));
        let second = run(&[("a", claim(&[0, 1], 2)), ("b", claim(&[], 2))]);
        assert_eq!(second, expect(&[("a", &[0, 1]), ("b", &[2, 3])]));
    }

    #[test]
    fn what_is_balanced_does_not_move() {
        let claims = [("a", claim(&[1, 3], 5)), ("b", claim(&[0, 2], 5))];
        assert_eq!(run(&claims), expect(&[("a", &[1, 3]), ("b", &[0, 2])]));
    }

    #[test]
    fn the_claim_of_the_newer_generation_holds() {
        let claims = [("a", claim(&[0, 1], 7)), ("b", claim(&[0, 1, 2, 3], 6))];
        assert_eq!(run(&claims), expect(&[("a", &[0, 1]), ("b", &[2, 3])]));
    }
}
