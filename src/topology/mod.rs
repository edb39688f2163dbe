//! The graph that a topology is, before it runs.

mod co_partition;
mod describe;
mod error;
mod event_time;
mod existing_topic;
mod graph;
mod internal_topics;
mod validate;

pub use co_partition::{lead_input, unequal_inputs};
pub use describe::{DescribedSource, DescribedStep, DescribedSubtopology, Description, describe};
pub use error::{TopologyError, check_name, check_topic};
pub use event_time::{declare_watermarks, has_watermark, watermark_store};
pub use existing_topic::{ExistingTopic, Problem, check};
pub use graph::{
    SinkNode, SourceNode, StartFrom, Step, StoreSpec, Subtopology, TopicRef, Topology,
};
pub use internal_topics::{
    InputTopic, InternalTopic, InternalTopicKind, SubtopologyPlan, TopicPlan, TopicPlanError,
    changelog_name, external_topics, plan_topics,
};
pub use validate::validate;

pub use crate::operators::ErrorPolicy;
