//! Plans of topics, and checks of topics that exist, by table.

use std::collections::BTreeMap;

use crate::{
    dsl::{Repartition, Source, TopologyBuilder},
    formats::Utf8,
    topologies::{ledger, word_count},
    topology::{ExistingTopic, InternalTopic, TopicPlan, TopicPlanError, Topology, check},
};

use super::*;

fn external(counts: &[(&str, i32)]) -> BTreeMap<String, i32> {
    counts.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect()
}

fn ledger_plan(brokers: usize) -> TopicPlan {
    let external = external(&[("transfers", 8), ("balances", 4)]);
    plan_topics(&ledger::topology().unwrap(), "bank", &external, brokers).unwrap()
}

fn source(topic: &str) -> Source<String, String> {
    Source::new(topic, Utf8, Utf8)
}

fn refused(topology: &Topology, counts: &[(&str, i32)]) -> Vec<String> {
    let errors = plan_topics(topology, "app", &external(counts), 1).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn the_ledger_gets_six_postings_partitions_and_as_many_tasks() {
    let plan = ledger_plan(1);
    let tasks: Vec<_> =
        plan.subtopologies.iter().map(|part| (part.name.as_str(), part.tasks)).collect();
    assert_eq!(tasks, [("postings", 8), ("accounts", 6)]);
    assert_eq!(plan.subtopologies[0].changelog, None);
    assert_eq!(plan.subtopologies[1].changelog.as_deref(), Some("bank-accounts-changelog"));
    let topics: Vec<_> =
        plan.internal.iter().map(|topic| (topic.name.as_str(), topic.partitions)).collect();
    assert_eq!(topics, [("bank-postings-repartition", 6), ("bank-accounts-changelog", 6)]);
}

#[test]
fn an_undeclared_count_is_that_of_the_writers_lead_topic() {
    let topology = word_count::topology().unwrap();
    let counts = external(&[("lines", 5), ("word-counts", 1)]);
    let plan = plan_topics(&topology, "wc", &counts, 1).unwrap();
    assert_eq!(plan.internal[0].name, "wc-words-repartition");
    assert_eq!(plan.internal[0].partitions, 5);
    assert_eq!(plan.subtopologies[1].tasks, 5);
}

#[test]
fn repartition_topics_lose_nothing_and_take_every_timestamp() {
    let config = &ledger_plan(1).internal[0].config;
    let expect = [
        ("cleanup.policy", "delete"),
        ("message.timestamp.after.max.ms", "9223372036854775807"),
        ("message.timestamp.before.max.ms", "9223372036854775807"),
        ("message.timestamp.type", "CreateTime"),
        ("retention.bytes", "-1"),
        ("retention.ms", "-1"),
    ];
    let found: Vec<_> = config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(found, expect);
}

#[test]
fn three_brokers_keep_three_replicas_of_which_two_must_answer() {
    for topic in &ledger_plan(3).internal {
        assert_eq!(topic.replication, 3);
        assert_eq!(topic.config["min.insync.replicas"], "2");
    }
    for topic in &ledger_plan(2).internal {
        assert_eq!(topic.replication, 1);
    }
    assert_eq!(ledger_plan(1).internal[1].config["cleanup.policy"], "compact");
}

#[test]
fn the_lead_topic_has_most_partitions_and_ties_go_by_name() {
    let builder = TopologyBuilder::new("t");
    let streams = ["b", "a", "c"].map(|topic| builder.stream(source(topic)));
    streams[0].merge(&streams[1]).merge(&streams[2]).to("out", Utf8, Utf8);
    let topology = builder.build().unwrap();
    let lead = |counts: &[(&str, i32)]| {
        let plan = plan_topics(&topology, "app", &external(counts), 1).unwrap();
        plan.subtopologies[0].lead_topic().unwrap().topic.clone()
    };
    assert_eq!(lead(&[("a", 2), ("b", 2), ("c", 3), ("out", 1)]), "c");
    assert_eq!(lead(&[("a", 2), ("b", 2), ("c", 1), ("out", 1)]), "a");
}

#[test]
fn every_missing_topic_is_named_with_the_command_that_creates_it() {
    let messages = refused(&ledger::topology().unwrap(), &[]);
    assert_eq!(messages.len(), 2);
    assert!(messages[0].contains("topic balances does not exist"), "{messages:?}");
    assert!(messages[1].contains("topic transfers does not exist"), "{messages:?}");
    assert!(messages[1].contains("`tidemill topics create ledger`"), "{messages:?}");
    let errors =
        plan_topics(&ledger::topology().unwrap(), "my.app", &external(&[]), 1).unwrap_err();
    assert!(matches!(errors[0], TopicPlanError::Name(_)), "{errors:?}");
}

fn merged() -> Topology {
    let builder = TopologyBuilder::new("t");
    let (one, two) = (builder.stream(source("one")), builder.stream(source("two")));
    one.merge(&two).group_by_key().count("counts");
    builder.build().unwrap()
}

#[test]
fn keyed_inputs_need_equal_partition_counts() {
    plan_topics(&merged(), "app", &external(&[("one", 4), ("two", 4)]), 1).unwrap();
    let messages = refused(&merged(), &[("one", 4), ("two", 8)]);
    assert_eq!(messages.len(), 1);
    assert!(messages[0].contains("subtopology counts"), "{messages:?}");
    assert!(messages[0].contains("one has 4, two has 8"), "{messages:?}");
}

#[test]
fn a_keyed_input_must_hold_whole_key_groups_and_the_nearest_counts_are_named() {
    let messages = refused(&merged(), &[("one", 7), ("two", 7)]);
    assert_eq!(messages.len(), 2);
    assert!(messages[0].contains("topic one") && messages[0].contains("6 and 8"), "{messages:?}");
    // Without state any count will do.
    let builder = TopologyBuilder::new("t");
    builder.stream(source("in")).to("out", Utf8, Utf8);
    let topology = builder.build().unwrap();
    plan_topics(&topology, "app", &external(&[("in", 7), ("out", 11)]), 1).unwrap();
}

#[test]
fn a_repartition_beside_a_keyed_input_must_match_it() {
    let builder = TopologyBuilder::new("t");
    let again = Repartition::new("again", Utf8, Utf8).partitions(6);
    let moved = builder.stream(source("one")).repartition(again);
    moved.merge(&builder.stream(source("two"))).group_by_key().count("counts");
    let topology = builder.build().unwrap();
    let messages = refused(&topology, &[("one", 4), ("two", 4)]);
    assert!(messages[0].contains("app-again-repartition has 6, two has 4"), "{messages:?}");
}

/// What `check` says of a topic that is as wanted but for what `change` does to it.
fn checked(wanted: &InternalTopic, change: impl FnOnce(&mut InternalTopic)) -> Vec<String> {
    let mut found = wanted.clone();
    change(&mut found);
    let existing = ExistingTopic {
        partitions: found.partitions,
        replication: found.replication,
        config: &found.config,
    };
    check(wanted, &existing).iter().map(ToString::to_string).collect()
}

fn set(topic: &mut InternalTopic, key: &str, value: &str) {
    topic.config.insert(key.into(), value.into());
}

#[test]
fn a_topic_as_planned_is_fine_and_more_than_planned_too() {
    for brokers in [1, 3] {
        for wanted in &ledger_plan(brokers).internal {
            assert_eq!(checked(wanted, |_| {}), Vec::<String>::new());
            let more = |topic: &mut InternalTopic| {
                topic.replication = 5;
                set(topic, "min.insync.replicas", "3");
                set(topic, "max.message.bytes", "9999999");
            };
            assert_eq!(checked(wanted, more), Vec::<String>::new());
        }
    }
}

#[test]
fn every_setting_that_could_lose_records_is_named_with_the_command_that_mends_it() {
    let repartition = &ledger_plan(3).internal[0];
    for (key, value) in [
        ("cleanup.policy", "compact"),
        ("retention.ms", "604800000"),
        ("retention.bytes", "1000"),
        ("message.timestamp.type", "LogAppendTime"),
        ("message.timestamp.before.max.ms", "1"),
        ("message.timestamp.after.max.ms", "3600000"),
        ("min.insync.replicas", "1"),
    ] {
        let problems = checked(repartition, |topic| set(topic, key, value));
        assert_eq!(problems.len(), 1, "{key}");
        let problem = &problems[0];
        assert!(problem.contains("topic bank-postings-repartition"), "{problem}");
        assert!(problem.contains(&format!("{key} is {value}, must be")), "{problem}");
        let right = format!("--add-config {key}={}", repartition.config[key]);
        assert!(problem.contains(&right), "{problem}");
    }
    let problems = checked(repartition, |topic| drop(topic.config.remove("retention.ms")));
    assert!(problems[0].contains("retention.ms is unknown"), "{problems:?}");
}

#[test]
fn a_changelog_with_the_wrong_policy_count_or_replication_is_refused() {
    let changelog = &ledger_plan(3).internal[1];
    let problems = checked(changelog, |topic| set(topic, "cleanup.policy", "delete"));
    assert!(problems[0].contains("cleanup.policy is \"delete\""), "{problems:?}");
    assert!(problems[0].contains("--add-config cleanup.policy=compact"), "{problems:?}");
    let problems = checked(changelog, |topic| topic.partitions = 4);
    assert!(problems[0].contains("it has 4 partitions and needs 6"), "{problems:?}");
    assert!(problems[0].contains("tidemill reset"), "{problems:?}");
    let problems = checked(changelog, |topic| topic.replication = 1);
    assert!(problems[0].contains("kafka-reassign-partitions.sh"), "{problems:?}");
    let problems = checked(changelog, |topic| set(topic, "delete.retention.ms", "1000"));
    assert!(problems[0].contains("delete.retention.ms is 1000"), "{problems:?}");
}
