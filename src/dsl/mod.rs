//! What users write: typed streams and tables that build a [`crate::topology::Topology`].
//!
//! Close to Kafka Streams' vocabulary. Every step that keeps state or repartitions takes a name:
//! state and internal topics belong to names, so a topology can be edited without losing them.

mod builder;
mod cut;
mod declaration;
mod exchange;
mod keyed_stream;
mod partitioned_by;
mod repartition;
mod source;
mod stream;
mod table;

pub use builder::TopologyBuilder;
pub use keyed_stream::KeyedStream;
pub use repartition::Repartition;
pub use source::Source;
pub use stream::Stream;
pub use table::Table;

pub use crate::{
    operators::{Data, Emit, ErrorPolicy, Key, TimerFunction, Timers},
    time::{TimerDomain, WatermarkStrategy},
    topology::{StartFrom, Topology, TopologyError},
};

#[cfg(test)]
mod build_tests;
#[cfg(test)]
mod event_time_tests;
#[cfg(test)]
mod operator_tests;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
pub(crate) mod test_driver;
