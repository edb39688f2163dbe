//! The graph that a topology is, before it runs.

mod graph;

pub use graph::{
    ErrorPolicy, SinkNode, SourceNode, StartFrom, Step, StoreSpec, Subtopology, TopicRef, Topology,
};
