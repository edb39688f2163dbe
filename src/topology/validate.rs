//! What every topology must fulfil, whichever front end made it.

use std::collections::{BTreeMap, BTreeSet};

use crate::topology::{Subtopology, TopicRef, Topology, TopologyError, check_name, check_topic};

/// Checks names, topics and the order of subtopologies. Errors: all that is wrong.
pub fn validate(topology: &Topology) -> Result<(), TopologyError> {
    let mut errors = Vec::new();
    if let Err(error) = check_name(&topology.name, "the topology") {
        errors.push(error);
    }
    if topology.subtopologies.is_empty() {
        errors.push(TopologyError::NoSource);
    }
    let mut names = BTreeSet::new();
    for part in &topology.subtopologies {
        if let Err(error) = check_name(&part.name, "a subtopology") {
            errors.push(error);
        }
        if !names.insert(&part.name) {
            errors.push(TopologyError::DuplicateName { name: part.name.clone() });
        }
        check_part(part, &mut errors);
    }
    check_topics(topology, &mut errors);
    TopologyError::collect(errors)
}

fn malformed(part: &Subtopology, reason: String) -> TopologyError {
    TopologyError::Malformed { subtopology: part.name.clone(), reason }
}

fn check_part(part: &Subtopology, errors: &mut Vec<TopologyError>) {
    if part.sources.is_empty() {
        errors.push(malformed(part, "it has no source".into()));
    }
    let mut stores = BTreeSet::new();
    for store in &part.stores {
        if !stores.insert(store.qualified()) {
            errors.push(TopologyError::DuplicateName { name: store.qualified() });
        }
    }
    // `inputs` may only name what comes before: the graph has no cycle.
    let mut known: BTreeSet<&str> = part.sources.iter().map(|node| node.name.as_str()).collect();
    for step in &part.steps {
        for input in step.inputs.iter().filter(|input| !known.contains(input.as_str())) {
            errors.push(malformed(part, format!("{} is fed by unknown {input}", step.name)));
        }
        known.insert(&step.name);
    }
}

fn check_topics(topology: &Topology, errors: &mut Vec<TopologyError>) {
    let mut read = BTreeSet::new();
    let mut written: BTreeMap<&str, Option<i32>> = BTreeMap::new();
    for part in &topology.subtopologies {
        for source in &part.sources {
            if !read.insert(source.topic.resolve("")) {
                let topic = source.topic.resolve(&topology.name);
                errors.push(TopologyError::TopicReadTwice { topic });
            }
            match &source.topic {
                TopicRef::External(topic) => errors.extend(check_topic(topic).err()),
                TopicRef::Repartition { step, partitions } => match written.get(step.as_str()) {
                    Some(declared) if declared == partitions => {}
                    Some(_) => {
                        let reason = format!("repartition step {step} has two partition counts");
                        errors.push(malformed(part, reason));
                    }
                    None => {
                        let reason = format!(
                            "it reads repartition step {step}, which none before it writes"
                        );
                        errors.push(malformed(part, reason));
                    }
                },
            }
        }
        for sink in &part.sinks {
            match &sink.topic {
                TopicRef::External(topic) => errors.extend(check_topic(topic).err()),
                TopicRef::Repartition { step, partitions } => {
                    if written.insert(step, *partitions).is_some() {
                        errors.push(TopologyError::DuplicateName { name: step.clone() });
                    }
                }
            }
        }
    }
}
