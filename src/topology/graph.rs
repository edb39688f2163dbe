//! A topology as data: subtopologies with sources, sinks, stores and the factory of their chain.
//!
//! Built by `dsl` (and later `sql`), read by the runtime, `validate` and `describe`.

use std::{fmt, sync::Arc};

use crate::{
    operators::{ErrorPolicy, OperatorChain},
    time::WatermarkStrategy,
};

/// A complete topology. Built once, shared by all stream threads.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Its name: the default of the application id.
    pub name: String,
    /// In topological order: a subtopology reads repartition topics only of those before it.
    pub subtopologies: Vec<Subtopology>,
}

/// A part of the topology that is connected without a topic in between: one task per partition.
#[derive(Clone)]
pub struct Subtopology {
    /// The first declared named step; names the changelog and the state directory.
    pub name: String,
    /// The inputs. All keyed ones have equal partition counts.
    pub sources: Vec<SourceNode>,
    /// The outputs.
    pub sinks: Vec<SinkNode>,
    /// The state stores; none means that no changelog is needed.
    pub stores: Vec<StoreSpec>,
    /// The named steps in order, for `describe`.
    pub steps: Vec<Step>,
    /// Makes the chain of one task, on the thread that will run it.
    pub chain: Arc<dyn Fn() -> Box<dyn OperatorChain> + Send + Sync>,
}

impl fmt::Debug for Subtopology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subtopology")
            .field("name", &self.name)
            .field("sources", &self.sources)
            .field("sinks", &self.sinks)
            .field("stores", &self.stores)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

/// A step of a subtopology as `describe` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name or uid.
    pub name: String,
    /// What it does: `map`, `count`, ...
    pub operator: String,
    /// The names of the steps, sources that feed it.
    pub inputs: Vec<String>,
}

/// Which topic a source or sink means, before the application id is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicRef {
    /// A user's topic.
    External(String),
    /// `<app>-<step>-repartition`, created and checked by Tidemill.
    Repartition {
        /// The declared step.
        step: String,
        /// A declared partition count; else that of the writing subtopology's lead topic.
        partitions: Option<i32>,
    },
}

impl TopicRef {
    /// The topic's name under an application id.
    pub fn resolve(&self, application: &str) -> String {
        match self {
            Self::External(name) => name.clone(),
            Self::Repartition { step, .. } => format!("{application}-{step}-repartition"),
        }
    }
}

/// Where to start when the group has no committed offset and the changelog no marker (EOS-8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFrom {
    /// The first record that exists.
    Earliest,
    /// The end at the time of the first assignment.
    Latest,
}

/// An input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceNode {
    /// Its name.
    pub name: String,
    /// What it reads.
    pub topic: TopicRef,
    /// Where to start.
    pub start: StartFrom,
    /// Whether keyed state depends on its partitioning: its partition count must not change.
    pub keyed: bool,
    /// How its records make a watermark; none for a repartition topic, which brings its own, and
    /// for a source that was not declared to have one.
    pub watermarks: Option<WatermarkStrategy>,
}

/// An output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkNode {
    /// Its name.
    pub name: String,
    /// What it writes.
    pub topic: TopicRef,
    /// `skip` or `fail` for records that the topic would refuse.
    pub on_error: ErrorPolicy,
}

/// A state store of an operator. Its id within the subtopology is allocated once and never
/// reused (`state::StoreCatalog`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoreSpec {
    /// The operator's uid.
    pub operator: String,
    /// The state's name within the operator.
    pub state: String,
}

impl StoreSpec {
    /// `<operator>/<state>`: the name in the catalogue.
    pub fn qualified(&self) -> String {
        format!("{}/{}", self.operator, self.state)
    }
}
