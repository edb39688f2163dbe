//! Whether an internal topic that exists is what it must be.

use std::collections::BTreeMap;

use crate::{
    state::changelog::changelog_violations,
    topology::{InternalTopic, InternalTopicKind},
};

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

/// All differences that matter: more than what is wanted is no problem.
pub fn check(wanted: &InternalTopic, existing: &ExistingTopic<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut problem = |what: String, remedy: String| {
        problems.push(Problem { topic: wanted.name.clone(), what, remedy });
    };
    if existing.partitions != wanted.partitions {
        let content = match wanted.kind {
            InternalTopicKind::Repartition => "records on their way",
            InternalTopicKind::Changelog => "state",
        };
        problem(
            format!("it has {} partitions and needs {}", existing.partitions, wanted.partitions),
            format!(
                "its partition count is fixed while it holds {content}: give the inputs the \
                 counts that they had, or start over with `tidemill reset`"
            ),
        );
    }
    match wanted.kind {
        InternalTopicKind::Changelog => {
            // The wanted replication is 3 exactly where there are three brokers or more.
            let brokers = usize::try_from(wanted.replication).unwrap_or(1);
            let wrong = changelog_violations(brokers, existing.replication, existing.config);
            for what in wrong {
                // Each begins with the setting's name, or with the replication factor.
                let setting = wanted.config.iter().find(|(key, _)| what.starts_with(*key));
                let remedy = setting.map_or_else(more_replicas, |(key, value)| {
                    remedy(wanted, &format!("{key}={value}"))
                });
                problem(what, remedy);
            }
        }
        InternalTopicKind::Repartition => {
            if existing.replication < wanted.replication {
                let (found, needed) = (existing.replication, wanted.replication);
                problem(
                    format!("replication factor is {found}, must be {needed}"),
                    more_replicas(),
                );
            }
            for (key, value) in &wanted.config {
                let found = existing.config.get(key).map_or("unknown", String::as_str);
                if !fulfils(key, value, found) {
                    problem(
                        format!("{key} is {found}, must be {value}{}", consequence(key)),
                        remedy(wanted, &format!("{key}={value}")),
                    );
                }
            }
        }
    }
    problems
}

fn more_replicas() -> String {
    "add replicas with kafka-reassign-partitions.sh".into()
}

fn remedy(wanted: &InternalTopic, setting: &str) -> String {
    format!(
        "alter it: kafka-configs.sh --alter --entity-type topics --entity-name {} --add-config {setting}",
        wanted.name
    )
}

/// Whether a setting of a repartition topic will do: words must be equal, numbers at least as
/// large.
fn fulfils(key: &str, wanted: &str, found: &str) -> bool {
    if matches!(key, "cleanup.policy" | "message.timestamp.type") {
        return found == wanted;
    }
    match (limit(found), limit(wanted)) {
        (Some(found), Some(wanted)) => found >= wanted,
        _ => found == wanted,
    }
}

/// A number as a limit: Kafka's -1 is none.
fn limit(value: &str) -> Option<i64> {
    value.parse().ok().map(|number: i64| if number < 0 { i64::MAX } else { number })
}

/// What would happen otherwise.
fn consequence(key: &str) -> &'static str {
    match key {
        "cleanup.policy" | "retention.ms" | "retention.bytes" => {
            " (records would be deleted before they are read)"
        }
        "message.timestamp.type" => " (records would lose their event time)",
        "message.timestamp.before.max.ms" | "message.timestamp.after.max.ms" => {
            " (records of other times would be refused)"
        }
        "min.insync.replicas" => " (a broker's crash could lose what was committed)",
        _ => "",
    }
}
