//! Which topics a topology needs to have of its own, how they must be configured, and how many
//! tasks there are: decided from the partition counts of the topics that exist. Pure: asks nobody,
//! creates nothing.

use std::collections::BTreeMap;

use crate::{
    state::{KEY_GROUPS_DEFAULT, changelog, check_partitions},
    topology::{SourceNode, Subtopology, TopicRef, Topology, lead_input, unequal_inputs},
};

/// What a topic that belongs to the application is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InternalTopicKind {
    /// Carries records to where their key belongs.
    Repartition,
    /// Holds the state of a subtopology's tasks, one partition per task.
    Changelog,
}

/// A topic that belongs to the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternalTopic {
    /// What it is for.
    pub kind: InternalTopicKind,
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// Replication factor; -1 takes the broker's default.
    pub replication: i32,
    /// Configuration, as Kafka spells keys and values.
    pub config: BTreeMap<String, String>,
}

/// An input topic of a subtopology.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct InputTopic {
    /// Its name.
    pub topic: String,
    /// How many partitions it has or is to have.
    pub partitions: i32,
}

impl InputTopic {
    fn count(&self) -> (&str, i32) {
        (&self.topic, self.partitions)
    }
}

/// What is known of a subtopology once partition counts are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubtopologyPlan {
    /// The subtopology.
    pub name: String,
    /// The index in `inputs` of the lead topic: the one with most partitions, ties by name. The
    /// group subscribes to it.
    pub lead: usize,
    /// The inputs, in the order of `Subtopology::sources`.
    pub inputs: Vec<InputTopic>,
    /// How many tasks: the partitions of the lead topic.
    pub tasks: i32,
    /// The changelog; none without state.
    pub changelog: Option<String>,
}

impl SubtopologyPlan {
    /// The lead topic.
    pub fn lead_topic(&self) -> Option<&InputTopic> {
        self.inputs.get(self.lead)
    }
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPlan {
    /// One for each subtopology, in order.
    pub subtopologies: Vec<SubtopologyPlan>,
    /// The topics of the application: repartition topics, then changelogs.
    pub internal: Vec<InternalTopic>,
}

/// Why a topology cannot run on the topics that there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicPlanError {
    /// A topic that a user must create.
    #[error(
        "topic {topic} does not exist; `tidemill topics create {topology}` creates what is missing, or create it with the partitions that you want"
    )]
    Missing {
        /// The topic.
        topic: String,
        /// The topology that reads it.
        topology: String,
    },
    /// Inputs of one keyed subtopology with different partition counts.
    #[error("subtopology {subtopology} keeps state by key and reads topics with different partition counts: {}; give them equal counts, or send one of them through `repartition` with a declared count", counts(.inputs))]
    UnequalPartitions {
        /// The subtopology.
        subtopology: String,
        /// Its keyed inputs.
        inputs: Vec<InputTopic>,
    },
    /// A count under which partitions would not own whole key groups.
    #[error(
        "topic {topic}, which state is kept by: {reason}; change the count, or send it through `repartition` with a declared count"
    )]
    KeyGroups {
        /// The topic.
        topic: String,
        /// The count, and the nearest ones that would do.
        reason: String,
    },
    /// An application id that cannot be part of a topic's name.
    #[error("{0}")]
    Name(#[from] crate::topology::TopologyError),
}

fn counts(inputs: &[InputTopic]) -> String {
    let each = inputs.iter().map(|input| format!("{} has {}", input.topic, input.partitions));
    each.collect::<Vec<_>>().join(", ")
}

/// The names of the topics that must exist before the application starts, sorted: all external
/// ones, with whether the topology reads (`true`) or only writes them.
pub fn external_topics(topology: &Topology) -> BTreeMap<String, bool> {
    let mut topics = BTreeMap::new();
    for part in &topology.subtopologies {
        for sink in &part.sinks {
            if let TopicRef::External(topic) = &sink.topic {
                topics.entry(topic.clone()).or_insert(false);
            }
        }
        for source in &part.sources {
            if let TopicRef::External(topic) = &source.topic {
                topics.insert(topic.clone(), true);
            }
        }
    }
    topics
}

/// Plans the topics of `topology` under an application id, given the partition counts of the
/// external topics that exist and the number of brokers. Errors: all that stands in the way.
pub fn plan_topics(
    topology: &Topology,
    application: &str,
    external: &BTreeMap<String, i32>,
    brokers: usize,
) -> Result<TopicPlan, Vec<TopicPlanError>> {
    let mut errors = Vec::new();
    if let Err(error) = crate::topology::check_name(application, "the application") {
        errors.push(error.into());
    }
    for (topic, _) in external_topics(topology) {
        if !external.contains_key(&topic) {
            errors.push(TopicPlanError::Missing { topic, topology: topology.name.clone() });
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut counts = external.clone();
    let mut plan = TopicPlan { subtopologies: Vec::new(), internal: Vec::new() };
    let mut changelogs = Vec::new();
    for part in &topology.subtopologies {
        let part_plan = plan_part(part, application, &counts);
        check_keyed(part, &part_plan, &mut errors);
        for sink in &part.sinks {
            let TopicRef::Repartition { partitions, .. } = &sink.topic else { continue };
            let name = sink.topic.resolve(application);
            let partitions = partitions.unwrap_or(part_plan.tasks);
            counts.insert(name.clone(), partitions);
            plan.internal.push(repartition_topic(name, partitions, brokers));
        }
        if let Some(name) = &part_plan.changelog {
            changelogs.push(changelog_topic(name.clone(), part_plan.tasks, brokers));
        }
        plan.subtopologies.push(part_plan);
    }
    plan.internal.append(&mut changelogs);
    if errors.is_empty() { Ok(plan) } else { Err(errors) }
}

/// The name of a subtopology's changelog.
pub fn changelog_name(application: &str, subtopology: &str) -> String {
    format!("{application}-{subtopology}-changelog")
}

fn plan_part(
    part: &Subtopology,
    application: &str,
    counts: &BTreeMap<String, i32>,
) -> SubtopologyPlan {
    let input = |source: &SourceNode| {
        let topic = source.topic.resolve(application);
        // Repartition topics are planned with their writer, which comes before.
        let partitions = counts.get(&topic).copied().unwrap_or(0);
        InputTopic { topic, partitions }
    };
    let inputs: Vec<InputTopic> = part.sources.iter().map(input).collect();
    let lead = lead_input(inputs.iter().map(InputTopic::count)).unwrap_or_default();
    SubtopologyPlan {
        name: part.name.clone(),
        lead,
        tasks: inputs.get(lead).map_or(0, |input| input.partitions),
        inputs,
        changelog: (!part.stores.is_empty()).then(|| changelog_name(application, &part.name)),
    }
}

fn check_keyed(part: &Subtopology, plan: &SubtopologyPlan, errors: &mut Vec<TopicPlanError>) {
    let inputs = part.sources.iter().zip(&plan.inputs);
    let keyed: Vec<InputTopic> =
        inputs.filter(|(source, _)| source.keyed).map(|(_, input)| input.clone()).collect();
    if unequal_inputs(keyed.iter().map(InputTopic::count)).is_some() {
        let subtopology = part.name.clone();
        errors.push(TopicPlanError::UnequalPartitions { subtopology, inputs: keyed });
        return;
    }
    for input in keyed {
        if let Err(refused) = check_partitions(input.partitions, KEY_GROUPS_DEFAULT) {
            let (topic, reason) = (input.topic, refused.to_string());
            errors.push(TopicPlanError::KeyGroups { topic, reason });
        }
    }
}

/// The largest value of Kafka's long settings.
const UNLIMITED: &str = "9223372036854775807";

fn internal_topic(
    kind: InternalTopicKind,
    name: String,
    partitions: i32,
    brokers: usize,
    mut config: BTreeMap<String, String>,
) -> InternalTopic {
    // With a single replica a commit marker can be lost for good when its leader is away at the
    // wrong moment, and committed data with it (facts 9.6): the same rule for both kinds.
    let replication = changelog::changelog_replication(brokers);
    if replication >= 3 {
        config.insert("min.insync.replicas".into(), "2".into());
    }
    InternalTopic { kind, name, partitions, replication, config }
}

/// Records wait here for as long as it takes: nothing but the application deletes them, and any
/// timestamp is taken (a backfill of old records would be deleted within seconds otherwise).
fn repartition_topic(name: String, partitions: i32, brokers: usize) -> InternalTopic {
    let config = [
        ("cleanup.policy", "delete"),
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("message.timestamp.type", "CreateTime"),
        ("message.timestamp.before.max.ms", UNLIMITED),
        ("message.timestamp.after.max.ms", UNLIMITED),
    ];
    let config = config.map(|(key, value)| (key.into(), value.into())).into();
    internal_topic(InternalTopicKind::Repartition, name, partitions, brokers, config)
}

fn changelog_topic(name: String, partitions: i32, brokers: usize) -> InternalTopic {
    let config = changelog::changelog_config(brokers);
    internal_topic(InternalTopicKind::Changelog, name, partitions, brokers, config)
}

#[cfg(test)]
#[path = "internal_topics_tests.rs"]
mod tests;
