//! Operators: one per file; the seam to the runtime is [`OperatorChain`].

mod aggregate;
mod branch;
mod chain;
mod count;
mod element;
mod filter;
mod flat_map;
mod flat_map_values;
mod fold;
mod key_by;
mod keyed_timer;
mod map;
mod map_values;
mod merge;
mod peek;
mod per_epoch;
mod policy;
mod reduce;
mod sink;
mod source;
mod table;
mod typed_chain;
mod wiring;

pub use aggregate::aggregate;
pub use branch::Branch;
pub use chain::{
    EmitRefused, Emitted, OperatorChain, OperatorError, Output, Provenance, SinkIndex, Skipped,
    SourceIndex, TaskContext,
};
pub use count::count;
pub use element::{Data, Element, Key, Outlet, Receive, ReceiveRecord, Receiver, Stateful};
pub use filter::Filter;
pub use flat_map::FlatMap;
pub use flat_map_values::FlatMapValues;
pub use fold::Fold;
pub use key_by::KeyBy;
pub use keyed_timer::{KeyedTimer, KeyedTimerParts, TimerFunction, Timers};
pub use map::Map;
pub use map_values::MapValues;
pub use merge::Merge;
pub use peek::Peek;
pub use per_epoch::{Emit, PerEpoch};
pub use policy::{ErrorPolicy, StepPolicy};
pub use reduce::reduce;
pub use sink::Sink;
pub use source::{Source, TimestampOf};
pub use table::latest;
pub use typed_chain::Chain;
pub use wiring::{Port, Wiring};
