//! A topology resolved against a cluster: real topic names, ids, partition counts and limits.
//!
//! Pure: made from what the admin described, shared by all stream threads of the instance.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{
    operators::OperatorChain,
    record::{PartitionId, TopicName},
    runtime::{TopicInfo, event_time::EventTimePlan},
    time::WatermarkStrategy,
    topology::{
        ErrorPolicy, StartFrom, TopicRef, Topology, changelog_name, has_watermark, lead_input,
        unequal_inputs,
    },
};

/// An index into [`InstancePlan::topics`]: every topic that is written to.
pub type TopicSlot = u32;

/// What one instance runs.
#[derive(Debug)]
pub struct InstancePlan {
    /// The application id: also the consumer group.
    pub application: String,
    /// The instance id.
    pub instance: String,
    /// In topological order.
    pub subtopologies: Vec<SubtopologyPlan>,
    /// The topics that are written to.
    pub topics: Vec<TopicName>,
}

/// One subtopology.
pub struct SubtopologyPlan {
    /// Its name.
    pub name: String,
    /// Its inputs.
    pub sources: Vec<SourcePlan>,
    /// Index of the lead source: the one with most partitions, ties by name.
    pub lead: usize,
    /// Its outputs.
    pub sinks: Vec<SinkPlan>,
    /// Its changelog; `None` for a stateless subtopology.
    pub changelog: Option<ChangelogPlan>,
    /// Its event time; `None` where its tasks have no watermark.
    pub event_time: Option<EventTimePlan>,
    /// Makes the chain of a task.
    pub chain: Arc<dyn Fn() -> Box<dyn OperatorChain> + Send + Sync>,
}

impl fmt::Debug for SubtopologyPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubtopologyPlan")
            .field("name", &self.name)
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

/// An input.
#[derive(Debug, Clone)]
pub struct SourcePlan {
    /// The topic.
    pub topic: TopicName,
    /// Its id.
    pub topic_id: String,
    /// Its partition count.
    pub partitions: i32,
    /// Where to start without a committed offset.
    pub start: StartFrom,
    /// Whether keyed state depends on the partition count.
    pub keyed: bool,
    /// Whether it is a repartition topic of ours: consumed records are deleted.
    pub repartition: bool,
    /// How its records make a watermark.
    pub watermarks: Option<WatermarkStrategy>,
}

impl SourcePlan {
    fn count(&self) -> (&str, i32) {
        (&self.topic, self.partitions)
    }
}

/// An output.
#[derive(Debug, Clone)]
pub struct SinkPlan {
    /// Its index in [`InstancePlan::topics`].
    pub slot: TopicSlot,
    /// The topic.
    pub topic: TopicName,
    /// Its partition count.
    pub partitions: i32,
    /// What the topic takes (ERR-1).
    pub limits: TopicLimits,
    /// What happens to a record that it refuses.
    pub on_error: ErrorPolicy,
}

/// What a topic takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicLimits {
    /// `max.message.bytes`.
    pub max_message_bytes: usize,
    /// `message.timestamp.before.max.ms`; `None` where timestamps are not checked.
    pub before_max_ms: Option<i64>,
    /// `message.timestamp.after.max.ms`; `None` where timestamps are not checked.
    pub after_max_ms: Option<i64>,
}

impl TopicLimits {
    /// The limits in a topic's configuration; Kafka's defaults where it says nothing.
    pub fn of(info: &TopicInfo) -> Self {
        let stamped_by_broker =
            info.config.get("message.timestamp.type").is_some_and(|t| t == "LogAppendTime");
        let bound = |key: &str| (!stamped_by_broker).then(|| info.config_number(key)).flatten();
        Self {
            max_message_bytes: info
                .config_number("max.message.bytes")
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or(1_048_588),
            before_max_ms: bound("message.timestamp.before.max.ms"),
            after_max_ms: bound("message.timestamp.after.max.ms"),
        }
    }
}

/// A changelog.
#[derive(Debug, Clone)]
pub struct ChangelogPlan {
    /// Its index in [`InstancePlan::topics`].
    pub slot: TopicSlot,
    /// The topic.
    pub topic: TopicName,
    /// Its id.
    pub topic_id: String,
    /// `delete.retention.ms`: how old a local image may be.
    pub delete_retention_ms: i64,
}

/// A task: a subtopology and a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// Index of the subtopology.
    pub subtopology: usize,
    /// The partition.
    pub partition: PartitionId,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.subtopology, self.partition)
    }
}

/// Why a topology cannot run on this cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A topic does not exist.
    #[error(
        "topic {topic} does not exist: create it (for internal topics: tidemill topics create)"
    )]
    MissingTopic {
        /// The topic.
        topic: String,
    },
    /// Keyed inputs of one subtopology differ in their partition counts.
    #[error(
        "subtopology {subtopology}: keyed inputs {first} ({first_partitions} partitions) and {second} ({second_partitions}) must have equal partition counts"
    )]
    NotCoPartitioned {
        /// The subtopology.
        subtopology: String,
        /// One input.
        first: String,
        /// Its partitions.
        first_partitions: i32,
        /// Another.
        second: String,
        /// Its partitions.
        second_partitions: i32,
    },
    /// A topic is read by two subtopologies: its offsets would have two owners.
    #[error(
        "topic {topic} is read by the subtopologies {first} and {second}: read it once and branch"
    )]
    ReadTwice {
        /// The topic.
        topic: String,
        /// One subtopology.
        first: String,
        /// Another.
        second: String,
    },
}

impl InstancePlan {
    /// Resolves a topology. `topics` holds every topic that it names, internal ones included.
    pub fn resolve(
        topology: &Topology,
        application: &str,
        instance: &str,
        topics: &BTreeMap<TopicName, TopicInfo>,
    ) -> Result<Self, PlanError> {
        let mut plan = Self {
            application: application.to_owned(),
            instance: instance.to_owned(),
            subtopologies: vec![],
            topics: vec![],
        };
        let mut readers: BTreeMap<TopicName, String> = BTreeMap::new();
        for subtopology in &topology.subtopologies {
            let resolved = plan.subtopology(subtopology, topics)?;
            for source in &resolved.sources {
                let reader = readers.insert(source.topic.clone(), resolved.name.clone());
                if let Some(first) = reader {
                    return Err(PlanError::ReadTwice {
                        topic: source.topic.to_string(),
                        first,
                        second: resolved.name,
                    });
                }
            }
            plan.subtopologies.push(resolved);
        }
        Ok(plan)
    }

    /// The group instance id and the base of the transactional ids of a thread.
    pub fn owner(&self, thread: usize) -> String {
        format!("{}.{}.{thread}", self.application, self.instance)
    }

    /// The lead topics, which the group subscribes to.
    pub fn lead_topics(&self) -> Vec<TopicName> {
        self.subtopologies.iter().map(|s| s.lead_source().topic.clone()).collect()
    }

    fn subtopology(
        &mut self,
        subtopology: &crate::topology::Subtopology,
        topics: &BTreeMap<TopicName, TopicInfo>,
    ) -> Result<SubtopologyPlan, PlanError> {
        let application = self.application.clone();
        let find =
            |name: String| topics.get(name.as_str()).ok_or(PlanError::MissingTopic { topic: name });
        let mut sources = vec![];
        for source in &subtopology.sources {
            let info = find(source.topic.resolve(&application))?;
            sources.push(SourcePlan {
                topic: info.name.clone(),
                topic_id: info.id.clone(),
                partitions: info.partitions,
                start: source.start,
                keyed: source.keyed,
                repartition: matches!(source.topic, TopicRef::Repartition { .. }),
                watermarks: source.watermarks,
            });
        }
        check_co_partitioned(&subtopology.name, &sources)?;
        let mut sinks = vec![];
        for sink in &subtopology.sinks {
            let info = find(sink.topic.resolve(&application))?;
            sinks.push(SinkPlan {
                slot: self.slot(&info.name),
                topic: info.name.clone(),
                partitions: info.partitions,
                limits: TopicLimits::of(info),
                on_error: sink.on_error,
            });
        }
        let changelog = if subtopology.stores.is_empty() {
            None
        } else {
            let info = find(changelog_name(&application, &subtopology.name))?;
            Some(ChangelogPlan {
                slot: self.slot(&info.name),
                topic: info.name.clone(),
                topic_id: info.id.clone(),
                delete_retention_ms: info
                    .config_number("delete.retention.ms")
                    .unwrap_or(86_400_000),
            })
        };
        let lead = lead_input(sources.iter().map(SourcePlan::count)).unwrap_or_default();
        let event_time = has_watermark(subtopology).then(|| EventTimePlan {
            repartitions: (0..sinks.len())
                .filter(|sink| {
                    let topic = subtopology.sinks.get(*sink).map(|sink| &sink.topic);
                    matches!(topic, Some(TopicRef::Repartition { .. }))
                })
                .collect(),
            tasks: sources
                .get(lead)
                .and_then(|source| u32::try_from(source.partitions).ok())
                .unwrap_or_default(),
        });
        Ok(SubtopologyPlan {
            name: subtopology.name.clone(),
            lead,
            event_time,
            sources,
            sinks,
            changelog,
            chain: subtopology.chain.clone(),
        })
    }

    fn slot(&mut self, topic: &TopicName) -> TopicSlot {
        let index = self.topics.iter().position(|t| t == topic).unwrap_or_else(|| {
            self.topics.push(topic.clone());
            self.topics.len() - 1
        });
        TopicSlot::try_from(index).unwrap_or(TopicSlot::MAX)
    }
}

impl SubtopologyPlan {
    /// The source that the group subscribes to.
    pub fn lead_source(&self) -> &SourcePlan {
        &self.sources[self.lead]
    }

    /// The task's name, which also names its state: `<subtopology>_<partition>`.
    pub fn task_name(&self, partition: PartitionId) -> String {
        format!("{}_{partition}", self.name)
    }
}

fn check_co_partitioned(subtopology: &str, sources: &[SourcePlan]) -> Result<(), PlanError> {
    let keyed = sources.iter().filter(|s| s.keyed).map(SourcePlan::count);
    match unequal_inputs(keyed) {
        None => Ok(()),
        Some(((first, first_partitions), (second, second_partitions))) => {
            Err(PlanError::NotCoPartitioned {
                subtopology: subtopology.to_owned(),
                first: first.to_owned(),
                first_partitions,
                second: second.to_owned(),
                second_partitions,
            })
        }
    }
}
