//! `topics create`: creates what is missing, checks what is there.

use std::{collections::BTreeMap, io::Write};

use crate::{
    cli::{
        arguments::TopicsCreateArguments,
        cluster::{Subject, create, described, sleep, survey},
        entry::Context,
    },
    error::Error,
    record::TopicName,
    runtime::TopicSpec,
    topology::external_topics,
};

/// Partitions and replicas as the brokers have them by default.
const BROKER_DEFAULT: i32 = -1;

/// Runs the command: first the user topics, since the internal ones follow from their partitions.
pub(super) fn topics_create(
    arguments: &TopicsCreateArguments,
    context: &Context<'_>,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let settings = context.settings(&arguments.settings)?;
    let topology = context.catalog.find(arguments.topology.as_deref())?;
    let mut admin = context.engine.admin(&settings)?;
    let verb = if arguments.dry_run { "would create" } else { "created" };

    let external: Vec<TopicName> =
        external_topics(&topology).into_keys().map(TopicName::from).collect();
    let existing = described(&mut *admin, &external)?;
    for info in existing.values() {
        writeln!(out, "exists {}", words(&info.name, info.partitions))?;
    }
    let mut missing: Vec<TopicSpec> = Vec::new();
    for topic in external.iter().filter(|topic| !existing.contains_key(*topic)) {
        missing.push(TopicSpec {
            name: topic.clone(),
            partitions: arguments.partitions.unwrap_or(BROKER_DEFAULT),
            replication: settings.kafka.replication_factor.unwrap_or(BROKER_DEFAULT),
            config: BTreeMap::new(),
        });
    }
    if !arguments.dry_run {
        for info in create(&mut *admin, &missing, &sleep)?.values() {
            writeln!(out, "{verb} {}", words(&info.name, info.partitions))?;
        }
        missing.clear();
    }
    for topic in &missing {
        writeln!(out, "{verb} {}", words(&topic.name, topic.partitions))?;
    }
    if !missing.is_empty() && arguments.partitions.is_none() {
        writeln!(out, "internal topics follow from these: give --partitions to see them")?;
        return Ok(());
    }

    let subject = Subject {
        application: settings.application_id(&topology.name),
        topology: &topology,
        replication: settings.kafka.replication_factor,
        assumed: missing.iter().map(|topic| (topic.name.to_string(), topic.partitions)).collect(),
    };
    let survey = survey(&mut *admin, &subject)?;
    for topic in &survey.plan.internal {
        if survey.existing.contains_key(topic.name.as_str()) {
            writeln!(out, "exists {}", words(&topic.name, topic.partitions))?;
        }
    }
    if !arguments.dry_run {
        create(&mut *admin, &survey.missing, &sleep)?;
    }
    for topic in &survey.missing {
        let config: Vec<String> =
            topic.config.iter().map(|(key, value)| format!("{key}={value}")).collect();
        writeln!(out, "{verb} {} {}", words(&topic.name, topic.partitions), config.join(" "))?;
    }
    Ok(())
}

fn words(topic: &str, partitions: i32) -> String {
    if partitions == BROKER_DEFAULT {
        format!("{topic} (the brokers' default partitions)")
    } else {
        format!("{topic} ({partitions} partitions)")
    }
}
