//! Whether an internal topic that exists is what it must be.

use std::collections::BTreeMap;

use crate::topology::{InternalTopic, InternalTopicKind};

/// A topic as it exists.
#[derive(Debug, Clone, Copy)]
pub struct ExistingTopic<'a> {
    /// How many partitions.
    pub partitions: i32,
    /// Replicas of a partition.
    pub replication: i32,
    /// Its effective configuration.
    pub config: &'a BTreeMap<String, String>,
}

/// One difference between what a topic is and what it must be, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("topic {topic}: {what}; {remedy}")]
pub struct Problem {
    /// The topic.
    pub topic: String,
    /// What differs.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// How a configured value must relate to the wanted one.
enum Relation {
    Equal,
    /// At least as large; -1 (no limit) is the largest.
    AtLeast,
}

fn relation(key: &str) -> Relation {
    match key {
        "cleanup.policy" | "message.timestamp.type" => Relation::Equal,
        _ => Relation::AtLeast,
    }
}

/// All differences that matter: more than what is wanted is no problem.
pub fn check(wanted: &InternalTopic, existing: &ExistingTopic<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut problem = |what: String, remedy: String| {
        problems.push(Problem { topic: wanted.name.clone(), what, remedy });
    };
    if existing.partitions != wanted.partitions {
        let (has, needs) = (existing.partitions, wanted.partitions);
        let content = match wanted.kind {
            InternalTopicKind::Repartition => "records on their way",
            InternalTopicKind::Changelog => "the state",
        };
        problem(
            format!("it has {has} partitions and needs {needs}"),
            format!(
                "its partition count is fixed while it holds {content}: give its inputs the \
                 counts that they had, or start over with `tidemill reset`"
            ),
        );
    }
    if existing.replication < wanted.replication {
        problem(
            format!("it has {} replicas and needs {}", existing.replication, wanted.replication),
            format!(
                "reassign it with kafka-reassign-partitions.sh to {} replicas",
                wanted.replication
            ),
        );
    }
    for (key, value) in &wanted.config {
        let found = existing.config.get(key).map(String::as_str);
        if !fulfils(key, value, found) {
            let (topic, found) = (&wanted.name, found.unwrap_or("not set"));
            problem(
                format!("{key} is {found} and must be {value}{}", consequence(key)),
                format!(
                    "kafka-configs.sh --alter --entity-type topics --entity-name {topic} \
                     --add-config {key}={value}"
                ),
            );
        }
    }
    problems
}

fn fulfils(key: &str, wanted: &str, found: Option<&str>) -> bool {
    let Some(found) = found else { return false };
    match relation(key) {
        Relation::Equal => found == wanted,
        Relation::AtLeast => match (limit(found), limit(wanted)) {
            (Some(found), Some(wanted)) => found >= wanted,
            _ => found == wanted,
        },
    }
}

/// A number as a limit: Kafka's -1 is none.
fn limit(value: &str) -> Option<i64> {
    value.parse().ok().map(|number: i64| if number < 0 { i64::MAX } else { number })
}

/// What would happen otherwise.
fn consequence(key: &str) -> &'static str {
    match key {
        "cleanup.policy" => " (records that are still needed would be deleted)",
        "retention.ms" | "retention.bytes" => " (records would be deleted before they are read)",
        "delete.retention.ms" => " (deleted keys would come back out of old local state)",
        "min.insync.replicas" => " (a broker's crash could lose what was committed)",
        _ => "",
    }
}
