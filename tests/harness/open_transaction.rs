//! Whether a killed instance died with a transaction open, measured before it starts again.
//!
//! Evidence is a last stable offset below the end of a partition that the victim wrote. Two kinds
//! of partition tell: those that only the victim wrote (the changelog and the output of its own
//! tasks), and those that everybody writes (the repartition topic), where the same transaction
//! must hold the partition back for longer than any living instance's epoch lasts.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;

use crate::{
    clock,
    cluster::Cluster,
    ledger_run::{ACCOUNTS, BALANCES, Topics},
    status::{Status, TaskLine},
};

/// Many epochs of a living instance, and less than the session timeout after which a successor
/// could fence the victim.
const LIVING_MAX: Duration = Duration::from_millis(2_500);

/// Where the victim's transaction is open; `None` if it has none. `victim` is its last status.
pub(crate) fn of_victim(
    cluster: &Cluster,
    topics: &Topics,
    victim: Option<&Status>,
) -> Result<Option<String>> {
    if let Some(place) = in_own_partitions(cluster, topics, victim)? {
        return Ok(Some(place));
    }
    let postings = topics.postings();
    let mut stuck: BTreeMap<i32, i64> = open(cluster, &postings)?;
    let started = clock::now();
    while !stuck.is_empty() && started.elapsed() < LIVING_MAX {
        clock::pause(Duration::from_millis(100));
        let now = open(cluster, &postings)?;
        stuck.retain(|partition, since| now.get(partition) == Some(since));
    }
    Ok(stuck.first_key_value().map(|(partition, since)| format!("{postings}/{partition}@{since}")))
}

/// Whether a transaction is open in the output of the victim's own tasks; `None` if it has none
/// that write there.
pub(crate) fn in_output(cluster: &Cluster, victim: &Status) -> Result<Option<bool>> {
    let stateful = victim.tasks.iter().filter(|task| task.subtopology() == ACCOUNTS);
    let partitions: Vec<i32> = stateful.filter_map(TaskLine::partition).collect();
    for partition in &partitions {
        if cluster.end(BALANCES, *partition)?.has_open_transaction() {
            return Ok(Some(true));
        }
    }
    Ok((!partitions.is_empty()).then_some(false))
}

fn in_own_partitions(
    cluster: &Cluster,
    topics: &Topics,
    victim: Option<&Status>,
) -> Result<Option<String>> {
    let mut own = Vec::new();
    for changelog in topics.changelogs(cluster)? {
        for task in victim.iter().flat_map(|status| &status.tasks) {
            if let Some(partition) = task.partition()
                && changelog.ends_with(&format!("-{}-changelog", task.subtopology()))
            {
                own.push((changelog.clone(), partition));
                own.push((BALANCES.to_owned(), partition));
            }
        }
    }
    for (topic, partition) in own {
        let ends = cluster.end(&topic, partition)?;
        if ends.has_open_transaction() {
            return Ok(Some(format!("{topic}/{partition}@{}", ends.last_stable)));
        }
    }
    Ok(None)
}

/// The partitions of a topic with an open transaction, and where it begins.
fn open(cluster: &Cluster, topic: &str) -> Result<BTreeMap<i32, i64>> {
    let open = cluster.ends(topic)?.into_iter().filter(|ends| ends.has_open_transaction());
    Ok(open.map(|ends| (ends.partition, ends.last_stable)).collect())
}
